"""The dashboard in a real Chromium: pages, filters, downloads, addresses, recovery.

Screenshots are kept in the folder that CRPNET_BENCH_SCREENSHOTS names, else with the test's files.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crpnet_bench.home import Home

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

DASHBOARD = Path(__file__).parents[2] / "dashboard"
PAGES = {
    "Overview": "crpnet-bench",
    "Cohort": "Drawn patients for tests of the pages",
    "Kaplan-Meier": "Kaplan-Meier",
    "Classification": "Classification",
    "Comparison": "Comparison",
    "Calibration and utility": "Calibration and utility",
    "External validation": "External validation",
    "Patients and slides": "Patients and slides",
    "Published": "Published",
}
WIDTH = 1280
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            "--disable-sync"]  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A running dashboard."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(home: Home, folder: Path) -> Server:
    """The dashboard on a home, started from another working directory."""
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(DASHBOARD / "app.py"),
               "--server.port", str(port), "--", "--home", str(home.root)]  # fmt: skip
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    server = Server(port, process)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2):
                return server
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise TimeoutError((folder / "server.log").read_text())


def stop(server: Server) -> None:
    """End it; it would wait for open pages."""
    server.process.terminate()
    try:
        server.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait(timeout=10)


@pytest.fixture(scope="module")
def home(drawn_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A copy of the drawn home, which these tests may damage."""
    root = tmp_path_factory.mktemp("browser") / "home"
    shutil.copytree(drawn_home.root, root)
    return Home(root)


@pytest.fixture(scope="module")
def server(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(home, tmp_path_factory.mktemp("server"))
    yield running
    stop(running)


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()


@dataclass
class Tab:
    """A page with what went wrong on it."""

    page: object
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def settle(self) -> None:
        """Wait until nothing is computed any more."""
        self.page.wait_for_selector(
            "[data-testid=stApp][data-test-script-state=notRunning]", timeout=60_000
        )
        self.page.wait_for_timeout(400)

    def open(self, address: str) -> None:
        self.page.goto(address)
        self.settle()

    def click_page(self, name: str) -> None:
        self.page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True).click()
        self.page.get_by_role("heading", name=PAGES[name]).first.wait_for(timeout=60_000)
        self.settle()


@pytest.fixture(params=["light"])
def tab(chromium, request) -> Iterator[Tab]:
    context = chromium.new_context(
        viewport={"width": WIDTH, "height": 900}, color_scheme=request.param, accept_downloads=True
    )
    page = context.new_page()
    one = Tab(page)
    page.on("pageerror", lambda error: one.errors.append(str(error)))
    page.on("console", lambda said: one.errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: one.hosts.add(asked.url.split("/")[2]))
    yield one
    context.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("CRPNET_BENCH_SCREENSHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keep_picture(tab: Tab, path: Path) -> None:
    """A screenshot of the whole page, not only of what fits the window."""
    height = tab.page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    tab.page.set_viewport_size({"width": WIDTH, "height": min(max(900, height), 4000)})
    tab.page.wait_for_timeout(500)
    tab.page.screenshot(path=str(path))
    tab.page.set_viewport_size({"width": WIDTH, "height": 900})


@pytest.mark.parametrize("tab", ["light", "dark"], indirect=True)
def test_every_page_is_opened_without_error_and_within_the_window(
    server: Server, tab: Tab, pictures: Path, request: pytest.FixtureRequest
):
    tab.open(server.address)
    theme = request.node.callspec.params["tab"]
    for name in PAGES:
        tab.click_page(name)
        assert tab.page.get_by_test_id("stException").count() == 0
        assert tab.page.locator("[data-testid=stAlertContentError]").count() == 0
        wide = tab.page.evaluate(
            "(() => {const m = document.querySelector('[data-testid=stMain]');"
            "return m.scrollWidth - m.clientWidth})()"
        )
        assert wide <= 0, f"{name} is {wide} px too wide"
        keep_picture(tab, pictures / f"{name.lower().replace(' ', '-')}-{theme}.png")
    assert tab.errors == []
    assert tab.hosts == {f"127.0.0.1:{server.port}"}


def test_a_filter_changes_the_page_and_its_address_opens_the_same_view(
    server: Server, tab: Tab, chromium
):
    tab.open(server.address)
    tab.click_page("Kaplan-Meier")
    tab.page.get_by_test_id("stSidebar").get_by_label("Subgroup").click()
    tab.page.get_by_role("option", name="Grade III-IV").click()
    label = tab.page.locator("p", has_text=re.compile(r"grade >= 3 · \d+ patients"))
    label.wait_for(timeout=30_000)
    tab.settle()
    shown, address = label.inner_text(), tab.page.url
    assert "run=" in address
    assert "subgroup=" in address
    context = chromium.new_context()
    other = Tab(context.new_page())
    other.open(address)
    again = other.page.locator("p", has_text=re.compile(r"grade >= 3 · \d+ patients"))
    assert again.inner_text() == shown
    context.close()


@pytest.mark.parametrize(
    ("label", "ending", "start_of"),
    [
        ("Data (CSV)", ".csv", b"group,months,survival"),
        ("SVG", ".svg", b"<svg"),
        ("PNG", ".png", b"\x89PNG"),
        ("Interactive HTML", ".html", b"<html"),
    ],
)
def test_a_figure_is_downloaded(server: Server, tab: Tab, tmp_path: Path, label, ending, start_of):
    tab.open(server.address)
    tab.click_page("Kaplan-Meier")
    tab.page.get_by_role("button", name="Download").first.click()
    button = tab.page.get_by_role("button", name=label, exact=True)
    if label in {"SVG", "PNG"} and not button.count():
        pytest.skip("kaleido is not installed: pictures are not offered")
    with tab.page.expect_download(timeout=90_000) as waiting:
        button.click()
    path = tmp_path / "taken"
    waiting.value.save_as(path)
    assert waiting.value.suggested_filename.endswith(ending)
    assert start_of in path.read_bytes()[:4000]
    assert path.stat().st_size > 500


def test_pages_work_with_the_keyboard(server: Server, tab: Tab):
    tab.open(server.address)
    tab.page.get_by_test_id("stSidebarNav").get_by_role("link", name="Classification").focus()
    tab.page.keyboard.press("Enter")
    tab.page.get_by_role("heading", name="Classification").first.wait_for(timeout=30_000)
    tab.settle()
    tab.page.get_by_role("radio", name="Table 1").focus()
    tab.page.keyboard.press("Space")
    tab.page.get_by_text("The layout of the article's Table 1").wait_for(timeout=30_000)


def test_the_page_recovers_by_itself_when_the_registry_is_back(
    server: Server, tab: Tab, home: Home
):
    pointer = home.views / "CURRENT"
    good = pointer.read_bytes()
    pointer.write_bytes(b"\xff")
    try:
        tab.open(server.address)
        tab.page.get_by_text("The registry cannot be read").wait_for(timeout=30_000)
    finally:
        pointer.write_bytes(good)
    tab.page.get_by_text("Newest results").wait_for(timeout=30_000)


def test_the_server_listens_on_this_machine_only_and_asks_for_no_statistics(server: Server):
    others = {
        found[4][0]
        for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        if not found[4][0].startswith("127.")
    }
    for address in others:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((address, server.port)) != 0
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("PUT", "/_stcore/upload_file/x/y", body=b"x")
    assert connection.getresponse().status in {403, 404}
    connection.close()
