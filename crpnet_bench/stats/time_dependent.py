"""Discrimination at a horizon: cumulative/dynamic AUC, sensitivity, specificity, PPV, NPV.

Cases had the event at or before t, controls are free of it at t; patients censored before t
are made up for by weights (`censoring`). Under competing risks a patient with a competing
event before t is a control, the second definition of Blanche et al. (`AUC_2`, `FP_2` and
`NPV_2` of `timeROC`; `AUC` of `riskRegression::Score`). Equal risks count one half in the AUC;
positive means risk strictly above the threshold.

The one difference from `timeROC`: an event exactly at t is a case here, as in
`riskRegression::Score`; there it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from crpnet_bench.errors import InputError
from crpnet_bench.stats.at_times import EstimatesAtTimes, bounded_wald, few_events, horizons
from crpnet_bench.stats.censoring import (
    CensoringDistribution,
    WeightsAtTime,
    censoring_distribution,
)
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    event_status,
    finite,
    same_length,
    survival_times,
)
from crpnet_bench.stats.perfection import perfect_bound

__all__ = [
    "AucDifference",
    "TimeDependentRates",
    "compare_time_dependent_auc",
    "time_dependent_auc",
    "time_dependent_rates",
]

_METHOD = "IPCW, influence function"
# An AUC this near to 0 or 1 is exactly that, up to rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class AucDifference(Estimate):
    """Difference of two AUCs at one time.

    Attributes:
        p_value: two-sided test of no difference; None when not estimable.
    """

    p_value: float | None = None

    @property
    def difference(self) -> float | None:
        """The first AUC less the second; the same as `value`."""
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class TimeDependentRates:
    """Rates of a two-class rule at each horizon.

    Attributes:
        sensitivity: positive among those with the event by t.
        specificity: negative among those without it.
        ppv: with the event by t among the positive.
        npv: without it among the negative.
        threshold: positive is a risk strictly above this.
        positive, negative: number of patients on each side.
    """

    sensitivity: EstimatesAtTimes
    specificity: EstimatesAtTimes
    ppv: EstimatesAtTimes
    npv: EstimatesAtTimes
    threshold: float
    positive: int
    negative: int


def time_dependent_auc(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    times: ArrayLike | Sequence[float] | float,
    level: float = 0.95,
) -> EstimatesAtTimes:
    """Cumulative/dynamic AUC at each of `times`.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        risk: higher means earlier event, shape (n,).
        times: one horizon or several, in the unit of `time`.
        level: confidence level.

    Returns:
        value, se, ci_low, ci_high at each time; not estimable, with the reason, where no
        patient has the event by t or nobody is known to be free of it.

    Raises:
        InputError: lengths differ or a value cannot be used.

    Source:
        Blanche, Dartigues and Jacqmin-Gadda, Stat Med 2013;32:5381. Equal to
        `riskRegression::Score(metrics = "AUC", cens.model = "km")`, tied times included.

    >>> auc = time_dependent_auc([1, 2, 3, 4, 5], [1, 0, 1, 1, 0], [4, 5, 2, 3, 1], times=3)
    >>> print(f"{auc.value:.3f}")
    0.714
    """
    fitted, score = _gate(time, event, risk)
    asked, scalar = horizons(times)
    estimates = tuple(_auc_at(fitted, score, float(t), level) for t in asked)
    return EstimatesAtTimes(estimates, asked, scalar=scalar)


def compare_time_dependent_auc(
    time: ArrayLike,
    event: ArrayLike,
    risk_a: ArrayLike,
    risk_b: ArrayLike,
    times: ArrayLike | Sequence[float] | float,
    level: float = 0.95,
) -> tuple[AucDifference, ...]:
    """Paired comparison of two risks' cumulative/dynamic AUC, first less second.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        risk_a: higher means earlier event, shape (n,).
        risk_b: the same of the other model, for the same patients.
        times: one horizon or several, in the unit of `time`.
        level: confidence level.

    Returns:
        Difference, interval and P, one entry a time.

    Raises:
        InputError: lengths differ or a value cannot be used.

    Source:
        Blanche, Dartigues and Jacqmin-Gadda, Stat Med 2013;32:5381. Equal to the contrasts of
        `riskRegression::Score`.
    """
    fitted, first = _gate(time, event, risk_a, "risk_a")
    second = finite(risk_b, "risk_b")
    same_length(risk_a=first, risk_b=second)
    asked, _ = horizons(times)
    return tuple(_difference_at(fitted, (first, second), float(t), level) for t in asked)


def time_dependent_rates(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    threshold: float,
    times: ArrayLike | Sequence[float] | float,
    level: float = 0.95,
) -> TimeDependentRates:
    """Sensitivity, specificity, PPV and NPV of "risk > threshold" at each of `times`.

    For a predicted class (0 or 1) give the class as risk and 0.5 as threshold.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        risk: higher means earlier event, shape (n,).
        threshold: positive is strictly above.
        times: one horizon or several, in the unit of `time`.
        level: confidence level.

    Returns:
        Four estimates at each time; a rate without a denominator has its reason.

    Raises:
        InputError: lengths differ or a value cannot be used.

    Source:
        Blanche, Dartigues and Jacqmin-Gadda, Stat Med 2013;32:5381; `timeROC::SeSpPPVNPV`.
    """
    fitted, score = _gate(time, event, risk)
    asked, scalar = horizons(times)
    if not np.isfinite(threshold):
        raise InputError(f"threshold: found {threshold}; expected a finite number")
    positive = score > threshold
    rows = [_rates_at(fitted, positive, float(t), level) for t in asked]
    sensitivity, specificity, ppv, npv = (
        EstimatesAtTimes(tuple(row[which] for row in rows), asked, scalar=scalar)
        for which in range(4)
    )
    count = int(positive.sum())
    return TimeDependentRates(
        sensitivity, specificity, ppv, npv, float(threshold), count, score.size - count
    )


def _gate(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, name: str = "risk"
) -> tuple[CensoringDistribution, Floats]:
    checked_time = survival_times(time)
    status = event_status(event, "event")
    score = finite(risk, name)
    same_length(**{"time": checked_time, "event": status, name: score})
    return censoring_distribution(checked_time, status), score


def _why_not(state: WeightsAtTime) -> str | None:
    if not state.case.size:
        return "not estimable: no patients"
    if not state.case.any():
        return f"not estimable: no event by {state.time:g}"
    if not (state.survivor | state.competing).any():
        return f"not estimable: nobody is known to be free of the event at {state.time:g}"
    return None


def _auc_at(fitted: CensoringDistribution, score: Floats, t: float, level: float) -> Estimate:
    state = fitted.at(t)
    reason = _why_not(state)
    if reason:
        return not_estimable(reason, _METHOD, level)
    value, derivative = _auc(state, score)
    se = state.standard_error(derivative)
    estimate = bounded_wald(value, se, level, _METHOD, _warning(state))
    if estimate.ci_low is not None:
        return estimate
    return replace(estimate, reason=_why_no_interval(state, score, value, level))


def _auc(state: WeightsAtTime, score: Floats) -> tuple[float, Floats]:
    """The AUC, and n times its derivatives by the log weights, shape (n,)."""
    case = np.where(state.case, state.weight, 0.0)
    control = np.where(state.survivor | state.competing, state.weight, 0.0)
    beaten, beating = _concordant_weight(score, case, control)
    cases, controls = case.sum(), control.sum()
    value = min(1.0, float(case @ beaten / (cases * controls)))
    derivative = case * (beaten - value * controls) + control * (beating - value * cases)
    return value, derivative * (score.size / (cases * controls))


def _warning(state: WeightsAtTime) -> str | None:
    return few_events(int(state.case.sum()), int((state.survivor | state.competing).sum()))


def _why_no_interval(state: WeightsAtTime, score: Floats, value: float, level: float) -> str:
    if np.ptp(score) == 0:
        return "interval not estimable: all risks are equal"
    exact = float(round(value))
    if abs(value - exact) > _ROUNDING:
        return "interval not estimable: no variation in the data"
    pairs = min(int(state.case.sum()), int((state.survivor | state.competing).sum()))
    return perfect_bound(exact, pairs, level, "the AUC", "pairs of case and control")[1]


def _difference_at(
    fitted: CensoringDistribution, scores: tuple[Floats, Floats], t: float, level: float
) -> AucDifference:
    state = fitted.at(t)
    method = "IPCW, paired influence functions"
    reason = _why_not(state)
    if reason:
        return AucDifference(value=None, method=method, level=level, reason=reason)
    (first, slope_a), (second, slope_b) = (_auc(state, score) for score in scores)
    se = state.standard_error(slope_a - slope_b)
    found = bounded_wald(first - second, se, level, method, _warning(state), (-1.0, 1.0))
    p_value = None if found.se is None else float(2 * ndtr(-abs(first - second) / found.se))
    return AucDifference(
        value=found.value,
        se=found.se,
        ci_low=found.ci_low,
        ci_high=found.ci_high,
        level=level,
        method=method,
        reason=None if found.se else "interval not estimable: the risks order patients alike",
        warning=found.warning,
        p_value=p_value,
    )


def _concordant_weight(score: Floats, case: Floats, control: Floats) -> tuple[Floats, Floats]:
    """For each patient: weight of controls with lower risk, weight of cases with higher risk."""
    _, rank = np.unique(score, return_inverse=True)
    controls = np.bincount(rank, weights=control)
    cases = np.bincount(rank, weights=case)
    below = np.cumsum(controls) - controls / 2
    above = cases.sum() - np.cumsum(cases) + cases / 2
    return below[rank], above[rank]


def _rates_at(
    fitted: CensoringDistribution, positive: Bools, t: float, level: float
) -> tuple[Estimate, Estimate, Estimate, Estimate]:
    state = fitted.at(t)
    reason = _why_not(state)
    if reason:
        missing = not_estimable(reason, _METHOD, level)
        return missing, missing, missing, missing
    control = state.survivor | state.competing
    known = state.case | control

    def rate(good: Bools, among: Bools, empty: str) -> Estimate:
        return _weighted_share(state, good, among & known, empty, level)

    return (
        rate(positive, state.case, "no events"),
        rate(~positive, control, "no patients without the event"),
        rate(state.case, positive, "nobody is positive with a known outcome"),
        rate(control, ~positive, "nobody is negative with a known outcome"),
    )


def _weighted_share(
    state: WeightsAtTime, good: Bools, among: Bools, empty: str, level: float
) -> Estimate:
    weight = np.where(among, state.weight, 0.0)
    total = float(weight.sum())
    if total == 0:
        return not_estimable(f"not estimable at {state.time:g}: {empty}", _METHOD, level)
    value = float(weight[good].sum() / total)
    derivative = weight * (good - value) * (good.size / total)
    yes = int((among & good).sum())
    warning = few_events(yes, int(among.sum()) - yes)
    estimate = bounded_wald(value, state.standard_error(derivative), level, _METHOD, warning)
    if estimate.ci_low is not None:
        return estimate
    return replace(estimate, reason=f"interval not estimable: the rate is exactly {value:g}")
