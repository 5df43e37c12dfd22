from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats import compare_auc, roc_auc, roc_curve


@pytest.mark.parametrize("score", ["a", "b"])
def test_area_and_delong_equal_proc(data, r_roc, score):
    name, d = data
    ours = roc_auc(d.event, d[score])
    r = r_roc(name, "auc", score)
    np.testing.assert_allclose([ours.value, ours.se, ours.ci_low, ours.ci_high], r, rtol=1e-12)
    assert ours.n_positive == d.event.sum()


def test_paired_test_equals_proc(data, r_roc):
    name, d = data
    ours = compare_auc(d.event, d.a, d.b)
    found = [ours.difference, ours.ci_low, ours.ci_high, ours.z, ours.p_value]
    np.testing.assert_allclose(found, r_roc(name, "roc.test", "a-b"), rtol=1e-11)


@pytest.mark.parametrize("score", ["a", "b"])
def test_curve_equals_proc(data, r_roc, score):
    name, d = data
    curve = roc_curve(d.event, d[score])
    np.testing.assert_allclose(curve.true_positive_rate, r_roc(name, "sensitivities", score))
    np.testing.assert_allclose(
        1 - curve.false_positive_rate, r_roc(name, "specificities", score), atol=1e-14
    )
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert curve.auc == pytest.approx(area)
    assert curve.threshold[0] == np.inf


def test_within_folds_equals_r_strata(data, r_roc):
    name, d = data
    ours = roc_auc(d.event, d.a, fold=d.stratum)
    np.testing.assert_allclose(
        [ours.value, ours.se], r_roc(name, "concordance fold", "a"), rtol=1e-11
    )
    other = compare_auc(d.event, d.a, d.b, fold=d.stratum)
    assert other.difference == pytest.approx(
        ours.value - roc_auc(d.event, d.b, fold=d.stratum).value
    )


def test_large_data_gives_the_same_area():
    random = np.random.default_rng(0)
    label, score = random.random(3000) < 0.2, random.normal(size=3000).round(2)
    ours = roc_auc(label, score)
    higher = score[label][:, None] > score[~label]
    equal = score[label][:, None] == score[~label]
    kernel = higher + equal / 2
    assert ours.value == pytest.approx(kernel.mean(), rel=1e-13)
    positives, negatives = kernel.mean(axis=1), kernel.mean(axis=0)
    variance = positives.var(ddof=1) / positives.size + negatives.var(ddof=1) / negatives.size
    assert ours.se == pytest.approx(np.sqrt(variance), rel=1e-11)


def test_exact_binomial_is_the_interval_that_papers_print():
    # Nineteen of 75 positive and AUC * 75 successes of 75.
    random = np.random.default_rng(1)
    label = np.arange(75) < 19
    ours = roc_auc(label, label + random.normal(size=75), ci="exact_binomial")
    assert ours.method == "exact binomial, AUC * n of n"
    assert "too narrow" in ours.warning
    delong = roc_auc(label, label + random.normal(size=75))
    assert ours.ci_high - ours.ci_low < 1.2 * (delong.ci_high - delong.ci_low)
    perfect = roc_auc(label, label, ci="exact_binomial")
    assert (perfect.ci_low, perfect.ci_high) == (pytest.approx(0.025 ** (1 / 75)), 1.0)


def test_bootstrap_is_near_delong_and_repeats_with_its_seed(large_data):
    _, d = large_data
    boot = roc_auc(d.event, d.b, ci="bootstrap", resamples=4000, seed=1)
    delong = roc_auc(d.event, d.b)
    assert boot.value == delong.value
    assert boot.se == pytest.approx(delong.se, rel=0.1)
    assert boot.ci_low == pytest.approx(delong.ci_low, abs=0.03)
    assert boot == roc_auc(d.event, d.b, ci="bootstrap", resamples=4000, seed=1)
    assert boot != roc_auc(d.event, d.b, ci="bootstrap", resamples=4000, seed=2)


def test_bootstrap_within_folds_resamples_patients(data):
    _, d = data
    boot = roc_auc(d.event, d.a, ci="bootstrap", fold=d.stratum, resamples=500)
    jackknife = roc_auc(d.event, d.a, fold=d.stratum)
    assert boot.se == pytest.approx(jackknife.se, rel=0.25)
    assert "pairs within a fold, bootstrap of patients" in boot.method


