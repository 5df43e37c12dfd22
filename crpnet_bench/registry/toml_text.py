"""A manifest as text: the few TOML constructs that `cohort.toml` needs, with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crpnet_bench.schema import CellValue

__all__ = ["Line", "Section", "TomlValue", "toml_text", "toml_value"]

TomlValue = CellValue | Sequence[str] | Mapping[str, "TomlValue"]
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Line:
    """`key = value`, with a remark behind it; `off` comments the whole line out."""

    key: str
    value: TomlValue
    remark: str = ""
    off: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """`[title]` and its lines; `remarks` stand above."""

    title: str
    lines: Sequence[Line] = ()
    remarks: Sequence[str] = field(default=())
    array: bool = False
    off: bool = False


def toml_text(sections: Sequence[Section]) -> str:
    """The whole document."""
    return "\n".join(_section(section) for section in sections)


def _section(section: Section) -> str:
    title = f"[[{section.title}]]" if section.array else f"[{section.title}]"
    mark = "# " if section.off else ""
    lines = [*(f"# {remark}" for remark in section.remarks), f"{mark}{title}"]
    for line in section.lines:
        text = f"{_key(line.key)} = {toml_value(line.value)}"
        prefix = "# " if line.off or section.off else ""
        lines.append(prefix + text + (f"  # {line.remark}" if line.remark else ""))
    return "\n".join(lines) + "\n"


def toml_value(value: TomlValue) -> str:
    """A value as TOML.

    >>> toml_value({"column": "Size", "unit": "mm"})
    '{column = "Size", unit = "mm"}'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {toml_value(item)}" for key, item in value.items())
        return "{" + inner + "}"
    return "[" + ", ".join(toml_value(item) for item in value) + "]"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
