"""Ways to split patients: stage, grade, size, score groups, any variable of few levels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crpnet_bench.reporting.names import model_title, variable_title

__all__ = ["SUBGROUPS", "Subgroup", "available_subgroups", "clinical_groups", "level_order"]

_MOST_LEVELS = 6
_YES_NO: Mapping[Any, str] = {True: "yes", False: "no"}


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A subgroup that readers ask for, as a rule of `crpnet_bench.filters`."""

    title: str
    column: str
    rule: str


# First those of the CRPNet article's figures 2 and 3.
SUBGROUPS = (
    Subgroup("T1-2", "pT", "pT in (T1, T1a, T1b, T2, T2a, T2b)"),
    Subgroup("T3-4", "pT", "pT in (T3, T3a, T3b, T3c, T4)"),
    Subgroup("Grade I-II", "grade", "grade <= 2"),
    Subgroup("Grade III-IV", "grade", "grade >= 3"),
    Subgroup("No necrosis", "necrosis", "necrosis == false"),
    Subgroup("Necrosis", "necrosis", "necrosis == true"),
    Subgroup("Male", "sex", "sex == male"),
    Subgroup("Female", "sex", "sex == female"),
    Subgroup("Younger than 60", "age", "age < 60"),
    Subgroup("60 and older", "age", "age >= 60"),
    Subgroup("Up to 7 cm", "tumor_size_cm", "tumor_size_cm <= 7"),
    Subgroup("Larger than 7 cm", "tumor_size_cm", "tumor_size_cm > 7"),
)


def available_subgroups(patients: pd.DataFrame) -> tuple[Subgroup, ...]:
    """The subgroups that this cohort's variables can form."""
    known = {name for name in patients.columns if patients[name].notna().any()}
    return tuple(one for one in SUBGROUPS if one.column in known)


def _stage(value: Any) -> str | None:  # noqa: ANN401 a cell
    text = str(value)
    return {"T1": "T1-2", "T2": "T1-2", "T3": "T3-4", "T4": "T3-4"}.get(text[:2])


def _grade(value: Any) -> str:  # noqa: ANN401 a cell
    return "I-II" if value <= 2 else "III-IV"


def _size(value: Any) -> str:  # noqa: ANN401 a cell
    limits = ((4, "up to 4 cm"), (7, "4-7 cm"), (10, "7-10 cm"))
    return next((label for limit, label in limits if value <= limit), "over 10 cm")


def _age(value: Any) -> str:  # noqa: ANN401 a cell
    return "under 60" if value < 60 else "60 and older"


_DERIVED: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    ("T stage", "pT", _stage),
    ("Grade group", "grade", _grade),
    ("Necrosis", "necrosis", lambda value: _YES_NO[bool(value)]),
    ("Age group", "age", _age),
    ("Diameter group", "tumor_size_cm", _size),
    ("Grade", "grade", lambda value: f"{int(value)}"),
    ("T category", "pT", lambda value: str(value)[:2]),
)
_PLAIN = ("sex", "site", "pN", "symptoms", "ecog", "sarcomatoid", "rhabdoid")
_NO_VARIABLE = frozenset(
    {"patient_id", "tumor_no", "excluded", "reason", "time", "status", "M", "m1_ned", "age",
     "pT", "grade", "necrosis", "tumor_size_cm", *_PLAIN}
)  # fmt: skip
# Levels from good to bad where the alphabet would not say so.
_ORDER = (
    "Low risk", "Intermediate risk", "High risk",
    "no", "yes", "under 60", "60 and older",
    "up to 4 cm", "4-7 cm", "7-10 cm", "over 10 cm",
    "none", "local", "systemic",
    "low", "intermediate", "intermediate-high", "high",
)  # fmt: skip


def clinical_groups(patients: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Labels by which patients can be split, one column a way, index patient_id.

    Args:
        patients: clinical variables, one row a patient.
        scores: `views.scores`; the published groups of each score become columns.

    Returns:
        Text or missing; columns with one known level only are left out.
    """
    columns: dict[str, pd.Series[Any]] = {}
    for title, column, label in _DERIVED:
        if column in patients:
            columns[title] = _labelled(patients[column], label)
    extra = [c for c in patients.columns if c not in _NO_VARIABLE]
    for column in (*(c for c in _PLAIN if c in patients), *extra):
        columns[variable_title(column)] = _labelled(patients[column], _plain)
    index = pd.Index(patients["patient_id"].astype(object), name="patient_id")
    frame = pd.DataFrame({name: values.to_numpy() for name, values in columns.items()}, index=index)
    for score, rows in scores.groupby("score", sort=False):
        own = rows.drop_duplicates("patient_id").set_index("patient_id")["group"]
        frame[f"{model_title(str(score))} group"] = own.reindex(index).to_numpy(object)
    kept = [str(c) for c in frame.columns if 2 <= frame[c].nunique() <= _MOST_LEVELS]
    return frame[kept]


def _labelled(column: pd.Series[Any], label: Callable[[Any], str | None]) -> pd.Series[Any]:
    # Levels are few, patients may be many: each level is named once.
    names = {value: label(value) for value in column.dropna().unique()}
    named = column.map(names)
    return named.astype(object).where(named.notna(), None)


def _plain(value: Any) -> str:  # noqa: ANN401 a cell
    if isinstance(value, bool):
        return _YES_NO[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def level_order(levels: pd.Series[Any]) -> list[str]:
    """The levels of a grouping from good to bad, as far as it is known."""
    known = {str(level) for level in levels.dropna().unique()}
    listed = [level for level in _ORDER if level in known]
    return [*listed, *sorted(known - set(listed))]
