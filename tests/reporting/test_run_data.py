from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from crpnet_bench.benchmark.evaluate import evaluate_run
from crpnet_bench.errors import InputError, NotFoundError
from crpnet_bench.registry import views
from crpnet_bench.reporting.run_data import cohort_data, run_data, take

NUMBERS = ["value", "ci_low", "ci_high", "n", "events", "status"]


def test_sets_are_named_for_what_they_mean_and_validation_comes_first(data):
    assert [one.key for one in data.sets] == [
        "validation",
        "training-out-of-fold",
        "training-apparent",
    ]
    assert data.set_named("training-apparent").in_sample
    assert data.set_named("no such set") == data.sets[0]


def test_a_set_is_of_the_endpoint_that_its_cohort_was_judged_by(home, data):
    assert cohort_data(home, "drawn@1", None).endpoint == "RFS"
    others = {name: replace(one, endpoint="OS") for name, one in data.cohorts.items()}
    assert take(replace(data, cohorts=others), data.sets[0]).endpoint == "OS"
    assert take(data, data.sets[0]).endpoint == "RFS"


@pytest.mark.parametrize("where", ["", "grade >= 3", "pT in (T1a, T1b) and age < 65"])
def test_the_pages_numbers_are_those_of_the_evaluate_command(home, data, where):
    expected = evaluate_run(home, data.record.run_id, where or None).metrics
    expected = expected[expected["member"].isna() & (expected["subgroup"] == (where or "all"))]
    for one in data.sets:
        shown = take(data, one, where).metrics
        block = expected[(expected["role"] == one.role) & (expected["in_sample"] == one.in_sample)]
        keys = ["model", "metric", "horizon_months"]
        left = shown.sort_values(keys, ignore_index=True)[keys + NUMBERS]
        right = block.sort_values(keys, ignore_index=True)[keys + NUMBERS]
        pd.testing.assert_frame_equal(left, right)


def test_a_rule_chooses_patients_and_only_those_predicted(home, data):
    everyone = take(data, data.set_named("validation"))
    some = take(data, data.set_named("validation"), "grade >= 3")
    patients = views.patients(home, "drawn").set_index("patient_id")
    assert 0 < some.n < everyone.n
    assert (patients.loc[some.patients["patient_id"], "grade"] >= 3).all()
    assert set(some.predictions["patient_id"]) == set(some.patients["patient_id"])
    assert some.label.endswith(f"{some.n} patients, {some.events} events")


def test_a_rule_that_names_no_column_is_one_sentence(data):
    with pytest.raises(InputError, match="no column 'stage'"):
        take(data, data.sets[0], "stage == 3")


def test_a_run_that_does_not_exist_is_named(home):
    with pytest.raises(NotFoundError, match="nowhere"):
        run_data(home, "nowhere")


def test_a_models_rows_carry_the_outcome_and_leave_out_who_has_no_risk(sample):
    rows = sample.of_model("ssign")
    missing = sample.metric("ssign", "n_missing")["value"]
    assert missing > 0
    assert len(rows) == sample.n - missing
    assert set(rows["status"]) <= {0, 1, 2}
    assert rows["patient_id"].is_unique


def test_groups_cover_stage_grade_scores_and_have_several_levels(sample):
    assert {"T stage", "Grade group", "Necrosis", "SSIGN group"} <= set(sample.groups)
    assert (sample.groups.nunique() >= 1).all()
    stage = sample.patients.set_index("patient_id")["pT"]
    labels = sample.groups["T stage"]
    assert set(labels[stage.reindex(labels.index).str[:2].isin(["T1", "T2"])]) == {"T1-2"}
