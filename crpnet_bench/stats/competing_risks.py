"""Cumulative incidence under competing risks (Aalen-Johansen).

Where deaths without recurrence are recorded, one minus Kaplan-Meier says how many would recur
if nobody died of anything else, and is too high; the cumulative incidence says how many do.
Values, standard errors and intervals equal R's
`survfit(Surv(time, factor(status, 0:2)) ~ 1)` (infinitesimal jackknife), Gray's test equals
`cmprsk::cuminc`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.at_times import EstimatesAtTimes, few_events, horizons
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.gray import GrayTest, gray_test
from crpnet_bench.stats.inputs import (
    TIME_TOLERANCE,
    Floats,
    Ints,
    codes,
    event_status,
    same_length,
    survival_times,
)
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["CumulativeIncidence", "GroupedCumulativeIncidence", "cumulative_incidence"]

ConfType = Literal["log", "log-log", "plain"]

_CONF_TYPES = ("log", "log-log", "plain")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CumulativeIncidence:
    """Aalen-Johansen curves of one group; arrays have one entry a distinct time, rising.

    Attributes:
        time: distinct observed times.
        value: cumulative incidence of the event (status 1).
        se: its standard error (infinitesimal jackknife).
        ci_low, ci_high: pointwise limits; NaN where the value is 0 or has no interval.
        competing: cumulative incidence of the competing event (status 2).
        competing_se: its standard error.
        event_free: probability of neither; the three add up to 1.
        at_risk: patients at risk just before each time.
        events, competing_events, censored: counts at each time.
        conf_type, level: kind and level of the interval.
        reason: why there is no curve, or None.
    """

    time: Floats
    value: Floats
    se: Floats
    ci_low: Floats
    ci_high: Floats
    competing: Floats
    competing_se: Floats
    event_free: Floats
    at_risk: Ints
    events: Ints
    competing_events: Ints
    censored: Ints
    conf_type: ConfType = "log"
    level: float = 0.95
    reason: str | None = None

    @property
    def n(self) -> int:
        """Number of patients."""
        return int(self.at_risk[0]) if self.at_risk.size else 0

    def at(self, times: ArrayLike | Sequence[float] | float) -> EstimatesAtTimes:
        """Cumulative incidence of the event at the times asked, with its interval.

        Not estimable beyond the last follow-up, unless nobody is left event-free there.

        Raises:
            InputError: a time is negative or not finite.
        """
        asked, scalar = horizons(times)
        return EstimatesAtTimes(tuple(self._point(float(t)) for t in asked), asked, scalar=scalar)

    def _point(self, t: float) -> Estimate:
        method = f"Aalen-Johansen, {self.conf_type} interval"
        if not self.time.size:
            return not_estimable("not estimable: no patients", method, self.level)
        reach = t + TIME_TOLERANCE * max(1.0, t)
        if t > self.time[-1] + TIME_TOLERANCE and self.event_free[-1] > TIME_TOLERANCE:
            reason = f"not estimable: beyond the last follow-up ({self.time[-1]:g})"
            return not_estimable(reason, method, self.level)
        last = int(np.searchsorted(self.time, reach, side="right")) - 1
        events = int(self.events[: last + 1].sum())
        warning = few_events(events, self.n - events)
        if last < 0 or not np.isfinite(self.ci_low[last]):
            return Estimate(
                value=float(self.value[last]) if last >= 0 else 0.0,
                level=self.level,
                method=method,
                warning=warning,
                reason=f"interval not estimable: no event by {t:g}"
                if events == 0
                else "interval not estimable: no variation",
            )
        return Estimate(
            value=float(self.value[last]),
            se=float(self.se[last]),
            ci_low=float(self.ci_low[last]),
            ci_high=float(self.ci_high[last]),
            level=self.level,
            method=method,
            warning=warning,
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GroupedCumulativeIncidence(CumulativeIncidence):
    """The curve of all patients, beside one curve a group and Gray's test.

    Attributes:
        groups: label -> curve of that group, in sorted order.
        test: Gray's test for the event of interest.
    """

    groups: Mapping[Any, CumulativeIncidence]
    test: GrayTest

    @property
    def statistic(self) -> float | None:
        """Gray's chi-square."""
        return self.test.statistic

    @property
    def df(self) -> int:
        """Degrees of freedom of Gray's test."""
        return self.test.df

    @property
    def p_value(self) -> float | None:
        """P value of Gray's test."""
        return self.test.p_value


