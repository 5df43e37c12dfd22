"""Rivals without tiles: prognostic scores, and Cox models on clinical variables.

Both rank patients by their own number. Their probability, and with it their class, comes from a
logistic regression of the label on that number, fitted on the training patients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame, training_labels
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.logistic import ScoreLogistic, fit_score_logistic
from crpnet_bench.progress import Progress
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxResult

__all__ = [
    "KARAKIEWICZ_VARIABLES",
    "CoxModel",
    "FittedCox",
    "FittedScore",
    "ScoreModel",
    "load_cox",
    "load_score",
]

SCORE_KIND = "score"
COX_KIND = "cox"


def _link(
    risk: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[ScoreLogistic, tuple[str, ...]]:
    link = fit_score_logistic(risk, labels)
    if link.method == "Firth":
        return link, (
            "the training risks separate the classes: probabilities by Firth's penalised "
            "logistic regression",
        )
    if link.method == "constant score":
        return link, ("all training patients have the same risk: their probability is the mean",)
    return link, ()


# --- prognostic scores -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScoreModel:
    """A score that is stored with the cohort; only its probability is fitted."""

    name: str
    title: str
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedScore:
        """Fit the probability on the patients whose score is determined; `seed` plays no part.

        Raises:
            ModelError: no patient has the score, or one class only among those who have.
        """
        values, left_out = _score_values(data, self.name)
        usable = [patient for patient in data.patient_ids if patient not in left_out]
        if not usable:
            why = next(iter(left_out.values()), "there are no patients")
            raise ModelError(f"{self.name}: no training patient has this score; {why}")
        labels = training_labels(data, usable, self.name)
        link, notes = _link(values[[p not in left_out for p in data.patient_ids]], labels)
        return FittedScore(self.name, self.title, link, notes, left_out)


@dataclass(frozen=True, slots=True)
class FittedScore:
    """A score with its locked probability."""

    name: str
    title: str
    link: ScoreLogistic
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk is the score itself; an undetermined one is missing, with its reason."""
        values, reasons = _score_values(data, self.name)
        return prediction_frame(data.patient_ids, values, self.link.probability(values), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_score` reads it."""
        state = {**_saved(self), "link": asdict(self.link)}
        write_checkpoint(Checkpoint(SCORE_KIND, state), folder)


def load_score(checkpoint: Checkpoint, device: str = "cpu") -> FittedScore:
    """A fitted score from what `read_checkpoint` gave; the device plays no part."""
    return FittedScore(**_loaded(checkpoint.state))


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


# --- Cox models on clinical variables --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Variable:
    """A clinical variable as a Cox model sees it: one number, ordered by expected risk.

    Attributes:
        name: column of `CohortData.patients`.
        word: as it is printed.
        code: from a value that is not missing to a number.
    """

    name: str
    word: str
    code: Callable[[Any], float]


_SYMPTOMS = {"none": 0.0, "local": 1.0, "systemic": 2.0}
_NEGATIVE_NODES = {"N0", "NX"}  # pNX counts as pN0, as in the scores


def _code_stage(value: object) -> float:
    # The letters of T1 and T2 are sizes, and the size is a variable of its own.
    return float(str(value).removeprefix("p")[1])


def _code_nodes(value: object) -> float:
    return float(str(value).removeprefix("p") not in _NEGATIVE_NODES)


def _code_metastasis(value: object) -> float:
    return float(str(value).endswith("M1"))


def _code_symptoms(value: object) -> float:
    return _SYMPTOMS[str(value)]


# One coefficient a variable: ordered where the nomogram has categories. A cohort with some
# twenty events does not carry a dozen dummy variables.
KARAKIEWICZ_VARIABLES = (
    Variable("pT", "pT", _code_stage),
    Variable("pN", "pN", _code_nodes),
    Variable("M", "M", _code_metastasis),
    Variable("tumor_size_cm", "tumor size", float),
    Variable("grade", "grade", float),
    Variable("symptoms", "symptoms", _code_symptoms),
)


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
        coded = _coded(data, variables)
        absent = tuple(str(name) for name in coded if coded[name].isna().all())
        present = coded.drop(columns=list(absent))
        left_out = _incomplete(present)
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
        link, notes = _link(_linear_predictor(design.table, coefficients, means), labels)
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
        if data.outcomes is None:
            raise ModelError(f"{self.name}: the data hold no outcomes")
        rows = data.outcomes.loc[table.index]
        event = (rows["status"].astype(np.int64) == 1).to_numpy()
        result = cox_ph(rows["time"].to_numpy(np.float64), event, table)
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
        table = _coded(data, [_VARIABLES[name] for name in wanted])
        reasons = _incomplete(table[list(self.coefficients)])
        for name, value in self.constant.items():
            other = table.index[table[name].notna() & (table[name] != value)]
            for patient in other:
                seen = data.patients.loc[patient, name]
                reasons.setdefault(
                    str(patient),
                    f"{name} is {seen}, which no training patient had: its effect is unknown",
                )
        risk = _linear_predictor(table, self.coefficients, self.means)
        return prediction_frame(data.patient_ids, risk, self.link.probability(risk), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_cox` reads it."""
        state = {
            **_saved(self),
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
    state = _loaded(checkpoint.state)
    unknown = sorted({*state["coefficients"], *state["constant"]} - set(_VARIABLES))
    if unknown:
        raise ModelError(f"checkpoint of {state['name']!r}: unknown variables {unknown}")
    return FittedCox(**state)


_VARIABLES = {variable.name: variable for variable in KARAKIEWICZ_VARIABLES}


def _coded(data: CohortData, variables: Sequence[Variable]) -> pd.DataFrame:
    """The variables as numbers, missing as NaN; a column that the cohort lacks is all NaN."""
    columns = {}
    for variable in variables:
        values = data.patients.get(variable.name, pd.Series(pd.NA, index=data.patients.index))
        coded = [np.nan if pd.isna(value) else variable.code(value) for value in values]
        columns[variable.name] = np.array(coded, dtype=np.float64)
    return pd.DataFrame(columns, index=data.patients.index)


def _incomplete(table: pd.DataFrame) -> dict[str, str]:
    """Patients with a missing value, and which."""
    reasons = {}
    for patient, row in table.isna().iterrows():
        if row.any():
            reasons[str(patient)] = f"missing: {', '.join(table.columns[row.to_numpy()])}"
    return reasons


def _linear_predictor(
    table: pd.DataFrame, coefficients: Mapping[str, float], means: Mapping[str, float]
) -> NDArray[np.float64]:
    each = [
        coefficient * (table[name].to_numpy(np.float64) - means[name])
        for name, coefficient in coefficients.items()
    ]
    return np.asarray(np.sum(each, axis=0), dtype=np.float64)


def _cox_notes(cox: CoxResult) -> tuple[str, ...]:
    notes = [
        f"{name} has no coefficient: {term.reason}"
        for name, term in cox.terms.items()
        if term.coef is None
    ]
    if cox.firth:
        notes.append(f"the likelihood is monotone, so the Cox model is penalised: {cox.method}")
    return tuple(notes)


# --- on disk ---------------------------------------------------------------------------------


def _saved(model: FittedScore | FittedCox) -> dict[str, Any]:
    return {
        "name": model.name,
        "title": model.title,
        "notes": list(model.notes),
        "left_out": dict(model.left_out),
    }


def _loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            **state,
            "notes": tuple(state["notes"]),
            "link": ScoreLogistic(**state["link"]),
        }
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
