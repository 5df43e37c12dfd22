"""Log-rank and Fleming-Harrington tests, stratified or not, as R's `survdiff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crpnet_bench.errors import InputError
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    Ints,
    codes,
    event_indicator,
    same_length,
    survival_times,
)

__all__ = ["LogRankResult", "logrank"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogRankResult:
    """Comparison of survival curves.

    Attributes:
        statistic: chi-square; None where not estimable.
        df: degrees of freedom, groups with an expected event less one.
        p_value: upper tail of the chi-square distribution; None where not estimable.
        groups: group labels, sorted; `n`, `observed` and `expected` follow their order.
        n: patients a group.
        observed, expected: (weighted) events a group, summed over strata.
        method: the test and its weight.
        reason: why there is no statistic; None when there is one.
        warning: what the reader has to know; None when nothing.
    """

    statistic: float | None
    df: int
    p_value: float | None
    groups: tuple[Any, ...]
    n: Ints
    observed: Floats
    expected: Floats
    method: str
    reason: str | None = None
    warning: str | None = None


def logrank(
    time: ArrayLike,
    event: ArrayLike,
    group: ArrayLike,
    strata: ArrayLike | None = None,
    rho: float = 0.0,
) -> LogRankResult:
    """Log-rank test of k groups; with `rho` the G-rho family of Fleming and Harrington.

    Each event time is weighted by S(t-)^rho, S being the Kaplan-Meier curve of the stratum.
    rho = 0 is the log-rank test, rho = 1 the Peto-Peto modification of Wilcoxon's.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        group: group labels of any kind, shape (n,).
        strata: labels of strata within which groups are compared, shape (n,).
        rho: exponent of the weight.

    Returns:
        The test; one group, no patients, no events or no variance are results with a reason.

    Raises:
        InputError: missing or negative times, missing labels, unequal lengths, rho not finite.

    References:
        Mantel N (1966). Harrington DP, Fleming TR (1982). Biometrika 69:553-566.

    >>> result = logrank([1, 2, 3, 4], [1, 1, 1, 1], ["a", "a", "b", "b"])
    >>> round(result.statistic, 6), result.df
    (2.882353, 1)
    """
    if not np.isfinite(rho):
        raise InputError(f"rho: found {rho!r}; expected a finite number, 0 for the log-rank test")
    times, events = survival_times(time), event_indicator(event)
    group_code, labels = codes(group)
    n = same_length(time=times, event=events, group=group_code)
    stratum = np.zeros(n, dtype=np.int64) if strata is None else codes(strata, "strata")[0]
    same_length(time=times, strata=stratum)

    observed, expected = np.zeros(len(labels)), np.zeros(len(labels))
    variance = np.zeros((len(labels), len(labels)))
    for s in np.unique(stratum):
        rows = stratum == s
        parts = _one_stratum(times[rows], events[rows], group_code[rows], len(labels), rho)
        observed += parts[0]
        expected += parts[1]
        variance += parts[2]

    df = max(int(np.sum(expected > 0)) - 1, 0)
    statistic, reason = _statistic(observed, expected, variance, len(labels))
    p_value = None if statistic is None else float(special.chdtrc(df, statistic))
    return LogRankResult(
        statistic=statistic,
        df=df,
        p_value=p_value,
        groups=tuple(labels),
        n=np.bincount(group_code, minlength=len(labels)).astype(np.int64),
        observed=observed,
        expected=expected,
        method=_method_name(rho, stratified=strata is not None),
        reason=reason,
        warning="p is below the smallest number a computer holds" if p_value == 0 else None,
    )


def _method_name(rho: float, *, stratified: bool) -> str:
    name = "log-rank" if rho == 0 else f"Fleming-Harrington G-rho, rho = {rho:g}"
    return f"stratified {name}" if stratified else name


def _one_stratum(
    time: Floats, event: Bools, group: Ints, k: int, rho: float
) -> tuple[Floats, Floats, Floats]:
    """Weighted observed and expected events (k,) and their variance (k, k) in one stratum."""
    distinct, where = np.unique(time, return_inverse=True)
    shape = (distinct.size, k)
    leaving, deaths = np.zeros(shape), np.zeros(shape)
    np.add.at(leaving, (where, group), 1)
    np.add.at(deaths, (where[event], group[event]), 1)
    at_risk = np.cumsum(leaving[::-1], axis=0)[::-1]

    total_deaths, total_risk = deaths.sum(axis=1), at_risk.sum(axis=1)
    survival = np.cumprod(1 - total_deaths / total_risk)
    happens = total_deaths > 0
    before = np.concatenate(([1.0], survival[:-1]))[happens]
    weight = before**rho
    d, n = total_deaths[happens], total_risk[happens]
    share = at_risk[happens] / n[:, None]

    observed = weight @ deaths[happens]
    expected = (weight * d) @ share
    # Hypergeometric variance; with one patient at risk there is nothing random.
    spread = weight**2 * d * (n - d) / np.maximum(n - 1, 1)
    variance = np.diag(spread @ share) - (share * spread[:, None]).T @ share
    return observed, expected, variance


def _statistic(
    observed: Floats, expected: Floats, variance: Floats, groups: int
) -> tuple[float | None, str | None]:
    if groups < 2:
        return None, "no patients" if groups == 0 else "only one group"
    if observed.sum() == 0:
        return None, "no events"
    involved = np.flatnonzero(expected > 0)
    if involved.size < 2:
        return None, "only one group has patients at risk when an event happens"
    # Differences sum to zero: the first group is redundant.
    rest = involved[1:]
    difference = (observed - expected)[rest]
    block = variance[np.ix_(rest, rest)]
    if np.linalg.matrix_rank(block, hermitian=True) < rest.size:
        return None, "singular variance: no event sees all groups at risk together"
    return float(difference @ np.linalg.solve(block, difference)), None
