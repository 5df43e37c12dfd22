from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.benchmark.locking import Locked, assign_inner_folds, lock, out_of_fold
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame


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
    assert np.isnan(lock(predicted).cutoff)


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
    locked = lock(frame)
    assert locked.cutoff == 2
    assert locked.risk_sd == pytest.approx(np.std([1, 2, 4], ddof=1))


def test_high_is_strictly_above_the_cutoff_and_positive_at_or_above_the_threshold():
    frame = prediction_frame(["a", "b", "c", "d"], [1, 2, 3, 9], [0.4, 0.5, 0.6, 1], {"d": "x"})
    applied = Locked(cutoff=2, risk_sd=1).apply(frame)
    assert applied["risk_group"].tolist() == ["low", "low", "high", pd.NA]
    assert applied["predicted_class"].tolist() == [0, 1, 1, pd.NA]
