"""Cox models on complete clinical variables, such as those of the Karakiewicz nomogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame, training_labels, training_times
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.clinical_variables import (
    Variable,
    coded,
    known_variables,
    linear_predictor,
    missing_values,
    unseen_values,
)
from crpnet_bench.models.logistic import ScoreLogistic, link_with_notes
from crpnet_bench.models.saved_words import restored, said_by
from crpnet_bench.progress import Progress
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxResult

__all__ = ["COX_KIND", "CoxModel", "FittedCox", "load_cox"]

COX_KIND = "cox"


@dataclass(frozen=True)
class _Design:
    """What of the variables can be fitted.

    Attributes:
        table: complete patients, varying variables.
        absent: variables missing for every patient.
        constant: value of each variable that is the same for all complete patients.
        left_out: incomplete patients, with the reason.
    """

    table: pd.DataFrame
    absent: tuple[str, ...]
    constant: Mapping[str, float]
    left_out: Mapping[str, str]

    @classmethod
    def of(cls, data: CohortData, variables: Sequence[Variable], model: str) -> _Design:
        table = coded(data, variables)
        absent = tuple(str(name) for name in table if table[name].isna().all())
        present = table.drop(columns=list(absent))
        left_out = missing_values(present)
        complete = present.drop(index=list(left_out))
        if complete.empty or not len(present.columns):
            names = ", ".join(variable.name for variable in variables)
            raise ModelError(f"{model}: no training patient has the variables it needs ({names})")
        same = [str(name) for name in complete if complete[name].nunique() == 1]
        constant = {name: float(complete[name].iloc[0]) for name in same}
        if len(same) == complete.shape[1]:
            raise ModelError(f"{model}: no variable differs among the training patients")
        return cls(complete.drop(columns=same), absent, constant, left_out)


@dataclass(frozen=True, slots=True)
class CoxModel:
    """A Cox model on clinical variables, Efron ties, Firth's penalty under separation.

    A variable that is missing for every training patient, or the same for all of them, is left
    out, and the fitted title says so. Patients with another variable missing are left out of the
    fit by name and get no prediction.
    """

    name: str
    title: str
    variables: tuple[Variable, ...]
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedCox:
        """Fit coefficients, then the probability; `seed` plays no part.

        Raises:
            ModelError: no outcomes, no complete patient, one class only, or nothing estimable.
        """
        design = _Design.of(data, self.variables, self.name)
        patients = [str(patient) for patient in design.table.index]
        labels = training_labels(data, patients, self.name)
        cox = self._cox(data, design.table)
        coefficients = {name: term.coef or 0.0 for name, term in cox.terms.items()}
        means = {name: float(design.table[name].mean()) for name in coefficients}
        link, notes = link_with_notes(linear_predictor(design.table, coefficients, means), labels)
        return FittedCox(
            name=self.name,
            title=self._title(data.cohort, design),
            coefficients=coefficients,
            means=means,
            constant=design.constant,
            link=link,
            notes=(*_cox_notes(cox), *notes),
            left_out=design.left_out,
        )

    def _cox(self, data: CohortData, table: pd.DataFrame) -> CoxResult:
        time, event = training_times(data, list(table.index), self.name)
        result = cox_ph(time, event, table)
        if result.reason is not None:
            raise ModelError(f"{self.name}: {result.reason}")
        return result

    def _title(self, cohort: str, design: _Design) -> str:
        words = {variable.name: variable.word for variable in self.variables}
        said = [f"without {words[name]}: missing for all" for name in design.absent]
        said += [f"without {words[name]}: the same for all" for name in design.constant]
        return f"{self.title} on {cohort}" + (f" ({'; '.join(said)})" if said else "")


@dataclass(frozen=True, slots=True)
class FittedCox:
    """A Cox model on clinical variables, locked.

    Attributes:
        name, title, notes, left_out: as in `FittedModel`.
        coefficients: log hazard ratio for one unit of each variable used.
        means: of the variables among the training patients.
        constant: variables that were the same for all training patients, with that value;
            a patient with another value gets no prediction, for nothing is known of its effect.
        link: from the linear predictor to the probability of the label.
    """

    name: str
    title: str
    coefficients: Mapping[str, float]
    means: Mapping[str, float]
    constant: Mapping[str, float]
    link: ScoreLogistic
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk is the linear predictor, 0 at the means of the training patients."""
        wanted = [*self.coefficients, *self.constant]
        table = coded(data, known_variables(wanted, self.name))
        reasons = missing_values(table[list(self.coefficients)])
        reasons = unseen_values(data, table, self.constant) | reasons
        risk = linear_predictor(table, self.coefficients, self.means)
        return prediction_frame(data.patient_ids, risk, self.link.probability(risk), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_cox` reads it."""
        state = {
            **said_by(self),
            "link": asdict(self.link),
            "coefficients": dict(self.coefficients),
            "means": dict(self.means),
            "constant": dict(self.constant),
        }
        write_checkpoint(Checkpoint(COX_KIND, state), folder)


def load_cox(checkpoint: Checkpoint, device: str = "cpu") -> FittedCox:
    """A fitted Cox model from what `read_checkpoint` gave; the device plays no part.

    Raises:
        ModelError: the state holds a variable that this program does not know.
    """
    state = restored(checkpoint.state)
    known_variables([*state["coefficients"], *state["constant"]], state["name"])
    return FittedCox(**state)


def _cox_notes(cox: CoxResult) -> tuple[str, ...]:
    notes = [
        f"{name} has no coefficient: {term.reason}"
        for name, term in cox.terms.items()
        if term.coef is None
    ]
    if cox.firth:
        notes.append(f"the likelihood is monotone, so the Cox model is penalised: {cox.method}")
    return tuple(notes)
