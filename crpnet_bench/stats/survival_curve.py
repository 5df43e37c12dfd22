"""Kaplan-Meier curve, median and restricted mean survival time, as R's `survfit`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.inputs import Floats, Ints, event_indicator, same_length, survival_times
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["ConfType", "CurvePoint", "KaplanMeier", "kaplan_meier"]

ConfType = Literal["log-log", "log", "plain"]

_CONF_TYPES = ("log", "log-log", "plain")
# R compares survival probabilities with one half up to this tolerance.
_HALF_TOLERANCE = float(np.sqrt(np.finfo(np.float64).eps))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint(Estimate):
    """Survival at one time.

    Attributes:
        time: the time asked.
        at_risk: patients with a follow-up of at least `time`.
        events, censored: cumulative counts up to and including `time`.
    """

    time: float
    at_risk: int
    events: int
    censored: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KaplanMeier:
    """A Kaplan-Meier curve; arrays have one entry a distinct time, ascending.

    Attributes:
        time: distinct event and censoring times.
        survival: S(t), right-continuous.
        se: standard error of S(t) (Greenwood); NaN once S(t) = 0.
        ci_low, ci_high: pointwise limits; NaN where R has NA (S(t) of 0; for "log-log" also 1).
        at_risk: patients at risk just before each time.
        events, censored: counts at each time.
        median: first time with S(t) <= 0.5 (midpoint where S(t) = 0.5 over an interval),
            None when not reached.
        median_ci_low, median_ci_high: the same rule applied to the limits; None when not reached.
        conf_type, level: kind and level of the interval.
        reason: why there is no median; None when there is one.
    """

    time: Floats
    survival: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    at_risk: Ints
    events: Ints
    censored: Ints
    median: float | None
    median_ci_low: float | None
    median_ci_high: float | None
    conf_type: ConfType
    level: float
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return int(self.at_risk[0]) if self.at_risk.size else 0

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.events.sum())

    @overload
    def at(self, t: float) -> CurvePoint: ...
    @overload
    def at(self, t: Sequence[float] | NDArray[np.float64]) -> tuple[CurvePoint, ...]: ...
    def at(
        self, t: float | Sequence[float] | NDArray[np.float64]
    ) -> CurvePoint | tuple[CurvePoint, ...]:
        """Survival, its interval and the number at risk at one time (or a tuple for several).

        Beyond the last follow-up there is no estimate, unless the curve has come down to 0.

        Raises:
            InputError: a time is negative or not finite.
        """
        times = np.asarray(t, dtype=np.float64)
        if not np.all(np.isfinite(times) & (times >= 0)):
            raise InputError(f"t: found {t!r}; expected times from zero upwards")
        if times.ndim == 0:
            return self._point(float(times))
        return tuple(self._point(float(value)) for value in times)

    def _point(self, t: float) -> CurvePoint:
        last = int(np.searchsorted(self.time, t, side="right")) - 1
        first_later = int(np.searchsorted(self.time, t, side="left"))
        values = self._values(t, last)
        value, standard_error, low, high, reason = values
        return CurvePoint(
            value=value,
            se=standard_error,
            ci_low=low,
            ci_high=high,
            level=self.level,
            method=f"Kaplan-Meier, {self.conf_type} interval",
            reason=reason,
            time=t,
            at_risk=int(self.at_risk[first_later]) if first_later < self.time.size else 0,
            events=int(self.events[: last + 1].sum()),
            censored=int(self.censored[: last + 1].sum()),
        )

    def _values(
        self, t: float, last: int
    ) -> tuple[float | None, float | None, float | None, float | None, str | None]:
        if not self.time.size:
            return None, None, None, None, "no patients"
        if t > self.time[-1] and self.survival[-1] > 0:
            reason = f"beyond the last follow-up ({self.time[-1]:g})"
            return None, None, None, None, reason
        value = float(self.survival[last]) if last >= 0 else 1.0
        if value == 1:
            return value, 0.0, None, None, "no event yet, interval not estimable"
        if value == 0:
            return value, None, None, None, "survival is 0, interval not estimable"
        return (
            value,
            float(self.se[last]),
            float(self.ci_low[last]),
            float(self.ci_high[last]),
            None,
        )

    def rmst(self, tau: float) -> Estimate:
        """Restricted mean survival time: the area under the curve from 0 to `tau`.

        Equals R's `summary(survfit, rmean = tau)`; the interval is Wald. Where follow-up ends
        before `tau`, the last survival is carried forward as R does, with a warning.

        Raises:
            InputError: tau is not a positive number.
        """
        if not (math.isfinite(tau) and tau > 0):
            raise InputError(f"tau: found {tau!r}; expected a time above zero")
        method = f"restricted mean to {tau:g}, Wald"
        if not self.time.size:
            return Estimate(value=None, reason="no patients", method=method, level=self.level)
        kept = self.time <= tau
        widths = np.diff(np.concatenate(([0.0], self.time[kept], [tau])))
        areas = widths * np.concatenate(([1.0], self.survival[kept]))
        value = float(areas.sum())
        remaining = np.cumsum(areas[:0:-1])[::-1]
        variance = float(np.sum(remaining**2 * self._greenwood_steps()[kept]))
        warning = None
        if tau > self.time[-1] and self.survival[-1] > 0:
            warning = f"last follow-up at {self.time[-1]:g}: survival carried forward to {tau:g}"
        if variance == 0:
            return Estimate(
                value=value,
                se=0.0,
                level=self.level,
                method=method,
                warning=warning,
                reason=f"no event with patients left at risk up to {tau:g}, interval not estimable",
            )
        half = normal_quantile(self.level) * math.sqrt(variance)
        return Estimate(
            value=value,
            se=math.sqrt(variance),
            ci_low=value - half,
            ci_high=value + half,
            level=self.level,
            method=method,
            warning=warning,
        )

    def _greenwood_steps(self) -> Floats:
        # R leaves out the step at which everybody left has the event: the curve ends there.
        return _greenwood_steps(self.at_risk, self.events, at_zero=0.0)


def kaplan_meier(
    time: ArrayLike,
    event: ArrayLike,
    conf_type: ConfType = "log-log",
    level: float = 0.95,
) -> KaplanMeier:
    """Kaplan-Meier estimate with pointwise intervals, as R's `survfit(Surv(time, event) ~ 1)`.

    A censoring at the time of an event counts as later. R's own default is
    `conf_type="log"`.

    Args:
        time: follow-up, shape (n,), from zero upwards, in any unit.
        event: 1 or True for an event, 0 or False for censored, shape (n,).
        conf_type: scale on which the interval is symmetric.
        level: confidence level.

    Returns:
        The curve. Without patients the arrays are empty, and without enough events the
        median is None; `reason` says so.

    Raises:
        InputError: missing or negative times, an event coded other than 0/1, unequal lengths.

    References:
        Kaplan EL, Meier P (1958). JASA 53:457-481. Interval: Greenwood (1926); log-log:
        Kalbfleisch JD, Prentice RL (1980).

    >>> curve = kaplan_meier([1, 2, 3, 4], [1, 0, 1, 0])
    >>> curve.survival.tolist()
    [0.75, 0.75, 0.375, 0.375]
    >>> curve.median
    3.0
    """
    if conf_type not in _CONF_TYPES:
        raise InputError(f"conf_type: found {conf_type!r}; {did_you_mean(conf_type, _CONF_TYPES)}")
    check_level(level)
    times, events = survival_times(time), event_indicator(event)
    n = same_length(time=times, event=events)
    distinct, where = np.unique(times, return_inverse=True)
    deaths = np.bincount(where[events], minlength=distinct.size)
    leaving = np.bincount(where, minlength=distinct.size)
    at_risk = n - np.concatenate(([0], np.cumsum(leaving)[:-1])) if n else leaving
    survival = np.cumprod(1 - deaths / np.maximum(at_risk, 1))
    # se of log S(t); infinite from the time at which nobody is left.
    log_se = np.sqrt(np.cumsum(_greenwood_steps(at_risk, deaths, at_zero=math.inf)))
    ci_low, ci_high = _limits(survival, log_se, conf_type, normal_quantile(level))
    median = _half_time(distinct, survival)
    return KaplanMeier(
        time=distinct,
        survival=survival,
        se=np.where(survival > 0, survival * np.where(np.isfinite(log_se), log_se, 0), np.nan),
        ci_low=ci_low,
        ci_high=ci_high,
        at_risk=at_risk.astype(np.int64),
        events=deaths.astype(np.int64),
        censored=(leaving - deaths).astype(np.int64),
        median=median,
        median_ci_low=_half_time(distinct, ci_low),
        median_ci_high=_half_time(distinct, ci_high),
        conf_type=conf_type,
        level=level,
        reason=_why_no_median(n, int(deaths.sum()), median),
    )


def _why_no_median(n: int, events: int, median: float | None) -> str | None:
    if n == 0:
        return "no patients"
    if events == 0:
        return "no events, all patients censored"
    return "median not reached" if median is None else None


def _greenwood_steps(at_risk: Ints, deaths: Ints, at_zero: float) -> Floats:
    left = at_risk - deaths
    steps = deaths / (at_risk * np.maximum(left, 1.0))
    return np.where(left == 0, np.where(deaths > 0, at_zero, 0.0), steps)


def _limits(
    survival: Floats, log_se: Floats, conf_type: ConfType, z: float
) -> tuple[Floats, Floats]:
    low, high = np.full_like(survival, np.nan), np.full_like(survival, np.nan)
    inside = (survival > 0) & ((survival < 1) | (conf_type != "log-log"))
    s, half = survival[inside], z * log_se[inside]
    if conf_type == "plain":
        low[inside], high[inside] = np.maximum(s - half * s, 0), np.minimum(s + half * s, 1)
    elif conf_type == "log":
        low[inside], high[inside] = s * np.exp(-half), np.minimum(s * np.exp(half), 1)
    else:
        shift = half / np.log(s)
        low[inside] = np.exp(-np.exp(np.log(-np.log(s)) - shift))
        high[inside] = np.exp(-np.exp(np.log(-np.log(s)) + shift))
    return low, high


def _half_time(time: Floats, curve: Floats) -> float | None:
    """First time at or below one half; the midpoint where the curve rests at exactly one half."""
    reached = np.flatnonzero(curve < 0.5 + _HALF_TOLERANCE)  # NaN is never below
    if not reached.size:
        return None
    first = reached[0]
    lower = reached[curve[reached] < curve[first]]
    if abs(curve[first] - 0.5) < _HALF_TOLERANCE and lower.size:
        return float(time[first] + time[lower[0]]) / 2
    return float(time[first])
