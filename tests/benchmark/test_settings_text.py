from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import crpnet_bench
from crpnet_bench.benchmark.settings_text import settings_text
from crpnet_bench.config import RunConfig, Settings

PACKAGE = Path(crpnet_bench.__file__).parent


def _leaves(settings: Settings, above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings:
        if isinstance(value, Settings):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield above + name, value


KEYS = [key for key, _ in _leaves(RunConfig())]
# Another allowed value where adding to the default does not give one.
OTHERS = {
    "models": ["ssign"],
    "primary_model": "ssign",
    "primary_metric": "c_index",
    "primary_horizon_months": 36.0,
    "evaluation.horizons_months": [24.0],
    "tiling.context_factors": [2],
    "imported": {"m": "m.csv"},
    "evaluation.level": 0.9,
    "tune": {"train.inits": [1, 2]},
}


def _changed(key: str) -> RunConfig:
    default = dict(_leaves(RunConfig()))[key]
    section, _, name = key.rpartition(".")
    value = OTHERS.get(key, _other(key, default))
    values = {section: {name: value}} if section else {name: value}
    if key == "primary_horizon_months":
        values["primary_metric"] = "auc_t"
    if key == "imported":
        values["models"] = ["imported:m"]
    return RunConfig.from_mapping(values)


def _other(key: str, default: object) -> object:
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    if isinstance(default, float):
        return default * 0.5 if default else 0.25
    if isinstance(default, str):
        section, _, name = key.rpartition(".")
        owner = getattr(RunConfig(), section) if section else RunConfig()
        allowed = getattr(type(owner).model_fields[name].annotation, "__args__", ())
        return next((choice for choice in allowed if choice != default), f"{default}-x")
    return "other"


def test_what_is_printed_reads_back_as_the_same_settings():
    for config in (RunConfig(), RunConfig.from_mapping({"split": "s", "imported": {}})):
        assert RunConfig.from_mapping(tomllib.loads(settings_text(config))) == config


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_printed_described_and_counts(key):
    text = settings_text(RunConfig()).splitlines()
    name = key.rpartition(".")[2]
    places = [i for i, line in enumerate(text) if line.removeprefix("# ").startswith(f"{name} =")]
    assert places
    assert text[places[0] - 1].startswith("# ")
    assert _changed(key).fingerprint() != RunConfig().fingerprint()


def _names_read() -> set[str]:
    """Every attribute that the package reads outside the settings themselves."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name in {"config.py", "settings_text.py"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return found


def test_every_key_is_read_by_the_program():
    read = _names_read()
    unused = [key for key in KEYS if key.rpartition(".")[2] not in read]
    assert not unused
