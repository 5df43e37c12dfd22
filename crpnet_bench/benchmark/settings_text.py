"""Settings as TOML, each key with what it means: what `crpnet-bench config show` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crpnet_bench.config import RunConfig, Settings
from crpnet_bench.registry.toml_text import toml_value

__all__ = ["settings_text"]


def settings_text(config: RunConfig) -> str:
    """The whole configuration; read back it gives the same settings.

    A key without a value is commented out. Sections that are tables of the user's own names
    (`imported`) come as inline tables.
    """
    sections = {name: value for name, value in config if isinstance(value, Settings)}
    lines = [*_lines(config)]
    for name, section in sections.items():
        about = (type(section).__doc__ or "").strip().splitlines()[0]
        lines += ["", f"# {about}", f"[{name}]", *_lines(section)]
    return "\n".join(lines) + "\n"


def _lines(settings: Settings) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            continue
        if field.description:
            yield f"# {field.description}"
        yield f"# {name} =" if value is None else f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:  # noqa: ANN401 any setting
    return toml_value(list(value) if isinstance(value, tuple) else value)
