import numpy as np
import pytest

from crpnet_bench.stats import concordance_index, concordance_within, roc_auc


@pytest.fixture
def drawn():
    """Two groups with unequal rates; the risk follows the group against them."""
    generator = np.random.default_rng(5)
    group = np.repeat(["a", "b"], 100)
    event = generator.random(200) < np.where(group == "a", 0.2, 0.6)
    risk = event + np.where(group == "a", 1.0, 0.0) + generator.normal(size=200)
    time = generator.integers(1, 60, 200).astype(float)
    return time, event, risk, group


def test_both_indices_are_the_ordinary_ones(drawn):
    time, event, risk, group = drawn
    found = concordance_within(time, event, risk, group)
    assert found.overall == concordance_index(time, event, risk)
    assert found.within == concordance_index(time, event, risk, fold=group)
    assert found.gain.value == found.overall.value - found.within.value


def test_of_labels_it_is_the_area_under_the_curve(drawn):
    _, event, risk, group = drawn
    found = concordance_within(np.where(event, 0.0, 1.0), event, risk, group)
    assert found.overall.value == pytest.approx(roc_auc(event, risk).value)
    assert found.within.value == pytest.approx(roc_auc(event, risk, fold=group).value)
    assert found.gain.ci_high < 0  # against the rates


def test_the_standard_error_is_that_of_leaving_patients_out(drawn):
    time, event, risk, group = drawn
    found = concordance_within(time, event, risk, group).gain
    without = []
    for i in range(len(time)):
        rest = np.arange(len(time)) != i
        both = (concordance_index(time[rest], event[rest], risk[rest], fold=fold)
                for fold in (None, group[rest]))  # fmt: skip
        overall, within = (one.value for one in both)
        without.append(overall - within)
    n = len(without)
    jackknife = np.sqrt((n - 1) / n * np.sum((np.array(without) - np.mean(without)) ** 2))
    assert found.se == pytest.approx(jackknife, rel=0.03)


def test_the_same_patients_make_the_difference_surer_than_strangers_would(drawn):
    time, event, risk, group = drawn
    found = concordance_within(time, event, risk, group)
    assert found.gain.se < np.hypot(found.overall.se, found.within.se)


def test_folds_and_patients_with_several_rows(drawn):
    time, event, risk, group = (np.concatenate([column, column]) for column in drawn)
    repeat, patient = np.repeat([0, 1], 200), np.tile(np.arange(200), 2)
    twice = concordance_within(time, event, risk, group, repeat, cluster=patient)
    once = concordance_within(*drawn)
    assert twice.gain.value == pytest.approx(once.gain.value)
    assert twice.gain.se == pytest.approx(once.gain.se)


def test_no_pair_of_one_group_has_a_reason(drawn):
    time, event, risk, _ = drawn
    found = concordance_within(time, event, risk, np.arange(len(time)))
    assert found.gain.value is None
    assert "no comparable pairs within a fold" in found.gain.reason
    same = concordance_within(time, event, risk, np.zeros(len(time)))
    assert (same.gain.value, same.gain.reason) == (0.0, "no variance, no interval")
