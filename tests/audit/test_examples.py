"""The examples in the docstrings hold."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from crpnet_bench.audit import classifiers, intervals
from crpnet_bench.synthetic import changhai


@pytest.mark.parametrize("module", [classifiers, intervals, changhai])
def test_examples(module: ModuleType):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0
