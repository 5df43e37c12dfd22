"""Pseudo-observations, calibration and net benefit against prodlim, geepack and survival."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import InputError, ModelError
from crpnet_bench.stats.incidence_at import incidence_at, pseudo_observations
from crpnet_bench.stats.net_benefit import ALL, NONE, decision_curve
from crpnet_bench.stats.recalibration import calibration
from crpnet_bench.stats.risk_link import fit_risk_link

R = Path(__file__).parent / "r"
VALUES = pd.read_csv(R / "calibration.csv", comment="#", dtype={"key": str})
HORIZON = 6.53


@pytest.fixture(params=["tied", "untied"])
def dataset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["event", "status"])
def outcome(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def data(dataset: str) -> pd.DataFrame:
    return pd.read_csv(R / f"{dataset}.csv")


@pytest.fixture
def expected(dataset: str, outcome: str) -> pd.Series:
    rows = VALUES[(VALUES.dataset == dataset) & (VALUES.analysis == outcome)]
    return rows.set_index(["key", "quantity"]).sort_index().value


def simulated(n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Exponential times, censoring, and the true risk at time 1."""
    rng = np.random.default_rng(seed)
    line = rng.normal(-0.5, 1, n)
    event_time, censored = rng.exponential(np.exp(-line)), rng.exponential(3, n)
    truth = 1 - np.exp(-np.exp(line))
    return np.minimum(event_time, censored), event_time <= censored, truth, line


def test_pseudo_observations_equal_prodlim(
    data: pd.DataFrame, outcome: str, expected: pd.Series
) -> None:
    pseudo = pseudo_observations(data.time.to_numpy(float), data[outcome].to_numpy(), HORIZON)
    for patient in (1, 2, 50, 120):
        assert pseudo[patient - 1] == pytest.approx(expected[str(patient), "pseudo"], abs=1e-10)


def test_pseudo_observations_are_the_outcomes_without_censoring() -> None:
    time = np.array([1.0, 2, 2, 3, 4])
    pseudo = pseudo_observations(time, np.array([1, 2, 1, 1, 1]), 2.5)
    np.testing.assert_allclose(pseudo, [1, 0, 1, 0, 0], atol=1e-12)


def test_calibration_equals_geese(data: pd.DataFrame, outcome: str, expected: pd.Series) -> None:
    result = calibration(data.time, data[outcome], data.probability, HORIZON)
    for name in ("intercept", "slope"):
        ours = getattr(result, name)
        assert ours.value == pytest.approx(expected["fit", name], rel=1e-6, abs=1e-8)
        assert ours.se == pytest.approx(expected["fit", f"{name}_se"], rel=1e-6)
    assert result.slope_intercept.value == pytest.approx(
        expected["fit", "slope_intercept"], rel=1e-6
    )
    assert result.observed.value == pytest.approx(expected["all", "observed"], rel=1e-12)
    assert result.observed.se == pytest.approx(expected["all", "se"], rel=1e-10)
    ratio = expected["all", "observed"] / data.probability.mean()
    assert result.observed_expected.value == pytest.approx(ratio, rel=1e-12)
    assert result.observed_expected.ci_low < ratio < result.observed_expected.ci_high


def test_groups_hold_everybody_once(data: pd.DataFrame, outcome: str) -> None:
    result = calibration(data.time, data[outcome], data.probability, HORIZON, groups=4)
    assert sum(group.n for group in result.groups) == len(data)
    first = data[data.probability <= data.probability.quantile(0.25)]
    observed = incidence_at(first.time.to_numpy(float), first[outcome].to_numpy(), HORIZON)
    assert result.groups[0].observed.value == pytest.approx(observed.value)
    assert result.groups[0].predicted == pytest.approx(first.probability.mean())


def test_true_risks_are_calibrated_and_distorted_ones_are_mended() -> None:
    time, event, truth, line = simulated(4000)
    good = calibration(time, event, truth, 1)
    assert good.slope.ci_low < 1 < good.slope.ci_high
    assert good.intercept.ci_low < 0 < good.intercept.ci_high
    assert good.observed_expected.ci_low < 1 < good.observed_expected.ci_high
    assert good.curve.ici < 0.03
    inside = (good.curve.ci_low <= good.curve.predicted) & (
        good.curve.predicted <= good.curve.ci_high
    )
    assert inside.mean() > 0.8
    distorted = 1 - np.exp(-np.exp(0.7 + 2 * line))
    bad = calibration(time, event, distorted, 1)
    assert bad.slope.value == pytest.approx(0.5, abs=0.05)
    assert bad.curve.ici > 0.1
    mended = calibration(time, event, bad.recalibrate(distorted), 1)
    assert mended.slope.value == pytest.approx(1, abs=1e-6)
    assert mended.intercept.value == pytest.approx(0, abs=1e-6)


