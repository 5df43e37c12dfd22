"""The random survival forest, locked as arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sksurv.ensemble import RandomSurvivalForest
from sksurv.util import Surv

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import load_fitted
from crpnet_bench.models.clinical_table import training_table
from crpnet_bench.models.forest import FEWEST_IN_LEAF, TREES, Trees


@pytest.fixture(scope="module")
def forest(clinic, fit):
    return fit("rsf_clinical", clinic, seed=5)


@pytest.fixture(scope="module")
def reference(clinic) -> tuple[RandomSurvivalForest, pd.DataFrame]:
    """scikit-survival's forest, whose leaves keep their whole curves, and its patients."""
    table = training_table(clinic, "m").table
    rows = clinic.outcomes.loc[table.index]
    theirs = RandomSurvivalForest(
        n_estimators=TREES, min_samples_leaf=FEWEST_IN_LEAF,
        min_samples_split=2 * FEWEST_IN_LEAF, random_state=5,
    )  # fmt: skip
    theirs.fit(table.to_numpy(), Surv.from_arrays(rows["status"] == 1, rows["time"]))
    return theirs, table


def test_the_risk_is_made_of_scikit_survivals_ensemble_mortality(clinic, forest, reference):
    theirs, table = reference
    mortality = theirs.predict(table.to_numpy())
    rows = clinic.outcomes
    event_times = rows.loc[rows["status"] == 1, "time"].nunique()
    expected = pd.Series(np.log((mortality + 0.5) / event_times), index=table.index)
    found = forest.predict(clinic)["risk"]
    assert found.nunique() > 10
    np.testing.assert_allclose(found, expected[found.index], rtol=1e-12)


def test_it_predicts_unseen_patients_as_scikit_survival_does(forest, reference):
    generator = np.random.default_rng(4)
    theirs, table = reference
    # Values between, beyond and exactly on the trees' thresholds.
    strangers = np.vstack([
        table.to_numpy() + generator.normal(size=table.shape),
        np.repeat(forest.trees.threshold[forest.trees.left >= 0][:50, None], table.shape[1], 1),
    ])  # fmt: skip
    np.testing.assert_allclose(
        forest.trees.mean_mortality(strangers), theirs.predict(strangers), rtol=1e-12
    )


def test_only_the_seed_decides(clinic, fit, forest):
    shuffled = clinic.take(np.random.default_rng(1).permutation(clinic.patient_ids))
    again = fit("rsf_clinical", shuffled, seed=5)
    other = fit("rsf_clinical", clinic, seed=6)
    assert forest.predict(clinic).equals(again.predict(clinic))
    assert not forest.predict(clinic).equals(other.predict(clinic))


def test_the_scale_does_not_depend_on_the_number_of_patients(clinic, fit):
    # Each patient twice; the copies an hour later, so that there are twice as many event times.
    copies = clinic.patients.rename(index="{}-again".format)
    later = clinic.outcomes.assign(time=clinic.outcomes["time"] + 1 / 730)
    doubled = CohortData(
        pd.concat([clinic.patients, copies]),
        outcomes=pd.concat([clinic.outcomes, later.rename(index="{}-again".format)]),
    )
    twice, once = (fit("rsf_clinical", data).predict(clinic)["risk"] for data in (doubled, clinic))
    assert twice.mean() == pytest.approx(once.mean(), abs=0.15)  # log 2 apart without the division


def test_a_saved_forest_is_the_identical_one(clinic, forest, tmp_path):
    forest.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = load_fitted(tmp_path)
    for name in Trees.__dataclass_fields__:
        before, after = getattr(forest.trees, name), getattr(loaded.trees, name)
        assert before.dtype == after.dtype
        np.testing.assert_array_equal(before, after)
    assert (loaded.title, loaded.notes, loaded.rule, loaded.left_out) == (
        forest.title, forest.notes, forest.rule, forest.left_out,
    )  # fmt: skip
    pd.testing.assert_frame_equal(loaded.predict(clinic), forest.predict(clinic), check_exact=True)


def test_the_probability_is_left_to_out_of_fold_risks(clinic, forest):
    predicted = forest.predict(clinic)
    assert predicted["probability"].isna().all()
    assert (predicted["status"] == "ok").all()
    assert forest.title.startswith("Random survival forest on age, sex, pT")


def test_it_finds_what_was_planted(clinic, fit):
    high = clinic.patients["necrosis"].astype(bool)
    time = np.where(high, 5.0, 50.0) + np.arange(len(high)) / 100
    outcomes = clinic.outcomes.assign(time=time, status=np.where(np.arange(60) % 5, 1, 0))
    outcomes["label"] = outcomes["status"]
    risk = fit("rsf_clinical", replace(clinic, outcomes=outcomes)).predict(clinic)["risk"]
    assert (risk[high].to_numpy()[:, None] > risk[~high].to_numpy()).mean() > 0.85


def test_too_few_patients_no_events_no_outcomes(clinic, fit):
    with pytest.raises(ModelError, match="rsf_clinical: 29 usable training patients; expected at"):
        fit("rsf_clinical", clinic.take(clinic.patient_ids[:29]))
    nobody = replace(clinic, outcomes=clinic.outcomes.assign(status=0, label=0))
    with pytest.raises(ModelError, match="rsf_clinical: no events among 60"):
        fit("rsf_clinical", nobody)
    with pytest.raises(ModelError, match="rsf_clinical: the data hold no outcomes"):
        fit("rsf_clinical", replace(clinic, outcomes=None))
