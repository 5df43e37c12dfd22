"""The Cox head: Efron's partial likelihood, batch by batch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import CoxPHFitter

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.heads.cox import CoxHead, learn_cox, partial_likelihood_loss
from crpnet_bench.stats.partial_likelihood import PartialLikelihood


def loss(linear, time, event):
    """The head's loss of each member, linear predictors of shape (patients, members)."""
    targets = torch.from_numpy(np.column_stack([time, event]).astype(np.float64))
    return CoxHead().loss(torch.as_tensor(linear)[..., None], targets).numpy()


def log_likelihood(linear, time, event):
    """By the statistics' own partial likelihood, that of one covariate with coefficient 1."""
    efron = PartialLikelihood(
        time, event, linear[:, None], np.zeros(len(time), np.int64), efron=True
    )
    return efron.derivatives(np.ones(1)).log_likelihood


@st.composite
def tied_follow_up(draw):
    n = draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    time = generator.integers(0, draw(st.integers(1, 30)), size=n).astype(float)
    event = generator.random(n) < draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    linear = generator.normal(size=(n, 3)) * draw(st.sampled_from([0.1, 1.0, 30.0]))
    return linear, time, event, generator


@settings(deadline=None, max_examples=60)
@given(tied_follow_up())
def test_loss_is_minus_the_partial_likelihood_in_any_order_of_patients(drawn):
    linear, time, event, generator = drawn
    found = loss(linear, time, event)
    expected = [-log_likelihood(member, time, event) for member in linear.T]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    order = generator.permutation(len(time))
    np.testing.assert_allclose(loss(linear[order], time[order], event[order]), found, rtol=1e-9)


def test_loss_is_that_of_lifelines_with_ties():
    generator = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "x": generator.normal(size=80),
            "time": generator.integers(1, 12, size=80).astype(float),
            "event": generator.random(80) < 0.6,
        }
    )
    fitted = CoxPHFitter().fit(frame, "time", "event")  # Efron's ties
    linear = (frame["x"] * fitted.params_["x"]).to_numpy()
    found = loss(linear[:, None], frame["time"], frame["event"])
    np.testing.assert_allclose(found, -fitted.log_likelihood_, rtol=1e-9)


def test_gradient_is_that_of_finite_differences():
    generator = np.random.default_rng(5)
    time = torch.from_numpy(generator.integers(1, 6, size=15).astype(float))
    event = torch.from_numpy(generator.random(15) < 0.6)
    linear = torch.from_numpy(generator.normal(size=(15, 2))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: partial_likelihood_loss(x, time, event), (linear,))


def test_a_batch_without_events_has_no_loss_and_no_gradient():
    outputs = torch.randn((6, 2, 1), generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.tensor([[float(i), 0.0] for i in range(6)])
    found = CoxHead().loss(outputs, targets)
    found.sum().backward()
    assert found.tolist() == [0, 0]
    assert not outputs.grad.any()


def test_risk_is_relative_to_the_training_bags_and_the_mean_over_members():
    outputs = np.array([[[1.0], [10.0]], [[3.0], [14.0]]], dtype=np.float32)
    head = CoxHead().centred(outputs)
    assert head.reference == (2.0, 12.0)
    np.testing.assert_allclose(head.member_risks(outputs), [[-1, -2], [1, 2]])
    np.testing.assert_allclose(head.risk(outputs), [-1.5, 1.5])
    np.testing.assert_allclose(head.tile_logits(outputs), head.member_risks(outputs))
    assert np.isnan(head.member_probabilities(outputs)).all()


def test_competing_deaths_are_censored_and_times_nearly_equal_are_tied(followed):
    data = followed([0.1 * 3, 0.3, 5, 7], [1, 1, 2, 0])
    targets = learn_cox(data, data.patient_ids, "m", RunConfig()).targets
    assert targets[:, 1].tolist() == [1, 1, 0, 0]
    assert targets[0, 0] == targets[1, 0]


@pytest.mark.parametrize(
    ("time", "status", "message"),
    [
        ([1, 2, 3], [0, 2, 0], "no event among 3"),
        ([1, np.nan, 3], [0, 1, 0], "1 of 3 values are missing"),
        ([1, -2, 3], [0, 1, 0], "-2"),
        ([1, 2, 3], [0, 1, 5], "5"),
    ],
)
def test_outcomes_that_cannot_be_used_are_an_error(followed, time, status, message):
    data = followed(time, status)
    with pytest.raises(ModelError, match=f"m: .*{message}"):
        learn_cox(data, data.patient_ids, "m", RunConfig())
