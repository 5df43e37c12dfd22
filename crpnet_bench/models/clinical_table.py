"""Clinical variables without gaps, for models that need a number in every cell.

Which variables enter, and what fills a gap, is learned on the training patients without a look
at outcomes, and locked:

* a variable missing for more than a quarter of the training patients is left out;
* so is one that is the same for all of them, and a later patient with another value of it gets
  no prediction, for nothing is known of its effect;
* any other gap is filled with the median of the training patients. There is no indicator of
  missingness: what is recorded differs by hospital, and a model would learn the hospital;
* a patient with gaps in more than half of the variables that were not left out for gaps is
  left out of the fit, by name, and gets no prediction.

Filling in by a rule that is fixed at training is what a model to be used on later patients can
do; see Sperrin et al., J Clin Epidemiol 125:183 (2020), and Sisk et al., Stat Methods Med Res
32:1461 (2023).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.clinical_variables import (
    CLINICAL_VARIABLES,
    Variable,
    coded,
    known_variables,
    missing_values,
    unseen_values,
)

__all__ = ["FillRule", "TrainingTable", "training_table"]

MOST_MISSING = 0.25
MOST_GAPS = 0.5
_WORDS = {variable.name: variable.word for variable in CLINICAL_VARIABLES}


@dataclass(frozen=True, slots=True)
class FillRule:
    """How a model turns patients into rows of numbers, locked.

    Attributes:
        medians: variable that enters the model -> what fills its gaps.
        constant: variable that was the same for all training patients -> that value.
    """

    medians: Mapping[str, float]
    constant: Mapping[str, float]

    def table(self, data: CohortData, model: str) -> tuple[pd.DataFrame, dict[str, str]]:
        """A column a variable without gaps, by patient_id, and why somebody is not judged.

        Raises:
            ModelError: a variable that this program does not know.
        """
        seen = coded(data, known_variables([*self.medians, *self.constant], model))
        reasons = unseen_values(data, seen, self.constant) | _too_many_gaps(seen)
        return seen[list(self.medians)].fillna(dict(self.medians)), reasons


@dataclass(frozen=True)
class TrainingTable:
    """What the training patients gave.

    Attributes:
        rule: what was learned.
        table: the patients to fit on, sorted by id, so that their order decides nothing.
        left_out: patients with too many gaps, with the reason.
        title: the variables that entered, and those that did not, with the reason.
        notes: what was filled in.
    """

    rule: FillRule
    table: pd.DataFrame
    left_out: Mapping[str, str]
    title: str
    notes: tuple[str, ...]


def training_table(
    data: CohortData, model: str, variables: Sequence[Variable] = CLINICAL_VARIABLES
) -> TrainingTable:
    """Learn the rule on these patients and apply it to them.

    Raises:
        ModelError: no variable is left.
    """
    seen = coded(data, variables)
    absent = seen.isna().mean()
    sparse = {str(name): float(share) for name, share in absent.items() if share > MOST_MISSING}
    dense = seen.drop(columns=list(sparse))
    left_out = _too_many_gaps(dense)
    used = dense.drop(index=list(left_out))
    constant = {
        str(name): float(used[name].dropna().iloc[0]) for name in used if used[name].nunique() == 1
    }
    entering = used.drop(columns=list(constant))
    without = _without(constant, sparse)
    if entering.empty:
        why = without or "there are no patients"
        raise ModelError(f"{model}: no clinical variable can be used ({why})")
    medians = {str(name): float(value) for name, value in entering.median().items()}
    return TrainingTable(
        rule=FillRule(medians, constant),
        table=entering.fillna(medians).sort_index(),
        left_out=left_out,
        title=", ".join(_WORDS[name] for name in medians) + (f" ({without})" if without else ""),
        notes=_filled_in(entering, medians, model),
    )


def _too_many_gaps(table: pd.DataFrame) -> dict[str, str]:
    gaps = table[table.isna().mean(axis=1) > MOST_GAPS]
    return {
        patient: f"more than half of the variables are {why}"
        for patient, why in missing_values(gaps).items()
    }


def _without(constant: Mapping[str, float], sparse: Mapping[str, float]) -> str:
    """Which variables do not enter, and why."""
    told = {
        "the same for all": list(constant),
        "missing for all": [name for name, share in sparse.items() if share == 1],
        "missing for more than a quarter": [name for name, share in sparse.items() if share < 1],
    }
    return "; ".join(
        f"without {', '.join(_WORDS[name] for name in names)}: {why}"
        for why, names in told.items()
        if names
    )


def _filled_in(used: pd.DataFrame, medians: Mapping[str, float], model: str) -> tuple[str, ...]:
    counts = used.isna().sum()
    told = [
        f"{_WORDS[str(name)]} of {count} ({medians[str(name)]:g})"
        for name, count in counts.items()
        if count
    ]
    if not told:
        return ()
    return (
        f"{model}: missing values are filled with the training median, among {len(used)} training "
        f"patients: {', '.join(told)}",
    )
