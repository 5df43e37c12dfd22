"""Metrics as tables for people: the layout of the CRPNet article's Table 1, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = [
    "HORIZON_ROWS",
    "TABLE_ONE_ROWS",
    "Block",
    "blocks",
    "format_interval",
    "format_p",
    "horizon_table",
    "rows_of",
    "short_titles",
    "table_one",
]


@dataclass(frozen=True, slots=True)
class Block:
    """One set of patients of a run, with the heading that says what its numbers mean.

    `in_sample` is None where nobody knows whether a model was fitted on these patients.
    """

    role: str
    in_sample: bool | None
    heading: str


_BLOCKS = (
    Block("train", True, "Training, apparent (fitted on these patients: optimistic)"),
    Block("train", False, "Training, out-of-fold (inner cross-validation)"),
    Block("train", None, "Training, as given in the table"),
    Block("validation", False, "Validation"),
    Block("test", False, "Test"),
    Block("external", False, "External validation"),
)

# Metric -> label; percentages as in the article, the others as numbers.
TABLE_ONE_ROWS: Mapping[str, str] = {
    "auc": "AUC",
    "accuracy": "Accuracy, %",
    "precision": "Precision, %",
    "recall": "Recall, %",
    "fpr": "False-positive rate, %",
    "fnr": "False-negative rate, %",
    "c_index": "Harrell's C-index",
    "auc_within_sites": "AUC, pairs of one site",
    "c_index_within_sites": "C-index, pairs of one site",
    "hr_per_sd": "Hazard ratio per SD of training risk",
    "hr_high_low": "Hazard ratio, high against low risk",
    "logrank_p": "Log-rank P",
}
HORIZON_ROWS: Mapping[str, str] = {
    "auc_t": "AUC {}",
    "sensitivity_t": "Sensitivity {}, %",
    "specificity_t": "Specificity {}, %",
    "ppv_t": "Positive predictive value {}, %",
    "npv_t": "Negative predictive value {}, %",
}
_PERCENT = {
    "sensitivity_t",
    "specificity_t",
    "ppv_t",
    "npv_t",
    "accuracy",
    "precision",
    "recall",
    "fpr",
    "fnr",
}
_P_VALUES = {"logrank_p"}
_ONLY_WITH_SITES = {"auc_within_sites", "c_index_within_sites"}
NOT_ESTIMABLE = "not estimable"
NO_PREDICTIONS = "no predictions"


def blocks(metrics: pd.DataFrame) -> list[Block]:
    """The sets of patients that these metrics speak of, in reading order."""
    return [block for block in _BLOCKS if len(rows_of(metrics, block))]


def table_one(
    metrics: pd.DataFrame, block: Block, models: Sequence[str], subgroup: str = "all"
) -> pd.DataFrame:
    """One block of Table 1: a row a metric, a column a model.

    Args:
        metrics: the `metrics` table of one run.
        block: which patients.
        models: columns, in this order.
        subgroup: "all" or a named subgroup.

    Returns:
        Text cells such as "0.879 (0.783-0.943)"; what cannot be estimated says so.
    """
    rows = rows_of(metrics, block)
    rows = rows[(rows["subgroup"] == subgroup) & rows["member"].isna()]
    cells = {(row["model"], row["metric"]): row for row in rows.to_dict("records")}
    table: list[dict[str, str]] = [{"": "Patients (events)"} | _sizes(cells, models)]
    known = {metric for _, metric in cells}
    for metric, label in TABLE_ONE_ROWS.items():
        if metric in known or metric not in _ONLY_WITH_SITES:
            line = {"": label}
            for model in models:
                line[model] = _cell(metric, cells.get((model, metric)))
            table.append(line)
    return pd.DataFrame(table)


def horizon_table(
    metrics: pd.DataFrame, block: Block, models: Sequence[str], subgroup: str = "all"
) -> pd.DataFrame:
    """Metrics at each horizon, weighted by inverse censoring: a row a metric and horizon.

    Args:
        metrics: the `metrics` table of one run.
        block: which patients.
        models: columns, in this order.
        subgroup: "all" or a named subgroup.
    """
    rows = rows_of(metrics, block)
    rows = rows[(rows["subgroup"] == subgroup) & rows["member"].isna()]
    rows = rows[rows["horizon_months"].notna()]
    cells = {
        (row["horizon_months"], row["metric"], row["model"]): row for row in rows.to_dict("records")
    }
    table = []
    for horizon in sorted(set(rows["horizon_months"])):
        for metric, label in HORIZON_ROWS.items():
            line = {"": label.format(f"at {horizon:g} months")}
            for model in models:
                line[model] = _cell(metric, cells.get((horizon, metric, model)))
            table.append(line)
    return pd.DataFrame(table)


def short_titles(titles: Mapping[str, str], longest: int = 20) -> dict[str, str]:
    """Column headings: a model's title, or its name where the title is too long for a column.

    >>> short_titles({"ssign": "SSIGN", "karakiewicz_refit": "Karakiewicz variables, refitted"})
    {'ssign': 'SSIGN', 'karakiewicz_refit': 'karakiewicz_refit'}
    """
    return {name: title if len(title) <= longest else name for name, title in titles.items()}


def rows_of(metrics: pd.DataFrame, block: Block) -> pd.DataFrame:
    """The metrics of one set of patients."""
    role = metrics["role"] == block.role
    if block.in_sample is None:
        return metrics[role & metrics["in_sample"].isna()]
    return metrics[role & metrics["in_sample"].eq(block.in_sample).fillna(False)]


def _sizes(
    cells: Mapping[tuple[str, str], Mapping[Any, Any]], models: Sequence[str]
) -> dict[str, str]:
    sizes = {}
    for model in models:
        row = cells.get((model, "auc"))
        missing = cells.get((model, "n_missing"))
        left_out = int(missing["value"]) if missing is not None else 0
        text = NO_PREDICTIONS if row is None else f"{row['n']} ({row['events']})"
        sizes[model] = f"{text}, {left_out} missing" if left_out else text
    return sizes


def _cell(metric: str, row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return ""
    if row["status"] != "ok":
        return NOT_ESTIMABLE
    if metric in _P_VALUES:
        return format_p(row["value"])
    scale, digits = (100.0, 1) if metric in _PERCENT else (1.0, 2 if metric.startswith("hr") else 3)
    return format_interval(row["value"], row["ci_low"], row["ci_high"], scale=scale, digits=digits)


def format_interval(
    value: float, low: float | None, high: float | None, *, scale: float = 1.0, digits: int = 3
) -> str:
    """A number with its interval, "0.879 (0.783-0.943)"; the interval is left out if missing.

    >>> format_interval(0.8789, 0.783, 0.9431)
    '0.879 (0.783-0.943)'
    >>> format_interval(0.5, None, None, scale=100, digits=1)
    '50.0'
    >>> format_interval(0.13, -0.24, 0.47, digits=2)
    '0.13 (-0.24 to 0.47)'
    """
    text = _number(value * scale, digits)
    if pd.isna(low) or pd.isna(high):
        return text
    ends = _number(low * scale, digits), _number(high * scale, digits)
    return f"{text} ({(' to ' if ends[0].startswith('-') else '-').join(ends)})"


def _number(value: float, digits: int) -> str:
    # A hazard ratio from Firth's method can be in the thousands: digits there are noise.
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}f}"


def format_p(p: float) -> str:
    """A P value as journals print it.

    >>> format_p(0.00004), format_p(0.0312)
    ('<0.001', '0.031')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
