"""How many patients a prediction model needs, and what power a predictor has.

Development: the criteria of Riley et al. (Stat Med 2019;38:1276; BMJ 2020;368:m441) for binary
and time-to-event outcomes, with the numbers of R's `pmsampsize`. External validation: target
widths of the confidence intervals of O/E, calibration slope and C-statistic (Riley et al., Stat
Med 2021;40:4230), with the numbers of `pmvalsampsize`. Power: Hsieh, Bloch and Larsen, Stat Med
1998;17:1623.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from crpnet_bench.errors import InputError, did_you_mean, shorten
from crpnet_bench.stats.inputs import Floats, finite

__all__ = [
    "Power",
    "SampleSize",
    "SampleSizeCriterion",
    "cox_snell_r2_from_c_statistic",
    "largest_number_of_predictors",
    "power_logistic",
    "sample_size",
    "sample_size_for_events_per_variable",
    "sample_size_for_shrinkage",
    "validation_sample_size",
]

Outcome = Literal["binary", "survival"]

_OUTCOMES = ("binary", "survival")
# The published criteria and programmes calculate with 1.96, not with the exact quantile.
_Z = 1.96
# `pmvalsampsize` searches the standard error of ln(O/E) in steps of this size.
_OE_STEP = 1e-4
_LARGEST_N = 1_000_000
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class SampleSizeCriterion:
    """One criterion.

    Attributes:
        name: what it secures.
        n: patients needed, rounded up.
        exact: the same before rounding up.
        events: expected events among n.
        events_per_predictor: events divided by the number of predictor parameters, None for
            validation.
        shrinkage: expected shrinkage factor at this n, None for validation.
        target_se: standard error that gives the wanted interval, None for development.
    """

    name: str
    n: int
    exact: float
    events: float
    events_per_predictor: float | None = None
    shrinkage: float | None = None
    target_se: float | None = None


@dataclass(frozen=True, slots=True)
class SampleSize:
    """All criteria and what they ask for together.

    Attributes:
        n: the largest of the criteria.
        events: expected events among n.
        criteria: one entry a criterion, in the order of the source.
        deciding: name of the criterion that asks for most.
        max_r2: largest possible Cox-Snell R2 at this outcome rate, None for validation.
        nagelkerke_r2: assumed Cox-Snell R2 divided by `max_r2`, None for validation.
        risk_interval: for time-to-event outcomes the cumulative incidence at the time point with
            its 95 % limits at n (low, value, high).
    """

    n: int
    events: float
    criteria: tuple[SampleSizeCriterion, ...]
    deciding: str
    max_r2: float | None = None
    nagelkerke_r2: float | None = None
    risk_interval: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Power:
    """Power of a test.

    Attributes:
        value: probability of a significant result, 0..1.
        n: patients.
        events: expected events.
        odds_ratio: effect that is to be found.
        alpha: two-sided significance level.
        method: formula and source.
    """

    value: float
    n: int
    events: float
    odds_ratio: float
    alpha: float
    method: str


def sample_size(
    outcome: Outcome = "binary",
    *,
    predictors: int,
    prevalence: float | None = None,
    cox_snell_r2: float | None = None,
    c_statistic: float | None = None,
    shrinkage: float = 0.9,
    rate: float | None = None,
    time_point: float | None = None,
    mean_follow_up: float | None = None,
) -> SampleSize:
    """Patients needed to develop a model, by all of Riley's criteria.

    Args:
        outcome: "binary" or "survival" (time to event).
        predictors: number of predictor parameters, not of variables.
        prevalence: share with the outcome; binary only.
        cox_snell_r2: anticipated Cox-Snell R2 of the model.
        c_statistic: instead of `cox_snell_r2`, binary only: turned into R2 under normal
            predictors.
        shrinkage: smallest acceptable expected shrinkage factor.
        rate: events per person and unit of time; survival only.
        time_point: time at which risk is predicted, in that unit; survival only.
        mean_follow_up: anticipated mean follow-up, in that unit; survival only.

    Returns:
        n with each criterion: shrinkage, small optimism in Nagelkerke's R2 (0.05), and precise
        overall risk.

    Raises:
        InputError: a needed value is missing or impossible; the message names it.

    Source:
        Riley et al., Stat Med 2019;38:1276. Equal to `pmsampsize(type = "b")` and `"s"`.

    >>> size = sample_size("binary", predictors=24, cox_snell_r2=0.288, prevalence=0.174)
    >>> [criterion.n for criterion in size.criteria], size.n
    ([623, 662, 221], 662)
    """
    if outcome not in _OUTCOMES:
        raise InputError(f"outcome: found {outcome!r}; {did_you_mean(str(outcome), _OUTCOMES)}")
    _count("predictors", predictors)
    if outcome == "survival":
        r2 = _share("cox_snell_r2", cox_snell_r2)
        return _survival_size(predictors, r2, shrinkage, rate, time_point, mean_follow_up)
    share = _share("prevalence", prevalence)
    if (cox_snell_r2 is None) == (c_statistic is None):
        raise InputError("cox_snell_r2, c_statistic: expected exactly one of the two")
    r2 = (
        cox_snell_r2_from_c_statistic(_share("c_statistic", c_statistic), share)
        if cox_snell_r2 is None
        else _share("cox_snell_r2", cox_snell_r2)
    )
    return _binary_size(predictors, r2, shrinkage, share)


def sample_size_for_shrinkage(
    predictors: int, cox_snell_r2: float, shrinkage: float = 0.9
) -> float:
    """Patients needed for an expected shrinkage factor, not rounded: Riley's criterion (i).

    n = P / ((S - 1) ln(1 - R2 / S)).

    Raises:
        InputError: R2 is not between 0 and S.

    >>> round(sample_size_for_shrinkage(1, 0.57), 2)
    9.97
    """
    _check_shrinkage(cox_snell_r2, shrinkage)
    return _count("predictors", predictors) / (
        (shrinkage - 1) * math.log(1 - cox_snell_r2 / shrinkage)
    )


def largest_number_of_predictors(n: int, cox_snell_r2: float, shrinkage: float = 0.9) -> float:
    """Predictor parameters that n patients allow at an expected shrinkage factor, not rounded.

    The same formula, solved for P.

    >>> round(largest_number_of_predictors(174, 0.57), 2)
    17.46
    """
    _check_shrinkage(cox_snell_r2, shrinkage)
    return _count("n", n) * (shrinkage - 1) * math.log(1 - cox_snell_r2 / shrinkage)


def sample_size_for_events_per_variable(
    predictors: int, prevalence: float, events_per_variable: float = 10
) -> float:
    """Patients needed for a number of events per variable, not rounded.

    A rule of thumb without a basis in the model's performance; given because papers use it.

    >>> round(sample_size_for_events_per_variable(1, 45 / 174), 2)
    38.67
    """
    if not events_per_variable > 0:
        raise InputError(
            f"events_per_variable: found {shorten(events_per_variable)}; expected a number above 0"
        )
    share = _share("prevalence", prevalence)
    return events_per_variable * _count("predictors", predictors) / share


def cox_snell_r2_from_c_statistic(c_statistic: float, prevalence: float) -> float:
    """Cox-Snell R2 of a logistic model with this C-statistic.

    Assumes a linear predictor that is normal with equal variance in both outcome groups (Riley
    et al., Stat Med 2021;40:859); there by simulation, here by quadrature.

    >>> round(cox_snell_r2_from_c_statistic(0.81, 0.174), 3)
    0.179
    """
    share = _share("prevalence", prevalence)
    if not 0.5 < c_statistic < 1:
        raise InputError(f"c_statistic: found {shorten(c_statistic)}; expected 0.5 to 1")
    shift = math.sqrt(2) * float(norm.ppf(c_statistic))
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    # With predictor x, N(0, 1) without and N(shift, 1) with the outcome, Bayes gives the logit.
    offset = math.log(share / (1 - share)) - shift**2 / 2

    def log_likelihood(x: Floats, sign: int) -> float:
        return float(-weights @ np.logaddexp(0, -sign * (offset + shift * x)))

    model = share * log_likelihood(nodes + shift, 1) + (1 - share) * log_likelihood(nodes, -1)
    return 1 - math.exp(2 * (_null_log_likelihood(share) - model))


def validation_sample_size(
    prevalence: float,
    c_statistic: float,
    linear_predictor: tuple[float, float] | ArrayLike | None = None,
    *,
    oe: float = 1.0,
    oe_width: float = 0.2,
    slope_width: float = 0.2,
    c_statistic_width: float = 0.1,
) -> SampleSize:
    """Patients needed for external validation of a binary model, by target interval widths.

    Args:
        prevalence: anticipated share with the outcome.
        c_statistic: anticipated C-statistic.
        linear_predictor: (mean, sd) of a normal distribution of the linear predictor, or its
            values, shape (n,) with n > 2. By default normal in each outcome group with the
            spread that gives the C-statistic and the location that gives the prevalence.
        oe: anticipated ratio of observed to expected events.
        oe_width: target width of its 95 % interval.
        slope_width: the same for the calibration slope (anticipated 1).
        c_statistic_width: the same for the C-statistic.

    Returns:
        n with the three criteria.

    Raises:
        InputError: a value is impossible.

    Source:
        Riley et al., Stat Med 2021;40:4230. Equal to `pmvalsampsize(type = "b")`, save that the
        criterion for the slope is integrated there by simulation.

    >>> validation_sample_size(0.018, 0.8, (-5, 2.5), oe_width=1).n
    4554
    """
    share = _share("prevalence", prevalence)
    c = _share("c_statistic", c_statistic)
    for name, width in (
        ("oe", oe),
        ("oe_width", oe_width),
        ("slope_width", slope_width),
        ("c_statistic_width", c_statistic_width),
    ):
        if not width > 0:
            raise InputError(f"{name}: found {shorten(width)}; expected a number above 0")
    criteria = (
        _observed_expected_size(share, oe, oe_width),
        _slope_size(share, slope_width, *_predictor_grid(share, c, linear_predictor)),
        _c_statistic_size(share, c, c_statistic_width),
    )
    return _together(criteria, share)


def power_logistic(
    n: int,
    prevalence: float,
    odds_ratio: float,
    *,
    alpha: float = 0.05,
    exposed: float | None = None,
    r2_other: float = 0.0,
) -> Power:
    """Power to find one predictor in logistic regression.

    Args:
        n: patients.
        prevalence: share of events: at the predictor's mean for a continuous predictor, overall
            for a binary one.
        odds_ratio: per standard deviation of a continuous predictor, or of exposed against
            unexposed.
        alpha: two-sided significance level.
        exposed: share with the binary predictor; None means continuous.
        r2_other: share of the predictor's variance that other covariates explain.

    Returns:
        Power(value, ...).

    Raises:
        InputError: a value is impossible.

    Source:
        Hsieh, Bloch and Larsen, Stat Med 1998;17:1623, formulas (1), (2) and (4).

    >>> round(100 * power_logistic(174, 45 / 174, 2.0).value, 2)
    97.95
    """
    _count("n", n)
    share = _share("prevalence", prevalence)
    if not (odds_ratio > 0 and odds_ratio != 1):
        raise InputError(f"odds_ratio: found {shorten(odds_ratio)}; expected above 0, not 1")
    if not 0 <= r2_other < 1:
        raise InputError(f"r2_other: found {shorten(r2_other)}; expected 0 to below 1")
    z = float(norm.ppf(1 - _share("alpha", alpha) / 2))
    effective = n * (1 - r2_other)
    if exposed is None:
        reach = math.sqrt(effective * share * (1 - share)) * abs(math.log(odds_ratio)) - z
        method = "continuous predictor, Hsieh 1998 (1)"
    else:
        reach = _binary_reach(effective, share, odds_ratio, _share("exposed", exposed), z)
        method = "binary predictor, Hsieh 1998 (2)"
    return Power(float(norm.cdf(reach)), n, n * share, odds_ratio, alpha, method)


def _share(name: str, value: float | None) -> float:
    if value is None:
        raise InputError(f"{name}: missing; expected a number between 0 and 1")
    if not 0 < value < 1:
        raise InputError(f"{name}: found {shorten(value)}; expected a number between 0 and 1")
    return float(value)


def _positive(name: str, value: float | None) -> float:
    if value is None or not (value > 0 and math.isfinite(value)):
        raise InputError(f"{name}: found {shorten(value)}; expected a number above 0")
    return float(value)


def _count(name: str, value: int) -> int:
    if value < 1 or value != int(value):
        raise InputError(f"{name}: found {shorten(value)}; expected a whole number from 1")
    return int(value)


def _check_shrinkage(r2: float, shrinkage: float) -> None:
    _share("shrinkage", shrinkage)
    _share("cox_snell_r2", r2)
    if r2 >= shrinkage:
        raise InputError(
            f"cox_snell_r2: found {r2:g}; expected below the shrinkage factor {shrinkage:g}"
        )


def _null_log_likelihood(share: float) -> float:
    """Per patient, of a model that knows only the prevalence."""
    return share * math.log(share) + (1 - share) * math.log(1 - share)


def _round_up(exact: float) -> int:
    return math.ceil(exact - _ROUNDING)


def _together(
    criteria: tuple[SampleSizeCriterion, ...], share: float, max_r2: float | None = None
) -> SampleSize:
    most = max(criteria, key=lambda criterion: criterion.n)
    return SampleSize(most.n, most.n * share, criteria, most.name, max_r2)


def _development(
    predictors: int, r2: float, shrinkage: float, max_r2: float, share: float
) -> tuple[SampleSizeCriterion, SampleSizeCriterion]:
    """Criteria (i) and (ii), which binary and time-to-event outcomes have in common."""
    if r2 > max_r2:
        raise InputError(
            f"cox_snell_r2: found {r2:g}; at this outcome rate at most {max_r2:.3f} is possible"
        )
    optimism = r2 / (r2 + 0.05 * max_r2)
    found = []
    for name, factor in (("shrinkage", shrinkage), ("small optimism in R2", optimism)):
        exact = sample_size_for_shrinkage(predictors, r2, factor)
        n = _round_up(exact)
        found.append(SampleSizeCriterion(name, n, exact, n * share, n * share / predictors, factor))
    return found[0], found[1]


def _binary_size(predictors: int, r2: float, shrinkage: float, share: float) -> SampleSize:
    max_r2 = 1 - math.exp(2 * _null_log_likelihood(share))
    first, second = _development(predictors, r2, shrinkage, max_r2, share)
    exact = (_Z / 0.05) ** 2 * share * (1 - share)
    n = _round_up(exact)
    expected = max(first.shrinkage or 0.0, second.shrinkage or 0.0)
    third = SampleSizeCriterion(
        "precise overall risk", n, exact, n * share, n * share / predictors, expected
    )
    size = _together((first, second, third), share, max_r2)
    return SampleSize(size.n, size.events, size.criteria, size.deciding, max_r2, r2 / max_r2)


def _survival_size(
    predictors: int,
    r2: float,
    shrinkage: float,
    rate: float | None,
    time_point: float | None,
    mean_follow_up: float | None,
) -> SampleSize:
    hazard, horizon = _positive("rate", rate), _positive("time_point", time_point)
    follow_up = _positive("mean_follow_up", mean_follow_up)
    share = hazard * follow_up
    # Riley et al. take the events of 10,000 patients, rounded up, for the null likelihood.
    per_patient = math.ceil(share * 10_000 - _ROUNDING) / 10_000
    max_r2 = 1 - math.exp(2 * (per_patient * math.log(per_patient) - per_patient))
    first, second = _development(predictors, r2, shrinkage, max_r2, share)
    n = max(first.n, second.n)
    expected = max(first.shrinkage or 0.0, second.shrinkage or 0.0)
    third = SampleSizeCriterion(
        "precise overall risk", n, float(n), n * share, n * share / predictors, expected
    )
    margin = _Z * math.sqrt(hazard / (follow_up * n))
    low, value, high = (-math.expm1(-(hazard + sign * margin) * horizon) for sign in (-1, 0, 1))
    size = _together((first, second, third), share, max_r2)
    return SampleSize(
        size.n, size.events, size.criteria, size.deciding, max_r2, r2 / max_r2, (low, value, high)
    )


def _observed_expected_size(share: float, oe: float, width: float) -> SampleSizeCriterion:
    se = math.asinh(width / (2 * oe)) / _Z
    se = math.ceil(se / _OE_STEP - _ROUNDING) * _OE_STEP
    exact = (1 - share) / (share * se**2)
    n = _round_up(exact)
    return SampleSizeCriterion("O/E", n, exact, n * share, target_se=se)


def _predictor_grid(
    share: float, c: float, linear_predictor: tuple[float, float] | ArrayLike | None
) -> tuple[Floats, Floats]:
    """Values of the linear predictor and their weights, which add up to 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    weights = weights / weights.sum()
    if linear_predictor is None:
        variance = 2 * float(norm.ppf(c)) ** 2
        center = math.log(share / (1 - share)) - variance / 2
        spread = math.sqrt(variance) * nodes
        values = np.concatenate([center + spread, center + variance + spread])
        return values, np.concatenate([(1 - share) * weights, share * weights])
    given = finite(np.asarray(linear_predictor, dtype=np.float64), "linear_predictor")
    if given.size == 2:
        return given[0] + _positive("sd of linear_predictor", given[1]) * nodes, weights
    if given.size < 2:
        raise InputError("linear_predictor: expected (mean, sd) or one value a patient")
    return given, np.full(given.size, 1 / given.size)


