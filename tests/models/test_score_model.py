"""Scores and single clinical variables as risk models."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import load_fitted
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.logistic import fit_score_logistic


def test_a_score_is_the_risk_and_the_undetermined_are_missing(clinic, fit):
    scores = clinic.scores.copy()
    scores.loc["p3", "ssign"] = pd.NA
    scores.loc["p3", "ssign_reason"] = "necrosis is missing"
    scores.loc["p4", "ssign"] = pd.NA
    data = replace(clinic, scores=scores)
    fitted = fit("ssign", data)
    predicted = fitted.predict(data)
    assert len(predicted) == 60
    assert predicted.loc["p3", ["status", "reason"]].tolist() == ["missing", "necrosis is missing"]
    assert predicted.loc["p4", "reason"] == "ssign is not determined"
    assert fitted.left_out == {"p3": "necrosis is missing", "p4": "ssign is not determined"}
    known = predicted.drop(["p3", "p4"])
    assert (known["risk"] == scores["ssign"].drop(["p3", "p4"]).astype(float)).all()
    rest = data.outcomes.drop(["p3", "p4"])
    expected = fit_score_logistic(known["risk"], rest["label"]).probability(known["risk"])
    np.testing.assert_allclose(known["probability"], expected)


def test_a_score_that_the_cohort_lacks(clinic, fit):
    with pytest.raises(ModelError, match="the cohort holds no score 'grant'"):
        fit("grant", clinic)
    without = replace(clinic, scores=pd.DataFrame(index=clinic.patients.index))
    predicted = fit("ssign", clinic).predict(without)
    assert predicted["reason"].unique().tolist() == ["the cohort holds no score 'ssign'"]


def test_separated_classes_are_said(clinic, fit):
    scores = clinic.scores.assign(ssign=clinic.outcomes["label"].astype("Float64"))
    fitted = fit("ssign", replace(clinic, scores=scores))
    assert "Firth" in fitted.notes[0]
    assert fitted.predict(replace(clinic, scores=scores))["probability"].between(0.01, 0.99).all()


@pytest.mark.parametrize(
    ("name", "column", "levels"),
    [("t_stage", "pT", {1, 2, 3, 4}), ("grade", "grade", {1, 2, 3, 4}),
     ("necrosis", "necrosis", {0, 1})],
)  # fmt: skip
def test_a_single_variable_is_its_own_risk(name, column, levels, clinic, fit):
    patients = clinic.patients.copy()
    patients.loc[["p0", "p7"], column] = pd.NA
    data = replace(clinic, patients=patients)
    fitted = fit(name, data)
    predicted = fitted.predict(data)
    assert fitted.left_out == {"p0": f"missing: {column}", "p7": f"missing: {column}"}
    assert predicted.loc["p7", ["status", "reason"]].tolist() == ["missing", f"missing: {column}"]
    known = predicted.drop(["p0", "p7"])
    assert set(known["risk"]) == levels
    assert (known["status"] == "ok").all()
    labels = data.outcomes["label"].drop(["p0", "p7"])
    expected = fit_score_logistic(known["risk"], labels).probability(known["risk"])
    np.testing.assert_allclose(known["probability"], expected)


def test_t_stage_has_four_levels_whatever_letters_are_known(clinic, fit):
    predicted = fit("t_stage", clinic).predict(clinic)
    stage = clinic.patients["pT"]
    by_stage = {name: set(predicted.loc[stage == name, "risk"]) for name in ("T1", "T1a", "T1b")}
    assert by_stage == {"T1": {1.0}, "T1a": {1.0}, "T1b": {1.0}}
    assert set(predicted.loc[stage == "T3a", "risk"]) == {3.0}


def test_a_variable_that_the_cohort_lacks(clinic, fit):
    without = replace(clinic, patients=clinic.patients.drop(columns="necrosis"))
    with pytest.raises(ModelError, match="necrosis: no training patient has a value of necrosis"):
        fit("necrosis", without)
    predicted = fit("necrosis", clinic).predict(without)
    assert predicted["reason"].unique().tolist() == ["missing: necrosis"]


def test_one_class_only_is_an_error(clinic, fit):
    nobody = clinic.outcomes.assign(status=0, label=0)
    with pytest.raises(ModelError, match="grade: 0 events among 60"):
        fit("grade", replace(clinic, outcomes=nobody))


@pytest.mark.parametrize("name", ["ssign", "t_stage", "grade", "necrosis"])
def test_checkpoints_give_the_same_model(name, clinic, fit, tmp_path):
    fitted = fit(name, clinic)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded == fitted
    pd.testing.assert_frame_equal(loaded.predict(clinic), fitted.predict(clinic), check_exact=True)


def test_a_score_checkpoint_without_a_variable_is_still_read(clinic, fit, tmp_path):
    fitted = fit("ssign", clinic)
    state = {"name": "ssign", "title": fitted.title, "notes": [], "left_out": {},
             "link": asdict(fitted.link)}  # fmt: skip
    write_checkpoint(Checkpoint("score", state), tmp_path)
    assert load_fitted(tmp_path) == fitted


def test_a_checkpoint_of_an_unknown_variable_is_refused(clinic, fit, tmp_path):
    replace(fit("grade", clinic), variable="ploidy").save(tmp_path)
    with pytest.raises(ModelError, match=r"unknown variables .'ploidy'."):
        load_fitted(tmp_path)


def test_take_keeps_the_order_and_refuses_strangers(clinic):
    part = clinic.take(["p5", "p2"])
    assert (
        part.patient_ids
        == part.outcomes.index.tolist()
        == part.scores.index.tolist()
        == ["p5", "p2"]
    )
    with pytest.raises(ValueError, match="'q1' is not among the 60"):
        clinic.take(["q1"])
