"""Rivals that need no fit to rank patients: prognostic scores, and single clinical variables.

The number itself is the risk. Its probability, and with it its class, comes from a logistic
regression of the label on that number, fitted on the training patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, FittedModel, prediction_frame, training_labels
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.clinical_variables import coded, known_variables
from crpnet_bench.models.logistic import ScoreLogistic, link_with_notes
from crpnet_bench.models.saved_words import restored, said_by
from crpnet_bench.progress import Progress

__all__ = ["SCORE_KIND", "FittedScore", "ScoreModel", "load_score"]

SCORE_KIND = "score"


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A score that is stored with the cohort, or a clinical variable; only its link is fitted.

    Attributes:
        name, title, needs_bags: as in `RiskModel`.
        variable: the clinical variable whose number is the risk; the stored score if None.
    """

    name: str
    title: str
    variable: str | None = None
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedScore:
        """Fit the probability on the patients whose number is known; `seed` plays no part.

        Raises:
            ModelError: nobody's number is known, or one class only among those whose is.
        """
        values, left_out = _numbers(data, self.name, self.variable)
        usable = [patient for patient in data.patient_ids if patient not in left_out]
        if not usable:
            if self.variable is not None:
                raise ModelError(f"{self.name}: no training patient has a value of {self.variable}")
            why = next(iter(left_out.values()), "there are no patients")
            raise ModelError(f"{self.name}: no training patient has this score; {why}")
        labels = training_labels(data, usable, self.name)
        known = values[[patient not in left_out for patient in data.patient_ids]]
        link, notes = link_with_notes(known, labels)
        return FittedScore(self.name, self.title, link, notes, left_out, self.variable)


@dataclass(frozen=True, slots=True)
class FittedScore:
    """A score or a variable with its locked probability."""

    name: str
    title: str
    link: ScoreLogistic
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    variable: str | None = None

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk is the number itself; an unknown one is missing, with its reason."""
        values, reasons = _numbers(data, self.name, self.variable)
        return prediction_frame(data.patient_ids, values, self.link.probability(values), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_score` reads it."""
        state = {**said_by(self), "link": asdict(self.link), "variable": self.variable}
        write_checkpoint(Checkpoint(SCORE_KIND, state), folder)


def load_score(checkpoint: Checkpoint, device: str = "cpu") -> FittedModel:
    """A fitted score from what `read_checkpoint` gave; the device plays no part.

    Raises:
        ModelError: the state holds a variable that this program does not know.
    """
    fitted = FittedScore(**restored(checkpoint.state))
    if fitted.variable is not None:
        known_variables([fitted.variable], fitted.name)
    return fitted


def _numbers(
    data: CohortData, name: str, variable: str | None
) -> tuple[NDArray[np.float64], dict[str, str]]:
    """Each patient's number, shape (patients,), and why somebody has none."""
    if variable is None:
        return _score_values(data, name)
    values = coded(data, known_variables([variable], name))[variable].to_numpy(np.float64)
    unknown = (patient for patient, value in zip(data.patient_ids, values, strict=True)
               if np.isnan(value))  # fmt: skip
    return values, dict.fromkeys(unknown, f"missing: {variable}")


def _score_values(data: CohortData, name: str) -> tuple[NDArray[np.float64], dict[str, str]]:
    if name not in data.scores:
        absent = f"the cohort holds no score {name!r}"
        return np.full(len(data), np.nan), dict.fromkeys(data.patient_ids, absent)
    rows = data.scores.reindex(data.patient_ids)
    numbers = pd.to_numeric(rows[name]).astype("Float64")
    values = np.asarray(numbers.to_numpy(np.float64, na_value=np.nan), dtype=np.float64)
    reasons = rows.get(f"{name}_reason", pd.Series(pd.NA, index=rows.index, dtype="string"))
    missing = {
        patient: f"{name} is not determined" if pd.isna(reason) or not reason else str(reason)
        for patient, value, reason in zip(data.patient_ids, values, reasons, strict=True)
        if not np.isfinite(value)
    }
    return values, missing
