from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "pandas", "numpy", "lifelines", "sksurv", "duckdb", "openslide", "plotly")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crpnet_bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_help_loads_nothing_heavy_and_answers_at_once():
    code = (
        "import sys, crpnet_bench.cli\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"
    fastest = min(_seconds("--help") for _ in range(3))
    assert fastest < 2.0  # 0.2 s on an idle machine; the bound allows for a loaded one


def _seconds(*arguments: str) -> float:
    started = time.perf_counter()
    assert _run(*arguments).returncode == 0
    return time.perf_counter() - started


def test_version():
    assert _run("--version").stdout.startswith("crpnet-bench ")


@pytest.mark.parametrize(
    ("arguments", "code"), [(["no-such-command"], 2), (["run", "--no-such-option"], 2)]
)
def test_wrong_use_is_exit_2(arguments, code):
    done = _run(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_an_expected_error_is_one_line_and_exit_1(tmp_path):
    done = _run("run", "no-such-cohort", "--home", str(tmp_path), "--device", "cpu")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("home: ")
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_package_itself_loads_nothing_heavy():
    code = (
        "import sys, crpnet_bench, crpnet_bench.stats, crpnet_bench.scores\n"
        f"print([n for n in {HEAVY!r} if n in sys.modules and n != 'numpy'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
