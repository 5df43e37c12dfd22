from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats import compare_concordance, concordance_index
from crpnet_bench.stats.pair_tree import count_pairs
from crpnet_bench.stats.pairs import disjoint_pairs, pair_counts


def check(ours, r):
    np.testing.assert_allclose([ours.value, ours.se], r[:2], rtol=1e-11)
    np.testing.assert_allclose(
        [ours.concordant, ours.discordant, ours.tied_risk], r[2:], rtol=1e-11
    )
    assert ours.comparable == pytest.approx(r[2:].sum())


@pytest.mark.parametrize("score", ["a", "b"])
@pytest.mark.parametrize(
    ("what", "method", "limited"),
    [
        ("concordance", "harrell", False),
        ("concordance tau", "harrell", True),
        ("concordance uno", "uno", False),
        ("concordance uno tau", "uno", True),
    ],
)
def test_equals_r(data, r_survival, score, what, method, limited):
    name, d = data
    tau = float(r_survival(name, "tau")[0]) if limited else None
    ours = concordance_index(d.time, d.event, d[score], method, tau)
    check(ours, r_survival(name, what, score))


@pytest.mark.parametrize("score", ["a", "b"])
def test_within_folds_equals_r_strata(data, r_survival, score):
    name, d = data
    ours = concordance_index(d.time, d.event, d[score], fold=d.stratum)
    check(ours, r_survival(name, "concordance fold", score))
    assert "pairs within a fold" in ours.method


