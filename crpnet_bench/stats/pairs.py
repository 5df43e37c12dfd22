"""Comparable pairs of patients: who is known to have had the event before whom.

A pair is comparable when the earlier time is an event: t_i < t_j, or t_i = t_j with j censored
(a censoring counts as later). Two events at one time are not comparable. A comparable pair is
concordant when the earlier event has the higher risk, tied when the risks are equal.
"""

from __future__ import annotations

import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats, Ints

__all__ = ["comparable_pairs", "disjoint_pairs", "pair_counts"]

# Up to this many patients the matrix of all pairs is faster than compiling or loading a tree.
_MATRIX_LIMIT = 1000


def comparable_pairs(time: Floats, event: Bools) -> Bools:
    """Matrix (n, n): whether i is known to have had the event before j."""
    later = (time[:, None] < time[None, :]) | ((time[:, None] == time[None, :]) & ~event[None, :])
    comparable: Bools = later & event[:, None]
    return comparable


def pair_counts(
    time: Floats, event: Bools, risk: Floats, weight: Floats, fold: Ints | None = None
) -> Floats:
    """Concordant, discordant and tied pairs that each patient is part of, shape (3, n).

    Args:
        time: follow-up, shape (n,).
        event: whether it ended with the event, shape (n,).
        risk: higher means an earlier event, shape (n,).
        weight: weight of the pairs in which a patient is the earlier one, shape (n,).
        fold: with it, only pairs within one fold count, shape (n,).
    """
    if fold is None:
        return _count_one(time, event, risk, weight)
    counts = np.zeros((3, time.size))
    for code in np.unique(fold):
        rows = fold == code
        counts[:, rows] = _count_one(time[rows], event[rows], risk[rows], weight[rows])
    return counts


def _count_one(time: Floats, event: Bools, risk: Floats, weight: Floats) -> Floats:
    if time.size > _MATRIX_LIMIT:
        from crpnet_bench.stats.pair_tree import count_pairs  # noqa: PLC0415 imports numba

        return count_pairs(time, event, risk, weight)
    pairs = comparable_pairs(time, event) * weight[:, None]
    kinds = (
        pairs * (risk[:, None] > risk[None, :]),
        pairs * (risk[:, None] < risk[None, :]),
        pairs * (risk[:, None] == risk[None, :]),
    )
    return np.array([kind.sum(axis=0) + kind.sum(axis=1) for kind in kinds])


def disjoint_pairs(time: Floats, event: Bools) -> int:
    """Largest number of comparable pairs of which no two share a patient.

    If k such pairs exist, then the k earliest events can be the earlier halves and the k latest
    of the other patients the later halves, in order; k is found by bisection.
    """
    # Censored after events of the same time: i is known to be before j when its place is lower.
    place = 2 * np.unique(time, return_inverse=True)[1] + ~event
    order = np.argsort(place, kind="stable")
    place, event = place[order], event[order]
    events = np.flatnonzero(event)

    def possible(k: int) -> bool:
        rest = np.delete(place, events[:k])
        return bool(np.all(place[events[:k]] < rest[rest.size - k :]))

    low, high = 0, min(events.size, time.size // 2)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if possible(middle) else (low, middle - 1)
    return low
