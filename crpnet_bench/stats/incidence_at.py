"""Cumulative incidence at one time, patient by patient: influence and pseudo-observations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import TIME_TOLERANCE, Bools, Floats, Ints

__all__ = ["IncidenceAt", "IncidenceIn", "incidence_at", "incidence_in", "pseudo_observations"]


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
class IncidenceIn:
    """The same in s sets of patients at once.

    Attributes:
        value: shape (s,); 0 in an empty set.
        influence: shape (n, s); 0 outside the set, within it as in `IncidenceAt`.
        known: shape (s,).
    """

    value: Floats
    influence: Floats
    known: Bools


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
    found = incidence_in(time, status, t, np.ones((time.size, 1), dtype=np.bool_))
    return IncidenceAt(float(found.value[0]), found.influence[:, 0], bool(found.known[0]))


def incidence_in(time: Floats, status: Ints, t: float, members: Bools) -> IncidenceIn:
    """Cumulative incidence of status 1 by time t in many sets of patients at once.

    Args:
        time: checked follow-up, shape (n,).
        status: 0 censored, 1 event, 2 competing event, shape (n,).
        t: the time asked.
        members: who belongs to which set, shape (n, s).
    """
    n, sets = members.shape
    if n == 0:
        return IncidenceIn(np.zeros(sets), np.zeros((0, sets)), np.zeros(sets, dtype=np.bool_))
    late = t - TIME_TOLERANCE * max(1.0, abs(t))
    reaches = np.any(members[time >= late], axis=0)
    distinct, where = np.unique(time, return_inverse=True)
    k = int(np.searchsorted(distinct, t + TIME_TOLERANCE * max(1.0, abs(t)), side="right"))
    if k == 0:
        return IncidenceIn(np.zeros(sets), np.zeros((n, sets)), reaches)
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(distinct.size))
    counted = members[order].astype(np.float64)
    leaving = np.add.reduceat(counted, starts, axis=0)
    at_risk = leaving[::-1].cumsum(axis=0)[::-1][:k]
    events = np.add.reduceat(counted * (status[order] == 1)[:, None], starts, axis=0)[:k]
    failing = np.add.reduceat(counted * (status[order] != 0)[:, None], starts, axis=0)[:k]
    some = np.maximum(at_risk, 1)
    free = np.cumprod(1 - failing / some, axis=0)
    before = np.vstack([np.ones(sets), free[:-1]])
    incidence = np.cumsum(before * events / some, axis=0)
    value = incidence[-1]
    left = at_risk - failing
    loss = np.where(left > 0, (value - incidence) / np.maximum(left, 1), 0.0)
    drift = np.cumsum(before * events / some**2 - loss * failing / some, axis=0)
    drift = np.vstack([np.zeros(sets), drift])
    gone = np.flatnonzero(where < k)
    at = where[gone]
    own = np.zeros((n, sets))
    own[gone] = np.where((status[gone] == 1)[:, None], (before / some)[at], 0.0)
    own[gone] -= np.where((status[gone] != 0)[:, None], loss[at], 0.0)
    influence = members.sum(axis=0) * (own - drift[np.minimum(where + 1, k)])
    finished = (free[-1] <= TIME_TOLERANCE) & members.any(axis=0)
    return IncidenceIn(value, np.where(members, influence, 0.0), reaches | finished)


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
