"""Do predicted probabilities agree with what happened by a horizon?

Everything rests on jackknife pseudo-observations of the cumulative incidence at the horizon,
which stand in for the outcomes of the censored and allow competing events (van Geloven et al.,
BMJ 2022;377:e069249). On the complementary log-log scale, c(p) = log(-log(1 - p)),

    intercept   a in  c(observed) = a + c(predicted)              0 when right on average
    slope       b in  c(observed) = a + b c(predicted)            1 when right in spread

by generalised estimating equations with independence (identity variance, sandwich errors), as
`geepack::geese(mean.link = "cloglog")`. The smoothed curve replaces the line by a restricted cubic
spline of c(predicted). O/E divides the cumulative incidence by the mean prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError, ModelError
from crpnet_bench.stats.at_times import bounded_wald, few_events, horizons
from crpnet_bench.stats.brier import risks_at
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.incidence_at import incidence_at, pseudo_observations
from crpnet_bench.stats.inputs import Floats, Ints, event_status, same_length, survival_times
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["Calibration", "CalibrationCurve", "CalibrationGroup", "calibration"]

_METHOD = "pseudo-observations, complementary log-log"
# Probabilities of exactly 0 and 1 have no complementary log-log.
_EDGE = 1e-6
_MAX_STEPS = 100
_TOLERANCE = 1e-12
# Fewer events cannot carry a second coefficient.
_FEWEST_EVENTS = 3
# Harrell's knot positions (Regression Modeling Strategies, 2015, table 2.3).
_KNOTS = {3: (0.1, 0.5, 0.9), 4: (0.05, 0.35, 0.65, 0.95)}
_EVENTS_FOR_FOUR_KNOTS = 50
_CURVE_POINTS = 101
_PATIENTS_A_GROUP = 20
_MOST_GROUPS = 10


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationGroup:
    """Patients with similar predictions.

    Attributes:
        n: how many.
        predicted: their mean predicted probability.
        observed: their cumulative incidence at the horizon, plain interval.
    """

    n: int
    predicted: float
    observed: Estimate


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationCurve:
    """Smoothed observed against predicted probability.

    Attributes:
        predicted, observed, ci_low, ci_high: shape (101,); empty when not estimable.
        ici: mean absolute difference over the patients (integrated calibration index).
        e50, e90: median and 90th percentile of that difference.
        method: how it was smoothed.
        reason: why there is no curve, or None.
    """

    predicted: Floats
    observed: Floats
    ci_low: Floats
    ci_high: Floats
    ici: float | None
    e50: float | None
    e90: float | None
    method: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Agreement of predicted probabilities with outcomes at one horizon.

    Attributes:
        horizon: the time.
        n: patients.
        observed: cumulative incidence at the horizon.
        predicted: mean predicted probability.
        observed_expected: O/E, interval on the log scale with the predictions as given.
        intercept: calibration in the large, slope fixed at 1; 0 is perfect.
        slope: 1 is perfect, below 1 is too extreme.
        slope_intercept: intercept of the line with that slope, for recalibration.
        groups: observed and predicted in groups of equal size by predicted probability.
        curve: the smoothed curve.
        warning: what the reader has to know, or None.
    """

    horizon: float
    n: int
    observed: Estimate
    predicted: float | None
    observed_expected: Estimate
    intercept: Estimate
    slope: Estimate
    slope_intercept: Estimate
    groups: tuple[CalibrationGroup, ...]
    curve: CalibrationCurve
    warning: str | None = None

    def recalibrate(self, predicted_risk: ArrayLike) -> Floats:
        """Probabilities moved onto the fitted line, shape (n,).

        Raises:
            ModelError: there is no slope.
            InputError: a value is no probability.
        """
        if self.slope.value is None or self.slope_intercept.value is None:
            raise ModelError(f"no recalibration: {self.slope.reason}")
        risk = risks_at(predicted_risk, 1)[:, 0]
        line = self.slope_intercept.value + self.slope.value * _cloglog(risk)
        return np.asarray(-np.expm1(-np.exp(line)), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    coef: Floats
    covariance: Floats


def calibration(
    time: ArrayLike,
    event: ArrayLike,
    predicted_risk: ArrayLike,
    horizon: float,
    groups: int | None = None,
    level: float = 0.95,
) -> Calibration:
    """Compare predicted probabilities with outcomes at a horizon.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        predicted_risk: probability of the event by the horizon, shape (n,).
        horizon: the time, in the unit of `time`.
        groups: number of groups; by default at most ten of at least 20 patients.
        level: confidence level.

    Returns:
        O/E, intercept, slope, groups and smoothed curve, each with a reason where it cannot be
        estimated (no event by the horizon, follow-up too short, equal predictions).

    Raises:
        InputError: a value is no probability (a risk score is none), lengths differ.
    """
    check_level(level)
    asked, _ = horizons(horizon, "horizon")
    t = float(asked[0])
    checked_time, status = survival_times(time), event_status(event, "event")
    risk = risks_at(predicted_risk, 1)[:, 0]
    same_length(time=checked_time, event=status, predicted_risk=risk)
    if groups is None:
        groups = max(2, min(_MOST_GROUPS, risk.size // _PATIENTS_A_GROUP))
    if groups < 1 or groups != int(groups):
        raise InputError(f"groups: found {groups!r}; expected a whole number from 1")
    observed = _observed(checked_time, status, t, level)
    reason = observed.reason if observed.value is None else _too_few(checked_time, status, t)
    predicted = float(risk.mean()) if risk.size else None
    if reason is not None:
        return _nothing(t, risk.size, observed, predicted, reason, level)
    pseudo = pseudo_observations(checked_time, status, t)
    events = int(((status == 1) & (checked_time <= t)).sum())
    return Calibration(
        horizon=t,
        n=risk.size,
        observed=observed,
        predicted=predicted,
        observed_expected=_ratio(observed, float(risk.mean()), level),
        intercept=_intercept(pseudo, risk, level),
        **_line(pseudo, risk, level),
        groups=_groups(checked_time, status, risk, t, int(groups), level),
        curve=_curve(pseudo, risk, events, level),
        warning=_warning(risk, events),
    )


def _cloglog(risk: Floats) -> Floats:
    edged = np.clip(risk, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(-np.log1p(-edged)), dtype=np.float64)


def _warning(risk: Floats, events: int) -> str | None:
    told = [few_events(events, risk.size - events)]
    edge = int(((risk < _EDGE) | (risk > 1 - _EDGE)).sum())
    if edge:
        told.append(f"{edge} predictions of 0 or 1 were taken as {_EDGE:g} or one less that")
    return "; ".join(text for text in told if text) or None


def _observed(time: Floats, status: Ints, t: float, level: float) -> Estimate:
    method = "Aalen-Johansen, plain interval"
    if not time.size:
        return not_estimable("not estimable: no patients", method, level)
    found = incidence_at(time, status, t)
    if not found.known:
        reason = f"not estimable: follow-up ends at {time.max():g}, before {t:g}"
        return not_estimable(reason, method, level)
    events = int(((status == 1) & (time <= t)).sum())
    warning = few_events(events, time.size - events)
    return bounded_wald(found.value, found.se, level, method, warning)


def _too_few(time: Floats, status: Ints, t: float) -> str | None:
    events = int(((status == 1) & (time <= t)).sum())
    if events == 0:
        return f"not estimable: no event by {t:g}"
    if events == time.size:
        return f"not estimable: everybody has the event by {t:g}"
    if events < _FEWEST_EVENTS:
        return f"not estimable: {events} events by {t:g}, fewer than {_FEWEST_EVENTS}"
    return None


def _nothing(
    t: float, n: int, observed: Estimate, predicted: float | None, reason: str, level: float
) -> Calibration:
    none = not_estimable(reason, _METHOD, level)
    empty = np.zeros(0)
    curve = CalibrationCurve(empty, empty, empty, empty, None, None, None, _METHOD, reason)
    return Calibration(t, n, observed, predicted, none, none, none, none, (), curve)


def _ratio(observed: Estimate, expected: float, level: float) -> Estimate:
    method = "O/E, interval on the log scale"
    if expected <= 0 or not observed.value:
        return not_estimable("not estimable: no expected or no observed event", method, level)
    value = observed.value / expected
    if observed.se is None:
        return Estimate(value=value, level=level, method=method, reason=observed.reason)
    spread = np.exp(normal_quantile(level) * observed.se / observed.value)
    return Estimate(
        value=value,
        se=observed.se / expected,
        ci_low=float(value / spread),
        ci_high=float(value * spread),
        level=level,
        method=method,
        warning=observed.warning,
    )


def _solve(pseudo: Floats, X: Floats, offset: Floats) -> _Fit | None:
    """Estimating equations sum D'(y - mu) = 0 by Gauss-Newton; None when they do not converge."""
    coef = np.zeros(X.shape[1])
    start = float(np.clip(pseudo.mean(), 0.01, 0.99))
    coef[0] = np.log(-np.log1p(-start)) - float(offset.mean())
    loss = np.inf
    for _ in range(_MAX_STEPS):
        slope, residual = _derivative(pseudo, X, offset, coef)
        loss = float(residual @ residual)
        try:
            step = np.linalg.solve(slope.T @ slope, slope.T @ residual)
        except np.linalg.LinAlgError:
            return None
        while np.max(np.abs(step)) > _TOLERANCE:
            ahead = _derivative(pseudo, X, offset, coef + step)[1]
            if float(ahead @ ahead) <= loss:
                break
            step = step / 2
        coef = coef + step
        if np.max(np.abs(step)) <= _TOLERANCE * max(1.0, float(np.max(np.abs(coef)))):
            slope, residual = _derivative(pseudo, X, offset, coef)
            return _Fit(coef, _sandwich(slope, residual))
    return None


def _derivative(pseudo: Floats, X: Floats, offset: Floats, coef: Floats) -> tuple[Floats, Floats]:
    hazard = np.exp(np.clip(offset + X @ coef, -30, 5))
    survival = np.exp(-hazard)
    return np.asarray(X * (survival * hazard)[:, None]), np.asarray(pseudo - (1 - survival))


def _sandwich(slope: Floats, residual: Floats) -> Floats:
    bread = np.linalg.inv(slope.T @ slope)
    score = slope * residual[:, None]
    return np.asarray(bread @ (score.T @ score) @ bread, dtype=np.float64)


def _wald(value: float, variance: float, level: float) -> Estimate:
    return bounded_wald(value, float(np.sqrt(variance)), level, _METHOD, bounds=(-np.inf, np.inf))


def _intercept(pseudo: Floats, risk: Floats, level: float) -> Estimate:
    fit = _solve(pseudo, np.ones((risk.size, 1)), _cloglog(risk))
    if fit is None:
        return not_estimable("not estimable: the fit did not converge", _METHOD, level)
    return _wald(float(fit.coef[0]), float(fit.covariance[0, 0]), level)


def _line(pseudo: Floats, risk: Floats, level: float) -> dict[str, Estimate]:
    fit, reason = None, "not estimable: all predictions are equal"
    if np.ptp(risk) > 0:
        X = np.column_stack([np.ones(risk.size), _cloglog(risk)])
        fit = _solve(pseudo, X, np.zeros(risk.size))
        reason = "not estimable: the fit did not converge"
    if fit is None:
        none = not_estimable(reason, _METHOD, level)
        return {"slope": none, "slope_intercept": none}
    intercept, slope = (
        _wald(float(fit.coef[i]), float(fit.covariance[i, i]), level) for i in range(2)
    )
    return {"slope": slope, "slope_intercept": intercept}


def _groups(
    time: Floats, status: Ints, risk: Floats, t: float, groups: int, level: float
) -> tuple[CalibrationGroup, ...]:
    """Groups between type 7 quantiles; equal predictions stay together."""
    edges = np.quantile(risk, np.linspace(0, 1, groups + 1)[1:-1])
    where = np.searchsorted(edges, risk, side="left")
    found = []
    for k in np.unique(where):
        inside = where == k
        found.append(
            CalibrationGroup(
                int(inside.sum()),
                float(risk[inside].mean()),
                _observed(time[inside], status[inside], t, level),
            )
        )
    return tuple(found)


def _spline(x: Floats, knots: Floats) -> Floats:
    """Restricted cubic spline basis without intercept, scaled as in Harrell's `rcspline.eval`."""
    last, before = knots[-1], knots[-2]
    scale = (last - knots[0]) ** 2

    def cube(knot: float) -> Floats:
        return np.asarray(np.maximum(x - knot, 0) ** 3)

    columns = [x]
    for knot in knots[:-2]:
        bend = cube(knot) - cube(before) * (last - knot) / (last - before)
        columns.append((bend + cube(last) * (before - knot) / (last - before)) / scale)
    return np.column_stack(columns)


def _curve(pseudo: Floats, risk: Floats, events: int, level: float) -> CalibrationCurve:
    count = 4 if events >= _EVENTS_FOR_FOUR_KNOTS else 3
    method = f"restricted cubic spline, {count} knots, {_METHOD}"
    x = _cloglog(risk)
    knots = np.quantile(x, _KNOTS[count])
    empty = np.zeros(0)
    nothing = CalibrationCurve(empty, empty, empty, empty, None, None, None, method)
    if np.unique(knots).size < count:
        return _without(nothing, "not estimable: too few distinct predictions")
    X = np.column_stack([np.ones(x.size), _spline(x, knots)])
    fit = _solve(pseudo, X, np.zeros(x.size))
    if fit is None:
        return _without(nothing, "not estimable: the fit did not converge")
    grid = np.linspace(float(risk.min()), float(risk.max()), _CURVE_POINTS)
    rows = np.column_stack([np.ones(grid.size), _spline(_cloglog(grid), knots)])
    line = rows @ fit.coef
    margin = normal_quantile(level) * np.sqrt(
        np.maximum(np.einsum("ij,jk,ik->i", rows, fit.covariance, rows), 0)
    )
    observed, low, high = (
        np.asarray(-np.expm1(-np.exp(np.clip(curve, -30, 5))), dtype=np.float64)
        for curve in (line, line - margin, line + margin)
    )
    difference = np.abs(-np.expm1(-np.exp(np.clip(X @ fit.coef, -30, 5))) - risk)
    e50, e90 = (float(q) for q in np.quantile(difference, [0.5, 0.9]))
    return CalibrationCurve(grid, observed, low, high, float(difference.mean()), e50, e90, method)


def _without(curve: CalibrationCurve, reason: str) -> CalibrationCurve:
    empty = np.zeros(0)
    return CalibrationCurve(empty, empty, empty, empty, None, None, None, curve.method, reason)
