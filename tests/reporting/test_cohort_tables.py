from __future__ import annotations

from crpnet_bench.registry import views
from crpnet_bench.reporting.cohort_tables import (
    baseline_shown,
    data_dictionary,
    event_free_table,
    flow_table,
)
from crpnet_bench.reporting.queries import cohort_flow
from crpnet_bench.reporting.run_data import take


def test_the_baseline_table_has_readable_names_and_p_values(home):
    table, caption = baseline_shown(home, "drawn")
    assert "Grade" in set(table["Variable"])
    assert "not adjusted" in caption
    events = int((views.outcomes(home, "drawn")["status"] == 1).sum())
    headings = {f"Event (n = {events})", f"No event (n = {149 - events})", "All (n = 149)"}
    assert headings <= set(table)
    assert {"yes", "no"} <= set(table[""])


def test_the_dictionary_names_column_unit_and_map(home):
    table = data_dictionary(home, "drawn").set_index("Variable")
    assert table.loc["tumor_size", "Unit there"] == "cm"
    assert table.loc["necrosis", "Values"] == "yes = true, no = false"


def test_event_free_patients_are_counted_by_risk_group(home, data):
    table = event_free_table(home, data.record.run_id)
    sample = take(data, data.set_named("validation"))
    row = table[(table["Patients"] == "Validation") & (table["Risk group"] == "low")].iloc[0]
    low = sample.of_model("crpnet").query("risk_group == 'low'")
    assert row["n"] == len(low)
    assert row["Event-free"] == int((low["status"] != 1).sum())


def test_the_flow_as_a_table_names_steps_and_scores(home):
    shown = flow_table(cohort_flow(home, "drawn"))
    assert shown["Step"].iloc[0] == "Registered"
    assert "Score of Leibovich" in set(shown["Step"])
    assert list(shown)[1:] == ["Who", "Patients", "Events", "Slides", "Reason"]
