"""The discrete-time hazard head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.config import RunConfig
from crpnet_bench.models.heads.hazard import (
    HazardHead,
    interval_ends,
    intervals_survived,
    learn_hazard,
)


def config(bins):
    return RunConfig.from_mapping({"model": {"hazard_bins": bins}})


def test_intervals_end_at_quantiles_of_the_training_event_times_alone(followed):
    event_times = np.arange(1.0, 13.0)
    # Follow-up of those without an event, short or long, changes nothing.
    for others in ([0.0, 0.5, 1.0], [200.0, 300.0, 400.0]):
        time = np.concatenate([event_times, others])
        data = followed(time, [1] * 12 + [0, 2, 0])
        head = learn_hazard(data, data.patient_ids, "m", config(4)).head
        assert head.ends == (3.0, 6.0, 9.0, 12.0)
        assert head.outputs == 4


def test_tied_event_times_give_fewer_intervals_and_a_note(followed):
    data = followed([5, 5, 5, 9], [1, 1, 1, 1])
    lesson = learn_hazard(data, data.patient_ids, "m", config(4))
    assert lesson.head.ends == (5.0, 9.0)
    assert lesson.notes == (
        "hazard intervals end at 5, 9 months, 4 were asked for but event times are tied or few",
    )


def test_the_last_half_of_an_interval_counts_as_survived_by_the_censored():
    ends = np.array([10.0, 20.0])
    time = np.array([4.9, 5.0, 10.0, 14.9, 15.0, 20.0, 99.0])
    censored = intervals_survived(time, np.zeros(7, np.bool_), ends)
    assert censored.tolist() == [0, 1, 1, 1, 2, 2, 2]
    events = intervals_survived(np.array([0.0, 10.0, 10.1, 20.0]), np.ones(4, np.bool_), ends)
    assert events.tolist() == [0, 0, 1, 1]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), bins=st.integers(1, 6), patients=st.integers(1, 30))
def test_loss_is_minus_the_log_likelihood_in_any_order_of_patients(seed, bins, patients):
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(patients, 2, bins)) * 3
    event = generator.random(patients) < 0.5
    survived = generator.integers(0, np.where(event, bins, bins + 1))
    hazard = 1 / (1 + np.exp(-outputs))
    expected = np.zeros(2)
    for i in range(patients):
        for k in range(survived[i]):
            expected -= np.log1p(-hazard[i, :, k])
        if event[i]:
            expected -= np.log(hazard[i, :, survived[i]])
    head = HazardHead(tuple(range(1, bins + 1)), (0.0,) * bins)

    def loss(order):
        targets = torch.from_numpy(np.column_stack([survived, event]).astype(np.int64)[order])
        return head.loss(torch.from_numpy(outputs[order]), targets).numpy()

    np.testing.assert_allclose(loss(np.arange(patients)), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(loss(generator.permutation(patients)), expected, rtol=1e-9)


def test_constant_hazards_of_largest_likelihood_are_events_over_patients_who_reached(followed):
    # Without a network: the maximum of the loss is the life table.
    data = followed([1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 0, 1, 1, 1, 0, 1])
    lesson = learn_hazard(data, data.patient_ids, "m", config(2))
    outputs = torch.zeros((1, 1, 2), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([outputs], max_iter=50, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        value = lesson.head.loss(outputs.expand(8, 1, 2), lesson.targets).sum()
        value.backward()
        return value

    optimizer.step(closure)
    assert lesson.head.ends == (4.0, 8.0)
    # Three events by 4 among eight, three by 8 among four: the one censored at 3 survived the
    # first interval (past its middle, 2), the one at 7 the second (past 6).
    found = outputs.detach() + torch.tensor(lesson.head.base)
    np.testing.assert_allclose(torch.sigmoid(found)[0, 0], [3 / 8, 3 / 4], atol=1e-4)


def test_training_begins_at_the_life_table(followed):
    data = followed([1, 2, 3, 4, 5, 6, 7, 8], [1, 1, 0, 1, 1, 1, 0, 1])
    head = learn_hazard(data, data.patient_ids, "m", config(2)).head
    np.testing.assert_allclose(head.base, np.log([3.5 / 5.5, 3.5 / 1.5]))
    untrained = head.risk(np.zeros((1, 1, 2), np.float32))
    survival = np.array([5.5 / 9, 5.5 / 9 * 1.5 / 5])
    np.testing.assert_allclose(untrained, np.log(-np.log(survival).sum()))


def test_risk_is_the_log_of_the_cumulative_hazard_of_the_mean_curve():
    outputs = np.array([[[0.0, 0.0], [1.0, -2.0]], [[2.0, 0.0], [0.0, 3.0]]], np.float32)
    head = HazardHead((1.0, 2.0), (0.5, -0.5))
    hazard = 1 / (1 + np.exp(-(outputs + np.array([0.5, -0.5]))))
    survival = np.cumprod(1 - hazard, axis=2)
    of_members = np.log(-np.log(survival).sum(axis=2))
    np.testing.assert_allclose(head.member_risks(outputs), of_members, rtol=1e-12)
    of_mean = np.log(-np.log(survival.mean(axis=1)).sum(axis=1))
    np.testing.assert_allclose(head.risk(outputs), of_mean, rtol=1e-12)
    centred = head.centred(outputs)
    np.testing.assert_allclose(centred.reference, of_members.mean(axis=0))
    np.testing.assert_allclose(centred.tile_logits(outputs).mean(axis=0), 0, atol=1e-12)
    assert np.isnan(head.member_probabilities(outputs)).all()


def test_where_hazards_are_proportional_the_risk_is_the_log_hazard_ratio():
    base = np.array([0.1, 0.3, 0.2])  # cumulative hazard gained in each interval
    ratio = np.exp(np.array([-1.0, 0.0, 2.0]))
    hazard = 1 - np.exp(-ratio[:, None] * base)
    outputs = np.log(hazard / (1 - hazard))[:, None, :]
    risk = HazardHead((1.0, 2.0, 3.0), (0.0, 0.0, 0.0)).risk(outputs)
    np.testing.assert_allclose(risk - risk[1], [-1, 0, 2], rtol=1e-9)


def test_certain_survival_and_certain_death_still_have_a_risk():
    outputs = np.array([[[-200.0]], [[-40.0]], [[40.0]], [[1000.0]]])
    risk = HazardHead((1.0,), (0.0,)).risk(outputs)
    assert np.isfinite(risk).all()
    assert (np.diff(risk) > 0).all()


@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 8))
def test_every_interval_holds_an_event_and_the_last_event_ends_them(times, bins):
    event_time = np.array(times, dtype=float)
    ends = interval_ends(event_time, bins)
    survived = intervals_survived(event_time, np.ones(len(times), np.bool_), ends)
    assert sorted(set(survived)) == list(range(len(ends)))
    assert len(ends) <= bins
    assert ends[-1] == event_time.max()


@pytest.mark.parametrize("status", [0, 2])
def test_competing_deaths_are_censored(followed, status):
    data = followed([3, 4, 8], [1, status, 1])
    targets = learn_hazard(data, data.patient_ids, "m", config(2)).targets
    assert targets.tolist() == [[0, 1], [1, 0], [1, 1]]
