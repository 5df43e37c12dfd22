from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.benchmark.locking import Locked, assign_inner_folds, lock, out_of_fold
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame
from crpnet_bench.models.logistic import fit_score_logistic


def _data(n: int) -> CohortData:
    ids = [f"p{i:02d}" for i in range(n)]
    label = np.arange(n) % 3 == 0
    outcomes = pd.DataFrame({"time": 1.0, "status": label.astype(int), "label": label.astype(int)})
    outcomes.index = pd.Index(ids)
    return CohortData(patients=pd.DataFrame(index=pd.Index(ids)), outcomes=outcomes)


@dataclass
class _RemembersWhomItSaw:
    """Risk 1 for patients it was fitted on, 0 for others: shows leakage at once."""

    name: str = "memory"
    title: str = "Memory"
    needs_bags: bool = False
    seen: list[set[str]] = field(default_factory=list)

    def fit(self, data, *, seed, progress):
        self.seen.append(set(data.patient_ids))
        return _Fitted(set(data.patient_ids))


@dataclass
class _Fitted:
    saw: set[str]

    def predict(self, data):
        ids = data.patient_ids
        risk = [float(patient in self.saw) for patient in ids]
        return prediction_frame(ids, risk, risk, {})


def test_out_of_fold_risks_come_from_models_that_did_not_see_the_patient():
    data = _data(23)
    folds = assign_inner_folds(data.outcomes["label"], 5, seed=1)
    predicted = out_of_fold(_RemembersWhomItSaw(), data, folds, seed=0)
    assert predicted.index.tolist() == data.patient_ids
    assert (predicted["risk"] == 0).all()
    assert sorted(predicted["inner_fold"].unique()) == [0, 1, 2, 3, 4]


@dataclass
class _CannotFit(_RemembersWhomItSaw):
    def fit(self, data, *, seed, progress):
        raise ModelError("no events")


def test_a_fold_that_cannot_be_fitted_is_missing_with_the_reason():
    data = _data(10)
    folds = assign_inner_folds(data.outcomes["label"], 2, seed=1)
    predicted = out_of_fold(_CannotFit(), data, folds, seed=0)
    assert (predicted["status"] == "missing").all()
    assert predicted["reason"].str.contains("no events").all()
    assert np.isnan(lock(predicted, data.outcomes["label"]).cutoff)


@given(st.integers(4, 60), st.integers(2, 5), st.integers(0, 1000))
def test_inner_folds_differ_by_at_most_one_patient_and_one_event(n, folds, seed):
    labels = pd.Series(np.arange(n) % 4 == 0, index=[f"p{i}" for i in range(n)]).astype(int)
    assigned = assign_inner_folds(labels, folds, seed)
    sizes = assigned.value_counts().reindex(range(folds), fill_value=0)
    events = assigned[labels == 1].value_counts().reindex(range(folds), fill_value=0)
    assert sizes.max() - sizes.min() <= 1
    assert events.max() - events.min() <= 1


def test_inner_folds_do_not_depend_on_the_order_of_rows():
    labels = pd.Series([0, 1] * 10, index=[f"p{i:02d}" for i in range(20)])
    shuffled = labels.sample(frac=1, random_state=3)
    first = assign_inner_folds(labels, 4, seed=5)
    assert assign_inner_folds(shuffled, 4, seed=5).loc[first.index].equals(first)


def test_lock_is_median_and_sample_deviation_of_those_with_a_risk():
    frame = prediction_frame(["a", "b", "c", "d"], [1, 2, 4, 9], [0.1] * 4, {"d": "no slide"})
    locked = lock(frame, pd.Series({"a": 0, "b": 1, "c": 0, "d": 1}))
    assert locked.cutoff == 2
    assert locked.link is None
    assert locked.risk_sd == pytest.approx(np.std([1, 2, 4], ddof=1))


def _without_probability(risks, labels):
    ids = [f"p{i}" for i in range(len(risks))]
    frame = prediction_frame(ids, risks, np.full(len(risks), np.nan), {})
    return frame, pd.Series(labels, index=ids)


def test_where_a_model_gives_no_probability_the_link_does():
    frame, labels = _without_probability([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0], [0, 0, 1, 0, 1, 1])
    locked = lock(frame, labels)
    expected = fit_score_logistic(frame["risk"], labels)
    assert locked.link == expected
    applied = locked.apply(frame)
    np.testing.assert_array_equal(applied["probability"], expected.probability(frame["risk"]))
    assert applied["predicted_class"].tolist() == (applied["probability"] >= 0.5).tolist()
    assert "6 training patients, 3 events" in locked.notes("m")[0]
    # A member's rows get neither link nor cut-off.
    members = Locked(float("nan"), float("nan")).apply(frame)
    assert members["probability"].isna().all()
    assert members["predicted_class"].isna().all()


def test_a_link_that_cannot_be_learned_says_why():
    frame, labels = _without_probability([1.0, 2.0, 3.0], [1, 1, 1])
    locked = lock(frame, labels)
    assert locked.link is None
    assert "3 events among 3" in locked.notes("m")[0]
    assert locked.apply(frame)["predicted_class"].isna().all()


def test_a_given_probability_is_kept_and_a_missing_patient_stays_missing():
    link = fit_score_logistic([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1])
    frame = prediction_frame(["a", "b"], [1, 2], [0.9, np.nan], {"b": "no slide"})
    applied = Locked(cutoff=0, risk_sd=1, link=link).apply(frame)
    assert applied["probability"].tolist()[0] == 0.9
    assert np.isnan(applied["probability"].iloc[1])


@pytest.mark.parametrize("with_link", [False, True])
def test_what_is_locked_reads_back(with_link):
    link = fit_score_logistic([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1]) if with_link else None
    locked = Locked(cutoff=1.5, risk_sd=0.25, link=link)
    assert Locked.from_json(json.loads(json.dumps(locked.as_json()))) == locked


def test_what_an_older_version_locked_reads_back():
    old = {"cutoff": 1.5, "risk_sd": None, "threshold": 0.5, "learned_on": "out-of-fold risks"}
    locked = Locked.from_json(old)
    assert (locked.cutoff, locked.threshold, locked.link) == (1.5, 0.5, None)
    assert np.isnan(locked.risk_sd)


def test_high_is_strictly_above_the_cutoff_and_positive_at_or_above_the_threshold():
    frame = prediction_frame(["a", "b", "c", "d"], [1, 2, 3, 9], [0.4, 0.5, 0.6, 1], {"d": "x"})
    applied = Locked(cutoff=2, risk_sd=1).apply(frame)
    assert applied["risk_group"].tolist() == ["low", "low", "high", pd.NA]
    assert applied["predicted_class"].tolist() == [0, 1, 1, pd.NA]
