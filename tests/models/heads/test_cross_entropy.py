"""Cross-entropy heads: recurrence at any time, or by a horizon."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.heads.cox import learn_cox
from crpnet_bench.models.heads.cross_entropy import (
    EverRecurrence,
    learn_ever,
    learn_observed,
    learn_weighted,
)
from crpnet_bench.models.heads.hazard import learn_hazard
from crpnet_bench.stats.survival_curve import kaplan_meier

HORIZON_10 = RunConfig.from_mapping({"model": {"horizon_months": 10}})


def test_the_articles_head_takes_every_patient_with_weight_one(followed):
    data = followed([1, 2, 30], [0, 1, 2])
    lesson = learn_ever(data, data.patient_ids, "m", RunConfig())
    assert lesson.targets.tolist() == [[0, 1], [1, 1], [0, 1]]
    assert (lesson.left_out, lesson.notes) == ({}, ())


def test_weights_by_hand(followed):
    # Censored at 4 with three at risk, for the event at 4 comes before: G is 2/3 from then on.
    data = followed([2, 4, 4, 6, 12], [1, 1, 0, 2, 0])
    lesson = learn_weighted(data, data.patient_ids, "m", HORIZON_10)
    g = 2 / 3
    expected = [[1, 1], [1, 1], [0, 0], [0, 1 / g], [0, 1 / g]]
    np.testing.assert_allclose(lesson.targets, expected, rtol=1e-6)
    assert lesson.patients == data.patient_ids
    assert lesson.left_out == {}
    assert "1 of 5 training patients" in lesson.notes[0]
    assert "largest weight 1.50" in lesson.notes[0]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), patients=st.integers(10, 80))
def test_weighted_share_of_events_is_the_kaplan_meier_estimate(seed, patients, followed):
    # Without competing deaths the weighted share of events by the horizon is 1 - KM exactly.
    generator = np.random.default_rng(seed)
    time = np.append(generator.integers(1, 20, size=patients), [1, 25]).astype(float)
    status = np.append(generator.integers(0, 2, size=patients), [1, 0])
    data = followed(time, status)
    label, weight = learn_weighted(data, data.patient_ids, "m", HORIZON_10).targets.double().T
    curve = kaplan_meier(time, status == 1)
    survival = float(curve.at(10.0).value)
    assert float((label * weight).sum()) / len(time) == pytest.approx(1 - survival, abs=1e-6)
    assert float(weight.sum()) == pytest.approx(len(time), rel=1e-6)


def test_those_censored_before_the_horizon_are_left_out_with_the_reason(followed):
    data = followed([2, 4, 4, 6, 12, 10], [1, 1, 0, 2, 0, 0])
    lesson = learn_observed(data, data.patient_ids, "m", HORIZON_10)
    assert lesson.patients == ["p0", "p1", "p3", "p4"]
    assert lesson.targets.tolist() == [[1, 1], [1, 1], [0, 1], [0, 1]]
    assert lesson.left_out == {
        "p2": "censored at 4 months, not followed beyond the horizon of 10 months",
        "p5": "censored at 10 months, not followed beyond the horizon of 10 months",
    }
    assert "biased" in lesson.notes[0]


@pytest.mark.parametrize("learn", [learn_weighted, learn_observed])
@pytest.mark.parametrize(
    ("time", "status", "message"),
    [
        ([1, 5, 8], [1, 0, 0], "follow-up of the training patients ends at 8 months"),
        ([11, 12, 13], [1, 0, 0], "0 patients with and 3 without an event by 10 months"),
        ([1, 2, 3], [1, 1, 1], "3 patients with and 0 without"),
        ([11, 12, 13], [0, 0, 0], "no event among 3"),
    ],
)
def test_a_horizon_that_cannot_be_learned_says_why(learn, time, status, message, followed):
    data = followed(time, status)
    with pytest.raises(ModelError, match=f"m: {message}"):
        learn(data, data.patient_ids, "m", HORIZON_10)


def test_loss_is_weighted_cross_entropy():
    generator = np.random.default_rng(0)
    outputs = generator.normal(size=(5, 3, 2))
    targets = np.column_stack([[0, 1, 1, 0, 1], [1.0, 2.0, 0.0, 0.5, 1.0]])
    log_share = outputs - np.log(np.exp(outputs).sum(axis=2, keepdims=True))
    own = log_share[np.arange(5), :, targets[:, 0].astype(int)]
    found = EverRecurrence().loss(torch.from_numpy(outputs), torch.from_numpy(targets))
    np.testing.assert_allclose(found, -(targets[:, 1:] * own).sum(axis=0), rtol=1e-12)


def test_training_by_a_horizon_begins_at_the_weighted_share_of_events(followed):
    data = followed([2, 4, 4, 6, 12], [1, 1, 0, 2, 0])
    nothing_learned = np.zeros((1, 2, 2), np.float32)
    weighted = learn_weighted(data, data.patient_ids, "m", HORIZON_10).head
    np.testing.assert_allclose(weighted.risk(nothing_learned), np.log(2 / 3))
    observed = learn_observed(data, data.patient_ids, "m", HORIZON_10).head
    np.testing.assert_allclose(observed.risk(nothing_learned), 0, atol=1e-12)
    # The loss counts from there too: its gradient vanishes for the average patient.
    lesson = learn_weighted(data, data.patient_ids, "m", HORIZON_10)
    outputs = torch.zeros((1, 1, 2), requires_grad=True)
    lesson.head.loss(outputs.expand(5, 1, 2), lesson.targets).sum().backward()
    np.testing.assert_allclose(outputs.grad, 0, atol=1e-6)


BALANCED = RunConfig.from_mapping(
    {"train": {"class_weights": "balanced"}, "model": {"horizon_months": 10}}
)


@pytest.mark.parametrize("learn", [learn_ever, learn_weighted, learn_observed])
def test_balanced_classes_have_equal_weight_and_the_same_sum(learn, followed):
    data = followed([2, 4, 4, 6, 12, 13], [1, 1, 0, 2, 0, 0])
    _, plain = learn(data, data.patient_ids, "m", HORIZON_10).targets.double().T
    lesson = learn(data, data.patient_ids, "m", BALANCED)
    label, weight = lesson.targets.double().T
    assert float((weight * label).sum()) == pytest.approx(float(weight.sum()) / 2, rel=1e-6)
    assert float(weight.sum()) == pytest.approx(float(plain.sum()), rel=1e-6)
    assert "classes weighted equally" in lesson.notes[-1]


@pytest.mark.parametrize("learn", [learn_cox, learn_hazard])
def test_where_there_are_no_classes_their_weights_are_ignored_aloud(learn, followed):
    data = followed([2, 4, 4, 6, 12], [1, 1, 0, 2, 0])
    plain = learn(data, data.patient_ids, "m", RunConfig())
    lesson = learn(data, data.patient_ids, "m", BALANCED)
    assert torch.equal(lesson.targets, plain.targets)
    assert "ignored" in lesson.notes[-1]
    assert "ignored" not in " ".join(plain.notes)
