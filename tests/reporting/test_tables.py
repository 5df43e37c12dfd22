from __future__ import annotations

import pandas as pd

from crpnet_bench.reporting.tables import Block, blocks, format_interval, format_p, table_one
from crpnet_bench.results import METRIC_COLUMNS, conform


def _metrics() -> pd.DataFrame:
    common = {"subgroup": "all", "role": "validation", "in_sample": False, "n": 75, "events": 19}
    rows = [
        {"model": "crpnet", "metric": "auc", "value": 0.8789, "ci_low": 0.783, "ci_high": 0.943},
        {"model": "crpnet", "metric": "precision", "value": 0.857},
        {"model": "crpnet", "metric": "n_missing", "value": 2},
        {"model": "uiss", "metric": "auc", "value": 0.563},
        {"model": "crpnet", "member": 0, "metric": "auc", "value": 0.1},
    ]
    table = [common | {"status": "ok"} | row for row in rows]
    table.append(
        common | {"model": "uiss", "metric": "precision", "status": "not estimable", "reason": "-"}
    )
    return conform(pd.DataFrame(table), METRIC_COLUMNS)


def test_table_one_shows_intervals_percentages_and_what_is_not_estimable():
    table = table_one(_metrics(), Block("validation", False, "Validation"), ["crpnet", "uiss"])
    cells = table.set_index("")
    assert cells.loc["AUC", "crpnet"] == "0.879 (0.783-0.943)"
    assert cells.loc["Precision, %", "crpnet"] == "85.7"
    assert cells.loc["Precision, %", "uiss"] == "not estimable"
    assert cells.loc["Patients (events)", "crpnet"] == "75 (19), 2 missing"


def test_a_model_without_predictions_says_so():
    block = Block("validation", False, "Validation")
    cells = table_one(_metrics(), block, ["crpnet", "ssign"]).set_index("")
    assert cells.loc["Patients (events)", "ssign"] == "no predictions"
    assert cells.loc["AUC", "ssign"] == ""


def test_only_sets_of_patients_that_are_there_get_a_block():
    assert [block.role for block in blocks(_metrics())] == ["validation"]


def test_a_hazard_ratio_in_the_thousands_has_no_decimals():
    assert format_interval(12345.678, 10.0, 1e6, digits=2) == "12346 (10.00-1000000)"


def test_small_p_values():
    assert (format_p(0.0009), format_p(0.05)) == ("<0.001", "0.050")
