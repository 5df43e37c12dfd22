"""Time-dependent AUC, rates and Brier scores against riskRegression and timeROC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats.brier import brier_score, integrated_brier_score
from crpnet_bench.stats.censoring import censoring_distribution
from crpnet_bench.stats.time_dependent import (
    compare_time_dependent_auc,
    time_dependent_auc,
    time_dependent_rates,
)

R = Path(__file__).parent / "r"
VALUES = pd.read_csv(R / "time_dependent.csv", comment="#")
TIMES = [3, 6, 10, 15]
OUTCOME = {"survival": "event", "competing": "status"}


def from_r(dataset: str, analysis: str, quantity: str, key: str = "model") -> np.ndarray:
    rows = VALUES[
        (VALUES.dataset == dataset)
        & (VALUES.analysis == analysis)
        & (VALUES.quantity == quantity)
        & (VALUES.key == key)
    ]
    assert len(rows) > 0
    return rows.value.to_numpy()


@pytest.fixture(params=["tied", "untied"])
def dataset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(dataset: str) -> pd.DataFrame:
    return pd.read_csv(R / f"{dataset}.csv")


@pytest.mark.parametrize("kind", ["survival", "competing"])
def test_auc_equals_score(dataset: str, data: pd.DataFrame, kind: str) -> None:
    result = time_dependent_auc(data.time, data[OUTCOME[kind]], data.probability, TIMES)
    analysis = f"{kind}_auc"
    np.testing.assert_allclose(result.value, from_r(dataset, analysis, "AUC"), rtol=1e-12)
    np.testing.assert_allclose(result.se, from_r(dataset, analysis, "se"), rtol=1e-10)
    np.testing.assert_allclose(result.ci_low, from_r(dataset, analysis, "lower"), rtol=1e-10)
    np.testing.assert_allclose(result.ci_high, from_r(dataset, analysis, "upper"), rtol=1e-10)


def test_paired_comparison_equals_score(dataset: str, data: pd.DataFrame) -> None:
    found = compare_time_dependent_auc(data.time, data.event, data.other, data.score, TIMES)
    for quantity, ours in {
        "delta.AUC": [one.difference for one in found],
        "se": [one.se for one in found],
        "p": [one.p_value for one in found],
    }.items():
        np.testing.assert_allclose(ours, from_r(dataset, "contrast", quantity, "b-a"), rtol=1e-9)
    same = compare_time_dependent_auc(data.time, data.event, data.score, 2 * data.score, 6)[0]
    assert same.difference == 0
    assert same.p_value is None
    assert "alike" in same.reason
    assert compare_time_dependent_auc([1], [0], [1], [2], 1)[0].difference is None


@pytest.mark.parametrize("kind", ["survival", "competing"])
def test_brier_equals_score(dataset: str, data: pd.DataFrame, kind: str) -> None:
    result = brier_score(data.time, data[OUTCOME[kind]], data.probability, TIMES)
    analysis = f"{kind}_brier"
    for quantity, ours in {
        "Brier": result.value,
        "se": result.se,
        "lower": result.ci_low,
        "upper": result.ci_high,
        "IPA": result.ipa.value,
    }.items():
        np.testing.assert_allclose(ours, from_r(dataset, analysis, quantity), rtol=1e-10)
    null = from_r(dataset, analysis, "Brier", "Null model")
    np.testing.assert_allclose(result.null.value, null, rtol=1e-10)
    integrated = integrated_brier_score(data.time, data[OUTCOME[kind]], data.probability, TIMES)
    np.testing.assert_allclose(integrated.value, from_r(dataset, analysis, "IBS"), rtol=1e-10)


@pytest.mark.parametrize("outcome", ["event", "status"])
def test_rates_equal_timeroc(dataset: str, data: pd.DataFrame, outcome: str) -> None:
    rates = time_dependent_rates(data.time, data[outcome], data.score, 0.2, [6.53, 10.53])
    # timeROC spreads censorings at one time over patients in file order, so that its standard
    # errors are those of the influence function only without ties.
    tolerance = 1e-8 if dataset == "untied" else 2e-2
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        ours = getattr(rates, name)
        analysis = f"rates_{outcome}"
        np.testing.assert_allclose(ours.value, from_r(dataset, analysis, name, "score"), rtol=1e-12)
        np.testing.assert_allclose(
            ours.se, from_r(dataset, analysis, f"{name}_se", "score"), rtol=tolerance
        )
    assert rates.positive + rates.negative == len(data)


def test_veteran_values(shared_data: Path) -> None:
    folder = shared_data.parent / "reference" / "r_values"
    veteran = pd.read_csv(folder / "cox_predictions_veteran.csv")
    expected = pd.read_csv(folder / "values.csv").query("dataset == 'veteran'")
    expected = expected.set_index(["analysis", "key", "quantity"]).sort_index().value
    times = [60, 180, 300]
    risks = veteran[[f"risk_t{t}" for t in times]].to_numpy()
    brier = brier_score(veteran.time, veteran.event, risks, times)
    integrated = integrated_brier_score(veteran.time, veteran.event, risks, times)
    for position, t in enumerate(times):
        auc = time_dependent_auc(veteran.time, veteran.event, risks[:, position], t)
        marker = time_dependent_auc(veteran.time, veteran.event, -veteran.karno, t)
        for ours, where in [
            (auc.value, ("riskRegression_auc", f"t={t}", "auc")),
            (auc.se, ("riskRegression_auc", f"t={t}", "se")),
            (auc.ci_low, ("riskRegression_auc", f"t={t}", "lower")),
            (auc.ci_high, ("riskRegression_auc", f"t={t}", "upper")),
            (marker.value, ("timeROC_marginal", f"t={t}", "auc")),
            (brier.value[position], ("riskRegression_brier", f"cox;t={t}", "brier")),
            (brier.se[position], ("riskRegression_brier", f"cox;t={t}", "se")),
            (brier.null.value[position], ("riskRegression_brier", f"Null model;t={t}", "brier")),
            (integrated.value[position], ("riskRegression_brier", f"cox;t={t}", "ibs")),
        ]:
            assert ours == pytest.approx(expected[where], rel=1e-9), where
        assert marker.se == pytest.approx(expected["timeROC_marginal", f"t={t}", "se"], rel=1e-4)


def test_censoring_comes_after_events_at_a_tied_time() -> None:
    fitted = censoring_distribution(np.array([1.0, 1, 2, 2, 3]), np.array([1, 0, 1, 0, 0]))
    # At 1: one event, one censored of the other four. At 2: one censored of the two left.
    np.testing.assert_allclose(fitted.survival, [3 / 4, 3 / 8, 0])


def test_one_time_gives_single_numbers_and_a_list_gives_arrays() -> None:
    time, event, risk = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 0, 0], [5, 3, 4, 2, 3, 1]
    single = time_dependent_auc(time, event, risk, 3)
    assert np.shape(single.value) == ()
    several = time_dependent_auc(time, event, risk, [3, 4])
    assert several.value.shape == (2,)
    assert several.at(3).value == pytest.approx(float(single.value))
    with pytest.raises(InputError, match="was not asked"):
        several.at(5)


def test_nothing_to_estimate_is_named() -> None:
    time, event = [1, 2, 3, 4], [1, 0, 1, 0]
    risk = [0.4, 0.3, 0.2, 0.1]
    assert "no event by 0.5" in time_dependent_auc(time, event, risk, 0.5).reason[0]
    assert "free of the event at 9" in time_dependent_auc(time, event, risk, 9).reason[0]
    assert "follow-up ends at 4" in brier_score(time, event, risk, 9).reason[0]
    nobody = time_dependent_rates(time, event, risk, 0.9, 2.5)
    assert nobody.ppv[0].value is None
    assert "nobody is positive" in nobody.ppv[0].reason
    assert nobody.sensitivity[0].value == 0
    assert nobody.sensitivity[0].ci_low is None


def test_all_censored_before_the_horizon_is_named() -> None:
    result = time_dependent_auc([1, 2, 3], [0, 0, 0], [1, 2, 3], [2, 5])
    assert [estimate.value for estimate in result] == [None, None]
    assert all("no event" in reason for reason in result.reason)


def test_auc_of_one_has_no_interval_and_constant_risk_says_so() -> None:
    time, event = np.arange(1, 21), np.tile([1, 0], 10)
    perfect = time_dependent_auc(time, event, -time, 10)[0]
    assert perfect.value == 1
    assert (perfect.ci_low, perfect.ci_high) == (None, None)
    assert "the AUC is at least 0.4" in perfect.reason
    flat = time_dependent_auc(time, event, np.ones(20), 10)[0]
    assert flat.value == pytest.approx(0.5)
    assert "all risks are equal" in flat.reason


def test_few_events_warn() -> None:
    time, event = np.arange(1, 41), np.tile([1, 0], 20)
    risk = np.random.default_rng(1).normal(size=40)
    assert "below 10" in time_dependent_auc(time, event, risk, 6).warning[0]
    assert time_dependent_auc(time, event, risk, 25).warning[0] is None


def test_rounded_times_at_the_horizon_count_as_at_the_horizon() -> None:
    time = np.array([0.1 * 3, 0.5, 0.6, 0.7])
    result = time_dependent_auc(time, [1, 1, 0, 0], [4, 3, 2, 1], 0.3)
    assert result.value == 1


def test_risks_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(InputError, match=r"found 1\.7 at position 1"):
        brier_score([1, 2], [1, 0], [0.2, 1.7], 1)
    with pytest.raises(InputError, match=r"expected \(n,\) or \(n, 2\)"):
        brier_score([1, 2], [1, 0], np.ones((2, 3)), [1, 2])
    with pytest.raises(InputError, match="rising grid"):
        integrated_brier_score([1, 2], [1, 0], [0.2, 0.3], [2, 1])


def test_series_are_matched_by_position() -> None:
    data = pd.read_csv(R / "tied.csv")
    shuffled = pd.Series(data.probability.to_numpy(), index=np.arange(len(data))[::-1])
    direct = time_dependent_auc(data.time, data.event, data.probability, 6)
    assert time_dependent_auc(data.time, data.event, shuffled, 6).value == direct.value


patients = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([0, 1, 1]), st.integers(-5, 5)),
    min_size=4,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(patients, st.integers(1, 12))
def test_auc_is_mirrored_by_sign_and_kept_by_monotone_maps(
    rows: list[tuple[int, int, int]], horizon: int
) -> None:
    time, event, risk = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    auc = time_dependent_auc(time, event, risk, horizon)[0]
    mirrored = time_dependent_auc(time, event, -risk, horizon)[0]
    mapped = time_dependent_auc(time, event, np.exp(risk), horizon)[0]
    assert auc.estimable == mirrored.estimable
    if auc.estimable:
        assert 0 <= auc.value <= 1
        assert auc.value + mirrored.value == pytest.approx(1)
        assert auc.value == pytest.approx(mapped.value)


def test_without_censoring_the_auc_is_the_ordinary_one() -> None:
    rng = np.random.default_rng(3)
    time, risk = rng.exponential(10, 80), rng.normal(size=80).round(1)
    case = time <= 8
    pairs = risk[case][:, None] - risk[~case][None]
    expected = np.mean((pairs > 0) + 0.5 * (pairs == 0))
    assert time_dependent_auc(time, np.ones(80), risk, 8).value == pytest.approx(expected)


def test_the_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(11)
    n, horizon, covered = 200, 1.0, 0
    big = rng.normal(size=200_000)
    late = rng.exponential(np.exp(-big)) > horizon
    order = np.argsort(np.argsort(big))
    truth = (order[~late].mean() - ((~late).sum() - 1) / 2) / late.sum()
    for _ in range(200):
        risk = rng.normal(size=n)
        event_time, censored = rng.exponential(np.exp(-risk)), rng.exponential(2, n)
        result = time_dependent_auc(
            np.minimum(event_time, censored), event_time <= censored, risk, horizon
        )[0]
        covered += result.ci_low <= truth <= result.ci_high
    assert 180 <= covered <= 199
