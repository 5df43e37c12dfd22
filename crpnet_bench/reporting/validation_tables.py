"""An external validation as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crpnet_bench.reporting.tables import NOT_ESTIMABLE, format_interval, format_p

__all__ = ["CALIBRATION_ROWS", "calibration_table", "case_mix_table", "transport_table"]

CALIBRATION_ROWS: Mapping[str, str] = {
    "observed_risk": "Observed risk at {} months",
    "predicted_risk": "Mean predicted risk at {} months",
    "observed_expected": "Observed / expected at {} months",
    "calibration_intercept": "Calibration in the large at {} months (0 is right)",
    "calibration_slope": "Calibration slope at {} months (1 is right)",
    "recalibration_intercept": "Intercept to recalibrate with, beside the slope, at {} months",
}
_INDICES = {"auc": "AUC", "c_index": "Harrell's C"}


def calibration_table(metrics: pd.DataFrame, headings: Mapping[str, str]) -> pd.DataFrame:
    """A row a number and horizon, a column a model.

    Args:
        metrics: of an external validation.
        headings: column headings by model.
    """
    rows = metrics[metrics["metric"].isin(list(CALIBRATION_ROWS))]
    cells = {
        (row["horizon_months"], row["metric"], row["model"]): row for row in rows.to_dict("records")
    }
    models = list(dict.fromkeys(rows["model"]))
    return pd.DataFrame(
        [
            {"": label.format(f"{horizon:g}")}
            | {headings.get(m, m): _cell(cells.get((horizon, metric, m))) for m in models}
            for horizon in sorted(set(rows["horizon_months"]))
            for metric, label in CALIBRATION_ROWS.items()
        ]
    )


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return ""
    if row["status"] != "ok":
        return NOT_ESTIMABLE
    return format_interval(row["value"], row["ci_low"], row["ci_high"], digits=2)


def transport_table(transport: pd.DataFrame, headings: Mapping[str, str]) -> pd.DataFrame:
    """Own validation, this cohort, the change, and both among patients of one site."""
    return pd.DataFrame(
        [
            {
                "model": headings.get(row["model"], row["model"]),
                "index": _INDICES[row["metric"]],
                "own validation": _number(row["internal"]),
                "external": _number(row["external"]),
                "change (95 % CI)": _change(row),
                "own, within sites": _number(row["internal_within_sites"]),
                "external, within sites": _number(row["external_within_sites"]),
            }
            for row in transport.to_dict("records")
        ]
    )


def case_mix_table(case_mix: pd.DataFrame) -> pd.DataFrame:
    """Both cohorts' patients, P values as journals print them, a variable's name once."""
    repeated = case_mix["variable"].duplicated()
    p_values = ["" if pd.isna(p) else format_p(float(p)) for p in case_mix["p_value"]]
    return case_mix.assign(
        variable=case_mix["variable"].mask(repeated, ""), p_value=p_values
    ).rename(columns={"p_value": "P"})


def _number(value: float | None) -> str:
    return NOT_ESTIMABLE if value is None or pd.isna(value) else f"{value:.3f}"


def _change(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["change"]):
        return NOT_ESTIMABLE
    return format_interval(row["change"], row["change_low"], row["change_high"])
