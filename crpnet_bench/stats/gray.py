"""Gray's test: do groups differ in the cumulative incidence of one event?

Score and covariance follow Gray, Ann Stat 1988;16:1141, with the finite-sample factors for
tied events of `cmprsk::cuminc`, whose numbers these are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    Ints,
    codes,
    event_status,
    same_length,
    survival_times,
)

__all__ = ["GrayTest", "gray_test"]

# Covariances are of the order of the number of events; below this there is only rounding.
_SINGULAR = 1e-9


@dataclass(frozen=True, slots=True)
class GrayTest:
    """Result of Gray's test.

    Attributes:
        statistic: chi-square, None when not estimable.
        df: groups with patients, less one.
        p_value: None when not estimable.
        reason: why there is no test, or None.
    """

    statistic: float | None
    df: int
    p_value: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Counts:
    """Arrays of shape (times with an event of either kind, groups)."""

    at_risk: Floats
    events: Floats
    competing: Floats
    free: Floats  # Kaplan-Meier of any failure, after each time
    free_before: Floats
    incidence_before: Floats


def gray_test(time: ArrayLike, status: ArrayLike, group: ArrayLike, rho: float = 0.0) -> GrayTest:
    """Compare the cumulative incidence of status 1 between groups.

    Args:
        time: follow-up, shape (n,).
        status: 0 censored, 1 event, 2 competing event, shape (n,).
        group: labels, shape (n,).
        rho: the difference at t is weighted by (1 - F(t-))**rho.

    Returns:
        Chi-square, degrees of freedom and P; a reason with fewer than two groups or no event.

    Raises:
        InputError: lengths differ or a value cannot be used.
    """
    checked_time, checked_status = survival_times(time), event_status(status)
    code, labels = codes(group)
    same_length(time=checked_time, status=checked_status, group=code)
    if len(labels) < 2:
        return GrayTest(None, 0, None, "not estimable: fewer than two groups")
    df = len(labels) - 1
    if not np.any(checked_status == 1):
        return GrayTest(None, df, None, "not estimable: no events in any group")
    counts = _count(checked_time, checked_status, code, len(labels))
    score, covariance = _score(counts, rho)
    if np.linalg.matrix_rank(covariance, tol=_SINGULAR) < df:
        return GrayTest(None, df, None, "not estimable: the groups share no time at risk")
    statistic = float(score @ np.linalg.solve(covariance, score))
    return GrayTest(statistic, df, float(chi2.sf(statistic, df)))


def _count(time: Floats, status: Ints, code: Ints, groups: int) -> _Counts:
    distinct, where = np.unique(time, return_inverse=True)

    def table(mask: Bools) -> Floats:
        flat = np.bincount(
            where[mask] * groups + code[mask], minlength=distinct.size * groups
        ).astype(np.float64)
        return flat.reshape(distinct.size, groups)

    events, competing = table(status == 1), table(status == 2)
    leaving = table(status >= 0)
    at_risk = leaving[::-1].cumsum(axis=0)[::-1]
    failing = events + competing
    free = np.cumprod(1 - failing / np.maximum(at_risk, 1), axis=0)
    free_before = np.vstack([np.ones(groups), free[:-1]])
    incidence = np.cumsum(free_before * events / np.maximum(at_risk, 1), axis=0)
    before = np.vstack([np.zeros(groups), incidence[:-1]])
    some = failing.sum(axis=1) > 0
    return _Counts(
        at_risk[some], events[some], competing[some], free[some], free_before[some], before[some]
    )


def _over(top: Floats, bottom: Floats) -> Floats:
    """Quotient, 0 where the divisor is 0 (a group without patients at risk)."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def _score(counts: _Counts, rho: float) -> tuple[Floats, Floats]:
    """Score of all groups but the last, and its covariance."""
    y = counts.at_risk
    events = counts.events.sum(axis=1)
    exposure = _over(y, counts.free_before)  # h_g(t) in the paper
    total = exposure.sum(axis=1)
    adjusted = exposure * (1 - counts.incidence_before)
    pooled = np.cumsum(_over(events, total))
    pooled_before = np.concatenate(([0.0], pooled[:-1]))
    weight = (1 - pooled_before) ** rho
    expected = events[:, None] * _over(adjusted, adjusted.sum(axis=1)[:, None])
    score = (weight[:, None] * (counts.events - expected)).sum(axis=0)
    shared = exposure[:, :, None] * np.eye(y.shape[1])
    shared = shared - _over(exposure[:, :, None] * exposure[:, None, :], total[:, None, None])
    a = weight[:, None, None] * shared
    increments = _over(events, total * (1 - pooled_before))
    c = np.cumsum(a * increments[:, None, None], axis=0)
    covariance = _covariance(counts, a, c, pooled, total)
    return score[:-1], covariance[:-1, :-1]


def _covariance(counts: _Counts, a: Floats, c: Floats, pooled: Floats, total: Floats) -> Floats:
    y, before, after = counts.at_risk, counts.free_before, counts.free
    events = counts.events.sum(axis=1)[:, None]
    remaining = _over((1 - pooled)[:, None] * np.ones_like(after), after)
    ties = 1 - _over(np.maximum(events - 1, 0), total[:, None] * before - 1)
    of_event = np.where(y > 0, ties * before * _over(events, total[:, None] * y), 0.0)
    lost = 1 - remaining
    ties = 1 - _over(np.maximum(counts.competing - 1, 0), y - 1)
    of_competing = np.where(after > 0, ties * before**2 * _over(counts.competing, y**2), 0.0)

    kept = a - lost[:, None, :] * c
    passed = remaining[:, None, :] * c
    v = np.einsum("kig,kjg,kg->ij", kept, kept, of_event)
    v += np.einsum("kig,kjg,kg->ij", passed, passed, of_competing)
    v2 = np.einsum("kig,kg->ig", kept, lost * of_event)
    v2 -= np.einsum("kig,kg->ig", passed, remaining * of_competing)
    v3 = (lost**2 * of_event + remaining**2 * of_competing).sum(axis=0)
    end = c[-1]
    cross = end @ v2.T
    return np.asarray(v + (end * v3) @ end.T + cross + cross.T, dtype=np.float64)
