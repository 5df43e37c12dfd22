"""The dashboard with 10,000 patients and 20 runs, in a real Chromium, and while others write.

Measured by hand, `pytest -m perf tests/perf/test_dashboard_speed.py -s`; the limits are those that
the project set for an otherwise idle machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.config import load_config
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.perf

PATIENTS, RUNS = 10_000, 20
SESSIONS, SECONDS = 20, 60
FIRST, LATER, FILTER, WRITER = 4.0, 2.0, 0.7, 2.0  # seconds
PATIENCE = 240_000  # milliseconds: twenty pages drawn on two cores take their turn
_SETTINGS = """
cohort = "drawn"
split = "random-70-30"
models = ["crpnet"]
[encoder]
name = "imported:tiny"
[model]
attention_dim = 4
hidden_dim = 4
[train]
iterations = 5
inits = 1
inner_folds = 2
threads = 1
"""


def _module_of_tests(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name.replace("/", "_"), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


drawn = _module_of_tests("dashboard/conftest")
browser = _module_of_tests("dashboard/test_browser")
bags = _module_of_tests("benchmark/conftest")


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


def _processor_seconds(server: object) -> float:
    """What the server has computed so far; unlike waiting time it does not grow with the load."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Asked anew for each frame that the browser draws; Playwright's own waiting looks again after up
# to half a second, which is as long as what is measured here.
_SHOWN = """text => document.querySelector('[data-testid=stMain]')?.textContent.includes(text)"""
_SETTLED = """rule => [...document.querySelectorAll('code')].some(c => c.textContent.includes(rule))
    && document.querySelector('[data-testid=stApp][data-test-script-state=notRunning]')"""


def _opened(chromium: object, address: str) -> tuple[object, float]:
    page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
    begun = time.perf_counter()
    page.goto(address)
    page.wait_for_function(_SHOWN, arg="Newest results", timeout=60_000)
    return page, time.perf_counter() - begun


SUBGROUPS = (  # none is chosen twice: what was seen before is kept
    ("Male", "sex == male"),
    ("Grade III-IV", "grade >= 3"),
    ("Female", "sex == female"),
    ("Grade I-II", "grade <= 2"),
)


def _filtered(page: object, subgroup: str, rule: str) -> float:
    page.get_by_test_id("stSidebar").get_by_label("Subgroup").click()
    option = page.get_by_role("option", name=subgroup, exact=True)
    option.wait_for()
    begun = time.perf_counter()
    option.click()
    page.wait_for_function(_SETTLED, arg=rule, timeout=30_000)
    seconds = time.perf_counter() - begun
    page.wait_for_timeout(1000)  # the browser draws on; nobody chooses again at once
    return seconds


def test_sessions_and_filters_are_quick(home: Home, chromium: object, tmp_path: Path):
    server = browser.start(home, tmp_path)
    try:
        started = _processor_seconds(server)
        page, first = _opened(chromium, server.address)
        opened = _processor_seconds(server)
        _, at_once = _opened(chromium, server.address)
        print(f"\na session asked for while the first still draws its tables: {at_once:.2f} s")
        page.wait_for_timeout(2000)  # both have drawn all
        before = _processor_seconds(server)
        _, later = _opened(chromium, server.address)
        measured = {"first session": (first, FIRST), "later session": (later, LATER)}
        computed = {
            "first session": opened - started,
            "later session": _processor_seconds(server) - before,
        }
        for name in ("Kaplan-Meier", "Classification"):
            page.get_by_test_id("stSidebarNav").get_by_text(name, exact=True).click()
            page.get_by_role("heading", name=name).first.wait_for(timeout=60_000)
            page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
            page.wait_for_timeout(1000)
            before = _processor_seconds(server)
            waited = [_filtered(page, *choice) for choice in SUBGROUPS]
            print(f"\nfilters, {name}: {', '.join(f'{seconds:.2f}' for seconds in waited)} s")
            what = f"filter, {name}, median"
            measured[what] = (float(np.median(waited)), FILTER)
            computed[what] = (_processor_seconds(server) - before) / len(waited)
    finally:
        browser.stop(server)
    for what, (seconds, limit) in measured.items():
        print(
            f"{what}: {seconds:.2f} s (limit {limit:g} s), {computed[what]:.2f} s of it computed "
            "by the server"
        )
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    assert {what: seconds for what, (seconds, limit) in measured.items() if seconds > limit} == {}


