"""Clinical variables taken as risks, so that they stand beside the models in every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.evaluation import evaluate
from crpnet_bench.reporting.run_data import RunData, Sample
from crpnet_bench.results import PREDICTION_COLUMNS, conform

__all__ = ["CLINICAL", "clinical_metrics", "risk_of", "with_clinical"]

_STAGES = ("T1", "T1a", "T1b", "T2", "T2a", "T2b", "T3", "T3a", "T3b", "T3c", "T4")
# Clinical variables as risks: name -> column. T stage counts by its four categories.
CLINICAL: Mapping[str, str] = {
    "t_stage": "pT",
    "grade": "grade",
    "necrosis": "necrosis",
    "diameter": "tumor_size_cm",
}
# The usual halves: T1-2 and T3-4, grade I-II and III-IV, no necrosis and necrosis, 7 cm.
_LOW_UP_TO: Mapping[str, float] = {"pT": 2, "grade": 2, "necrosis": 0, "tumor_size_cm": 7}


def risk_of(patients: pd.DataFrame, column: str) -> pd.Series[Any]:
    """A clinical variable as a number that rises with risk; missing values stay missing."""
    values = patients[column]
    if column == "pT":
        return (
            values.astype(object)
            .map(lambda stage: float(str(stage)[1:2]) if str(stage) in _STAGES else np.nan)
            .astype(float)
        )
    return values.astype("Float64").astype(float)


def clinical_metrics(data: RunData, sample: Sample) -> pd.DataFrame:
    """Metrics of clinical variables taken as risks, by the same evaluation as the models.

    The unit of the hazard ratio is the standard deviation among the run's training patients
    where there are any, else among the patients shown.
    """
    columns = {
        name: column
        for name, column in CLINICAL.items()
        if name not in sample.models
        and column in sample.patients
        and sample.patients[column].notna().any()
    }
    parts = [_as_predictions(data, sample, name, column) for name, column in columns.items()]
    if not parts:
        return sample.metrics.iloc[0:0]
    table = conform(pd.concat(parts, ignore_index=True), PREDICTION_COLUMNS)
    outcomes = sample.patients[["patient_id", "time", "status"]]
    return evaluate(table, outcomes, settings=sample.settings)


def _as_predictions(data: RunData, sample: Sample, name: str, column: str) -> pd.DataFrame:
    risk = risk_of(sample.patients, column)
    one = sample.patients_of
    known = risk.notna().to_numpy()
    return pd.DataFrame(
        {
            "run_id": data.record.run_id,
            "model": name,
            "cohort": one.cohort,
            "cohort_version": one.version,
            "split": data.record.split,
            "role": one.role,
            "in_sample": one.in_sample,
            "patient_id": sample.patients["patient_id"].to_numpy(object),
            "risk": risk.to_numpy(),
            "risk_sd": _training_sd(data, sample, column),
            "risk_group": pd.Series(risk > _LOW_UP_TO[column])
            .map({True: "high", False: "low"})
            .where(known),
            "cutoff": _LOW_UP_TO[column],
            "status": np.where(known, "ok", "missing"),
            "reason": pd.Series([f"{column} is missing"] * len(risk)).where(~known),
        }
    ).astype(object)


def _training_sd(data: RunData, sample: Sample, column: str) -> float:
    trained = data.predictions.loc[data.predictions["role"] == "train", "patient_id"]
    name = f"{data.record.cohort}@{data.record.cohort_version}"
    patients = data.patients.get(name, sample.patients)
    patients = patients[patients["patient_id"].isin(trained)]
    source = patients if len(patients) > 1 and column in patients else sample.patients
    return float(risk_of(source, column).std())


def with_clinical(data: RunData, sample: Sample) -> pd.DataFrame:
    """Metrics of the models followed by those of clinical variables."""
    clinical = clinical_metrics(data, sample)
    if clinical.empty:
        return sample.metrics
    rows = [*sample.metrics.to_dict("records"), *clinical.to_dict("records")]
    return pd.DataFrame(rows)
