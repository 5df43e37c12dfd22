"""`cohort.toml` to a checked manifest, with everything wrong with it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic
from pydantic_core import ErrorDetails

from crpnet_bench.errors import Problem, did_you_mean
from crpnet_bench.schema import CohortManifest, Record

__all__ = ["MANIFEST_NAME", "find_manifest", "parse_manifest", "problems_of"]

MANIFEST_NAME = "cohort.toml"
_LARGEST_MANIFEST = 2**20


def find_manifest(path: Path) -> Path:
    """The manifest that a folder or the file itself names."""
    return path / MANIFEST_NAME if path.is_dir() else path


def parse_manifest(content: bytes, name: str) -> tuple[CohortManifest | None, list[Problem]]:
    """Check the content of a manifest.

    Args:
        content: the file's bytes.
        name: its name in messages.

    Returns:
        The manifest (None where anything is wrong) and all problems.
    """
    if len(content) > _LARGEST_MANIFEST:
        return None, [Problem(name, f"at most {_LARGEST_MANIFEST >> 20} MB")]
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        row = content[: error.start].count(b"\n") + 1
        return None, [Problem(name, "UTF-8 text: save the file as UTF-8", row=row)]
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [Problem(name, f"TOML; {error}")]
    try:
        return CohortManifest.model_validate(values), []
    except pydantic.ValidationError as error:
        return None, problems_of(error, name, CohortManifest)


def problems_of(error: pydantic.ValidationError, file: str, model: type[Record]) -> list[Problem]:
    """Each complaint of pydantic as a problem that names the key and what was expected."""
    return [
        Problem(
            file,
            _expected(detail, model),
            column=".".join(str(part) for part in detail["loc"]) or None,
            value=_found(detail),
        )
        for detail in error.errors()
    ]


def _found(detail: ErrorDetails) -> object:
    simple = isinstance(detail["input"], str | int | float | bool)
    return detail["input"] if simple and detail["type"] != "extra_forbidden" else None


def _expected(detail: ErrorDetails, model: type[Record]) -> str:
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        return f"a known key; {did_you_mean(key, _keys(model, detail['loc'][:-1]))}"
    if detail["type"] == "missing":
        return "this key, it is required"
    message = detail["msg"].removeprefix("Value error, ")
    return message.removeprefix("Input should be ")


def _keys(model: type[Record], path: Iterable[Any]) -> list[str]:
    """The keys of the section that a path leads to."""
    section: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part) if hasattr(section, "model_fields") else None
        section = _record_in(field.annotation) if field is not None else section
    return list(getattr(section, "model_fields", {}))


def _record_in(annotation: Any) -> Any:  # noqa: ANN401 an annotation is of any kind
    """The record inside `Record | None`, `tuple[Record, ...]` or `dict[str, Record]`."""
    if isinstance(annotation, type):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _record_in(inner)
        if hasattr(found, "model_fields"):
            return found
    return None
