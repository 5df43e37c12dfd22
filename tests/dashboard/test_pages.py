"""Every page on drawn patients and on an empty home, through Streamlit's own test harness."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from crpnet_bench.home import HOME_VARIABLE, Home

DASHBOARD = Path(__file__).parents[2] / "dashboard"
PAGES = sorted(path.name for path in (DASHBOARD / "app_pages").glob("*.py"))

Opened = Callable[..., AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the app on a home."""
    monkeypatch.syspath_prepend(str(DASHBOARD))

    def start(home: Home, page: str | None = None, **query: str) -> AppTest:
        monkeypatch.setenv(HOME_VARIABLE, str(home.root))
        app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        return app.switch_page(f"app_pages/{page}").run() if page else app

    return start


def part_of(app: AppTest, key: str, part: str) -> AppTest:
    """Open one part of a page."""
    return app.button_group(key=key).set_value(part).run()


def hold(app: AppTest) -> None:
    """Nothing went wrong on the page."""
    assert not app.exception, [error.value for error in app.exception]
    assert not app.error, [error.value for error in app.error]


def text_of(app: AppTest) -> str:
    """All words of the page."""
    blocks = (app.markdown, app.caption, app.header, app.info, app.warning, app.error, app.code)
    return "\n".join(str(element.value) for block in blocks for element in block)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_and_every_part_opens(opened: Opened, drawn_home: Home, page: str):
    app = opened(drawn_home, page)
    hold(app)
    for group in app.button_group:
        if group.key and group.key.endswith("_part"):
            for part in group.options[1:]:
                hold(part_of(app, group.key, part))


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_home_tells_the_next_command(opened: Opened, empty_home: Home, page: str):
    app = opened(empty_home, page)
    hold(app)
    assert str(empty_home.root) in text_of(app)
    assert any("crpnet-bench" in code.value for code in app.code)
