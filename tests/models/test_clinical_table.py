"""Clinical variables without gaps: what enters, what fills, who is not judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import ModelError
from crpnet_bench.models.clinical_table import FillRule, training_table
from crpnet_bench.models.clinical_variables import CLINICAL_VARIABLES, coded


def changed(data, **columns):
    return replace(data, patients=data.patients.assign(**columns))


def without(data, column, patients):
    table = data.patients.copy()
    table.loc[list(patients), column] = pd.NA
    return replace(data, patients=table)


def test_a_complete_cohort_is_taken_as_it_is(clinic):
    found = training_table(clinic, "m")
    expected = coded(clinic, CLINICAL_VARIABLES).sort_index()
    pd.testing.assert_frame_equal(found.table, expected)
    assert found.title == "age, sex, pT, pN, M, tumor size, grade, necrosis, ECOG, symptoms"
    assert (found.left_out, found.notes, found.rule.constant) == ({}, (), {})


def test_coding_of_each_variable(clinic):
    table = coded(clinic, CLINICAL_VARIABLES)
    patients = clinic.patients
    assert (table["sex"] == (patients["sex"] == "male")).all()
    assert (table["pT"] == patients["pT"].str[1].astype(float)).all()
    assert (table["pN"] == patients["pN"].isin(["N1", "N+"])).all()
    assert (table["M"] == (patients["M"] == "M1")).all()
    assert (table["necrosis"] == patients["necrosis"].astype(float)).all()
    for name in ("age", "tumor_size_cm", "grade", "ecog"):
        assert (table[name] == patients[name].astype(float)).all()


def test_a_quarter_may_be_missing_and_no_more(clinic):
    ids = clinic.patient_ids
    quarter = training_table(without(clinic, "ecog", ids[:15]), "m")
    assert "ecog" in quarter.rule.medians
    more = training_table(without(clinic, "ecog", ids[:16]), "m")
    assert "ecog" not in more.rule.medians
    assert more.title.endswith("symptoms (without ECOG: missing for more than a quarter)")


def test_gaps_are_filled_with_the_training_median_and_said(clinic):
    data = without(clinic, "grade", ["p1", "p2"])
    found = training_table(data, "m")
    median = float(clinic.patients["grade"].drop(["p1", "p2"]).astype(float).median())
    assert found.table.loc[["p1", "p2"], "grade"].tolist() == [median, median]
    assert found.notes == (
        f"m: missing values are filled with the training median, among 60 training patients: "
        f"grade of 2 ({median:g})",
    )
    # Later patients get the training median, whatever they are like themselves.
    later = changed(clinic.take(["p3", "p4"]), grade=pd.array([4, None], dtype="Int64"))
    table, reasons = found.rule.table(later, "m")
    assert table["grade"].tolist() == [4.0, median]
    assert reasons == {}


def test_the_rule_ignores_outcomes_and_row_order(clinic):
    data = without(clinic, "grade", ["p1", "p2"])
    found = training_table(data, "m")
    order = np.random.default_rng(0).permutation(data.patient_ids)
    shuffled = training_table(replace(data.take(order), outcomes=None), "m")
    assert shuffled.rule == found.rule
    pd.testing.assert_frame_equal(shuffled.table, found.table)


def test_a_variable_that_never_varied_says_nothing_about_other_values(clinic):
    found = training_table(changed(clinic, M="M0"), "m")
    assert found.rule.constant == {"M": 0.0}
    assert "(without M: the same for all)" in found.title
    _, reasons = found.rule.table(clinic, "m")
    assert set(reasons) == set(clinic.patients.index[clinic.patients["M"] == "M1"])
    assert set(reasons.values()) == {
        "M is M1, which no training patient had: its effect is unknown"
    }


def test_a_patient_with_gaps_in_more_than_half_is_not_judged(clinic):
    names = [variable.name for variable in CLINICAL_VARIABLES]
    data = clinic
    for name in names[:6]:
        data = without(data, name, ["p9"])
    data = without(without(data, "age", ["p8"]), "grade", ["p8"])
    found = training_table(data, "m")
    assert list(found.left_out) == ["p9"]
    assert found.left_out["p9"].startswith("more than half of the variables are missing: age, sex")
    assert "p9" not in found.table.index
    _, reasons = found.rule.table(data, "m")
    assert reasons == found.left_out


def test_the_only_patient_who_differed_may_leave(clinic):
    # p9 alone has M1, and leaves for gaps: M is then the same for all who stay.
    data = changed(clinic, M=["M1" if patient == "p9" else "M0" for patient in clinic.patient_ids])
    for name in ("age", "sex", "pT", "pN", "tumor_size_cm", "grade"):
        data = without(data, name, ["p9"])
    found = training_table(data, "m")
    assert found.rule.constant == {"M": 0.0}
    assert np.isfinite(found.table.std()).all()
    assert (found.table.std() > 0).all()


def test_nothing_usable_is_an_error(clinic):
    bare = replace(clinic, patients=clinic.patients[["site"]].assign(M="M0"))
    why = "no clinical variable can be used .without M: the same for all; without age, sex"
    with pytest.raises(ModelError, match=why):
        training_table(bare, "cox_clinical")


def test_an_unknown_variable_in_a_checkpoint_is_refused(clinic):
    with pytest.raises(ModelError, match="checkpoint of 'm': unknown variables .'ploidy'."):
        FillRule({"ploidy": 1.0}, {}).table(clinic, "m")
