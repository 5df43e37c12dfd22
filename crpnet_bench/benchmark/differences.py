"""The list of places where the CRPNet article and its own numbers disagree."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from crpnet_bench.audit import shipped_cohort

__all__ = ["Difference", "explain", "load_differences"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One entry of `cohorts/changhai/differences.toml`.

    Attributes:
        number: in the list; None for a remark.
        kind: "arithmetic" (follows from printed numbers) or "reading".
        what: the difference in words.
        keys: shell patterns over keys of findings and rows that it explains.
    """

    number: int | None
    kind: str
    what: str
    keys: tuple[str, ...]

    def covers(self, key: str) -> bool:
        """Whether it explains the finding or row of this key."""
        return any(fnmatchcase(key, pattern) for pattern in self.keys)

    @property
    def label(self) -> str:
        """`(17)`, or nothing for a remark."""
        return "" if self.number is None else f"({self.number}) "


def load_differences(path: Path | None = None) -> tuple[Difference, ...]:
    """The shipped list, or another file of that format."""
    source = path or shipped_cohort("changhai") / "differences.toml"
    entries = tomllib.loads(source.read_text(encoding="utf-8"))["difference"]
    return tuple(
        Difference(entry.get("number"), entry["kind"], entry["what"], tuple(entry["keys"]))
        for entry in entries
    )


def explain(key: str, differences: tuple[Difference, ...]) -> str:
    """What the list says of a finding or row; empty where it says nothing."""
    found = [entry.label + entry.what for entry in differences if entry.covers(key)]
    return " ".join(found)
