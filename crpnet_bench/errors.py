"""The one error tree.

    CRPNetBenchError
    |-- InputError          something the user gave: a file, a cell, an argument
    |   |-- ValidationError     many problems at once, all listed
    |   |-- ConfigError         an unknown or impossible setting
    |   `-- NotFoundError       a cohort, split, run or model that does not exist
    |-- RegistryError       the database itself
    |   |-- RegistryLockedError     another process writes
    |   `-- SchemaVersionError      the database is older or newer than this program
    |-- SlideError          one slide cannot be used; recorded as that slide's outcome
    |-- ModelError          a fit or a prediction is impossible, with the reason
    `-- RunError            a run cannot start, resume or finish

Every message names the thing, the value found, what was expected and the remedy.
The command line prints it as one line (a `ValidationError`: one line a problem)
and exits with 1. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = [
    "CRPNetBenchError",
    "ConfigError",
    "InputError",
    "ModelError",
    "NotFoundError",
    "Problem",
    "RegistryError",
    "RegistryLockedError",
    "RunError",
    "SchemaVersionError",
    "SlideError",
    "ValidationError",
    "did_you_mean",
]

_LONGEST_VALUE = 80


class CRPNetBenchError(Exception):
    """Base of every error that this program raises on purpose."""


class InputError(CRPNetBenchError):
    """Something the user gave cannot be used."""


class ConfigError(InputError):
    """A setting is unknown or impossible."""


class NotFoundError(InputError):
    """A cohort, split, run or model of that name does not exist."""


class RegistryError(CRPNetBenchError):
    """The registry cannot be read or written."""


class RegistryLockedError(RegistryError):
    """Another process held the registry longer than the bounded retry."""


class SchemaVersionError(RegistryError):
    """The registry was written by another version of this program."""


class ModelError(CRPNetBenchError):
    """A model cannot be fitted or cannot predict."""


class RunError(CRPNetBenchError):
    """A run cannot start, resume or finish."""


class SlideError(CRPNetBenchError):
    """One slide cannot be used; the run goes on and records it.

    Args:
        reason: what is wrong, as it is stored in the registry ("mpp unknown").
        remedy: what the user can do about it.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason}; {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in an input file, named so that it can be found and mended.

    `row` is the row as a spreadsheet counts it (the header is row 1).
    """

    file: str
    expected: str
    column: str | None = None
    row: int | None = None
    value: object = None

    def __str__(self) -> str:
        place = [self.file]
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            place.append(f"column {self.column!r}")
        found = "" if self.value is None else f": found {shorten(self.value)}"
        return f"{', '.join(place)}{found}; expected {self.expected}"


class ValidationError(InputError):
    """Everything wrong with an input, found in one pass."""

    def __init__(self, problems: Iterable[Problem], what: str) -> None:
        self.problems: Sequence[Problem] = tuple(problems)
        self.what = what
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{what}: {count} {noun}, nothing was written\n{lines}")


def shorten(value: object) -> str:
    """A value as it is quoted in a message: repr, cut at a readable length."""
    text = repr(value[: 2 * _LONGEST_VALUE]) if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suffix for an error message: the nearest known word, or all of them.

    >>> did_you_mean("crpnte", ["crpnet", "ssign"])
    "did you mean 'crpnet'?"
    """
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known: " + ", ".join(choices) if choices else "there are none yet"
