"""The simulated CRPNet cohort as predictions and outcomes, and the ordinary evaluation of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.config import EvaluationConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.results import PREDICTION_COLUMNS, conform
from crpnet_bench.synthetic.changhai import COHORT_NAME, SPLIT, T_STAGES, SimulatedChanghai

__all__ = ["STAGE_MODELS", "PublishedRun", "evaluate_published", "published_predictions"]

Floats = NDArray[np.float64]

ROLES = {"training": "train", "validation": "validation"}
# Stage and grade as risk models: risk, and who is in the high-risk group of the forest plot.
STAGE_MODELS = ("T stage", "WHO/ISUP grade")


@dataclass(frozen=True)
class PublishedRun:
    """The simulated cohort, evaluated.

    Attributes:
        cohort: the simulated patients.
        predictions: the `predictions` table: four models as published, T stage and grade.
        outcomes: `patient_id, time, status`.
        metrics: the `metrics` table that `evaluation.evaluate` makes of both.
    """

    cohort: SimulatedChanghai
    predictions: pd.DataFrame
    outcomes: pd.DataFrame
    metrics: pd.DataFrame

    def estimate(self, group: str, model: str, metric: str) -> tuple[float, float, float]:
        """Value and limits of a metric; NaN where it is not estimable.

        Raises:
            KeyError: there is no such metric.
        """
        table = self.metrics
        chosen = table[
            (table["role"] == ROLES[group])
            & (table["model"] == model)
            & (table["metric"] == metric)
            & table["horizon_months"].isna()
        ]
        if len(chosen) != 1:
            raise KeyError(f"{len(chosen)} rows of {metric!r} of {model!r} in {group!r}")
        row = chosen.iloc[0]
        return (_number(row["value"]), _number(row["ci_low"]), _number(row["ci_high"]))

    def scored(self, group: str, model: str) -> pd.DataFrame:
        """Predictions with their outcome, of the patients that have one."""
        table = self.predictions
        chosen = table[
            (table["role"] == ROLES[group]) & (table["model"] == model) & (table["status"] == "ok")
        ]
        return chosen.merge(
            self.outcomes.rename(columns={"status": "outcome"}), on="patient_id"
        ).sort_values("patient_id", ignore_index=True)


def evaluate_published(cohort: SimulatedChanghai) -> PublishedRun:
    """Run the ordinary evaluation on the assigned predictions of a simulated cohort."""
    predictions = published_predictions(cohort)
    outcomes = pd.DataFrame({
        "patient_id": cohort.clinical["patient_id"],
        "time": cohort.clinical["time_months"],
        "status": cohort.clinical["recurrence"],
    })  # fmt: skip
    settings = EvaluationConfig(horizons_months=())
    return PublishedRun(
        cohort, predictions, outcomes, evaluate(predictions, outcomes, settings=settings)
    )


def published_predictions(cohort: SimulatedChanghai) -> pd.DataFrame:
    """The `predictions` table of the four published models, T stage and grade.

    Risk groups are the article's: the median of each group's own risks, not a locked cut-off.
    """
    clinical = cohort.clinical.merge(cohort.split[["patient_id", "role"]], on="patient_id")
    parts = [_of_model(name, part, clinical) for name, part in cohort.published.groupby("model")]
    stage = clinical["pT"].map(T_STAGES.index).to_numpy(dtype=np.float64)
    grade = clinical["grade"].to_numpy(dtype=np.float64)
    parts.append(_of_stage(STAGE_MODELS[0], stage, T_STAGES.index("T3a") - 0.5, clinical))
    parts.append(_of_stage(STAGE_MODELS[1], grade, 2.5, clinical))
    table = pd.concat(parts, ignore_index=True).assign(
        run_id="published", cohort=COHORT_NAME, cohort_version=1, split=SPLIT,
        repeat=0, fold=0, seed=cohort.seed,
    )  # fmt: skip
    return conform(table, PREDICTION_COLUMNS)


def _of_model(name: Any, part: pd.DataFrame, clinical: pd.DataFrame) -> pd.DataFrame:  # noqa: ANN401
    table = part.merge(clinical[["patient_id", "role"]], on="patient_id", validate="one_to_one")
    risk = np.asarray(table["risk"].to_numpy(np.float64, na_value=np.nan), dtype=np.float64)
    cutoffs = {role: float(np.nanmedian(risk[table["role"] == role])) for role in ROLES.values()}
    cutoff = np.array([cutoffs[role] for role in table["role"]])
    frame = _frame(str(name), table["patient_id"], table["role"], risk, cutoff)
    frame["predicted_class"] = table["predicted_class"].to_numpy()
    frame["status"] = table["status"].to_numpy()
    frame["reason"] = table["reason"].replace("", pd.NA).to_numpy()
    if name == "CRPNet":
        frame["probability"], frame["threshold"] = frame["risk"], 0.5
    return frame


def _of_stage(name: str, risk: Floats, cutoff: float, clinical: pd.DataFrame) -> pd.DataFrame:
    cutoffs = np.full(len(risk), cutoff)
    return _frame(name, clinical["patient_id"], clinical["role"], risk, cutoffs)


def _frame(
    model: str, patients: pd.Series[Any], role: pd.Series[Any], risk: Floats, cutoff: Floats
) -> pd.DataFrame:
    known = np.isfinite(risk)
    train = role.to_numpy() == "train"
    columns: dict[str, Any] = {
        "model": np.full(len(risk), model),
        "role": role.to_numpy(),
        "patient_id": patients.to_numpy(),
        "risk": pd.array(np.where(known, risk, 0.0), dtype="Float64"),
        "risk_group": np.where(risk > cutoff, "high", "low").astype(object),
        "cutoff": cutoff,
        "risk_sd": float(np.nanstd(risk[train], ddof=1)),
        "in_sample": train & (model == "CRPNet"),
        "status": "ok",
    }
    frame = pd.DataFrame(columns)
    frame.loc[~known, ["risk", "risk_group"]] = pd.NA
    return frame


def _number(value: Any) -> float:  # noqa: ANN401 a nullable cell
    return float("nan") if pd.isna(value) else float(value)