def test_repeated_rows_of_a_patient_do_not_narrow_the_interval(data):
    _, d = data
    twice = np.tile(np.arange(len(d)), 2)
    repeat = np.repeat([0, 1], len(d))
    repeated = roc_auc(d.event.to_numpy()[twice], d.a.to_numpy()[twice], fold=repeat, cluster=twice)
    single = roc_auc(d.event, d.a, fold=np.zeros(len(d)))
    assert repeated.value == pytest.approx(single.value)
    assert repeated.se == pytest.approx(single.se)


labelled = st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2, max_size=40)


@settings(max_examples=80, deadline=None)
@given(labelled)
def test_area_of_the_score_and_of_its_negative_sum_to_one(rows):
    label, score = zip(*rows, strict=True)
    score = np.array(score)
    up, down = roc_auc(label, score), roc_auc(label, -score)
    if up.value is None:
        assert up.reason == down.reason
        return
    assert up.value + down.value == pytest.approx(1)
    assert roc_auc(label, np.arctan(score)).value == up.value
    assert (up.se is None) == (down.se is None)
    if up.ci_low is not None:
        assert 0 <= up.ci_low <= up.value <= up.ci_high <= 1
    else:
        assert up.reason


@pytest.mark.parametrize("ci", ["delong", "bootstrap"])
def test_perfect_area_has_a_bound_and_no_interval(ci):
    label = [1] * 8 + [0] * 22
    ours = roc_auc(label, np.array(label) + 0.0, ci)
    assert (ours.value, ours.se, ours.ci_low, ours.ci_high) == (1.0, None, None, None)
    assert ours.small_sample_bound == pytest.approx(0.025 ** (1 / 8))
    assert "the AUC is at least 0.631 (8 independent pairs" in ours.reason
    assert ours.warning == "only 8 positives, fewer than 10"
    assert roc_auc(label, -np.array(label), ci).small_sample_bound == pytest.approx(0.369, abs=1e-3)


@pytest.mark.parametrize(
    ("label", "score", "reason"),
    [
        ([], [], "no patients"),
        ([0, 0], [1, 2], "no positives"),
        ([1, 1], [1, 2], "no negatives"),
    ],
)
def test_one_class_is_a_named_result(label, score, reason):
    assert roc_auc(label, score).reason == reason
    assert roc_auc(label, score, ci="exact_binomial").value is None
    assert compare_auc(label, score, score).reason == reason
    curve = roc_curve(label, score)
    assert (curve.auc, curve.reason, curve.threshold.size) == (None, reason, 0)


def test_other_named_results():
    assert roc_auc([1, 0], [1, 2], fold=[0, 1]).reason == "no fold has both classes"
    single = roc_auc([1, 0, 0, 0], [2, 1, 3, 2])
    assert single.reason == "only one positive, interval not estimable"
    constant = roc_auc([1, 1, 0, 0], [1, 1, 1, 1])
    assert (constant.value, constant.ci_low) == (0.5, None)
    assert "no variance" in constant.reason
    same = compare_auc([1, 1, 0, 0], [1, 3, 2, 0], [2, 6, 4, 0])
    assert (same.difference, same.p_value) == (0.0, None)
    assert "alike" in same.reason
    perfect = compare_auc([1, 1, 0, 0], [3, 4, 1, 2], [1, 3, 2, 0])
    assert "the AUC of a is exactly 0 or 1" in perfect.warning


def test_options_and_lengths_are_checked():
    with pytest.raises(InputError, match="did you mean 'delong'"):
        roc_auc([0, 1], [1, 2], ci="DeLong")
    with pytest.raises(InputError, match="label: found 2.0; expected 0 or 1"):
        roc_auc([1, 2], [1, 2])
    with pytest.raises(InputError, match="lengths differ: label 2, score 3"):
        roc_auc([0, 1], [1, 2, 3])
    with pytest.raises(InputError, match="resamples"):
        roc_auc([0, 1], [1, 2], ci="bootstrap", resamples=0)


def test_folds_are_unbiased_under_the_null_while_pooling_is_not():
    random = np.random.default_rng(7)
    within, pooled = [], []
    for _ in range(300):
        label, fold = random.random(100) < 0.3, random.permutation(np.arange(100) % 5)
        learned = np.array([label[fold != f].mean() for f in range(5)])
        score = learned[fold] + random.normal(scale=1e-3, size=100)
        within.append(roc_auc(label, score, fold=fold).value)
        pooled.append(roc_auc(label, score).value)
    standard_error = np.std(within, ddof=1) / np.sqrt(300)
    assert abs(np.mean(within) - 0.5) < 3 * standard_error
    assert np.mean(pooled) < 0.47