@pytest.mark.parametrize("score", ["a", "b"])
def test_clusters_of_rows_equal_r(data, r_survival, score):
    name, d = data
    ours = concordance_index(d.time, d.event, d[score], cluster=np.arange(len(d)) // 2)
    check(ours, r_survival(name, "concordance cluster", score))


def test_difference_equals_r(data, r_survival):
    name, d = data
    ours = compare_concordance(d.time, d.event, d.a, d.b)
    r = r_survival(name, "concordance difference", "a-b")
    np.testing.assert_allclose([ours.difference, ours.se], r, rtol=1e-10)
    assert ours.z == pytest.approx(r[0] / r[1])
    assert ours.ci_low == pytest.approx(r[0] - 1.959963984540054 * r[1])
    assert ours.difference == pytest.approx(ours.a.value - ours.b.value)
    swapped = compare_concordance(d.time, d.event, d.b, d.a)
    assert swapped.p_value == pytest.approx(ours.p_value)


def test_uno_with_tau_equals_the_published_value(shared_data):
    path = shared_data.parent / "reference" / "r_values" / "veteran.csv"
    if not path.is_file():
        pytest.skip("the veteran data with Uno's C from R is not at hand")
    d = pd.read_csv(path)
    ours = concordance_index(d.time, d.event, -d.karno, method="uno", tau=300)
    assert ours.value == pytest.approx(1 - 0.29899300396849537, rel=1e-13)
    assert ours.se == pytest.approx(0.023126324926656616, rel=1e-12)


rows = st.lists(
    st.tuples(st.integers(0, 8), st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(0, 2**31))
def test_tree_and_matrix_count_the_same_pairs(drawn, seed):
    time, event, risk = (np.array(column) for column in zip(*drawn, strict=True))
    weight = np.random.default_rng(seed).random(9)[time] * (time < 7)
    time, risk = time.astype(float), risk.astype(float)
    np.testing.assert_allclose(
        count_pairs(time, event, risk, weight), pair_counts(time, event, risk, weight), atol=1e-12
    )


def test_large_data_takes_the_tree_and_agrees_with_the_definition():
    random = np.random.default_rng(11)
    n = 1500
    time, event = random.integers(1, 200, n).astype(float), random.random(n) < 0.4
    risk = random.normal(size=n).round(1)
    ours = concordance_index(time, event, risk)
    earlier = event[:, None] & (
        (time[:, None] < time) | ((time[:, None] == time) & ~event[None, :])
    )
    higher, equal = risk[:, None] > risk, risk[:, None] == risk
    assert ours.comparable == earlier.sum()
    assert ours.concordant == (earlier & higher).sum()
    assert ours.tied_risk == (earlier & equal).sum()


@settings(max_examples=60, deadline=None)
@given(rows, st.sampled_from(["harrell", "uno"]))
def test_monotone_maps_leave_it_and_sign_mirrors_it(drawn, method):
    time, event, risk = zip(*drawn, strict=True)
    risk = np.array(risk, dtype=float)
    plain = concordance_index(time, event, risk, method)
    mapped = concordance_index(time, event, np.exp(risk) * 3 - 7, method)
    mirrored = concordance_index(time, event, -risk, method)
    assert (mapped.value, mapped.se, mapped.reason) == (plain.value, plain.se, plain.reason)
    if plain.value is None:
        assert mirrored.reason == plain.reason
    else:
        assert mirrored.value == pytest.approx(1 - plain.value, abs=1e-12)
        assert mirrored.concordant == pytest.approx(plain.discordant)
    if plain.se is not None:
        assert mirrored.se == pytest.approx(plain.se)


def test_ties_follow_the_rules():
    # Events at one time are not comparable; a censoring at an event's time counts as later.
    assert concordance_index([1, 1], [1, 1], [2, 1]).reason.startswith("no comparable pairs")
    both = concordance_index([1, 1, 2], [1, 0, 0], [2, 1, 3])
    assert (both.concordant, both.discordant, both.comparable) == (1, 1, 2)
    assert concordance_index([1, 2, 3], [1, 1, 1], [5, 5, 5]).value == 0.5


def test_perfect_order_has_a_bound_and_no_interval():
    ours = concordance_index(range(12), [1] * 8 + [0] * 4, range(12, 0, -1))
    assert (ours.value, ours.se, ours.ci_low, ours.ci_high) == (1.0, None, None, None)
    # At most six pairs share no patient: 0.025 ** (1 / 6).
    assert ours.small_sample_bound == pytest.approx(0.025 ** (1 / 6))
    assert "the index is at least 0.541 (6 independent pairs" in ours.reason
    worst = concordance_index(range(12), [1] * 8 + [0] * 4, range(12))
    assert worst.value == 0
    assert worst.small_sample_bound == pytest.approx(1 - 0.025 ** (1 / 6))


def test_equal_risks_have_no_interval():
    ours = concordance_index([1, 2, 3], [1, 1, 1], [5, 5, 5])
    assert (ours.value, ours.ci_low) == (0.5, None)
    assert "not estimable" in ours.reason


def largest_matching(time, event):
    """By trying all pairings, for a few patients."""

    def best(left):
        if len(left) < 2:
            return 0
        first, rest = left[0], left[1:]
        found = best(rest)
        for i, other in enumerate(rest):
            a, b = sorted((first, other), key=lambda p: (time[p], not event[p]))
            if event[a] and (time[a] < time[b] or not event[b]):
                found = max(found, 1 + best(rest[:i] + rest[i + 1 :]))
        return found

    return best(list(range(len(time))))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=7))
def test_disjoint_pairs_are_as_many_as_possible(drawn):
    time, event = (np.array(column) for column in zip(*drawn, strict=True))
    assert disjoint_pairs(time.astype(float), event) == largest_matching(
        time.tolist(), event.tolist()
    )


@pytest.mark.parametrize(
    ("time", "event", "tau", "reason"),
    [
        ([], [], None, "no patients"),
        ([1, 2], [0, 0], None, "no events, all patients censored"),
        ([5, 6], [1, 0], 3, "no events up to tau"),
        ([1, 2], [0, 1], None, "no comparable pairs: nobody is followed beyond an event"),
    ],
)
def test_what_cannot_be_estimated_is_a_named_result(time, event, tau, reason):
    risk = np.arange(len(time))
    ours = concordance_index(time, event, risk, tau=tau)
    assert (ours.value, ours.reason) == (None, reason)
    other = compare_concordance(time, event, risk, -risk, tau=tau)
    assert (other.difference, other.reason) == (None, reason)


