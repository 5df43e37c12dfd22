"""A Cox model on all clinical variables, with a ridge penalty that is fixed beforehand.

The penalty is a normal prior on each log hazard ratio per standard deviation of its variable:
mean 0, standard deviation 0.5, so that 95 % of the hazard ratios lie between 0.38 and 2.7. It
weighs about as much as four events that show no effect: little with a hundred events, enough to
hold the model with ten, and finite under separation. It is not tuned: in small data a tuned
penalty varies more than it helps (Sinkovec et al., BMC Med Res Methodol 21:199, 2021).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame, training_times
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.clinical_table import FillRule, training_table
from crpnet_bench.models.clinical_variables import linear_predictor
from crpnet_bench.models.saved_words import restored, said_by
from crpnet_bench.progress import Progress

__all__ = ["COX_CLINICAL_KIND", "ClinicalCox", "FittedClinicalCox", "load_clinical_cox"]

COX_CLINICAL_KIND = "cox-clinical"
PRIOR_SD = 0.5
_EVENTS_PER_COEFFICIENT = 10


@dataclass(frozen=True, slots=True)
class ClinicalCox:
    """Ridge Cox model, Efron ties, on what `clinical_table` makes of the patients."""

    name: str
    title: str
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedClinicalCox:
        """Fit the coefficients; `seed` plays no part.

        Raises:
            ModelError: no outcomes, no event, or no usable variable.
        """
        rows = training_table(data, self.name)
        time, event = training_times(data, list(rows.table.index), self.name)
        coefficients = _ridge(rows.table, time, event)
        return FittedClinicalCox(
            name=self.name,
            title=f"{self.title} on {rows.title}",
            coefficients=coefficients,
            means={str(name): float(mean) for name, mean in rows.table.mean().items()},
            rule=rows.rule,
            notes=(*rows.notes, *_few_events(self.name, int(event.sum()), len(coefficients))),
            left_out=rows.left_out,
        )


def _ridge(
    table: pd.DataFrame, time: NDArray[np.float64], event: NDArray[np.bool_]
) -> dict[str, float]:
    """Log hazard ratio for one unit of each variable."""
    from sksurv.linear_model import CoxPHSurvivalAnalysis  # noqa: PLC0415 takes seconds
    from sksurv.util import Surv  # noqa: PLC0415

    scale = table.std(ddof=1)
    standard = ((table - table.mean()) / scale).to_numpy(np.float64)
    model = CoxPHSurvivalAnalysis(alpha=PRIOR_SD**-2, ties="efron")
    model.fit(standard, Surv.from_arrays(event, time))
    return {str(name): float(value) for name, value in (model.coef_ / scale).items()}


def _few_events(name: str, events: int, coefficients: int) -> tuple[str, ...]:
    if events >= _EVENTS_PER_COEFFICIENT * coefficients:
        return ()
    return (
        f"{name}: {events} events for {coefficients} coefficients, fewer than "
        f"{_EVENTS_PER_COEFFICIENT} each: the penalty holds them near 0",
    )


@dataclass(frozen=True, slots=True)
class FittedClinicalCox:
    """The ridge Cox model, locked.

    Attributes:
        name, title, notes, left_out: as in `FittedModel`.
        coefficients: log hazard ratio for one unit of each variable.
        means: of the variables among the training patients.
        rule: how patients become rows.
    """

    name: str
    title: str
    coefficients: Mapping[str, float]
    means: Mapping[str, float]
    rule: FillRule
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk is the linear predictor, 0 at the means of the training patients.

        There is no probability: it is learned on out-of-fold risks.
        """
        table, reasons = self.rule.table(data, self.name)
        risk = linear_predictor(table, self.coefficients, self.means)
        return prediction_frame(data.patient_ids, risk, np.full(len(data), np.nan), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_clinical_cox` reads it."""
        state = {
            **said_by(self),
            "coefficients": dict(self.coefficients),
            "means": dict(self.means),
            "rule": asdict(self.rule),
        }
        write_checkpoint(Checkpoint(COX_CLINICAL_KIND, state), folder)


def load_clinical_cox(checkpoint: Checkpoint, device: str = "cpu") -> FittedClinicalCox:
    """A fitted model from what `read_checkpoint` gave; the device plays no part.

    Raises:
        ModelError: the state is of another program.
    """
    state = restored(checkpoint.state)
    try:
        return FittedClinicalCox(**{**state, "rule": FillRule(**state["rule"])})
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
