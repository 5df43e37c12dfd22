"""Cox models on complete clinical variables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import load_fitted
from crpnet_bench.models.logistic import fit_score_logistic
from crpnet_bench.stats.cox import cox_ph


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


def test_karakiewicz_is_a_cox_model_on_the_six_variables(clinic, fit):
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


def test_karakiewicz_says_which_variables_it_lacks(clinic, fit):
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


def test_karakiewicz_never_fills_in(clinic, fit):
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


def test_karakiewicz_under_separation_is_penalised_and_says_so(clinic, fit):
    outcomes = clinic.outcomes
    # Nobody with positive nodes has an event.
    nodes = pd.Series(np.where(outcomes["status"] == 1, "N0", "N1"), index=outcomes.index)
    fitted = fit("karakiewicz_refit", replace(clinic, patients=clinic.patients.assign(pN=nodes)))
    assert any("penalised" in note for note in fitted.notes)
    assert all(np.isfinite(value) for value in fitted.coefficients.values())


def test_karakiewicz_needs_a_patient_with_all_variables(clinic, fit):
    patients = clinic.patients.copy()
    patients.loc[patients.index[:30], "grade"] = pd.NA
    patients.loc[patients.index[30:], "pT"] = None
    with pytest.raises(ModelError, match="no training patient has the variables"):
        fit("karakiewicz_refit", replace(clinic, patients=patients))


def test_karakiewicz_needs_an_event(clinic, fit):
    with pytest.raises(ModelError, match="karakiewicz_refit: 0 events"):
        fit(
            "karakiewicz_refit", replace(clinic, outcomes=clinic.outcomes.assign(status=0, label=0))
        )


def test_checkpoints_give_the_same_model(clinic, fit, tmp_path):
    fitted = fit("karakiewicz_refit", clinic)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded == fitted
    pd.testing.assert_frame_equal(loaded.predict(clinic), fitted.predict(clinic), check_exact=True)
