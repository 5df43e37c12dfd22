from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats import kaplan_meier

CLOSE = {"rtol": 1e-10, "atol": 1e-14}


@pytest.mark.parametrize("conf_type", ["log-log", "log", "plain"])
def test_curve_and_interval_equal_r(data, r_survival, conf_type):
    name, d = data
    curve = kaplan_meier(d.time, d.event, conf_type)
    for quantity, ours in (
        ("time", curve.time),
        ("surv", curve.survival),
        ("n.risk", curve.at_risk),
        ("n.event", curve.events),
        ("n.censor", curve.censored),
        ("se", curve.se),
        (f"{conf_type} ci_low", curve.ci_low),
        (f"{conf_type} ci_high", curve.ci_high),
    ):
        np.testing.assert_allclose(ours, r_survival(name, "survfit", quantity), **CLOSE)


@pytest.mark.parametrize("conf_type", ["log-log", "log", "plain"])
def test_median_equals_r(data, r_survival, conf_type):
    name, d = data
    curve = kaplan_meier(d.time, d.event, conf_type)
    ours = [curve.median, curve.median_ci_low, curve.median_ci_high]
    ours = [np.nan if value is None else value for value in ours]
    np.testing.assert_array_equal(ours, r_survival(name, "survfit", f"{conf_type} median"))


def test_level_of_the_interval(data, r_survival):
    name, d = data
    curve = kaplan_meier(d.time, d.event, level=0.9)
    np.testing.assert_allclose(
        curve.ci_low, r_survival(name, "survfit", "level 0.9 ci_low"), **CLOSE
    )


def test_restricted_mean_equals_r(data, r_survival):
    name, d = data
    curve = kaplan_meier(d.time, d.event)
    taus = [
        key for data_name, what, key in r_survival.values if (data_name, what) == (name, "rmst")
    ]
    assert len(taus) == 4
    for tau in taus:
        ours = curve.rmst(float(tau))
        np.testing.assert_allclose([ours.value, ours.se], r_survival(name, "rmst", tau), rtol=1e-10)
        assert ours.ci_low < ours.value < ours.ci_high


def test_median_is_the_midpoint_where_the_curve_rests_at_one_half():
    assert kaplan_meier([1, 2, 3, 4], [1, 1, 1, 1]).median == 2.5


def test_float_noise_does_not_split_a_time():
    curve = kaplan_meier([0.1 * 3, 0.3, 0.5], [1, 1, 0])
    assert curve.time.size == 2
    assert curve.events.tolist() == [2, 0]


def test_a_series_is_matched_by_position_not_by_index():
    pd = pytest.importorskip("pandas")
    time, event = [3.0, 1.0, 2.0], [1, 0, 1]
    shuffled = kaplan_meier(pd.Series(time, index=[7, 7, 1]), pd.Series(event, index=[1, 2, 3]))
    np.testing.assert_array_equal(shuffled.survival, kaplan_meier(time, event).survival)


def test_points_on_the_curve():
    curve = kaplan_meier([2, 4, 4, 6, 9], [1, 1, 0, 0, 0])
    before, exactly, between, after = curve.at([1.0, 4.0, 5.0, 10.0])
    assert (before.value, before.at_risk, before.ci_low) == (1.0, 5, None)
    assert before.reason == "no event yet, interval not estimable"
    assert exactly.value == pytest.approx(0.8 * 0.75)
    assert (exactly.at_risk, exactly.events, exactly.censored) == (4, 2, 1)
    assert between.at_risk == 2
    assert between.ci_low == pytest.approx(curve.ci_low[1])
    assert after.value is None
    assert after.reason == "beyond the last follow-up (9)"
    assert curve.at(4.0) == exactly


def test_a_curve_at_zero_stays_there():
    point = kaplan_meier([1, 2], [1, 1]).at(5.0)
    assert (point.value, point.at_risk, point.ci_high) == (0.0, 0, None)
    assert point.reason == "survival is 0, interval not estimable"


def test_all_censored_is_a_named_result():
    curve = kaplan_meier([1, 2, 3], [0, 0, 0])
    assert curve.survival.tolist() == [1, 1, 1]
    assert curve.median is None
    assert curve.reason == "no events, all patients censored"
    restricted = curve.rmst(2)
    assert (restricted.value, restricted.ci_low) == (2.0, None)
    assert "not estimable" in restricted.reason


def test_nobody_is_a_named_result():
    curve = kaplan_meier([], [])
    assert curve.reason == "no patients"
    assert curve.n == 0
    assert curve.at(1.0).reason == "no patients"
    assert curve.rmst(1.0).value is None


def test_median_not_reached_says_so():
    assert kaplan_meier([1, 2, 3], [1, 0, 0]).reason == "median not reached"


def test_restricted_mean_beyond_follow_up_warns():
    assert "carried forward to 9" in kaplan_meier([1, 2, 3], [1, 0, 0]).rmst(9).warning


@pytest.mark.parametrize(
    ("time", "event", "told"),
    [
        ([1, -2], [1, 0], "time: found -2 at position 1"),
        ([1, 2], [1, 2], "event: found 2.0; expected 0 .censored. or 1 .event."),
        ([1, np.nan], [1, 0], "time: 1 of 2 values are missing"),
        ([1, 2, 3], [1, 0], "lengths differ: time 3, event 2"),
        (["a"], [1], "time: expected numbers"),
    ],
)
def test_bad_input_is_one_clear_error(time, event, told):
    with pytest.raises(InputError, match=told):
        kaplan_meier(time, event)


def test_options_are_checked():
    with pytest.raises(InputError, match="did you mean 'log-log'"):
        kaplan_meier([1], [1], conf_type="loglog")
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        kaplan_meier([1], [1], level=95)
    with pytest.raises(InputError, match="tau"):
        kaplan_meier([1], [1]).rmst(0)
    with pytest.raises(InputError, match="from zero upwards"):
        kaplan_meier([1], [1]).at(-1.0)


patients = st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(patients, st.sampled_from(["log", "log-log", "plain"]))
def test_survival_falls_within_0_and_1_and_lies_in_its_interval(rows, conf_type):
    time, event = zip(*rows, strict=True)
    curve = kaplan_meier(time, event, conf_type)
    assert np.all(np.diff(np.concatenate(([1.0], curve.survival))) <= 0)
    assert np.all((curve.survival >= 0) & (curve.survival <= 1))
    there = np.isfinite(curve.ci_low)
    assert np.all(curve.ci_low[there] <= curve.survival[there] + 1e-12)
    assert np.all(curve.ci_high[there] >= curve.survival[there] - 1e-12)
    assert np.all((curve.ci_low[there] >= 0) & (curve.ci_high[there] <= 1))


@settings(max_examples=40, deadline=None)
@given(patients, st.randoms(use_true_random=False))
def test_order_of_patients_does_not_matter(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    a = kaplan_meier(*zip(*rows, strict=True))
    b = kaplan_meier(*zip(*shuffled, strict=True))
    np.testing.assert_array_equal(a.survival, b.survival)
    np.testing.assert_array_equal(a.at_risk, b.at_risk)
