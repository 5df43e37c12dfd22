"""Logistic regression of a label on one score, against R."""

from __future__ import annotations

import numpy as np
import pytest

from crpnet_bench.errors import ModelError
from crpnet_bench.models.logistic import fit_score_logistic, link_with_notes


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


@pytest.mark.parametrize(
    ("score", "label"),
    [([0, 0, 1, 0, 0, 0], [0, 1, 1, 1, 0, 1]), ([0, 0, 0, 0, 0, 1, 0], [1, 0, 1, 1, 1, 0, 0])],
)
def test_firth_of_two_groups_adds_half_a_patient_to_each_cell(score, label):
    """The steps of these overshoot; the answer is known in closed form."""
    found = fit_score_logistic(score, label)
    assert found.method == "Firth"
    for value in (0, 1):
        own = [y for x, y in zip(score, label, strict=True) if x == value]
        expected = (sum(own) + 0.5) / (len(own) + 1)
        assert found.probability([value])[0] == pytest.approx(expected, abs=1e-10)


def test_small_scores_of_few_values_always_have_a_link():
    generator = np.random.default_rng(0)
    for _ in range(500):
        size = int(generator.integers(6, 30))
        score = generator.choice([0, 0, 0, 1, 2, 3], size) * generator.choice([1, 0.37, 10])
        label = generator.integers(0, 2, size)
        if 0 < label.sum() < size:
            fit_score_logistic(score, label)


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


def test_a_link_says_what_is_special_about_it():
    assert link_with_notes([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 0, 1])[1] == ()
    assert "Firth" in link_with_notes([0, 0, 1, 1], [0, 0, 1, 1])[1][0]
    assert "the same risk" in link_with_notes([2, 2, 2], [0, 0, 1])[1][0]
