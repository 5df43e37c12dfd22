"""The dashboard with 10,000 patients and 20 runs, in a real Chromium, and while others write.

Measured by hand, `pytest -m perf tests/perf/test_dashboard_speed.py -s`; the limits are those that
the project set for an otherwise idle machine.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.perf

PATIENTS, RUNS = 10_000, 20
SESSIONS, SECONDS = 20, 60
FIRST, LATER, FILTER, WRITER = 4.0, 2.0, 0.7, 2.0  # seconds


def _tests_of_the_dashboard(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "dashboard" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"dashboard_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


drawn = _tests_of_the_dashboard("conftest")
browser = _tests_of_the_dashboard("test_browser")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """10,000 patients and 20 runs, all with the predictions of one."""
    root = tmp_path_factory.mktemp("large")
    where = Home(root / "home")
    folder = drawn.write_cohort(root / "drawn", patients=PATIENTS)
    drawn.register(where, folder)
    first = drawn.import_run(where, folder, "run-00")
    predictions, metrics = views.predictions(where, "run-00"), views.metrics(where, "run-00")
    with Registry(where).write() as registry:
        for number in range(1, RUNS):
            name = f"run-{number:02d}"
            registry.import_run(
                first.model_copy(update={"run_id": name}),
                predictions.assign(run_id=name),
                metrics.assign(run_id=name),
            )
    return where


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=path, args=browser.CHROMIUM)
        yield found
        found.close()


def _opened(chromium: object, address: str) -> tuple[object, float]:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    begun = time.perf_counter()
    page.goto(address)
    page.get_by_text("Newest results").wait_for(timeout=60_000)
    return page, time.perf_counter() - begun


def _filtered(page: object, subgroup: str, rule: str) -> float:
    page.get_by_test_id("stSidebar").get_by_label("Subgroup").click()
    option = page.get_by_role("option", name=subgroup, exact=True)
    option.wait_for()
    begun = time.perf_counter()
    option.click()
    page.locator("code", has_text=rule).first.wait_for(timeout=30_000)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    return time.perf_counter() - begun


def test_sessions_and_filters_are_quick(home: Home, chromium: object, tmp_path: Path):
    server = browser.start(home, tmp_path)
    try:
        page, first = _opened(chromium, server.address)
        _, later = _opened(chromium, server.address)
        measured = {"first session": (first, FIRST), "later session": (later, LATER)}
        for name in ("Kaplan-Meier", "Classification"):
            page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True).click()
            page.get_by_role("heading", name=name).first.wait_for(timeout=60_000)
            page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
            page.wait_for_timeout(1000)
            subgroup, rule = {
                "Kaplan-Meier": ("Grade III-IV", "grade >= 3"),
                "Classification": ("Male", "sex == male"),
            }[name]
            measured[f"filter, {name}"] = (_filtered(page, subgroup, rule), FILTER)
    finally:
        browser.stop(server)
    for what, (seconds, limit) in measured.items():
        print(f"{what}: {seconds:.2f} s (limit {limit:g} s)")
    assert {what: seconds for what, (seconds, limit) in measured.items() if seconds > limit} == {}


_WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import conftest as drawn
from crpnet_bench.home import Home
from crpnet_bench.registry.load import load_cohort
from crpnet_bench.registry.store import Registry
home, root, until = Home(Path({home!r})), Path({root!r}), time.monotonic() + {seconds}
number, slowest = 0, 0.0
folder = drawn.write_cohort(root / "small", name="small", patients=40)
while time.monotonic() < until:
    number += 1
    table = (folder / "clinical.csv").read_text()
    (folder / "clinical.csv").write_text(table.replace("D00003,", "D00003,", 1) + "\\n")
    loaded = load_cohort(folder)
    begun = time.monotonic()
    with Registry(home).write() as registry:
        registry.register_cohort(loaded)
    slowest = max(slowest, time.monotonic() - begun)
    drawn.import_run(home, folder, f"small-{{number}}")
print(number, slowest)
"""


def test_many_readers_see_no_error_while_others_write(
    drawn_home_copy: Home, chromium: object, tmp_path: Path
):
    home = drawn_home_copy
    server = browser.start(home, tmp_path)
    tests = str(Path(drawn.__file__).parent)
    code = _WRITER.format(tests=tests, home=str(home.root), root=str(tmp_path), seconds=SECONDS)
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    finished = threading.Event()
    threading.Thread(target=lambda: (writer.wait(), finished.set()), daemon=True).start()
    problems: list[str] = []
    try:
        pages = [chromium.new_context().new_page() for _ in range(SESSIONS)]
        names = list(browser.PAGES)
        for page in pages:
            page.goto(server.address, wait_until="commit")
        step = 0
        while not finished.is_set():
            step += 1
            page, name = pages[step % SESSIONS], names[step % len(names)]
            link = page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True)
            link.click(timeout=60_000)
            for trouble in page.locator("[data-testid=stAlertContentError]").all():
                problems.append(f"{name}: {trouble.inner_text()}")
            if page.get_by_test_id("stException").count():
                problems.append(f"{name}: an exception is shown")
        written, slowest = writer.stdout.read().split()
        print(
            f"{step} page changes, {int(written)} rounds of writing, slowest {float(slowest):.2f} s"
        )
    finally:
        writer.kill()
        writer.stdout.close()
        browser.stop(server)
    assert problems == []
    assert int(written) > 0
    assert float(slowest) < WRITER


@pytest.fixture
def drawn_home_copy(tmp_path: Path) -> Home:
    """A small home that is written to."""
    where = Home(tmp_path / "home")
    folder = drawn.write_cohort(tmp_path / "drawn")
    drawn.register(where, folder)
    drawn.import_run(where, folder, "run-00")
    return where
