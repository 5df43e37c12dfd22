"""What an external validation shows beside the usual metrics. Pure: tables in, tables out.

Calibration of probabilities whose link was learned on out-of-fold risks of the run's own patients;
who the patients of both cohorts are. `validate_transport` says how discrimination changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from crpnet_bench.evaluation import metric_row
from crpnet_bench.results import METRIC_COLUMNS, conform
from crpnet_bench.stats.baseline import baseline_table
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.follow_up import median_follow_up
from crpnet_bench.stats.recalibration import calibration
from crpnet_bench.stats.risk_link import fit_risk_link

__all__ = [
    "WANTED_EVENTS",
    "calibration_metrics",
    "case_mix",
    "events_remark",
    "out_of_fold_rows",
]

WANTED_EVENTS = 100
_VARIABLES = (
    "age", "sex", "pT", "pN", "M", "grade", "tumor_size_cm", "necrosis", "sarcomatoid", "rhabdoid",
    "ecog", "symptoms",
)  # fmt: skip


# --- calibration -----------------------------------------------------------------------------


def out_of_fold_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """One out-of-fold row a patient and model, from the run's own patients.

    With one fold these are the inner folds of its training patients; with several, each patient's
    validation row of the first repeat and seed.
    """
    rows = predictions[predictions["member"].isna() & ~predictions["in_sample"].fillna(value=True)]
    rows = rows[rows["seed"] == rows["seed"].min()]
    folds = rows[["repeat", "fold"]].drop_duplicates()
    if len(folds) == 1:
        chosen = rows["role"] == "train"
    else:
        chosen = (rows["repeat"] == rows["repeat"].min()) & (rows["role"] != "train")
    found: pd.DataFrame = rows.loc[chosen].drop_duplicates(["model", "patient_id"])
    return found


def calibration_metrics(
    own: pd.DataFrame,
    external: pd.DataFrame,
    horizons: Sequence[float],
    level: float,
) -> pd.DataFrame:
    """Calibration at each horizon, as rows of `metrics` but for the run's own columns.

    Args:
        own: out-of-fold rows of the run's patients with `time` and `event`.
        external: rows of the external patients with `time` and `event`.
        horizons: months.
        level: confidence level.

    The link from risk to probability is a Cox model on `own`. Competing deaths are censored in the
    link and in what is observed, so that both speak of the same quantity.
    """
    rows = []
    for model in external["model"].unique():
        learned, shown = (table[table["model"] == model] for table in (own, external))
        learned, shown = (table[table["risk"].notna()] for table in (learned, shown))
        counts = {"model": model, "n": len(shown), "events": int(shown["event"].sum())}
        for horizon in horizons:
            for metric, estimate in _calibrate(learned, shown, horizon, level):
                rows.append(counts | metric_row(metric, estimate, horizon))
    return conform(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)), METRIC_COLUMNS)


def _calibrate(
    own: pd.DataFrame, external: pd.DataFrame, horizon: float, level: float
) -> Iterator[tuple[str, Estimate]]:
    names = ("observed_risk", "predicted_risk", "observed_expected", "calibration_intercept",
             "calibration_slope", "recalibration_intercept")  # fmt: skip
    link = fit_risk_link(own["time"], own["event"], own["risk"].astype(float), horizon)
    if link.reason is not None or external.empty:
        reason = link.reason or "no patient has a risk"
        for name in names:
            yield name, not_estimable(f"no link from risk to probability: {reason}", level=level)
        return
    predicted = link.probability(external["risk"].astype(float))
    found = calibration(external["time"], external["event"], predicted, horizon, level=level)
    told = f"link learned on {link.n} out-of-fold patients, {link.events} events, locked"
    yield names[0], found.observed
    mean = float(predicted.mean())
    yield names[1], Estimate(value=mean, level=level, method=f"mean prediction; {told}")
    yield names[2], found.observed_expected
    yield names[3], found.intercept
    yield names[4], found.slope
    yield names[5], found.slope_intercept


# --- the patients --------------------------------------------------------------------------------


def events_remark(events: int, patients: int) -> str:
    """Events and non-events against the 100 of each that a validation should have.

    Source: Vergouwe Y et al. (2005) J Clin Epidemiol 58:475-483; Collins GS et al. (2016) Stat
    Med 35:214-226.
    """
    enough = min(events, patients - events) >= WANTED_EVENTS
    return (
        f"{events} events and {patients - events} patients without: an external validation wants "
        f"at least {WANTED_EVENTS} of each"
        + ("" if enough else "; intervals are wide and calibration is hardly known")
    )


def case_mix(own: pd.DataFrame, external: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Baseline variables and follow-up of both cohorts, with a test a variable.

    Args:
        own: training patients with `time` and `status`.
        external: patients of the other cohort with `time` and `status`.
        names: column headings.
    """
    both = pd.concat([own.assign(cohort=names[0]), external.assign(cohort=names[1])])
    shown = [name for name in _VARIABLES if name in both and both[name].notna().any()]
    event = both["status"].map({0: "censored", 1: "event", 2: "competing death"})
    both = both.assign(outcome=event).reset_index(drop=True)
    table = baseline_table(both, "cohort", [*shown, "outcome"]).to_frame()
    line: dict[str, Any] = {
        "variable": "median follow-up, months",
        "level": "",
        "p_value": None,
        "test": "reverse Kaplan-Meier",
    }
    for name in names:
        line[name] = _follow_up(both[both["cohort"] == name])
    columns = ["variable", "level", *names, "p_value", "test"]
    rows = [*table[columns].to_dict("records"), line]
    return pd.DataFrame(rows, columns=columns)


def _follow_up(rows: pd.DataFrame) -> str:
    median = median_follow_up(rows["time"].astype(float), rows["status"].astype(int)).median
    return "not reached" if median is None else f"{median:.1f}"