def test_calibration_names_what_cannot_be_estimated() -> None:
    time, event = [1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 0, 0]
    risk = [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert "no event by 0.5" in calibration(time, event, risk, 0.5).slope.reason
    assert "follow-up ends at 6" in calibration(time, event, risk, 9).slope.reason
    assert "2 events by 2" in calibration(time, event, risk, 2).slope.reason
    assert "no patients" in calibration([], [], [], 2).observed.reason
    flat = calibration(time, event, [0.4] * 6, 4)
    assert "all predictions are equal" in flat.slope.reason
    assert flat.intercept.value is not None
    assert "too few distinct predictions" in flat.curve.reason
    with pytest.raises(ModelError, match="no recalibration"):
        flat.recalibrate([0.2])
    with pytest.raises(InputError, match="turn a risk score into a probability"):
        calibration(time, event, [3, 2, 1, 0, 0, 0], 4)


def test_predictions_of_zero_and_one_are_told() -> None:
    time, event, truth, _ = simulated(200)
    truth[:3] = [0, 1, 1]
    assert "3 predictions of 0 or 1" in calibration(time, event, truth, 1).warning


def test_net_benefit_equals_the_formula_with_survfit(
    data: pd.DataFrame, outcome: str, expected: pd.Series
) -> None:
    thresholds = [0.2, 0.4, 0.6]
    result = decision_curve(data.time, data[outcome], data.probability, HORIZON, thresholds)
    for threshold in thresholds:
        key = f"{threshold:g}"
        model = result.curves["model"].at(threshold)
        assert model.value == pytest.approx(expected[key, "net_benefit"], rel=1e-10)
        everybody = result.curves[ALL].at(threshold)
        assert everybody.value == pytest.approx(expected[key, "treat_all"], rel=1e-10)
    assert result.curves[NONE].value.tolist() == [0, 0, 0]


def test_threshold_is_reached_by_an_equal_probability() -> None:
    time, event = [1, 2, 5, 5], [1, 1, 0, 0]
    curve = decision_curve(time, event, [0.3, 0.2, 0.2, 0.1], 3, [0.2]).curves["model"]
    assert curve.treated[0] == 0.75
    assert curve.true_positive[0] == pytest.approx(0.5)
    assert curve.value[0] == pytest.approx(0.5 - 0.25 * 0.25)


def test_rules_stand_beside_models() -> None:
    time, event, truth, line = simulated(300)
    eligible = pd.Series(line > 0, index=np.arange(300)[::-1])
    result = decision_curve(
        time, event, {"good": truth, "flat": np.full(300, 0.4)}, 1, rules={"KEYNOTE-564": eligible}
    )
    assert list(result.curves) == ["good", "flat", ALL, NONE, "KEYNOTE-564"]
    assert result.thresholds[[0, -1]].tolist() == [0.05, 0.6]
    rule = result.curves["KEYNOTE-564"]
    assert np.ptp(rule.treated) == 0
    chosen = incidence_at(time[line > 0], event[line > 0].astype(int), 1.0).value
    share = (line > 0).mean()
    assert rule.at(0.2).value == pytest.approx(share * (chosen - (1 - chosen) * 0.25))
    flat = result.curves["flat"]
    assert flat.at(0.4).value == result.curves[ALL].at(0.4).value
    assert flat.at(0.41).value == 0
    assert flat.at(0.41).reason == "nobody is treated"


def test_standard_error_of_net_benefit_agrees_with_resampling() -> None:
    time, event, truth, _ = simulated(300, seed=4)
    se = decision_curve(time, event, truth, 1, [0.3]).curves["model"].se[0]
    rng = np.random.default_rng(5)
    resampled = []
    for _ in range(300):
        rows = rng.integers(0, 300, 300)
        curve = decision_curve(time[rows], event[rows], truth[rows], 1, [0.3]).curves["model"]
        resampled.append(curve.value[0])
    assert se == pytest.approx(np.std(resampled), rel=0.12)


def test_follow_up_of_the_treated_that_ends_early_is_named() -> None:
    result = decision_curve([1, 2, 9, 9], [0, 0, 1, 0], [0.5, 0.5, 0.1, 0.1], 5, [0.3])
    estimate = result.curves["model"][0]
    assert estimate.value is None
    assert "follow-up ends at 2, before 5 among the treated" in estimate.reason


def test_impossible_decision_curves_are_refused() -> None:
    time, event, risk = [1, 2], [1, 0], [0.2, 0.4]
    with pytest.raises(InputError, match=r"5 % is 0\.05"):
        decision_curve(time, event, risk, 1, [5, 60])
    with pytest.raises(InputError, match="names two strategies"):
        decision_curve(time, event, {"a": risk}, 1, rules={"a": [0, 1]})
    with pytest.raises(InputError, match="predicted_risk 'a': found 2"):
        decision_curve(time, event, {"a": [0.1, 2]}, 1)


def test_risk_link_gives_calibrated_probabilities() -> None:
    time, event, truth, line = simulated(4000, seed=6)
    link = fit_risk_link(time, event, 3 * line + 7, 1)
    np.testing.assert_allclose(link.probability(3 * line + 7), truth, atol=0.03)
    assert "follow-up ends" in fit_risk_link([1, 2, 3, 4], [1, 1, 0, 1], [1, 3, 2, 2], 9).reason
    nothing = fit_risk_link([1, 2], [0, 0], [1, 2], 1)
    assert nothing.reason is not None
    with pytest.raises(ModelError, match="no probabilities"):
        nothing.probability([1.0])
