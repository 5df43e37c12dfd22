"""An external validation as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from crpnet_bench.reporting.tables import NOT_ESTIMABLE, format_interval, format_p

__all__ = [
    "CALIBRATION_ROWS",
    "TRANSPORT_COLUMNS",
    "calibration_table",
    "case_mix_table",
    "change_in_words",
    "transport_table",
]

CALIBRATION_ROWS: Mapping[str, str] = {
    "observed_risk": "Observed risk at {} months",
    "predicted_risk": "Mean predicted risk at {} months",
    "observed_expected": "Observed / expected at {} months",
    "calibration_intercept": "Calibration in the large at {} months (0 is right)",
    "calibration_slope": "Calibration slope at {} months (1 is right)",
    "recalibration_intercept": "Intercept to recalibrate with, beside the slope, at {} months",
}
# Column -> pandas dtype of `transport.parquet`: discrimination at home and in another cohort.
_NUMBERS = (
    "training", "training_low", "training_high",
    "internal", "internal_low", "internal_high",
    "external", "external_low", "external_high",
    "change", "change_low", "change_high",
    "training_change", "training_change_low", "training_change_high",
    "internal_within_sites", "internal_within_sites_low", "internal_within_sites_high",
    "external_within_sites", "external_within_sites_low", "external_within_sites_high",
    "training_site_gain", "training_site_gain_low", "training_site_gain_high",
    "internal_site_gain", "internal_site_gain_low", "internal_site_gain_high",
    "external_site_gain", "external_site_gain_low", "external_site_gain_high",
    "level",
)  # fmt: skip
TRANSPORT_COLUMNS: Mapping[str, str] = {
    "model": "string",
    "metric": "string",  # auc | c_index
    **dict.fromkeys(_NUMBERS, "Float64"),
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
    """Each set's index, what became of it elsewhere, and both among patients of one site."""
    return pd.DataFrame(
        [
            {
                "model": headings.get(row["model"], row["model"]),
                "index": _INDICES[row["metric"]],
                "training, out of fold": _index(row, "training"),
                "own validation": _index(row, "internal"),
                "external": _index(row, "external"),
                "validation to external": change_in_words(row),
                "training to external": change_in_words(row, "training_change"),
                "own, within sites": _index(row, "internal_within_sites"),
                "external, within sites": _index(row, "external_within_sites"),
                "external, gain by site": _gain(row, "external_site_gain"),
            }
            for row in transport.to_dict("records")
        ]
    ).pipe(_without_empty)


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """Without columns that no row has an entry for (several folds: no training patients)."""
    return table.loc[:, [bool(table[name].ne(NOT_ESTIMABLE).any()) for name in table]]


def change_in_words(row: Mapping[Any, Any], name: str = "change") -> str:
    """Whether an index falls, rises or shows no difference, with its interval.

    Args:
        row: of the transport table.
        name: which change of it.

    >>> change_in_words({"change": -0.12, "change_low": -0.21, "change_high": -0.03})
    'falls by 0.120 (95 % CI 0.030 to 0.210)'
    >>> change_in_words({"change": -0.03, "change_low": -0.1, "change_high": 0.04})
    'no difference shown (-0.030, 95 % CI -0.100 to +0.040)'
    """
    change, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(change):
        return NOT_ESTIMABLE
    if pd.isna(low) or pd.isna(high):
        return f"changes by {change:+.3f}, interval not estimable"
    level = row.get("level")
    ci = f"{95 if level is None or pd.isna(level) else 100 * level:g} % CI"
    if high < 0:
        return f"falls by {-change:.3f} ({ci} {-high:.3f} to {-low:.3f})"
    if low > 0:
        return f"rises by {change:.3f} ({ci} {low:.3f} to {high:.3f})"
    return f"no difference shown ({change:+.3f}, {ci} {low:+.3f} to {high:+.3f})"


def case_mix_table(case_mix: pd.DataFrame) -> pd.DataFrame:
    """Both cohorts' patients, P values as journals print them, a variable's name once."""
    repeated = case_mix["variable"].duplicated()
    p_values = ["" if pd.isna(p) else format_p(float(p)) for p in case_mix["p_value"]]
    return case_mix.assign(
        variable=case_mix["variable"].mask(repeated, ""), p_value=p_values
    ).rename(columns={"p_value": "P"})


def _gain(row: Mapping[Any, Any], name: str) -> str:
    """All pairs minus pairs of one site, with its sign."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(value):
        return NOT_ESTIMABLE
    return f"{value:+.3f}" + ("" if pd.isna(low) else f" ({low:+.3f} to {high:+.3f})")


def _index(row: Mapping[Any, Any], name: str) -> str:
    if pd.isna(row[name]):
        return NOT_ESTIMABLE
    return format_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
