"""What a check says of one printed number."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["VERDICTS", "Finding", "Verdict"]

Verdict = Literal["contradiction", "implausible", "note", "not derivable", "consistent"]

VERDICTS: dict[Verdict, str] = {
    "contradiction": "no patients can give this number together with the others",
    "implausible": "possible, but not under the usual assumptions, which are named",
    "note": "nothing wrong; worth knowing when the number is read",
    "not derivable": "nothing printed decides it",
    "consistent": "follows from the other printed numbers within rounding",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One printed number and what follows from the others.

    Attributes:
        key: stable name, such as "classifier/validation/CRPNet/accuracy".
        what: the quantity, in words.
        place: where the paper prints it.
        printed: as printed.
        recomputed: what the other printed numbers give; empty where nothing does.
        verdict: one of `VERDICTS`.
        explanation: how it was recomputed, and why the verdict.
    """

    key: str
    what: str
    place: str
    printed: str
    recomputed: str
    verdict: Verdict
    explanation: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether a reader of the paper has to do something about it."""
        return self.verdict in {"contradiction", "implausible"}

    def as_record(self) -> dict[str, Any]:
        """For JSON and tables."""
        return asdict(self)
