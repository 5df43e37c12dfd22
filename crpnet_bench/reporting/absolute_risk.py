"""From a model's risk to a probability at a fixed time, and how good that probability is.

The link is a Cox model of the outcome on the risk, learned on out-of-fold risks of the run's
training patients; it does not depend on the patients shown. Where there are no such risks the
model is "not calibrated", and nothing is shown in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crpnet_bench.errors import NotFoundError
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.run_data import PatientSet, RunData, Sample, take
from crpnet_bench.reporting.tables import format_interval
from crpnet_bench.stats.brier import BrierScore, brier_score
from crpnet_bench.stats.inputs import Floats
from crpnet_bench.stats.net_benefit import DecisionCurve, decision_curve
from crpnet_bench.stats.recalibration import Calibration, calibration
from crpnet_bench.stats.risk_link import RiskLink, fit_risk_link
from crpnet_bench.stats.time_dependent import time_dependent_auc

__all__ = [
    "FEWEST_LINK_EVENTS",
    "Link",
    "OverTime",
    "brier_table",
    "calibrations",
    "calibrations_table",
    "decision",
    "learn_link",
    "over_time",
    "probabilities",
]

FEWEST_LINK_EVENTS = 10  # training events below which no link is learned
_TREATED = ("intermediate-high", "high", "M1 NED")  # KEYNOTE-564's groups with treatment
_RULE = "KEYNOTE-564 rule"
_FEWEST_AT_RISK = 10


@dataclass(frozen=True, eq=False)
class Link:
    """A learned map from risk to probability, or the reason why there is none.

    Attributes:
        fitted: the map; None where there is none.
        told: what it was learned on, or why there is none.
    """

    fitted: RiskLink | None
    told: str

    def probability(self, risk: Floats, horizon: float) -> Floats:
        """Probability of the event by the horizon, shape (n,).

        Raises:
            NotFoundError: the model is not calibrated.
        """
        if self.fitted is None:
            raise NotFoundError(f"not calibrated: {self.told}")
        survival = self.fitted.cox.predict_survival({"risk": risk}, horizon)
        return np.asarray(1 - survival[:, 0], dtype=np.float64)


def learn_link(data: RunData, model: str, horizon: float) -> Link:
    """The model's link, from the out-of-fold risks of the run's training patients."""
    trained = PatientSet(data.record.cohort, data.record.cohort_version, "train", in_sample=False)
    if trained not in data.sets:
        return Link(None, "the run has no out-of-fold risks of its training patients")
    rows = take(data, trained).of_model(model)
    events = int((rows["status"] == 1).sum())
    if events < FEWEST_LINK_EVENTS:
        return Link(
            None,
            f"{events} events among {len(rows)} training patients with an out-of-fold risk, "
            f"fewer than {FEWEST_LINK_EVENTS}",
        )
    found = fit_risk_link(
        rows["time"].to_numpy(float),
        (rows["status"] == 1).to_numpy(),
        rows["risk"].to_numpy(float),
        horizon,
    )
    if found.reason is not None:
        return Link(None, found.reason)
    if (found.cox.terms["risk"].coef or 0.0) <= 0:
        return Link(None, "out of fold, a higher risk does not go with earlier events")
    return Link(
        found,
        f"Cox model on out-of-fold risks of {found.n} training patients, {found.events} events",
    )


def probabilities(
    data: RunData, sample: Sample, models: Sequence[str], horizon: float
) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """Each calibrated model's patients with their probability; the others with the reason.

    Returns:
        model -> `patient_id`, `time`, `status`, `risk`, `probability` (by the horizon); and model
        -> why it is not calibrated.
    """
    known: dict[str, pd.DataFrame] = {}
    left: dict[str, str] = {}
    for model in models:
        link = learn_link(data, model, horizon)
        rows = sample.of_model(model)[["patient_id", "time", "status", "risk"]]
        if link.fitted is None or rows.empty:
            left[model] = link.told if link.fitted is None else "no predictions"
            continue
        known[model] = rows.assign(
            probability=link.probability(rows["risk"].to_numpy(float), horizon)
        )
    return known, left


# ---------------------------------------------------------------- calibration


def calibrations(known: Mapping[str, pd.DataFrame], horizon: float) -> dict[str, Calibration]:
    """Predicted against observed at the horizon, a model each."""
    return {
        model: calibration(
            rows["time"].to_numpy(float),
            rows["status"].to_numpy(int),
            rows["probability"].to_numpy(float),
            horizon,
        )
        for model, rows in known.items()
    }


def calibrations_table(found: Mapping[str, Calibration], left: Mapping[str, str]) -> pd.DataFrame:
    """O/E, intercept, slope and mean error of each model; "not calibrated" with the reason."""
    rows = [
        {
            "Model": model_title(model),
            "Patients": str(one.n),
            "Predicted, mean %": "" if one.predicted is None else f"{100 * one.predicted:.1f}",
            "Observed, %": _cell(one.observed, scale=100, digits=1),
            "Observed/expected": _cell(one.observed_expected, digits=2),
            "Intercept": _cell(one.intercept, digits=2),
            "Slope": _cell(one.slope, digits=2),
            "Mean error (ICI), %": "" if one.curve.ici is None else f"{100 * one.curve.ici:.1f}",
            "Note": one.warning or one.curve.reason or "",
        }
        for model, one in found.items()
    ]
    rows += [
        {"Model": model_title(model), "Predicted, mean %": "not calibrated", "Note": reason}
        for model, reason in left.items()
    ]
    return pd.DataFrame(rows).fillna("")


def _cell(estimate: object, *, scale: float = 1.0, digits: int) -> str:
    value = getattr(estimate, "value", None)
    if value is None:
        return "n/a"
    low, high = getattr(estimate, "ci_low", None), getattr(estimate, "ci_high", None)
    return format_interval(value, low, high, scale=scale, digits=digits)


# ---------------------------------------------------------------- decisions


def decision(
    sample: Sample, known: Mapping[str, pd.DataFrame], horizon: float
) -> tuple[DecisionCurve | None, str]:
    """Net benefit of each calibrated model and of KEYNOTE-564's rule, on common patients.

    Returns:
        The curves, or None with the reason; and a sentence on the patients.
    """
    if not known:
        return None, "No model is calibrated."
    columns = {model: rows.set_index("patient_id")["probability"] for model, rows in known.items()}
    frame = pd.DataFrame(columns)
    outcomes = sample.patients.set_index("patient_id")[["time", "status"]].reindex(frame.index)
    rules = _keynote(sample, frame.index)
    complete = frame.notna().all(axis=1) & outcomes["time"].notna()
    if rules is not None:
        complete &= rules.notna()
    frame, outcomes = frame[complete], outcomes[complete]
    if len(frame) < _FEWEST_AT_RISK:
        return None, f"{len(frame)} patients have every prediction, fewer than {_FEWEST_AT_RISK}."
    treated = {} if rules is None else {_RULE: rules[complete].to_numpy(bool)}
    curves = decision_curve(
        outcomes["time"].to_numpy(float),
        outcomes["status"].to_numpy(int),
        frame,
        horizon,
        rules=treated,
    )
    lost = sample.n - len(frame)
    events = int((outcomes["status"] == 1).sum())
    told = (
        f"{sample.patients_of.title}: {len(frame)} patients with every prediction, {events} events"
        + (f", {lost} left out" if lost else "")
    )
    return curves, told


def _keynote(sample: Sample, patients: pd.Index) -> pd.Series | None:
    column = "KEYNOTE-564 group"
    if column not in sample.groups:
        return None
    groups = sample.groups[column].reindex(patients)
    return groups.isin(_TREATED).astype("boolean").where(groups.notna())


# ---------------------------------------------------------------- over time


@dataclass(frozen=True, eq=False)
class OverTime:
    """A model's performance at each time.

    Attributes:
        model: whose.
        times: months.
        auc, auc_low, auc_high: time-dependent AUC; NaN where not estimable.
        brier, brier_low, brier_high, null: Brier score and that of knowing the average only; NaN
            where not estimable or not calibrated.
    """

    model: str
    times: Floats
    auc: Floats
    auc_low: Floats
    auc_high: Floats
    brier: Floats
    brier_low: Floats
    brier_high: Floats
    null: Floats


def over_time(
    data: RunData, sample: Sample, models: Sequence[str], step: float = 6.0
) -> dict[str, OverTime]:
    """Time-dependent AUC and Brier score of each model, every `step` months."""
    times = _times(sample, step)
    if not times.size or sample.fold_wise:
        return {}
    return {
        model: _over_time(data, sample, model, times)
        for model in models
        if len(sample.of_model(model)) >= _FEWEST_AT_RISK
    }


def _times(sample: Sample, step: float) -> Floats:
    """As long as ten patients are at risk."""
    follow_up = np.sort(sample.patients["time"].to_numpy(float))
    if follow_up.size <= _FEWEST_AT_RISK:
        return np.zeros(0)
    return np.arange(step, follow_up[-_FEWEST_AT_RISK] + 1e-9, step)


def _over_time(data: RunData, sample: Sample, model: str, times: Floats) -> OverTime:
    rows = sample.of_model(model)
    time, status = rows["time"].to_numpy(float), rows["status"].to_numpy(int)
    risk = rows["risk"].to_numpy(float)
    auc = time_dependent_auc(time, status, risk, times, level=sample.settings.level)
    blank = np.full(times.size, np.nan)
    brier = [blank] * 4
    link = learn_link(data, model, float(times[-1]))
    if link.fitted is not None:
        survival = link.fitted.cox.predict_survival({"risk": risk}, times)
        score = brier_score(time, status, 1 - survival, times, level=sample.settings.level)
        brier = [_array(score.value), _array(score.ci_low), _array(score.ci_high)]
        brier.append(_array(score.null.value))
    return OverTime(
        model, times, _array(auc.value), _array(auc.ci_low), _array(auc.ci_high), *brier
    )


def _array(values: Floats | np.float64) -> Floats:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def brier_table(
    known: Mapping[str, pd.DataFrame], left: Mapping[str, str], horizon: float
) -> pd.DataFrame:
    """Brier score and index of prediction accuracy at the horizon."""
    rows = []
    for model, table in known.items():
        found: BrierScore = brier_score(
            table["time"].to_numpy(float),
            table["status"].to_numpy(int),
            table["probability"].to_numpy(float),
            [horizon],
        )
        rows.append(
            {
                "Model": model_title(model),
                "Patients": str(len(table)),
                "Brier score": _cell(found.at(horizon), digits=3),
                "Brier score of the average": _cell(found.null.at(horizon), digits=3),
                "Index of prediction accuracy, %": _cell(
                    found.ipa.at(horizon), scale=100, digits=1
                ),
                "Note": found.at(horizon).reason or found.at(horizon).warning or "",
            }
        )
    rows += [
        {"Model": model_title(model), "Brier score": "not calibrated", "Note": reason}
        for model, reason in left.items()
    ]
    return pd.DataFrame(rows).fillna("")