def _slope_size(share: float, width: float, values: Floats, weights: Floats) -> SampleSizeCriterion:
    risk = 1 / (1 + np.exp(-values))
    information = weights * risk * (1 - risk)
    i00, i01, i11 = (float(information @ values**k) for k in range(3))
    se = width / (2 * _Z)
    exact = i00 / (se**2 * (i00 * i11 - i01**2))
    n = _round_up(exact)
    return SampleSizeCriterion("calibration slope", n, exact, n * share, target_se=se)


def _c_statistic_size(share: float, c: float, width: float) -> SampleSizeCriterion:
    """Newcombe's standard error (Stat Med 2006;25:559), which falls with n."""

    def excess(n: float) -> float:
        half = n / 2 - 1
        variance = c * (1 - c) * (1 + half * (1 - c) / (2 - c) + half * c / (1 + c))
        return 2 * _Z * math.sqrt(variance / (n**2 * share * (1 - share))) - width

    if excess(2) <= 0:
        return SampleSizeCriterion("C-statistic", 2, 2.0, 2 * share, target_se=width / (2 * _Z))
    if excess(_LARGEST_N) > 0:
        raise InputError(f"c_statistic_width: {width:g} needs more than {_LARGEST_N} patients")
    exact = float(brentq(excess, 2, _LARGEST_N, xtol=1e-9))
    n = _round_up(exact)
    return SampleSizeCriterion("C-statistic", n, exact, n * share, target_se=width / (2 * _Z))


def _binary_reach(n: float, share: float, odds_ratio: float, exposed: float, z: float) -> float:
    """Z of the power; the outcome shares of both groups follow from overall share and odds."""

    def surplus(unexposed_risk: float) -> float:
        odds = odds_ratio * unexposed_risk / (1 - unexposed_risk)
        return exposed * odds / (1 + odds) + (1 - exposed) * unexposed_risk - share

    p1 = float(brentq(surplus, 1e-12, 1 - 1e-12, xtol=1e-15))
    odds = odds_ratio * p1 / (1 - p1)
    p2 = odds / (1 + odds)
    spread = p1 * (1 - p1) + p2 * (1 - p2) * (1 - exposed) / exposed
    under_null = z * math.sqrt(share * (1 - share) / exposed)
    return (abs(p1 - p2) * math.sqrt(n * (1 - exposed)) - under_null) / math.sqrt(spread)