# Repeats a command of `crpnet-bench`, and says how long each write waited for its turn.
_WRITER = """
import json, sys, time
from contextlib import contextmanager
from pathlib import Path
from crpnet_bench.cli import app
from crpnet_bench.registry.store import Registry
changed, until, arguments = sys.argv[1], time.monotonic() + float(sys.argv[2]), sys.argv[3:]
blocked, held, rounds, write = [0.0], [0.0], 0, Registry.write
@contextmanager
def timed(self):
    asked = time.monotonic()
    with write(self) as transaction:
        begun = time.monotonic()
        blocked.append(begun - asked)
        yield transaction
    held.append(time.monotonic() - begun)
Registry.write = timed
while time.monotonic() < until:
    if changed:
        with Path(changed).open("a") as file:
            file.write("# once more\\n")
    if app(arguments, standalone_mode=False):
        sys.exit("the command failed")
    rounds += 1
print(json.dumps({"rounds": rounds, "blocked": max(blocked), "held": max(held)}))
"""


def _writer(folder: Path, name: str, changed: Path | None, *arguments: str) -> subprocess.Popen:
    """A process that repeats one command for a minute."""
    command = [sys.executable, "-c", _WRITER, str(changed or ""), str(SECONDS), *arguments]
    with (folder / f"{name}.err").open("wb") as errors:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)


def _troubles(page: object, name: str) -> list[str]:
    shown = page.locator("[data-testid=stAlertContentError], [data-testid=stException]")
    return [f"{name}: {text}" for text in shown.all_inner_texts()]


def test_many_readers_see_no_error_while_others_write(
    written_home: tuple[Home, Path, Path], chromium: object, tmp_path: Path
):
    """Twenty contexts of one Chromium, each with its own session, go from page to page."""
    home, folder, settings = written_home
    server = browser.start(home, tmp_path)
    where = ["--home", str(home.root)]
    register = ["cohort", "register", str(folder), *where]
    problems: list[str] = []
    writers: dict[str, subprocess.Popen] = {}
    try:
        pages = [_opened(chromium, server.address)[0] for _ in range(SESSIONS)]
        writers = {
            "register": _writer(tmp_path, "register", folder / "cohort.toml", *register),
            "run": _writer(tmp_path, "run", None, "run", "--config", str(settings), *where),
        }
        names, shown, step = list(browser.PAGES), ["Overview"] * SESSIONS, 0
        while any(writer.poll() is None for writer in writers.values()):
            place = step % SESSIONS
            # What the session was shown since its last turn, then on to the next page.
            problems += _troubles(pages[place], shown[place])
            shown[place] = names[(step // SESSIONS + place) % len(names)]
            navigation = pages[place].get_by_test_id("stSidebarNav")
            navigation.get_by_text(shown[place], exact=True).click(timeout=PATIENCE)
            pages[place].wait_for_timeout(500)  # each of the twenty turns a page every ten seconds
            step += 1
        for page, name in zip(pages, shown, strict=True):
            page.wait_for_selector(
                "[data-testid=stApp][data-test-script-state=notRunning]", timeout=PATIENCE
            )
            problems += _troubles(page, name)
        told = {name: json.loads(_last_line(writer)) for name, writer in writers.items()}
        print(f"{step} page changes; {told}")
    finally:
        for writer in writers.values():
            writer.kill()
            writer.stdout.close()
        browser.stop(server)
    assert problems == []
    assert min(one["rounds"] for one in told.values()) > 0
    assert max(one["blocked"] for one in told.values()) < WRITER


def _last_line(writer: subprocess.Popen) -> str:
    return writer.stdout.read().decode().strip().splitlines()[-1]


@pytest.fixture
def written_home(tmp_path: Path) -> tuple[Home, Path, Path]:
    """A home with a run, the folder of a cohort to register, the settings of a run to repeat.

    The run trains CRPNet on 10 patients for 5 iterations, on imported features.
    """
    home = bags._home_with_bags(tmp_path, 10, 1, SplitRequest())
    settings = tmp_path / "run.toml"
    settings.write_text(_SETTINGS)
    run_benchmark(home, load_config(settings), device="cpu", progress=SilentProgress())
    return home, drawn.write_cohort(tmp_path / "other", name="other", patients=40), settings
