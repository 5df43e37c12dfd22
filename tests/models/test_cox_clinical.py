"""The ridge Cox model on clinical variables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import load_fitted
from crpnet_bench.models.clinical_table import training_table
from crpnet_bench.models.cox_clinical import PRIOR_SD
from crpnet_bench.stats.partial_likelihood import PartialLikelihood


def standardised(data) -> tuple[pd.DataFrame, pd.Series]:
    table = training_table(data, "m").table
    return (table - table.mean()) / table.std(ddof=1), table.std(ddof=1)


def follow_up(data, patients) -> tuple[np.ndarray, np.ndarray]:
    rows = data.outcomes.loc[patients]
    return rows["time"].to_numpy(float), (rows["status"] == 1).to_numpy()


def test_it_is_the_maximum_of_efrons_likelihood_with_a_normal_prior(clinic, fit):
    fitted = fit("cox_clinical", clinic)
    X, scale = standardised(clinic)
    coef = (pd.Series(fitted.coefficients) * scale).to_numpy()
    time, event = follow_up(clinic, X.index)
    likelihood = PartialLikelihood(
        time, event, X.to_numpy(), np.zeros(len(X), dtype=np.int64), efron=True
    )
    gradient = likelihood.derivatives(coef).score - coef / PRIOR_SD**2
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_it_agrees_with_lifelines(clinic, fit):
    fitted = fit("cox_clinical", clinic)
    X, scale = standardised(clinic)
    time, event = follow_up(clinic, X.index)
    # lifelines penalises the mean log likelihood, and standardises inside by the same SD.
    other = CoxPHFitter(penalizer=PRIOR_SD**-2 / len(X))
    other.fit(X.assign(time=time, event=event), "time", "event",
              fit_options={"precision": 1e-12})  # fmt: skip
    found = pd.Series(fitted.coefficients) * scale
    np.testing.assert_allclose(found, other.params_[found.index], atol=1e-5)


def test_the_risk_is_the_linear_predictor_and_the_probability_is_left_to_out_of_fold(clinic, fit):
    fitted = fit("cox_clinical", clinic)
    predicted = fitted.predict(clinic)
    table = training_table(clinic, "m").table
    expected = (table - table.mean()) @ pd.Series(fitted.coefficients)
    np.testing.assert_allclose(predicted["risk"], expected[predicted.index], atol=1e-12)
    assert predicted["probability"].isna().all()
    assert (predicted["status"] == "ok").all()
    assert fitted.title == (
        "Ridge Cox model on age, sex, pT, pN, M, tumor size, grade, necrosis, ECOG, symptoms"
    )


def test_order_of_patients_and_units_decide_nothing(clinic, fit):
    fitted = fit("cox_clinical", clinic)
    shuffled = clinic.take(np.random.default_rng(1).permutation(clinic.patient_ids))
    assert fit("cox_clinical", shuffled) == fitted
    in_months = replace(clinic, patients=clinic.patients.assign(age=clinic.patients["age"] * 12))
    other = fit("cox_clinical", in_months)
    np.testing.assert_allclose(
        other.predict(in_months)["risk"], fitted.predict(clinic)["risk"], atol=1e-9
    )


def test_few_events_are_said_and_held_near_zero(clinic, fit):
    fitted = fit("cox_clinical", clinic)
    events = int((clinic.outcomes["status"] == 1).sum())
    assert fitted.notes == (
        f"cox_clinical: {events} events for 10 coefficients, fewer than 10 each: "
        "the penalty holds them near 0",
    )


def test_separation_stays_finite(clinic, fit):
    event = clinic.outcomes["status"] == 1
    patients = clinic.patients.assign(necrosis=pd.array(event, dtype="boolean"))
    fitted = fit("cox_clinical", replace(clinic, patients=patients))
    assert 0 < fitted.coefficients["necrosis"] < 5


def test_an_incomplete_patient_is_judged(clinic, fit):
    patients = clinic.patients.copy()
    patients.loc["p1", "grade"] = pd.NA
    fitted = fit("cox_clinical", replace(clinic, patients=patients))
    assert fitted.left_out == {}
    assert np.isfinite(fitted.predict(replace(clinic, patients=patients)).loc["p1", "risk"])
    assert "grade of 1" in fitted.notes[0]


def test_no_events_no_outcomes_no_variables(clinic, fit):
    nobody = replace(clinic, outcomes=clinic.outcomes.assign(status=2, label=0))
    with pytest.raises(ModelError, match="cox_clinical: no events among 60 usable training"):
        fit("cox_clinical", nobody)
    with pytest.raises(ModelError, match="cox_clinical: the data hold no outcomes"):
        fit("cox_clinical", replace(clinic, outcomes=None))
    with pytest.raises(ModelError, match="without age, sex, .* symptoms: missing for all"):
        fit("cox_clinical", replace(clinic, patients=clinic.patients[["site"]]))


def test_checkpoints_give_the_same_model(clinic, fit, tmp_path):
    fitted = fit("cox_clinical", clinic)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded == fitted
    pd.testing.assert_frame_equal(loaded.predict(clinic), fitted.predict(clinic), check_exact=True)
