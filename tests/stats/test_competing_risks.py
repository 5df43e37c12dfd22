"""Cumulative incidence, Gray's test and the Fine-Gray model against survival and cmprsk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats.competing_risks import (
    GroupedCumulativeIncidence,
    cumulative_incidence,
)
from crpnet_bench.stats.gray import gray_test
from crpnet_bench.stats.subdistribution import fine_gray

R = Path(__file__).parent / "r"
VALUES = pd.read_csv(R / "competing_risks.csv", comment="#")
TIMES = [1, 3, 6, 10, 15]


def from_r(dataset: str, analysis: str, key: str, time: float | None = None) -> pd.Series:
    rows = VALUES[(VALUES.dataset == dataset) & (VALUES.analysis == analysis) & (VALUES.key == key)]
    if time is not None:
        rows = rows[rows.time == time]
    assert len(rows) > 0
    return rows.groupby("quantity").value.apply(lambda column: column.to_numpy())


@pytest.fixture(params=["tied", "untied"])
def dataset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(dataset: str) -> pd.DataFrame:
    return pd.read_csv(R / f"{dataset}.csv")


@pytest.mark.parametrize("conf_type", ["log", "log-log", "plain"])
def test_curve_equals_survfit(dataset: str, data: pd.DataFrame, conf_type: str) -> None:
    curve = cumulative_incidence(data.time, data.status, conf_type=conf_type)
    expected = from_r(dataset, f"incidence_{conf_type}", "all")
    at = curve.at(TIMES[-len(expected["value"]) :])
    if len(expected["value"]) != len(TIMES):
        pytest.fail("the reference lacks a time")
    known = expected["value"] > 0
    np.testing.assert_allclose(at.value, expected["value"], rtol=1e-12)
    for ours, name in ((at.se, "se"), (at.ci_low, "lower"), (at.ci_high, "upper")):
        np.testing.assert_allclose(ours[known], expected[name][known], rtol=1e-10)
    position = np.searchsorted(curve.time, TIMES, side="right") - 1
    np.testing.assert_allclose(curve.competing[position], expected["competing"], rtol=1e-12)
    np.testing.assert_allclose(curve.value + curve.competing + curve.event_free, 1)


def test_group_curves_equal_survfit(dataset: str, data: pd.DataFrame) -> None:
    grouped = cumulative_incidence(data.time, data.status, data.group)
    assert isinstance(grouped, GroupedCumulativeIncidence)
    assert list(grouped.groups) == ["a", "b", "c"]
    for label, curve in grouped.groups.items():
        expected = from_r(dataset, "incidence_log", label)
        at = curve.at(TIMES[: len(expected["value"])])
        known = expected["value"] > 0
        np.testing.assert_allclose(at.value, expected["value"], rtol=1e-12)
        np.testing.assert_allclose(at.se[known], expected["se"][known], rtol=1e-10)


@pytest.mark.parametrize("rho", [0, 1])
def test_gray_equals_cuminc(dataset: str, data: pd.DataFrame, rho: float) -> None:
    for key, group in (("3 groups", data.group), ("2 groups", data.score > 0)):
        expected = from_r(dataset, "gray", key, rho)
        test = gray_test(data.time, data.status, group, rho)
        assert test.statistic == pytest.approx(expected["stat"][0], rel=1e-10)
        assert test.p_value == pytest.approx(expected["pv"][0], rel=1e-10)
        assert test.df == expected["df"][0]


@pytest.mark.parametrize("columns", [["score"], ["score", "other"]])
def test_fine_gray_equals_crr(dataset: str, data: pd.DataFrame, columns: list[str]) -> None:
    fit = fine_gray(data.time, data.status, data[columns])
    expected = from_r(dataset, "crr", "+".join(columns))
    for name in columns:
        term = fit.terms[name]
        assert term.coef == pytest.approx(expected[f"coef_{name}"][0], rel=1e-9)
        assert term.se == pytest.approx(expected[f"se_{name}"][0], rel=1e-9)
        assert term.hazard_ratio == pytest.approx(np.exp(term.coef))
        assert term.ci_low < term.hazard_ratio < term.ci_high
    assert fit.log_likelihood == pytest.approx(expected["loglik"][0], rel=1e-12)
    assert fit.null_log_likelihood == pytest.approx(expected["loglik_null"][0], rel=1e-12)


def test_without_competing_events_it_is_one_minus_kaplan_meier() -> None:
    data = pd.read_csv(R / "tied.csv")
    curve = cumulative_incidence(data.time, data.event, conf_type="plain")
    distinct = np.unique(data.time)
    deaths = np.array([((data.time == t) & (data.event == 1)).sum() for t in distinct])
    at_risk = np.array([(data.time >= t).sum() for t in distinct])
    survival = np.cumprod(1 - deaths / at_risk)
    greenwood = np.cumsum(deaths / (at_risk * np.maximum(at_risk - deaths, 1)))
    np.testing.assert_allclose(curve.value, 1 - survival, atol=1e-14)
    inside = survival > 0
    expected = (survival * np.sqrt(greenwood))[inside]
    np.testing.assert_allclose(curve.se[inside], expected, rtol=1e-10)


def test_points_outside_the_data_have_reasons() -> None:
    curve = cumulative_incidence([2, 3, 4, 5], [1, 2, 1, 0])
    early, late = curve.at([1, 9])
    assert early.value == 0
    assert early.ci_low is None
    assert "no event by 1" in early.reason
    assert late.value is None
    assert "beyond the last follow-up (5)" in late.reason
    assert "unreliable" in early.warning
    empty = cumulative_incidence([], [])
    assert empty.reason == "no patients"
    assert empty.at(3)[0].value is None


def test_one_group_and_no_events_are_named() -> None:
    one = cumulative_incidence([1, 2], [1, 0], ["x", "x"])
    assert one.test.statistic is None
    assert "fewer than two groups" in one.test.reason
    assert "no events" in gray_test([1, 2], [0, 2], ["x", "y"]).reason
    assert "no time at risk" in gray_test([1, 5, 6], [0, 1, 1], ["a", "b", "b"]).reason
    early = gray_test([1, 1, 1, 1, 1, 1, 2], [0, 0, 0, 0, 2, 2, 1], list("aaabaaa"))
    assert "no time at risk" in early.reason


def test_fine_gray_names_what_it_cannot_fit() -> None:
    time, status = np.arange(1, 13), np.tile([1, 2, 0], 4)
    assert fine_gray(time, np.zeros(12), {"x": time}).reason == "not estimable: no events"
    assert "same for all" in fine_gray(time, status, {"x": np.ones(12)}).reason
    separated = fine_gray(time, status, {"x": (status == 1).astype(float)})
    assert "hazard ratio of x is infinite" in separated.reason
    assert separated.terms["x"].coef is None
    twice = fine_gray(time, status, {"a": time % 5, "b": 2.0 * (time % 5)})
    assert "linear combinations" in twice.reason


def test_a_third_code_is_refused() -> None:
    with pytest.raises(InputError, match=r"found 3\.0"):
        cumulative_incidence([1, 2], [1, 3])


patients = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2]), st.sampled_from("ab")),
    min_size=1,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(patients)
def test_curves_rise_within_bounds_and_group_names_do_not_matter(
    rows: list[tuple[int, int, str]],
) -> None:
    time, status, group = (np.array(column) for column in zip(*rows, strict=True))
    curve = cumulative_incidence(time, status, group)
    assert np.all(np.diff(curve.value) >= 0)
    assert np.all((curve.value >= 0) & (curve.value <= 1 + 1e-12))
    renamed = cumulative_incidence(time, status, np.where(group == "a", "z", "y"))
    if curve.statistic is None:
        assert renamed.statistic is None
    else:
        assert renamed.statistic == pytest.approx(curve.statistic, rel=1e-6, abs=1e-9)
