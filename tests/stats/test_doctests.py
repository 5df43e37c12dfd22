from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from crpnet_bench import stats

MODULES = sorted(
    path.stem for path in Path(stats.__file__).parent.glob("*.py") if ">>>" in path.read_text()
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_the_documentation_hold(name):
    result = doctest.testmod(import_module(f"crpnet_bench.stats.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
