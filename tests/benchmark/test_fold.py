"""A fold of a network: what is locked, what is logged."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.fold import Fold, fit_fold, read_locked
from crpnet_bench.benchmark.line_up import load_model
from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress
from crpnet_bench.synthetic.sim_bags import simulate_bags


@pytest.fixture(scope="module")
def data() -> CohortData:
    simulated = simulate_bags(2, 40, 20, dim=16, median_tiles=8)
    ids = pd.Index(simulated.patient_ids)
    outcomes = pd.DataFrame(
        {"time": simulated.time, "status": simulated.status, "label": simulated.label}, index=ids
    )
    bags = {
        patient: Bag(
            features,
            np.zeros(len(features), np.int32),
            np.zeros((len(features), 2), np.int64),
            ("slide",),
        )
        for patient, features in zip(ids, simulated.features, strict=True)
    }
    return CohortData(patients=pd.DataFrame(index=ids), bags=bags, outcomes=outcomes)


@pytest.fixture(scope="module")
def fold(data) -> Fold:
    roles = ["train"] * 40 + ["validation"] * 20
    return Fold(0, 0, pd.Series(roles, index=data.patients.index))


def fit(name, data, fold, folder, **train):
    config = RunConfig.from_mapping({"train": {"iterations": 5, "inits": 2, "threads": 1} | train})
    model = build_model(name, config)
    return fit_fold(model, data, fold, folder, seed=1, inner_folds=2, progress=SilentProgress())


@pytest.mark.parametrize("name", ["crpnet-cox", "crpnet-hazard"])
def test_a_head_without_probability_is_given_one_by_the_locked_link(name, data, fold, tmp_path):
    result = fit(name, data, fold, tmp_path / "fold")
    assert result.failure is None
    link = read_locked(tmp_path / "fold").link
    rows = result.predictions
    averaged = rows[rows["member"].isna()]
    expected = link.probability(averaged["risk"].astype(float))
    np.testing.assert_allclose(averaged["probability"].astype(float), expected, rtol=1e-12)
    assert (averaged["predicted_class"] == (expected >= 0.5)).all()
    members = rows[rows["member"].notna()]
    assert members["probability"].isna().all()
    assert members["risk"].notna().all()
    # Learned on out-of-fold risks of the training patients, on nothing else.
    own = averaged[(averaged["role"] == "train") & ~averaged["in_sample"].astype(bool)]
    assert (link.n, link.events) == (40, int(data.outcomes["label"].iloc[:40].sum()))
    assert len(own) == 40
    assert any("probability and class by a logistic regression" in note for note in result.notes)


def test_the_articles_head_keeps_its_own_probability(data, fold, tmp_path):
    result = fit("crpnet", data, fold, tmp_path / "fold")
    assert read_locked(tmp_path / "fold").link is None
    fitted = load_model(tmp_path / "fold" / "model")
    rows = result.predictions
    rows = rows[rows["member"].isna() & (rows["role"] == "validation")].set_index("patient_id")
    expected = fitted.predict(data.take(rows.index))["probability"]
    np.testing.assert_array_equal(rows["probability"].astype(float), expected)
    assert result.notes == ()


def test_what_an_older_version_locked_is_read(data, fold, tmp_path):
    fit("meanpool", data, fold, tmp_path / "fold")
    path = tmp_path / "fold" / "locked.json"
    values = json.loads(path.read_text())
    locked = read_locked(tmp_path / "fold")
    path.write_text(json.dumps({k: values[k] for k in ("cutoff", "risk_sd", "threshold")}))
    assert read_locked(tmp_path / "fold") == locked


def test_a_fold_has_one_log_however_often_it_is_computed(data, fold, tmp_path):
    logs = []
    for _ in range(2):
        fit("meanpool", data, fold, tmp_path / "fold")
        (path,) = (tmp_path / "fold" / "log").iterdir()
        logs.append(path.read_bytes())
    assert logs[0] == logs[1]
    fit("meanpool", data, fold, tmp_path / "fold", log=False)
    assert not (tmp_path / "fold" / "log").exists()
