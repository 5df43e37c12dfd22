from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats import confusion, proportion_interval

RATES = ("accuracy", "precision", "recall", "fpr", "fnr", "specificity", "npv", "f1", "mcc")


def from_counts(tp, fp, tn, fn, **options):
    label = np.repeat([1, 0, 0, 1], [tp, fp, tn, fn])
    predicted = np.repeat([1, 1, 0, 0], [tp, fp, tn, fn])
    return confusion(label, predicted, **options)


def keys(witness, what):
    return [key for data, name, key in witness.values if (data, name) == ("none", what)]


@pytest.mark.parametrize(
    ("method", "what"), [("wilson", "prop.test"), ("clopper_pearson", "binom.test")]
)
def test_intervals_of_proportions_equal_r(r_roc, method, what):
    assert len(keys(r_roc, what)) >= 24
    for key in keys(r_roc, what):
        x, n, level = (float(part) for part in key.split())
        ours = proportion_interval(x, n, method, level)
        np.testing.assert_allclose(
            [ours.ci_low, ours.ci_high], r_roc("none", what, key), rtol=1e-10, atol=1e-14
        )


@pytest.mark.parametrize(
    ("tp", "fp", "tn", "fn", "told"),
    [  # Counts and printed percentages of four models in one paper's validation table
        (12, 2, 54, 7, {"accuracy": 88.00, "precision": 85.71, "recall": 63.16, "fpr": 3.57}),
        (10, 4, 52, 9, {"accuracy": 82.67, "precision": 71.43, "recall": 52.63, "fpr": 7.14}),
        (9, 3, 53, 10, {"accuracy": 82.67, "precision": 75.00, "recall": 47.37, "fpr": 5.36}),
        (0, 0, 56, 19, {"accuracy": 74.67, "recall": 0.0, "fpr": 0.0, "fnr": 100.0}),
    ],
)
def test_published_rates(tp, fp, tn, fn, told):
    ours = from_counts(tp, fp, tn, fn)
    assert (ours.tp, ours.fp, ours.tn, ours.fn, ours.n) == (tp, fp, tn, fn, 75)
    for name, percent in told.items():
        assert round(100 * getattr(ours, name).value, 2) == percent


def test_matthews_equals_numerical_delta_method_in_r(r_roc):
    for key in keys(r_roc, "matthews"):
        ours = from_counts(*(int(part) for part in key.split())).mcc
        np.testing.assert_allclose(
            [ours.value, ours.se], r_roc("none", "matthews", key), rtol=1e-7, atol=1e-12
        )
        assert ours.ci_low < ours.value < ours.ci_high


def test_f1_equals_numerical_delta_method_in_r(r_roc):
    for key in keys(r_roc, "f1"):
        ours = from_counts(*(int(part) for part in key.split())).f1
        np.testing.assert_allclose([ours.value, ours.se], r_roc("none", "f1", key), rtol=1e-7)


def coverage(name, shares, n=150, repeats=1500):
    random = np.random.default_rng(3)
    tp, fp, tn, fn = shares
    truth = {
        "f1": 2 * tp / (2 * tp + fp + fn),
        "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fn) * (fp + tn) * (tp + fp) * (tn + fn)),
    }[name]
    inside = []
    for counts in random.multinomial(n, shares, size=repeats):
        ours = getattr(from_counts(*counts), name)
        if ours.ci_low is not None:
            inside.append(ours.ci_low <= truth <= ours.ci_high)
    return np.mean(inside)


@pytest.mark.parametrize("name", ["f1", "mcc"])
@pytest.mark.parametrize("shares", [(0.16, 0.03, 0.71, 0.10), (0.3, 0.15, 0.4, 0.15)])
def test_intervals_of_f1_and_matthews_cover(name, shares):
    assert 0.93 < coverage(name, shares) < 0.975


@pytest.mark.parametrize(
    ("counts", "undefined"),
    [
        ((0, 0, 56, 19), {"precision": "nobody is predicted positive"}),
        ((5, 3, 0, 0), {"npv": "nobody is predicted negative"}),
        ((0, 3, 5, 0), {"recall": "nobody is positive", "fnr": "nobody is positive"}),
        ((4, 0, 0, 2), {"fpr": "nobody is negative", "specificity": "nobody is negative"}),
        ((0, 0, 9, 0), {"f1": "nobody is positive or predicted positive"}),
        ((0, 0, 9, 0), {"mcc": "nobody is positive"}),
        ((0, 0, 0, 0), dict.fromkeys(RATES[:1], "no patients")),
    ],
)
def test_undefined_rates_have_a_reason_and_no_value(counts, undefined):
    ours = from_counts(*counts)
    for name, reason in undefined.items():
        rate = getattr(ours, name)
        assert (rate.value, rate.ci_low, rate.ci_high, rate.reason) == (None, None, None, reason)


def test_perfect_matthews_has_no_interval():
    ours = from_counts(4, 0, 5, 0).mcc
    assert (ours.value, ours.ci_low) == (1.0, None)
    assert ours.reason == "all predictions are right, interval not estimable"
    assert "wrong" in from_counts(0, 4, 0, 5).mcc.reason


def test_clopper_pearson_on_request():
    ours = from_counts(12, 2, 54, 7, interval="clopper_pearson")
    assert ours.recall.method == "Clopper-Pearson exact"
    assert ours.recall.ci_low < from_counts(12, 2, 54, 7).recall.ci_low


def test_non_integer_successes_give_the_paper_interval():
    ours = proportion_interval(0.836 * 75, 75, "clopper_pearson")
    assert ours.ci_low < 0.836 < ours.ci_high


def test_input_is_checked():
    with pytest.raises(InputError, match="expected 0 <= successes <= n"):
        proportion_interval(8, 7)
    with pytest.raises(InputError, match="did you mean 'wilson'"):
        proportion_interval(1, 7, "wilsom")
    with pytest.raises(InputError, match="predicted: found 0.7"):
        confusion([0, 1], [0.7, 0.2])
    with pytest.raises(InputError, match="lengths differ"):
        confusion([0, 1], [0])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_rates_agree_with_each_other(rows):
    label = [bool(row[0]) for row in rows]
    predicted = [bool(row[1]) for row in rows]
    ours = confusion(label, predicted)
    assert ours.n == len(rows)
    for name in RATES:
        rate = getattr(ours, name)
        if rate.value is None:
            assert rate.reason
        elif rate.ci_low is not None:
            low = -1 if name == "mcc" else 0
            assert low <= rate.ci_low <= rate.value + 1e-12
            assert rate.value - 1e-12 <= rate.ci_high <= 1
    if ours.recall.value is not None:
        assert ours.recall.value + ours.fnr.value == pytest.approx(1)
    if ours.fpr.value is not None:
        assert ours.fpr.value + ours.specificity.value == pytest.approx(1)