def cumulative_incidence(
    time: ArrayLike,
    status: ArrayLike,
    group: ArrayLike | None = None,
    conf_type: ConfType = "log",
    level: float = 0.95,
    rho: float = 0.0,
) -> CumulativeIncidence | GroupedCumulativeIncidence:
    """Aalen-Johansen cumulative incidence of status 1 with status 2 as competing event.

    Without any status 2 it is one minus Kaplan-Meier.

    Args:
        time: follow-up, shape (n,).
        status: 0 censored, 1 event, 2 competing event, shape (n,).
        group: labels, shape (n,); with them the result also has a curve for each group and
            Gray's test.
        conf_type: scale on which the interval is symmetric; "log" is R's default for `survfit`.
        level: confidence level.
        rho: weight (1 - F)**rho of Gray's test.

    Returns:
        The curve of all patients (with `groups` and `test` when groups were given).

    Raises:
        InputError: lengths differ or a value cannot be used.

    Source:
        Aalen and Johansen, Scand J Stat 1978;5:141; Gray, Ann Stat 1988;16:1141.

    >>> curve = cumulative_incidence([1, 2, 3, 4], [1, 2, 1, 0])
    >>> curve.value.round(3).tolist()
    [0.25, 0.25, 0.5, 0.5]
    """
    if conf_type not in _CONF_TYPES:
        raise InputError(f"conf_type: found {conf_type!r}; {did_you_mean(conf_type, _CONF_TYPES)}")
    check_level(level)
    checked_time, checked_status = survival_times(time), event_status(status)
    same_length(time=checked_time, status=checked_status)
    everybody = _columns(checked_time, checked_status, conf_type, level)
    if group is None:
        return CumulativeIncidence(**everybody)
    code, labels = codes(group)
    same_length(time=checked_time, status=checked_status, group=code)
    curves = {
        label: CumulativeIncidence(
            **_columns(checked_time[code == k], checked_status[code == k], conf_type, level)
        )
        for k, label in enumerate(labels)
    }
    test = gray_test(checked_time, checked_status, group, rho)
    return GroupedCumulativeIncidence(**everybody, groups=curves, test=test)


def _columns(time: Floats, status: Ints, conf_type: ConfType, level: float) -> dict[str, Any]:
    distinct, where = np.unique(time, return_inverse=True)
    counts = np.stack(
        [np.bincount(where[status == k], minlength=distinct.size) for k in range(3)]
    ).astype(np.int64)
    leaving = counts.sum(axis=0)
    at_risk = time.size - np.cumsum(leaving) + leaving
    failing = counts[1] + counts[2]
    event_free = np.cumprod(1 - failing / np.maximum(at_risk, 1))
    before = np.concatenate(([1.0], event_free))[:-1]
    incidence = [np.cumsum(before * counts[k] / np.maximum(at_risk, 1)) for k in (1, 2)]
    errors = [
        _jackknife_se(incidence[k - 1], before, at_risk, failing, counts[k], leaving)
        for k in (1, 2)
    ]
    low, high = _limits(incidence[0], errors[0], conf_type, normal_quantile(level))
    return {
        "time": distinct,
        "value": incidence[0],
        "se": errors[0],
        "ci_low": low,
        "ci_high": high,
        "competing": incidence[1],
        "competing_se": errors[1],
        "event_free": event_free,
        "at_risk": at_risk,
        "events": counts[1],
        "competing_events": counts[2],
        "censored": counts[0],
        "conf_type": conf_type,
        "level": level,
        "reason": None if time.size else "no patients",
    }


def _jackknife_se(
    incidence: Floats, before: Floats, at_risk: Ints, failing: Ints, events: Ints, leaving: Ints
) -> Floats:
    """Root of the summed squared derivatives of F(t) by each patient's weight.

    With m = min(t, T_i) patient i contributes
        own_i(t) - A(m) + F(t) B(m) - C(m),
    A, B, C the sums over times of S(u-) dN1/Y^2, dN/(Y (Y - dN)) and that times F(u); own_i is
    S(u-)/Y for an event less (F(t) - F(u)) / (Y - dN) for any failure. It is linear in F(t)
    for those who left, which makes the sum of squares three running sums.
    """
    left = at_risk - failing
    spread = np.where(left > 0, failing / (at_risk * np.maximum(left, 1)), 0.0)
    A = np.cumsum(before * events / at_risk.astype(np.float64) ** 2)
    B = np.cumsum(spread)
    C = np.cumsum(spread * incidence)
    own_jump, own_loss = before / at_risk, np.where(left > 0, 1 / np.maximum(left, 1), 0.0)
    sums = np.zeros((3, incidence.size))
    kinds = (
        (events, own_jump, own_loss),
        (failing - events, 0.0, own_loss),
        (leaving - failing, 0.0, 0.0),
    )
    for number, jump, loss in kinds:
        constant = jump + loss * incidence - A - C
        slope = B - loss
        sums += number * np.stack([constant**2, constant * slope, slope**2])
    gone = np.cumsum(sums, axis=1)
    staying = at_risk - leaving
    present = (incidence * B - A - C) ** 2
    variance = gone[0] + 2 * incidence * gone[1] + incidence**2 * gone[2] + staying * present
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)), dtype=np.float64)


def _limits(value: Floats, se: Floats, conf_type: ConfType, z: float) -> tuple[Floats, Floats]:
    low, high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    inside = (value > 0) & (se > TIME_TOLERANCE**2) & ((value < 1) | (conf_type != "log-log"))
    p, margin = value[inside], z * se[inside]
    if conf_type == "plain":
        low[inside], high[inside] = np.maximum(p - margin, 0), np.minimum(p + margin, 1)
    elif conf_type == "log":
        low[inside] = p * np.exp(-margin / p)
        high[inside] = np.minimum(p * np.exp(margin / p), 1)
    else:
        shift = margin / (p * np.log(p))
        low[inside], high[inside] = p ** np.exp(-shift), p ** np.exp(shift)
    return low, high
