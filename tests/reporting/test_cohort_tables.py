from __future__ import annotations

import json

from crpnet_bench.reporting.cohort_tables import (
    baseline_shown,
    data_dictionary,
    event_free_table,
)
from crpnet_bench.reporting.run_data import take


def test_the_baseline_table_has_readable_names_and_p_values(home):
    table, caption = baseline_shown(home, "drawn")
    assert "WHO/ISUP grade" in set(table["Variable"])
    assert "not adjusted" in caption
    assert {"yes", "no"} <= set(table[""])


def test_the_dictionary_names_column_unit_and_map(home):
    table = data_dictionary(home, "drawn").set_index("Variable")
    assert table.loc["tumor_size", "Unit"] == "cm"
    assert json.loads(table.loc["necrosis", "Values"]) == {"yes": True, "no": False}


def test_event_free_patients_are_counted_by_risk_group(home, data):
    table = event_free_table(home, data.record.run_id)
    sample = take(data, data.set_named("validation"))
    row = table[(table["Patients"] == "Validation") & (table["Risk group"] == "low")].iloc[0]
    low = sample.of_model("crpnet").query("risk_group == 'low'")
    assert row["n"] == len(low)
    assert row["Event-free"] == int((low["status"] != 1).sum())
