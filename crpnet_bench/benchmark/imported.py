"""Predictions of an outside model, from a table: a risk model like any other.

The table is read once, its sha256 is recorded, and the fitted model keeps the values: a run does
not change when the file does. Whatever fitting the outside model had is not known here, so the
title says where the numbers come from and the notes say what is not known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.config import IMPORTED
from crpnet_bench.errors import ModelError, Problem, ValidationError
from crpnet_bench.models.base import CohortData, prediction_frame, training_labels
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.logistic import ScoreLogistic, fit_score_logistic
from crpnet_bench.progress import Progress
from crpnet_bench.registry.cells import plain_number
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.scores.components import is_missing

__all__ = [
    "IMPORTED_KIND",
    "FittedImport",
    "ImportedModel",
    "RiskTable",
    "load_import",
    "read_risks",
    "unknown_patients",
]

IMPORTED_KIND = "imported"
_COLUMNS = ("patient_id", "risk", "probability")
_UNKNOWN_FIT = (
    "an outside model: whether it was fitted on these patients is not known here, so none of its "
    "rows is sure to be out-of-sample"
)


@dataclass(frozen=True)
class RiskTable:
    """An outside model's predictions.

    Attributes:
        file: the file's name.
        sha256: of its content.
        risk: by patient; higher means an earlier event.
        probability: by patient; None where the file has no such column.
    """

    file: str
    sha256: str
    risk: Mapping[str, float]
    probability: Mapping[str, float] | None = None


def read_risks(path: Path) -> RiskTable:
    """Read `patient_id, risk[, probability]` from csv, tsv, xlsx or parquet.

    An empty risk is a patient whom the outside model did not judge.

    Raises:
        ValidationError: lists every cell that cannot be read, and unknown columns.
    """
    table, problems = read_text_table(path)
    if table is None:
        raise ValidationError(problems, f"predictions {path}")
    problems += _wrong_columns(table)
    if problems:
        raise ValidationError(problems, f"predictions {path}")
    patients = _patients(table, problems)
    risk = _numbers(table, "risk", problems, "a finite number or empty", -np.inf, np.inf)
    probability = None
    if "probability" in table.columns:
        told = "a probability from 0 to 1, or empty"
        probability = _numbers(table, "probability", problems, told, 0.0, 1.0)
        problems += _unpaired(table, patients)
    if problems:
        raise ValidationError(problems, f"predictions {path}")
    return RiskTable(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        risk={p: v for p, v in zip(patients, risk, strict=True) if v is not None},
        probability=None
        if probability is None
        else {p: v for p, v in zip(patients, probability, strict=True) if v is not None},
    )


def unknown_patients(table: RiskTable, known: Collection[str], cohort: str) -> list[str]:
    """A sentence where the table has risks of patients who are not in the cohort."""
    others = sorted(set(table.risk) - set(known))
    if not others:
        return []
    some = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    noun = "patient is" if len(others) == 1 else "patients are"
    return [
        f"{table.file}: {len(others)} of {len(table.risk)} {noun} not among those included in "
        f"{cohort} ({some}); their risks are not used"
    ]


def _wrong_columns(table: TextTable) -> list[Problem]:
    found = [table.find(name, "predictions") for name in _COLUMNS[:2]]
    unknown = [name for name in table.columns if name not in _COLUMNS]
    found += [
        Problem(table.file, f"only the columns {', '.join(_COLUMNS)}", column=name)
        for name in unknown
    ]
    return [problem for problem in found if problem]


def _patients(table: TextTable, problems: list[Problem]) -> list[str]:
    patients = table.column("patient_id")
    seen: set[str] = set()
    for row, patient in zip(table.row_numbers, patients, strict=True):
        if not patient or patient in seen:
            problems.append(Problem(table.file, "each patient once", "patient_id", row, patient))
        seen.add(patient)
    return patients


def _numbers(
    table: TextTable,
    column: str,
    problems: list[Problem],
    expected: str,
    low: float,
    high: float,
) -> list[float | None]:
    values: list[float | None] = []
    for row, cell in zip(table.row_numbers, table.column(column), strict=True):
        number = None if is_missing(cell) else plain_number(cell)
        wrong = number is None or not np.isfinite(number) or not low <= number <= high
        if wrong and not is_missing(cell):
            problems.append(Problem(table.file, expected, column, row, cell))
        values.append(None if wrong else number)
    return values


def _unpaired(table: TextTable, patients: Sequence[str]) -> list[Problem]:
    cells = (table.column(name) for name in ("risk", "probability"))
    return [
        Problem(table.file, "risk and probability both given or both empty", None, row, patient)
        for row, patient, one, other in zip(table.row_numbers, patients, *cells, strict=True)
        if is_missing(one) != is_missing(other)
    ]


@dataclass(frozen=True)
class ImportedModel:
    """An outside model before its probability is fitted (where the file brings none)."""

    name: str
    table: RiskTable
    needs_bags: bool = False

    @property
    def title(self) -> str:
        """Says that the numbers came from a file."""
        return f"{self.name.removeprefix(IMPORTED)} (imported)"

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedImport:
        """Learn the probability from the training patients who have a risk; `seed` is unused.

        Raises:
            ModelError: no training patient is in the file, or one class only among them.
        """
        left_out = _absent(data, self.table)
        usable = [patient for patient in data.patient_ids if patient not in left_out]
        if not usable:
            raise ModelError(f"{self.name}: none of {len(data)} training patients has a risk")
        link = None
        if self.table.probability is None:
            risks = np.array([self.table.risk[patient] for patient in usable])
            link = fit_score_logistic(risks, training_labels(data, usable, self.name))
        return FittedImport(self.name, self.title, self.table, link, (_UNKNOWN_FIT,), left_out)


@dataclass(frozen=True)
class FittedImport:
    """An outside model's predictions with a locked probability."""

    name: str
    title: str
    table: RiskTable
    link: ScoreLogistic | None
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """The file's values; a patient who is not in it is missing."""
        risk = _values(self.table.risk, data)
        if self.link is not None:
            probability = self.link.probability(risk)
        else:
            probability = _values(self.table.probability or {}, data)
        return prediction_frame(data.patient_ids, risk, probability, _absent(data, self.table))

    def save(self, folder: Path) -> None:
        """Write the model; `load_import` reads it."""
        state = {
            "name": self.name,
            "title": self.title,
            "table": asdict(self.table),
            "link": None if self.link is None else asdict(self.link),
            "notes": list(self.notes),
            "left_out": dict(self.left_out),
        }
        write_checkpoint(Checkpoint(IMPORTED_KIND, state), folder)


def load_import(checkpoint: Checkpoint) -> FittedImport:
    """An imported model from what `read_checkpoint` gave.

    Raises:
        ModelError: the state is of another program.
    """
    state: dict[str, Any] = dict(checkpoint.state)
    try:
        link = state["link"]
        return FittedImport(
            **{
                **state,
                "table": RiskTable(**state["table"]),
                "link": None if link is None else ScoreLogistic(**link),
                "notes": tuple(state["notes"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error


def _values(values: Mapping[str, float], data: CohortData) -> NDArray[np.float64]:
    return np.array([values.get(patient, np.nan) for patient in data.patient_ids], np.float64)


def _absent(data: CohortData, table: RiskTable) -> dict[str, str]:
    return {
        patient: f"no risk in {table.file}"
        for patient in data.patient_ids
        if patient not in table.risk
    }
