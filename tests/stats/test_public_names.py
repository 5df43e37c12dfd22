from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from crpnet_bench import stats

SOURCE = Path(stats.__file__)


def typed_names():
    """Module and name of each import that type checkers see."""
    tree = ast.parse(SOURCE.read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        (node.module.rsplit(".", 1)[1], alias.asname)
        for node in block.body
        for alias in node.names
        if alias.name == alias.asname
    }


def test_names_are_sorted_and_lead_somewhere():
    assert stats.__all__ == sorted(stats.__all__)
    for name in stats.__all__:
        assert getattr(stats, name).__name__ == name
    assert dir(stats) == stats.__all__


def test_python_and_type_checkers_see_the_same_names():
    table = {(module, name) for module, names in stats._MODULES.items() for name in names}
    assert typed_names() == table
    for module, name in table:
        assert name in import_module(f"crpnet_bench.stats.{module}").__all__


def test_no_module_bears_the_name_of_a_function():
    modules = {path.stem for path in SOURCE.parent.glob("*.py")}
    assert not modules & set(stats.__all__)


def test_an_unknown_name_is_an_attribute_error():
    assert not hasattr(stats, "p_hacking")


def test_import_is_light_until_a_function_is_used():
    program = (
        "import sys, crpnet_bench.stats as s\n"
        "heavy = {'lifelines', 'sksurv', 'numba', 'scipy', 'pandas', 'sklearn', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "s.concordance_index([1, 2, 3], [1, 1, 0], [3, 1, 2])\n"
        "s.cox_ph([1, 2, 3, 4], [1, 1, 0, 1], [3, 1, 2, 2])\n"
        "s.roc_auc([0, 1, 0, 1], [1, 2, 3, 4])\n"
        "never = {'lifelines', 'sksurv', 'numba', 'sklearn', 'torch'}\n"
        "assert not never & set(sys.modules), never & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
