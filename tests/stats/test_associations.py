"""Correlation, cut-off search, multiplicity, subgroups and follow-up against R."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats.correlations import correlation
from crpnet_bench.stats.cutpoint import maximally_selected_cutpoint
from crpnet_bench.stats.follow_up import median_follow_up
from crpnet_bench.stats.multiplicity import adjust_p_values
from crpnet_bench.stats.subgroups import interaction_test, subgroup_effects

R = Path(__file__).parent / "r"
VALUES = pd.read_csv(R / "associations.csv", comment="#", dtype={"key": str})
VALUES = VALUES.set_index(["analysis", "key", "quantity"]).sort_index().value
TIED, UNTIED = pd.read_csv(R / "tied.csv"), pd.read_csv(R / "untied.csv")
FREE = pd.read_csv(R / "free.csv").free
PAIRS = {
    "tied": (TIED.score, TIED.other),
    "nine": (UNTIED.time[:9], FREE[:9]),
    "thirty": (UNTIED.time[:30], FREE[:30]),
    "all": (UNTIED.time, FREE),
}


@pytest.mark.parametrize("key", PAIRS)
@pytest.mark.parametrize("method", ["pearson", "spearman", "kendall"])
def test_correlation_equals_cor_test(key: str, method: str) -> None:
    result = correlation(*PAIRS[key], method)
    assert result.value == pytest.approx(VALUES[method, key, "value"], rel=1e-12)
    assert result.p_value == pytest.approx(VALUES[method, key, "p"], rel=1e-10)
    if method == "pearson":
        assert result.ci_low == pytest.approx(VALUES[method, key, "low"], rel=1e-10)
        assert result.ci_high == pytest.approx(VALUES[method, key, "high"], rel=1e-10)
    assert result.ci_low < result.value < result.ci_high


def test_the_choice_of_test_is_stated() -> None:
    chosen = {
        (key, method): correlation(*PAIRS[key], method).test
        for key in PAIRS
        for method in ("spearman", "kendall")
    }
    assert chosen["tied", "spearman"] == "t"
    assert chosen["nine", "spearman"] == "exact"
    assert chosen["thirty", "spearman"] == "Edgeworth series"
    assert chosen["thirty", "kendall"] == "exact"
    assert chosen["all", "kendall"] == "normal"


def test_correlations_that_cannot_be_estimated() -> None:
    assert "constant" in correlation([1, 1, 1], [1, 2, 3]).reason
    assert "fewer than three" in correlation([1, 2], [1, 2]).reason
    perfect = correlation([1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
    assert perfect.value == pytest.approx(1)
    assert perfect.ci_low is None
    assert "perfect" in perfect.reason
    with pytest.raises(InputError, match="did you mean 'pearson'"):
        correlation([1, 2, 3], [1, 2, 3], "person")


@pytest.mark.parametrize("minprop", [0.1, 0.25])
@pytest.mark.parametrize(("p_method", "key"), [("lausen92", "Lau92"), ("lausen94", "Lau94")])
@pytest.mark.parametrize(("name", "data"), [("tied", TIED), ("untied", UNTIED)])
def test_cutpoint_equals_maxstat(
    name: str, data: pd.DataFrame, p_method: str, key: str, minprop: float
) -> None:
    result = maximally_selected_cutpoint(
        data.time, data.event, data.score, minprop, p_method=p_method
    )
    expected = VALUES[key, f"{name} {minprop:g}"]
    assert result.cutpoint == expected["cutpoint"]
    assert result.statistic == pytest.approx(expected["statistic"], rel=1e-12)
    assert result.p_value == pytest.approx(expected["p"], rel=1e-10)
    assert result.statistics.size == expected["tried"]
    assert result.n_low == (data.score <= result.cutpoint).sum()
    assert result.p_value > result.uncorrected_p_value


def test_corrected_p_is_fair_where_the_uncorrected_is_not() -> None:
    rng = np.random.default_rng(8)
    corrected, naive, permuted = 0, 0, []
    for repeat in range(150):
        time, score = rng.exponential(1, 80), rng.normal(size=80)
        event = rng.random(80) < 0.7
        result = maximally_selected_cutpoint(time, event, score)
        corrected += result.p_value < 0.05
        naive += result.uncorrected_p_value < 0.05
        if repeat < 3:
            by_chance = maximally_selected_cutpoint(time, event, score, p_method="permutation")
            permuted.append((by_chance.p_value, result.p_value))
    assert corrected <= 14
    assert naive > 30
    # The asymptotic P is conservative in samples of this size.
    assert all(exact <= asymptotic + 0.02 for exact, asymptotic in permuted)


def test_no_cutpoint_is_named() -> None:
    assert "no events" in maximally_selected_cutpoint([1, 2], [0, 0], [1, 2]).reason
    assert "no value" in maximally_selected_cutpoint([1, 2], [1, 1], [1, 1]).reason
    with pytest.raises(InputError, match="minprop"):
        maximally_selected_cutpoint([1, 2], [1, 1], [1, 2], minprop=0.7)


@pytest.mark.parametrize("method", ["holm", "bh", "bonferroni"])
def test_adjustment_equals_p_adjust(method: str) -> None:
    p = [0.01, 0.02, 0.03, 0.04, 0.05, None, 0.9, 0.02]
    adjusted = adjust_p_values(p, method)
    for position, value in enumerate(p):
        if value is None:
            assert np.isnan(adjusted[position])
        else:
            assert adjusted[position] == pytest.approx(
                VALUES["adjust", method, str(position + 1)], rel=1e-12
            )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_adjusted_p_keep_order_and_never_fall(p: list[float]) -> None:
    for method in ("holm", "bh"):
        adjusted = adjust_p_values(p, method)
        assert np.all(adjusted >= np.array(p) - 1e-15)
        assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= -1e-15)


def test_interaction_equals_anova() -> None:
    test = interaction_test(TIED.time, TIED.event, TIED.score > 0.2, TIED.group)
    expected = VALUES["interaction", "3 levels"]
    assert test.statistic == pytest.approx(expected["statistic"], rel=1e-8)
    assert test.p_value == pytest.approx(expected["p"], rel=1e-8)
    assert test.df == expected["df"]


def test_interactions_without_a_test_are_named() -> None:
    time, event = TIED.time[:20], TIED.event[:20]
    high = np.arange(20) % 2
    assert "one subgroup only" in interaction_test(time, event, high, ["a"] * 20).reason
    assert "one risk group only" in interaction_test(time, event, np.ones(20), high).reason
    assert "empty cells" in interaction_test(time, event, high, high).reason


def test_subgroups_are_counted_suppressed_and_adjusted() -> None:
    frame = TIED[["group"]].assign(rare=np.where(np.arange(120) < 6, "yes", "no"), gap=TIED.group)
    frame.loc[:9, "gap"] = None
    effects = subgroup_effects(TIED.time, TIED.event, TIED.score > 0.2, frame)
    by_group = [effect for effect in effects if effect.variable == "group"]
    assert [effect.level for effect in by_group] == ["a", "b", "c"]
    assert sum(effect.n for effect in by_group) == 120
    assert len({effect.interaction.p_value for effect in by_group}) == 1
    rare = next(effect for effect in effects if effect.level == "yes")
    assert rare.effect.hazard_ratio is None
    assert "suppressed: 6 patients" in rare.effect.reason
    assert rare.adjusted_p_value is None
    assert {effect.missing for effect in effects if effect.variable == "gap"} == {10}
    for effect in effects:
        if effect.p_value is not None:
            assert effect.adjusted_p_value >= effect.p_value


def test_a_group_without_events_gets_firth() -> None:
    high = np.arange(40) % 2 == 1
    time, event = np.arange(1, 41), high & (np.arange(40) % 4 == 1)
    (effect,) = subgroup_effects(time, event, high, {"all": ["x"] * 40})
    assert effect.effect.hazard_ratio is not None
    assert np.isfinite(effect.effect.hazard_ratio)
    assert effect.events_high == effect.events == 10


def test_follow_up_equals_reverse_survfit() -> None:
    result = median_follow_up(TIED.time, TIED.event)
    expected = VALUES["follow_up", "tied"]
    assert (result.median, result.median_ci_low, result.median_ci_high) == (
        expected["median"],
        expected["low"],
        expected["high"],
    )
    assert result.events + result.censored == result.n == 120
    assert median_follow_up(TIED.time, TIED.status).median == result.median
    everybody = median_follow_up([1, 2], [1, 2])
    assert everybody.median is None
    assert "everybody had an event" in everybody.reason
