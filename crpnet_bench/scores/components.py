"""What the scores know about a patient, and how a table's cells become it.

A component is either known, known in part (`T1` without a letter, `N+`), or missing
(`None`). `completions` lists the full values that agree with what is known; every bound
in this package is taken over them, so nothing missing ever counts as 0.

Components are independent of each other: the size never decides the letter of pT1, and
the letter never decides the size, because real tables contradict the textbook.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from types import MappingProxyType

from crpnet_bench.errors import InputError, did_you_mean, shorten

__all__ = [
    "COMPONENTS",
    "EXPECTED",
    "LARGEST_SIZE_CM",
    "OLDEST_AGE",
    "ClinicalInputs",
    "ComponentValue",
    "completions",
    "domain",
    "is_missing",
    "parse_bool",
    "parse_component",
    "parse_grade",
    "parse_m",
    "parse_pn",
    "parse_pt",
]

ComponentValue = str | int | float | bool

LARGEST_SIZE_CM = 50.0
OLDEST_AGE = 120.0

_LETTERS = {"T1": "ab", "T2": "ab", "T3": "abc", "T4": ""}
_PT = tuple(stage + letter for stage, letters in _LETTERS.items() for letter in letters or ("",))
_PARTIAL = {
    **{s: tuple(s + letter for letter in letters) for s, letters in _LETTERS.items() if letters},
    "N+": ("N1", "N2"),
    "NX": ("N0",),  # part of the definitions: nodes that were not examined count as pN0
}

# The full values of each component that has finitely many, from good to bad.
_DOMAINS: Mapping[str, tuple[ComponentValue, ...]] = MappingProxyType(
    {
        "pT": _PT,
        "pN": ("N0", "N1", "N2"),
        "M": ("M0", "M1"),
        "grade": (1, 2, 3, 4),
        "necrosis": (False, True),
        "ecog": (0, 1, 2, 3, 4),
        "symptoms": ("none", "local", "systemic"),
        "sarcomatoid": (False, True),
        "rhabdoid": (False, True),
        "m1_ned": (False, True),
    }
)


@dataclass(frozen=True, slots=True)
class ClinicalInputs:
    """The components of one patient's index tumour; None means missing.

    Args:
        pT: `T1a` to `T4`; `T1`, `T2`, `T3` when the letter is not known.
        pN: `N0`, `N1`, `N2`, `NX` (counts as pN0), `N+` (positive, number not known).
        M: `M0` or `M1`.
        grade: nuclear grade, 1 to 4.
        tumor_size_cm: largest diameter in cm.
        necrosis: coagulative tumour necrosis, as the pathologist reports it.
        ecog: ECOG performance status, 0 to 4.
        age: age at surgery in years.
        symptoms: `none`, `local` or `systemic`, at presentation.
        sarcomatoid: sarcomatoid change.
        rhabdoid: rhabdoid change.
        m1_ned: M1 with all metastases resected within a year (no evidence of disease).

    Raises:
        InputError: a value is not one of those above. Text from a table goes
            through `parse_component` first.

    >>> ClinicalInputs(pT="T1", grade=2).pN is None
    True
    """

    pT: str | None = None  # noqa: N815 - the field's own name
    pN: str | None = None  # noqa: N815 - the field's own name
    M: str | None = None
    grade: int | None = None
    tumor_size_cm: float | None = None
    necrosis: bool | None = None
    ecog: int | None = None
    age: float | None = None
    symptoms: str | None = None
    sarcomatoid: bool | None = None
    rhabdoid: bool | None = None
    m1_ned: bool | None = None

    def __post_init__(self) -> None:
        for name in _FIELDS:
            value = getattr(self, name)
            if value is not None and not _is_canonical(name, value):
                raise _bad_cell(name, value)


_FIELDS = tuple(field.name for field in fields(ClinicalInputs))


def completions(name: str, value: ComponentValue) -> tuple[ComponentValue, ...]:
    """The full values that agree with a known or partly known component.

    >>> completions("pT", "T1")
    ('T1a', 'T1b')
    >>> completions("pN", "NX")
    ('N0',)
    >>> completions("grade", 3)
    (3,)
    """
    if name in {"pT", "pN"}:
        return _PARTIAL.get(str(value), (value,))
    return (value,)


def domain(name: str) -> tuple[ComponentValue, ...]:
    """Every full value of a categorical component, from good to bad.

    Raises:
        KeyError: the component is a number (size, age) and has no finite domain.
    """
    return _DOMAINS[name]


def _is_canonical(name: str, value: object) -> bool:
    if name == "tumor_size_cm":
        return _within(value, 0.0, LARGEST_SIZE_CM, open_below=True)
    if name == "age":
        return _within(value, 0.0, OLDEST_AGE)
    known = _DOMAINS[name]
    same_type = isinstance(value, type(known[0])) and isinstance(value, bool) is isinstance(
        known[0], bool
    )
    is_partial = isinstance(value, str) and value[:1] == name[-1] and value in _PARTIAL
    return (same_type and value in known) or is_partial


def _within(value: object, low: float, high: float, *, open_below: bool = False) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    number = float(value)
    return math.isfinite(number) and low <= number <= high and not (open_below and number == low)


# ---------------------------------------------------------------- text to values

_MISSING = frozenset(
    {
        "",
        ".",
        "--",
        "'--",
        "#n/a",
        "<na>",
        "missing",
        "n.a.",
        "n/a",
        "na",
        "nan",
        "not available",
        "not evaluated",
        "not recorded",
        "not reported",
        "null",
        "unk",
        "unknown",
    }
)
_TRUE = frozenset({"1", "+", "identified", "pos", "positive", "present", "t", "true", "y", "yes"})
_FALSE = frozenset(
    {
        "0",
        "absent",
        "f",
        "false",
        "n",
        "neg",
        "negative",
        "no",
        "not identified",
        "not present",
    }
)
_SYMPTOMS = {
    "none": frozenset({"none", "no", "no symptoms", "asymptomatic", "incidental", "absent"}),
    "local": frozenset({"local", "localized", "localised", "local symptoms", "flank pain"}),
    "systemic": frozenset({"systemic", "systemic symptoms", "constitutional"}),
}
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4}

_PT_TEXT = re.compile(r"[pyr]*t?(1[ab]?|2[ab]?|3[abc]?|4)(?:\(m\))?")
_PN_TEXT = re.compile(r"[pyr]*n?([012x])|[pyr]*n(\+)|cn?([0x])")
_M_TEXT = re.compile(r"[cpyr]*m?(?:([01])|(0)\(i\+\)|(1)[abc])")
_GRADE_TEXT = re.compile(
    r"(?:(?:who[/_ ]?)?isup|fuhrman|furhman|nuclear)?(?:grade|fg|g)?(?P<grade>[1-4]|iii|ii|iv|i)"
)
_NUMBER_TEXT = re.compile(r"\+?(\d+(?:[.]\d*)?|[.]\d+|\d+,\d{1,2})")
_WHOLE_FLOAT = re.compile(r"(\d)\.0+$")

_SIZE_EXPECTED = (
    "a size above 0 and up to {limit:g} {unit}, as a plain number such as {example}; "
    "empty where it is not known"
)
_BOOL_EXPECTED = "yes or no (also y/n, true/false, present/absent, 1/0); empty where not known"

EXPECTED: Mapping[str, str] = MappingProxyType(
    {
        "pT": "pT1a, pT1b, pT1, pT2a, pT2b, pT2, pT3a, pT3b, pT3c, pT3 or pT4; TX or empty "
        "where not known",
        "pN": "pN0, pN1, pN2, pN+ or pNX (counts as pN0); empty where not known",
        "M": "M0 or M1; MX or empty where not known",
        "grade": "a nuclear grade of 1 to 4 (also G3, III, 3.0); GX or empty where not known",
        "tumor_size_cm": _SIZE_EXPECTED.format(limit=LARGEST_SIZE_CM, unit="cm", example="4.5"),
        "tumor_size_mm": _SIZE_EXPECTED.format(limit=LARGEST_SIZE_CM * 10, unit="mm", example="45"),
        "necrosis": _BOOL_EXPECTED,
        "ecog": "an ECOG performance status of 0 to 4; empty where not known",
        "age": f"an age of 0 to {OLDEST_AGE:g} years, as a plain number (90 for '90 or older'); "
        "empty where not known",
        "symptoms": "none (also incidental, asymptomatic), local or systemic; empty if not known",
        "sarcomatoid": _BOOL_EXPECTED,
        "rhabdoid": _BOOL_EXPECTED,
        "m1_ned": _BOOL_EXPECTED,
    }
)


def parse_component(name: str, cell: object) -> ComponentValue | None:
    """One cell of a table as the value of a component, None when it says "missing".

    Args:
        name: a key of `COMPONENTS`: a field of `ClinicalInputs`, or `tumor_size_mm`,
            which gives the size in **cm**, as `tumor_size_cm` does.
        cell: text, number, bool, None or NaN, as a table holds it.

    Raises:
        InputError: the spelling is not known or the value is impossible; the message
            names component, cell and what was expected (`EXPECTED[name]`).

    >>> parse_component("pT", "pT1A")
    'T1a'
    >>> parse_component("tumor_size_mm", "45")
    4.5
    >>> parse_component("grade", "GX") is None
    True
    """
    if name not in COMPONENTS:
        raise InputError(f"component {name!r} is not known; {did_you_mean(name, COMPONENTS)}")
    if is_missing(cell):
        return None
    return COMPONENTS[name](cell)


def is_missing(cell: object) -> bool:
    """Whether a cell holds nothing, or one of the words that tables use for it.

    >>> [is_missing(cell) for cell in (None, float("nan"), "NA", " unknown ", "no")]
    [True, True, True, True, False]
    """
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"}:
        return True
    if isinstance(cell, float) and math.isnan(cell):
        return True
    return isinstance(cell, str) and _words(cell).strip("[]") in _MISSING


def parse_pt(cell: object) -> str | None:
    """Pathological tumour stage: `pT1a`, `T1A`, `1a`, `ypT1a`, `pT3a(m)`; None for TX.

    A clinical stage (`cT1a`) is refused: the scores are made for pathological stages.

    >>> parse_pt("t3B"), parse_pt(2.0), parse_pt("pTX")
    ('T3b', 'T2', None)
    """
    if _is_unknown(cell, "t"):
        return None
    found = _PT_TEXT.fullmatch(_code(cell))
    if not found:
        raise _bad_cell("pT", cell)
    return "T" + found[1]


def parse_pn(cell: object) -> str | None:
    """Regional nodes: `pN1`, `N1`, `1`, `N+`, `NX`, `x`, `cN0`; None when missing.

    `NX` is kept, since the scores count it as pN0 by definition; an empty cell is
    missing. Of clinical stages only `cN0` and `cNX` are taken: nodes that looked
    normal and were not removed are pNX, while `cN1` is not a pathological finding.

    >>> parse_pn("x"), parse_pn("pN2"), parse_pn("N+"), parse_pn("")
    ('NX', 'N2', 'N+', None)
    """
    if is_missing(cell):
        return None
    found = _PN_TEXT.fullmatch(_code(cell))
    if not found:
        raise _bad_cell("pN", cell)
    return "N" + (found[1] or found[2] or found[3]).upper()


def parse_m(cell: object) -> str | None:
    """Distant metastasis: `M0`, `cM0`, `pM1`, `1`, `M1b`, `cM0(i+)`; None for MX.

    >>> parse_m("cM0"), parse_m(1.0), parse_m("MX")
    ('M0', 'M1', None)
    """
    if _is_unknown(cell, "m"):
        return None
    found = _M_TEXT.fullmatch(_code(cell))
    if not found:
        raise _bad_cell("M", cell)
    return "M" + (found[1] or found[2] or found[3])


def parse_grade(cell: object) -> int | None:
    """Nuclear grade: `3`, `G3`, `III`, `3.0`, `Grade 3`, `ISUP 3`; None for GX.

    >>> parse_grade("Fuhrman III"), parse_grade("gx")
    (3, None)
    """
    if _is_unknown(cell, "g"):
        return None
    found = _GRADE_TEXT.fullmatch(_code(cell))
    if not found:
        raise _bad_cell("grade", cell)
    grade = found["grade"]
    return _ROMAN.get(grade) or int(grade)


def parse_bool(cell: object, name: str = "necrosis") -> bool | None:
    """A finding that is there or not: yes/no, Y/N, 1/0, true/false, present/absent.

    `none` and `-` are refused, because tables use them for "absent" and for "missing".

    >>> parse_bool("Present"), parse_bool(0.0), parse_bool("NA")
    (True, False, None)
    """
    if is_missing(cell):
        return None
    text = _WHOLE_FLOAT.sub(r"\1", _words(cell))
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise _bad_cell(name, cell)


def _parse_ecog(cell: object) -> int | None:
    text = _code(cell).removeprefix("ecog").removeprefix("ps")
    if text not in {"0", "1", "2", "3", "4"}:
        raise _bad_cell("ecog", cell)
    return int(text)


def _parse_symptoms(cell: object) -> str | None:
    text = _words(cell)
    for symptoms, spellings in _SYMPTOMS.items():
        if text in spellings:
            return symptoms
    raise _bad_cell("symptoms", cell)


def _parse_age(cell: object) -> float | None:
    age = _number(cell)
    if age is None or not _within(age, 0.0, OLDEST_AGE):
        raise _bad_cell("age", cell)
    return age


def _parse_size(name: str, unit: str, units_per_cm: float) -> Callable[[object], float | None]:
    def parse(cell: object) -> float | None:
        number = _number(_code(cell).removesuffix(unit) if isinstance(cell, str) else cell)
        if number is None or not _within(
            number / units_per_cm, 0.0, LARGEST_SIZE_CM, open_below=True
        ):
            raise _bad_cell(name, cell)
        return number / units_per_cm

    return parse


def _parse_finding(name: str) -> Callable[[object], bool | None]:
    return lambda cell: parse_bool(cell, name)


COMPONENTS: Mapping[str, Callable[[object], ComponentValue | None]] = MappingProxyType(
    {
        "pT": parse_pt,
        "pN": parse_pn,
        "M": parse_m,
        "grade": parse_grade,
        "tumor_size_cm": _parse_size("tumor_size_cm", "cm", 1.0),
        "tumor_size_mm": _parse_size("tumor_size_mm", "mm", 10.0),
        "necrosis": parse_bool,
        "ecog": _parse_ecog,
        "age": _parse_age,
        "symptoms": _parse_symptoms,
        "sarcomatoid": _parse_finding("sarcomatoid"),
        "rhabdoid": _parse_finding("rhabdoid"),
        "m1_ned": _parse_finding("m1_ned"),
    }
)


def _bad_cell(name: str, cell: object) -> InputError:
    return InputError(f"{name}: found {shorten(cell)}; expected {EXPECTED[name]}")


def _words(cell: object) -> str:
    """A cell as lower-case text with single spaces; full-width and the like made plain."""
    return " ".join(unicodedata.normalize("NFKC", str(cell)).casefold().split())


def _code(cell: object) -> str:
    """A cell as lower-case text without spaces; a whole number without its `.0`."""
    return _WHOLE_FLOAT.sub(r"\1", _words(cell).replace(" ", ""))


def _is_unknown(cell: object, letter: str) -> bool:
    """Whether a cell is missing or says so by an X: `TX`, `pMX`, `x`."""
    return is_missing(cell) or re.fullmatch(rf"[cpyr]*{letter}?x", _code(cell)) is not None


def _number(cell: object) -> float | None:
    """A finite number, or None where the cell is not one.

    A comma before one or two last digits is a decimal comma (`4,5`); before three it may
    be a thousands separator, so `1,234` is not read at all.
    """
    if isinstance(cell, bool):
        return None
    if isinstance(cell, Real):
        return float(cell) if math.isfinite(cell) else None
    found = _NUMBER_TEXT.fullmatch(_words(cell))
    return float(found[1].replace(",", ".")) if found else None
