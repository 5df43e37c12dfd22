"""The drawn cohort and run of the dashboard's tests, as `RunData`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from crpnet_bench.home import Home
from crpnet_bench.reporting.run_data import RunData, Sample, run_data, take


def _drawn() -> ModuleType:
    path = Path(__file__).parents[1] / "dashboard" / "conftest.py"
    spec = importlib.util.spec_from_file_location("drawn_patients", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one cohort of 150 patients and one run; nobody writes to it."""
    drawn = _drawn()
    root = tmp_path_factory.mktemp("reporting")
    where = Home(root / "home")
    folder = drawn.write_cohort(root / "drawn")
    drawn.register(where, folder)
    drawn.import_run(where, folder, "20260101-000000-drawn-abcdef01")
    return where


@pytest.fixture(scope="session")
def data(home: Home) -> RunData:
    """The run."""
    return run_data(home, "20260101-000000-drawn-abcdef01")


@pytest.fixture(scope="session")
def sample(data: RunData) -> Sample:
    """Its validation patients."""
    return take(data, data.set_named("validation"))
