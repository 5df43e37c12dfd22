"""Cumulative incidence at one time, patient by patient: influence and pseudo-observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import TIME_TOLERANCE, Floats, Ints

__all__ = ["IncidenceAt", "incidence_at", "pseudo_observations"]


@dataclass(frozen=True, slots=True, eq=False)
class IncidenceAt:
    """Aalen-Johansen estimate at one time (one minus Kaplan-Meier without competing events).

    Attributes:
        value: cumulative incidence of status 1.
        influence: n times the derivative by each patient's weight, shape (n,), mean zero.
        known: whether follow-up reaches the time, or nobody is left at risk before it.
    """

    value: float
    influence: Floats
    known: bool

    @property
    def se(self) -> float:
        """Standard error, as R's `survfit` (infinitesimal jackknife, for one event Greenwood)."""
        return float(np.sqrt(np.sum(self.influence**2)) / max(self.influence.size, 1))


@dataclass(frozen=True, slots=True, eq=False)
class _Steps:
    """Counts at each distinct time up to t, shape (k,), and each patient's own step."""

    position: Ints  # index of the patient's time, k for later than t
    at_risk: Floats
    failing: Floats
    events: Floats


def _steps(time: Floats, status: Ints, t: float) -> _Steps:
    distinct, where = np.unique(time, return_inverse=True)
    k = int(np.searchsorted(distinct, t + TIME_TOLERANCE * max(1.0, abs(t)), side="right"))
    leaving = np.bincount(where, minlength=distinct.size)
    at_risk = time.size - np.cumsum(leaving) + leaving
    events = np.bincount(where[status == 1], minlength=distinct.size)
    failing = np.bincount(where[status != 0], minlength=distinct.size)
    columns = [array[:k].astype(np.float64) for array in (at_risk, failing, events)]
    return _Steps(np.minimum(where, k).astype(np.int64), *columns)


def incidence_at(time: Floats, status: Ints, t: float) -> IncidenceAt:
    """Cumulative incidence of status 1 by time t, with its influence function.

    Args:
        time: checked follow-up, shape (n,).
        status: 0 censored, 1 event, 2 competing event, shape (n,).
        t: the time asked.
    """
    n = time.size
    if n == 0:
        return IncidenceAt(0.0, np.zeros(0), known=False)
    steps = _steps(time, status, t)
    free = np.cumprod(1 - steps.failing / steps.at_risk).astype(np.float64)
    before = np.concatenate(([1.0], free))[:-1]
    incidence = np.cumsum(before * steps.events / steps.at_risk)
    value = float(incidence[-1]) if incidence.size else 0.0
    left = steps.at_risk - steps.failing
    loss = np.divide(value - incidence, left, out=np.zeros(left.size), where=left > 0)
    drift = before * steps.events / steps.at_risk**2 - loss * steps.failing / steps.at_risk
    drift = np.concatenate(([0.0], np.cumsum(drift)))
    own = np.zeros(n)
    gone = steps.position < steps.at_risk.size
    where = steps.position[gone]
    own[gone] = np.where(status[gone] == 1, before[where] / steps.at_risk[where], 0.0)
    own[gone] -= np.where(status[gone] != 0, loss[where], 0.0)
    reached = np.where(gone, steps.position + 1, steps.at_risk.size)
    known = bool(np.max(time) >= t - TIME_TOLERANCE * max(1.0, abs(t)))
    finished = bool(free.size and free[-1] <= TIME_TOLERANCE)
    return IncidenceAt(value, n * (own - drift[reached]), known or finished)


def pseudo_observations(time: Floats, status: Ints, t: float) -> Floats:
    """Jackknife pseudo-values of the cumulative incidence at t, shape (n,).

    n F(t) - (n - 1) F_-i(t), F_-i without patient i (Andersen, Klein and Rosthoej, Biometrika
    2003;90:15). Without censoring they are the 0/1 outcomes.
    """
    n = time.size
    steps = _steps(time, status, t)
    k = steps.at_risk.size
    if k == 0:
        return np.zeros(n)
    value, tail, free = _full(steps)
    others = np.maximum(steps.at_risk - 1, 1)
    # Everybody who is still there: one fewer at risk at every time so far.
    thinner = np.concatenate(([1.0], np.cumprod(1 - np.minimum(steps.failing / others, 1))))
    reduced = np.concatenate(([0.0], np.cumsum(thinner[:-1] * steps.events / others)))
    left_out = np.full(n, reduced[k])
    gone = steps.position < k
    at = steps.position[gone]
    events = steps.events[at] - (status[gone] == 1)
    failing = steps.failing[at] - (status[gone] != 0)
    incidence = reduced[at] + thinner[at] * events / others[at]
    remaining = thinner[at] * (1 - failing / others[at])
    later = np.divide(tail[at], free[at], out=np.zeros(at.size), where=free[at] > TIME_TOLERANCE)
    left_out[gone] = incidence + remaining * later
    return np.asarray(n * value - (n - 1) * left_out, dtype=np.float64)


def _full(steps: _Steps) -> tuple[float, Floats, Floats]:
    """F(t), what is still to come after each time, and the event-free share after it."""
    free = np.cumprod(1 - steps.failing / steps.at_risk).astype(np.float64)
    before = np.concatenate(([1.0], free))[:-1]
    incidence = np.cumsum(before * steps.events / steps.at_risk)
    return float(incidence[-1]), incidence[-1] - incidence, free
