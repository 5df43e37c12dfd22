"""Why patients have no prediction, in words."""

from __future__ import annotations

import pandas as pd

from crpnet_bench.reporting.missing import missing_lines
from crpnet_bench.reporting.tables import Block
from crpnet_bench.results import METRIC_COLUMNS, conform

VALIDATION = Block("validation", False, "Validation")


def metrics(*rows: dict[str, object]) -> pd.DataFrame:
    common = {"role": "validation", "in_sample": False, "subgroup": "all", "metric": "n_missing",
              "status": "ok", "n": 10, "events": 3}  # fmt: skip
    return conform(pd.DataFrame([common | row for row in rows]), METRIC_COLUMNS)


def test_each_model_with_missing_predictions_has_a_line_in_the_order_of_the_table():
    table = metrics(
        {"model": "ssign", "value": 2, "reason": "necrosis is missing (2)"},
        {"model": "grade", "value": 0},
        {"model": "site_only", "value": 3, "reason": "site B0 had no patient in training (3)"},
        {"model": "site_only", "value": 9, "reason": "of a subgroup", "subgroup": "male"},
        {"model": "ssign", "value": 9, "reason": "of training", "role": "train"},
        {"model": "ssign", "value": 9, "reason": "of a member", "member": 0},
    )
    headings = {"site_only": "Site alone", "grade": "Grade alone", "ssign": "SSIGN"}
    assert missing_lines(table, VALIDATION, headings) == [
        "Site alone, without a prediction: site B0 had no patient in training (3)",
        "SSIGN, without a prediction: necrosis is missing (2)",
    ]


def test_many_reasons_are_cut_and_say_where_all_are():
    reasons = "; ".join(f"site {n} had no patient in training ({n})" for n in range(40))
    table = metrics({"model": "site_only", "value": 40, "reason": reasons})
    (line,) = missing_lines(table, VALIDATION, {"site_only": "Site alone"})
    assert len(line) <= 240
    assert line.endswith("... (all in metrics.parquet)")
