"""Comparisons of models, seeds and runs as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from crpnet_bench.reporting.tables import TABLE_ONE_ROWS, format_interval, format_p

__all__ = ["comparison_tables", "run_table", "seed_table"]

_ROLES = {
    "train": "training, out-of-fold",
    "validation": "validation",
    "test": "test",
    "external": "external validation",
}
_LABELS = {
    ("auc", "half"): "AUC difference, ties half",
    ("auc", "strict"): "AUC difference, ties strict",
    ("auc", "random"): "AUC difference, ties random",
    ("c_index", "half"): "C difference, ties half",
    ("c_index", "strict"): "C difference, ties strict",
    ("c_index", "random"): "C difference, ties random",
    ("likelihood_ratio", None): "Likelihood ratio, primary + rival over rival",
    ("c_index_added", None): "C added by the primary to the rival",
}
_SEED_ROWS = ("auc", "c_index", "hr_per_sd", "accuracy")


def comparison_tables(
    comparisons: pd.DataFrame, headings: Mapping[str, str]
) -> Iterator[tuple[str, pd.DataFrame]]:
    """A table a set of patients: a row a number, a column a rival.

    Args:
        comparisons: as `benchmark.comparisons` makes them.
        headings: column headings by model.

    Yields:
        Heading and table. Cells are "a - b (interval), P", P adjusted by Holm over the rivals.
    """
    for (cohort, role), rows in comparisons.groupby(["cohort", "role"], sort=False):
        primary = str(rows["model_a"].iloc[0])
        title = (
            f"{headings.get(primary, primary)} minus each rival, same patients, "
            f"{_ROLES[str(role)]}, {cohort}; P by Holm over the rivals"
        )
        yield title, _table(rows, headings)


def _table(rows: pd.DataFrame, headings: Mapping[str, str]) -> pd.DataFrame:
    cells = {
        (row["model_b"], row["metric"], None if pd.isna(row["ties"]) else row["ties"]): row
        for row in rows.to_dict("records")
    }
    rivals = list(dict.fromkeys(rows["model_b"]))
    lines = [{"": "Patients (events)"} | {_short(m, headings): _counts(cells, m) for m in rivals}]
    for (metric, ties), label in _LABELS.items():
        found = {_short(m, headings): _cell(cells.get((m, metric, ties))) for m in rivals}
        if any(found.values()):
            lines.append({"": label} | found)
    return pd.DataFrame(lines)


def _short(model: str, headings: Mapping[str, str]) -> str:
    return headings.get(model, model)


def _counts(cells: Mapping[Any, Mapping[Any, Any]], rival: str) -> str:
    row = next((row for key, row in cells.items() if key[0] == rival), None)
    if row is None:
        return ""
    left = f", {row['left_out']} left out" if row["left_out"] else ""
    return f"{row['n']} ({row['events']}){left}"


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return ""
    if pd.isna(row["difference"]):
        return "not estimable"
    p = row["p_holm"]
    told = "" if pd.isna(p) else f", P {_p(float(p))}"
    if row["metric"] == "likelihood_ratio":
        return f"chi2 {float(row['difference']):.2f}{told}"
    return format_interval(row["difference"], row["ci_low"], row["ci_high"]) + told


def _p(p: float) -> str:
    return format_p(p) if p < 0.001 else f"= {format_p(p)}"


def seed_table(distribution: pd.DataFrame) -> pd.DataFrame:
    """Mean, SD and every seed's value of the headline numbers, apparent rows left out.

    Args:
        distribution: as `benchmark.seeds.seed_distribution` makes it.
    """
    shown = distribution[
        distribution["metric"].isin(_SEED_ROWS) & ~distribution["in_sample"].fillna(value=False)
    ]
    return pd.DataFrame(
        [
            {
                "patients": _ROLES[str(row["role"])],
                "model": row["model"],
                "metric": TABLE_ONE_ROWS[row["metric"]],
                "mean": _number(row["mean"]),
                "SD": _number(row["sd"]),
                "range": f"{_number(row['min'])} to {_number(row['max'])}",
                "every seed": ", ".join(_number(value) for value in row["values"]),
            }
            for row in shown.to_dict("records")
        ]
    )


def _number(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.3f}"


def run_table(results: pd.DataFrame) -> pd.DataFrame:
    """Results of two runs side by side, as `benchmark.runs.compare_runs` joined them."""
    return pd.DataFrame(
        [
            {
                "patients": _ROLES[str(row["role"])] + (", apparent" if row["in_sample"] else ""),
                "model": row["model"],
                "metric": TABLE_ONE_ROWS[row["metric"]],
                "a": _number(row["value_a"]),
                "b": _number(row["value_b"]),
                "a - b": _difference(row),
            }
            for row in results.to_dict("records")
            if not row["in_sample"]
        ]
    )


def _difference(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["difference"]):
        return ""
    if row.get("same_risks") is True:
        return "same risks"
    p = row.get("p_value")
    told = "" if pd.isna(p) else f", P {_p(float(p))}"
    return format_interval(row["difference"], row.get("ci_low"), row.get("ci_high")) + told
