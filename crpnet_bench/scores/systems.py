"""TNM editions and grading systems: recorded beside every score, never converted.

What an edition changes for a score is a `SystemNote`: a sentence, the editions (or
grading systems) that call for it, and the patients whom it concerns. A note becomes a
warning of the result; it never changes a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crpnet_bench.errors import InputError, shorten
from crpnet_bench.scores.components import ClinicalInputs

__all__ = [
    "ADRENAL_INVASION",
    "DEDIFFERENTIATION",
    "EDITIONS",
    "GRADINGS",
    "MADE_FOR_FUHRMAN",
    "PELVICALYCEAL_INVASION",
    "UNKNOWN",
    "SystemNote",
    "parse_grading",
    "parse_tnm_edition",
    "unstated_systems",
]

UNKNOWN = "unknown"
EDITIONS = ("5", "6", "7", "8", UNKNOWN)
GRADINGS = ("fuhrman", "who_isup", UNKNOWN)

_YEARS = {"1997": "5", "2002": "6", "2009": "7", "2010": "7", "2016": "8", "2017": "8", "2018": "8"}
_GRADING_SPELLINGS = {"isup": "who_isup", "who": "who_isup", "whoisup": "who_isup"}


@dataclass(frozen=True, slots=True, eq=False)
class SystemNote:
    """A sentence that belongs beside a score under some editions or grading systems.

    Args:
        text: the warning.
        systems: the TNM editions or grading systems under which it is due.
        concerns: whether it is due for a patient.
    """

    text: str
    systems: frozenset[str]
    concerns: Callable[[ClinicalInputs], bool]


def parse_tnm_edition(value: object) -> str:
    """The TNM edition as `5`, `6`, `7`, `8` or `unknown`, from its number or its year.

    Raises:
        InputError: neither.

    >>> parse_tnm_edition(8), parse_tnm_edition("2002"), parse_tnm_edition(None)
    ('8', '6', 'unknown')
    """
    text = str(value if value is not None else UNKNOWN).strip().casefold()
    text = text.removesuffix("th").removesuffix(".0")
    edition = _YEARS.get(text, text)
    if edition not in EDITIONS:
        raise InputError(
            f"TNM edition: found {shorten(value)}; expected 5, 6, 7 or 8 "
            "(or its year: 1997, 2002, 2009, 2016), or unknown"
        )
    return edition


def parse_grading(value: object) -> str:
    """The grading system as `fuhrman`, `who_isup` or `unknown`.

    Raises:
        InputError: another word.

    >>> parse_grading("WHO/ISUP"), parse_grading("Fuhrman"), parse_grading(None)
    ('who_isup', 'fuhrman', 'unknown')
    """
    text = str(value if value is not None else UNKNOWN).strip().casefold()
    plain = text.replace("/", "").replace("_", "").replace("-", "").replace(" ", "")
    grading = _GRADING_SPELLINGS.get(plain, plain)
    if grading not in GRADINGS:
        raise InputError(
            f"grading system: found {shorten(value)}; expected fuhrman, who_isup or unknown"
        )
    return grading


def _has_stage(*stages: str) -> Callable[[ClinicalInputs], bool]:
    return lambda inputs: inputs.pT in stages


def _below_grade_4_in_spite_of_dedifferentiation(inputs: ClinicalInputs) -> bool:
    changed = inputs.sarcomatoid is True or inputs.rhabdoid is True
    return changed and inputs.grade is not None and inputs.grade < 4


ADRENAL_INVASION = SystemNote(
    "pT4: contiguous adrenal invasion is T4 since the 7th TNM edition and was T3a before; "
    "the stage is used as given",
    frozenset({"7", "8"}),
    _has_stage("T4"),
)
PELVICALYCEAL_INVASION = SystemNote(
    "pT3a: invasion of the pelvicalyceal system counts as T3a since the 8th TNM edition only; "
    "the stage is used as given",
    frozenset({"8"}),
    _has_stage("T3", "T3a"),
)
MADE_FOR_FUHRMAN = SystemNote(
    "the score was made for the grading in use before WHO/ISUP; no crosswalk is published, "
    "the grade is used one to one",
    frozenset({"who_isup"}),
    lambda inputs: inputs.grade is not None,
)

# Due for every score that looks at the grade.
DEDIFFERENTIATION = SystemNote(
    "a grade below 4 with sarcomatoid or rhabdoid change contradicts WHO/ISUP; "
    "the grade is used as given",
    frozenset({"who_isup"}),
    _below_grade_4_in_spite_of_dedifferentiation,
)


def unstated_systems(tnm_edition: str, grading: str) -> tuple[str, ...]:
    """What to say once about a table whose edition or grading system is not known."""
    edition = "the TNM edition is not stated (--tnm-edition); it changes what pT3, pT4 and pN1 mean"
    grade = "the grading system is not stated (--grading fuhrman or who_isup)"
    return tuple(
        text for text, system in ((edition, tnm_edition), (grade, grading)) if system == UNKNOWN
    )
