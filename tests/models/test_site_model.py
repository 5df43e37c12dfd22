"""Risk by tissue source site alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as distributions
from sksurv.nonparametric import nelson_aalen_estimator

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import load_fitted
from crpnet_bench.models.site_model import SiteModel


def hospital(sizes: dict[str, int], hazards: dict[str, float], seed: int = 0) -> CohortData:
    generator = np.random.default_rng(seed)
    site = np.repeat(list(sizes), list(sizes.values()))
    time = np.round(generator.exponential([1 / hazards[name] for name in site]), 2)
    censored = generator.uniform(0, 120, len(site)).round(2)
    event = time <= censored
    ids = pd.Index([f"p{i:04d}" for i in range(len(site))])
    outcomes = pd.DataFrame(
        {"time": np.minimum(time, censored), "status": 1 * event, "label": 1 * event}, index=ids
    )
    return CohortData(pd.DataFrame({"site": site}, index=ids), outcomes=outcomes)


@pytest.fixture(scope="module")
def unequal() -> CohortData:
    return hospital(
        {"A": 80, "B": 120, "C": 40, "D": 4}, {"A": 0.03, "B": 0.005, "C": 0.01, "D": 0.03}
    )


def fitted_to(data: CohortData):
    return SiteModel("site_only", "Site").fit(data)


def counts(data: CohortData) -> pd.DataFrame:
    """Observed and expected events a site; expected by scikit-survival's Nelson-Aalen."""
    time, event = data.outcomes["time"].to_numpy(), (data.outcomes["status"] == 1).to_numpy()
    times, hazard = nelson_aalen_estimator(event, time)
    expected = hazard[np.searchsorted(times, time)]
    rows = pd.DataFrame({"observed": event, "expected": expected}, index=data.patients["site"])
    return rows.groupby(level=0).sum().astype(float)


def test_risks_are_shrunken_rate_ratios_of_the_most_likely_shape(unequal):
    risks = pd.Series(fitted_to(unequal).risks)
    table = counts(unequal)
    assert table["observed"].sum() == pytest.approx(table["expected"].sum())

    def likelihood(shape: float) -> float:
        # Given a gamma distributed ratio the count is negative binomial.
        chance = shape / (shape + table["expected"])
        return float(distributions.nbinom.logpmf(table["observed"], shape, chance).sum())

    # From risk = log((O + a) / (E + a)), the shape that was used.
    ratio = np.exp(risks["A"])
    shape = (table.loc["A", "observed"] - ratio * table.loc["A", "expected"]) / (ratio - 1)
    expected = np.log((table["observed"] + shape) / (table["expected"] + shape))
    np.testing.assert_allclose(risks[table.index], expected, rtol=1e-9)
    assert likelihood(shape) >= max(likelihood(shape * factor) for factor in (0.8, 0.95, 1.05, 1.2))


def test_small_sites_are_drawn_towards_the_mean(unequal):
    risks, table = fitted_to(unequal).risks, counts(unequal)
    raw = np.log(table["observed"] / table["expected"])
    kept = pd.Series(risks) / raw
    assert kept.between(0, 1).all()
    assert kept["D"] < kept["B"]
    assert risks["A"] > 0 > risks["B"]


def test_equal_sites_get_equal_risks_and_it_is_said():
    # Every site is a copy of the others: they cannot differ.
    one = hospital({"A": 50}, {"A": 0.02}).outcomes.reset_index(drop=True)
    outcomes = pd.concat([one] * 3, ignore_index=True)
    outcomes.index = outcomes.index.map("p{}".format)
    patients = pd.DataFrame({"site": np.repeat(["A", "B", "C"], 50)}, index=outcomes.index)
    fitted = fitted_to(CohortData(patients, outcomes=outcomes))
    assert fitted.risks == {"A": 0, "B": 0, "C": 0}
    assert "no more than by chance" in fitted.notes[0]


def test_nothing_is_said_of_a_site_without_training_patients(unequal):
    fitted = fitted_to(unequal)
    patients = pd.DataFrame({"site": ["A", "Z", None]}, index=["x", "y", "z"])
    predicted = fitted.predict(CohortData(patients))
    assert predicted["status"].tolist() == ["ok", "missing", "missing"]
    assert predicted["reason"].tolist() == [
        "",
        "site Z had no patient in training",
        "missing: site",
    ]
    assert predicted.loc["x", "risk"] == fitted.risks["A"]
    assert predicted["probability"].isna().all()


def test_patients_without_a_site_are_left_out_by_name(unequal):
    patients = unequal.patients.copy()
    patients.loc["p0003", "site"] = None
    data = replace(unequal, patients=patients)
    fitted = fitted_to(data)
    assert fitted.left_out == {"p0003": "missing: site"}
    rest = [patient for patient in data.patient_ids if patient != "p0003"]
    assert fitted.risks == fitted_to(data.take(rest)).risks


@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(60)), seed=st.integers(0, 50))
def test_order_of_patients_and_names_of_sites_decide_nothing(order, seed):
    data = hospital({"A": 20, "B": 30, "C": 10}, {"A": 0.04, "B": 0.004, "C": 0.02}, seed)
    risks = fitted_to(data).risks
    assert fitted_to(data.take([data.patient_ids[i] for i in order])).risks == risks
    renamed = data.patients.replace({"site": {"A": "Z", "B": "Y", "C": "X"}})
    other = fitted_to(replace(data, patients=renamed)).risks
    for before, after in zip("ABC", "ZYX", strict=True):
        assert other[after] == pytest.approx(risks[before], rel=1e-6, abs=1e-9)


def test_one_site_no_site_no_events(unequal):
    with pytest.raises(ModelError, match="site_only: all training patients are of site A"):
        fitted_to(unequal.take(unequal.patient_ids[:80]))
    with pytest.raises(ModelError, match="site_only: no site is known"):
        fitted_to(replace(unequal, patients=unequal.patients[[]]))
    nobody = replace(unequal, outcomes=unequal.outcomes.assign(status=0))
    with pytest.raises(ModelError, match="site_only: no events among 244"):
        fitted_to(nobody)


def test_checkpoints_give_the_same_model(clinic, fit, tmp_path):
    fitted = fit("site_only", clinic)
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded == fitted
    pd.testing.assert_frame_equal(loaded.predict(clinic), fitted.predict(clinic), check_exact=True)