def test_folds_without_comparable_pairs_are_named():
    ours = concordance_index([1, 2], [1, 1], [2, 1], fold=[0, 1])
    assert ours.reason.startswith("no comparable pairs within a fold")
    perfect = concordance_index([1, 2, 1, 2], [1, 1, 1, 1], [2, 1, 4, 3], fold=[0, 0, 1, 1])
    assert "2 independent pairs" in perfect.reason


def test_comparing_a_risk_with_itself_is_no_test(data):
    _, d = data
    ours = compare_concordance(d.time, d.event, d.a, 2 * d.a + 1)
    assert (ours.difference, ours.p_value) == (0.0, None)
    assert "alike" in ours.reason


def test_few_events_are_told():
    assert concordance_index([1, 2, 3], [1, 1, 0], [3, 1, 2]).warning == (
        "only 2 events, fewer than 10"
    )
    perfect = compare_concordance([1, 2, 3], [1, 1, 0], [3, 2, 1], [3, 1, 2])
    assert "the index of a is exactly 0 or 1" in perfect.warning


def test_options_and_lengths_are_checked():
    with pytest.raises(InputError, match="did you mean 'harrell'"):
        concordance_index([1, 2], [1, 1], [1, 2], method="harrel")
    with pytest.raises(InputError, match="tau"):
        concordance_index([1, 2], [1, 1], [1, 2], tau=0)
    with pytest.raises(InputError, match="lengths differ: time 2, risk 1"):
        concordance_index([1, 2], [1, 1], [1])
    with pytest.raises(InputError, match="lengths differ: time 2, fold 1"):
        concordance_index([1, 2], [1, 1], [1, 2], fold=[0])


def out_of_fold_noise(random, n=100, folds=5):
    """Risks of a model without signal, trained once a fold: constant plus noise.

    Each model learns the event rate of its training patients and so predicts a lower level in
    the fold that holds more events - although it knows nothing about its patients.
    """
    fold = random.permutation(np.arange(n) % folds)
    time = random.exponential(size=n)
    event = random.random(n) < 0.3
    rate = np.array([event[fold != f].sum() / time[fold != f].sum() for f in range(folds)])
    return time, event, rate[fold] + random.normal(scale=1e-3, size=n), fold


def test_folds_are_unbiased_under_the_null_while_pooling_is_not():
    random = np.random.default_rng(2024)
    draws = [out_of_fold_noise(random) for _ in range(300)]
    within = np.array([concordance_index(t, e, r, fold=f).value for t, e, r, f in draws])
    pooled = np.array([concordance_index(t, e, r).value for t, e, r, _ in draws])
    assert abs(within.mean() - 0.5) < 3 * within.std(ddof=1) / np.sqrt(300)
    assert pooled.mean() < 0.5 - 6 * pooled.std(ddof=1) / np.sqrt(300)
    assert 0.38 < pooled.mean() < 0.48


@pytest.fixture(scope="module")
def concordance_to_a_year_and_a_half():
    """Of the model below, from a large sample without censoring."""
    time, x = proportional_hazards(np.random.default_rng(6), 20_000)
    return concordance_index(time, np.ones(20_000), x, tau=1.5).value


def proportional_hazards(random, n):
    x = random.normal(size=n)
    return random.exponential(size=n) * np.exp(-1.3 * x), x


def test_the_interval_of_uno_covers_the_truth_under_censoring(concordance_to_a_year_and_a_half):
    random, covered, repeats = np.random.default_rng(5), 0, 300
    for _ in range(repeats):
        time, x = proportional_hazards(random, 120)
        censoring = random.exponential(scale=4, size=120)
        ours = concordance_index(np.minimum(time, censoring), time <= censoring, x, "uno", 1.5)
        covered += ours.ci_low <= concordance_to_a_year_and_a_half <= ours.ci_high
    assert 0.91 <= covered / repeats <= 0.98
