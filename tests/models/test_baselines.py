"""Scores and the Karakiewicz variables as risk models; logistic regression against R."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import build_model, load_fitted
from crpnet_bench.models.logistic import fit_score_logistic
from crpnet_bench.progress import SilentProgress
from crpnet_bench.stats.cox import cox_ph

PATIENTS = 60


@pytest.fixture(scope="module")
def clinic() -> CohortData:
    generator = np.random.default_rng(2)
    ids = pd.Index([f"p{i}" for i in range(PATIENTS)])
    stage = generator.choice(["T1a", "T1b", "T1", "T2a", "T3a", "T3", "T4"], PATIENTS)
    grade = generator.integers(1, 5, PATIENTS)
    patients = pd.DataFrame(
        {
            "pT": stage,
            "pN": generator.choice(["N0", "NX", "N1", "N+"], PATIENTS),
            "M": generator.choice(["M0", "M0", "M0", "M1"], PATIENTS),
            "tumor_size_cm": pd.array(generator.gamma(5, 1.2, PATIENTS), dtype="Float64"),
            "grade": pd.array(grade, dtype="Int64"),
            "symptoms": generator.choice(["none", "local", "systemic"], PATIENTS),
        },
        index=ids,
    )
    time = np.ceil(generator.exponential(40 / grade))
    status = generator.choice([0, 1, 1, 2], PATIENTS)
    outcomes = pd.DataFrame({"time": time, "status": status, "label": 1 * (status == 1)}, index=ids)
    points = pd.array(grade + generator.integers(0, 3, PATIENTS), dtype="Float64")
    scores = pd.DataFrame({"ssign": points, "ssign_reason": pd.NA}, index=ids)
    return CohortData(patients, scores, outcomes=outcomes, cohort="clinic")


def fit(name, data):
    return build_model(name, RunConfig()).fit(data, seed=0, progress=SilentProgress())


def test_logistic_regression_equals_r():
    # R 4.2.2: glm(y ~ x, family = binomial, control = list(epsilon = 1e-14))
    score = [0, 1, 1, 2, 2, 3, 3, 4, 5, 6]
    label = [0, 0, 1, 0, 0, 1, 0, 1, 1, 1]
    found = fit_score_logistic(score, label)
    assert found.method == "maximum likelihood"
    assert (found.intercept, found.slope) == pytest.approx(
        (-2.64959821550, 1.02056934278), rel=1e-9
    )


def test_firth_logistic_regression_equals_r():
    # R 4.2.2: optim (BFGS) of the log likelihood + 0.5 log det information, reltol 1e-15
    found = fit_score_logistic([0, 0, 1, 2, 3, 4, 5], [0, 0, 0, 0, 1, 1, 1])
    assert found.method == "Firth"
    assert (found.intercept, found.slope) == pytest.approx((-2.88335620, 1.15336502), rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_quasi_separation_is_separation(sign):
    score = sign * np.array([0, 1, 2, 2, 3, 4])
    assert fit_score_logistic(score, [0, 0, 0, 1, 1, 1]).method == "Firth"


def test_a_constant_score_gives_the_prevalence():
    found = fit_score_logistic([2, 2, 2, 2], [0, 0, 0, 1])
    assert found.method == "constant score"
    assert found.probability([2, 2]) == pytest.approx([0.25, 0.25])


def test_logistic_probability_does_not_depend_on_the_scale_of_the_score():
    score, label = np.array([0, 1, 1, 2, 2, 3, 3, 4]), [0, 0, 1, 0, 1, 0, 1, 1]
    small, large = fit_score_logistic(score, label), fit_score_logistic(score * 1e6 + 5, label)
    np.testing.assert_allclose(
        small.probability(score), large.probability(score * 1e6 + 5), rtol=1e-9
    )


def test_one_class_is_an_error():
    with pytest.raises(ModelError, match="0 events among 3"):
        fit_score_logistic([1, 2, 3], [0, 0, 0])


def test_a_score_is_the_risk_and_the_undetermined_are_missing(clinic):
    scores = clinic.scores.copy()
    scores.loc["p3", "ssign"] = pd.NA
    scores.loc["p3", "ssign_reason"] = "necrosis is missing"
    scores.loc["p4", "ssign"] = pd.NA
    data = replace(clinic, scores=scores)
    fitted = fit("ssign", data)
    predicted = fitted.predict(data)
    assert len(predicted) == PATIENTS
    assert predicted.loc["p3", ["status", "reason"]].tolist() == ["missing", "necrosis is missing"]
    assert predicted.loc["p4", "reason"] == "ssign is not determined"
    assert fitted.left_out == {"p3": "necrosis is missing", "p4": "ssign is not determined"}
    known = predicted.drop(["p3", "p4"])
    assert (known["risk"] == scores["ssign"].drop(["p3", "p4"]).astype(float)).all()
    rest = data.outcomes.drop(["p3", "p4"])
    expected = fit_score_logistic(known["risk"], rest["label"]).probability(known["risk"])
    np.testing.assert_allclose(known["probability"], expected)


def test_a_score_that_the_cohort_lacks(clinic):
    with pytest.raises(ModelError, match="the cohort holds no score 'grant'"):
        fit("grant", clinic)
    without = replace(clinic, scores=pd.DataFrame(index=clinic.patients.index))
    predicted = fit("ssign", clinic).predict(without)
    assert predicted["reason"].unique().tolist() == ["the cohort holds no score 'ssign'"]


def test_separated_classes_are_said(clinic):
    scores = clinic.scores.assign(ssign=clinic.outcomes["label"].astype("Float64"))
    fitted = fit("ssign", replace(clinic, scores=scores))
    assert "Firth" in fitted.notes[0]
    assert fitted.predict(replace(clinic, scores=scores))["probability"].between(0.01, 0.99).all()


def coded(patients: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pT": patients["pT"].str[1].astype(float),
            "pN": (~patients["pN"].isin(["N0", "NX"])).astype(float),
            "M": (patients["M"] == "M1").astype(float),
            "tumor_size_cm": patients["tumor_size_cm"].astype(float),
            "grade": patients["grade"].astype(float),
            "symptoms": patients["symptoms"].map({"none": 0.0, "local": 1.0, "systemic": 2.0}),
        }
    )


def test_karakiewicz_is_a_cox_model_on_the_six_variables(clinic):
    fitted = fit("karakiewicz_refit", clinic)
    assert fitted.title == "Karakiewicz variables, refitted on clinic"
    outcomes = clinic.outcomes
    cox = cox_ph(outcomes["time"], outcomes["status"] == 1, coded(clinic.patients))
    expected = {name: term.coef for name, term in cox.terms.items()}
    assert fitted.coefficients == pytest.approx(expected)
    predicted = fitted.predict(clinic)
    table = coded(clinic.patients)
    lp = (table - table.mean()) @ pd.Series(expected)
    np.testing.assert_allclose(predicted["risk"], lp, atol=1e-10)
    link = fit_score_logistic(lp, outcomes["label"])
    np.testing.assert_allclose(predicted["probability"], link.probability(lp))


def test_karakiewicz_says_which_variables_it_lacks(clinic):
    patients = clinic.patients.drop(columns="symptoms").assign(M="M0")
    fitted = fit("karakiewicz_refit", replace(clinic, patients=patients))
    assert fitted.title == (
        "Karakiewicz variables, refitted on clinic "
        "(without symptoms: missing for all; without M: the same for all)"
    )
    assert set(fitted.coefficients) == {"pT", "pN", "tumor_size_cm", "grade"}
    # Metastatic disease was never seen: the model has nothing to say about it.
    predicted = fitted.predict(replace(clinic, patients=patients.assign(M=clinic.patients["M"])))
    metastatic = clinic.patients["M"] == "M1"
    assert (predicted.loc[metastatic, "status"] == "missing").all()
    assert predicted.loc[metastatic, "reason"].str.contains("M is M1").all()
    assert (predicted.loc[~metastatic, "status"] == "ok").all()


def test_karakiewicz_never_fills_in(clinic):
    patients = clinic.patients.copy()
    patients.loc["p1", "grade"] = pd.NA
    patients.loc["p2", ["pT", "symptoms"]] = None
    fitted = fit("karakiewicz_refit", replace(clinic, patients=patients))
    assert fitted.left_out == {"p1": "missing: grade", "p2": "missing: pT, symptoms"}
    without = fit(
        "karakiewicz_refit", clinic.take([p for p in clinic.patient_ids if p not in {"p1", "p2"}])
    )
    assert fitted.coefficients == pytest.approx(without.coefficients)
    predicted = fitted.predict(replace(clinic, patients=patients))
    assert predicted.loc["p2", ["status", "reason"]].tolist() == [
        "missing",
        "missing: pT, symptoms",
    ]
    assert predicted["status"].value_counts().to_dict() == {"ok": 58, "missing": 2}


def test_karakiewicz_under_separation_is_penalised_and_says_so(clinic):
    outcomes = clinic.outcomes
    # Nobody with positive nodes has an event.
    nodes = pd.Series(np.where(outcomes["status"] == 1, "N0", "N1"), index=outcomes.index)
    fitted = fit("karakiewicz_refit", replace(clinic, patients=clinic.patients.assign(pN=nodes)))
    assert any("penalised" in note for note in fitted.notes)
    assert all(np.isfinite(value) for value in fitted.coefficients.values())


def test_karakiewicz_needs_a_patient_with_all_variables(clinic):
    patients = clinic.patients.copy()
    patients.loc[patients.index[:30], "grade"] = pd.NA
    patients.loc[patients.index[30:], "pT"] = None
    with pytest.raises(ModelError, match="no training patient has the variables"):
        fit("karakiewicz_refit", replace(clinic, patients=patients))


@pytest.mark.parametrize("name", ["ssign", "karakiewicz_refit"])
def test_checkpoints_give_the_same_model(name, clinic, tmp_path):
    fitted = fit(name, clinic)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded == fitted
    pd.testing.assert_frame_equal(loaded.predict(clinic), fitted.predict(clinic), check_exact=True)


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
