"""Counting comparable pairs in O(n log n) with Fenwick trees, compiled by numba.

The whole module is imported only for large data: importing numba costs more than counting the
pairs of a few hundred patients.
"""

from __future__ import annotations

import numba
import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats, Ints

__all__ = ["count_pairs"]


@numba.njit("void(float64[::1], int64, float64)", cache=True, nogil=True, inline="always")
def _add(tree, rank, amount):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 compiled
    node = rank + 1
    while node < tree.size:
        tree[node] += amount
        node += node & -node


@numba.njit("float64(float64[::1], int64)", cache=True, nogil=True, inline="always")
def _below(tree, rank):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 compiled
    node, total = rank, 0.0
    while node > 0:
        total += tree[node]
        node -= node & -node
    return total


_SIGNATURE = "float64[:,::1](int64[::1], boolean[::1], int64[::1], float64[::1], int64)"


@numba.njit(_SIGNATURE, cache=True, nogil=True)
def _count(group, event, rank, weight, ranks):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0912, C901 one loop a direction, unrolled for the compiler
    n = group.size
    counts = np.zeros((3, n))
    # From the last patient to the first: each event asks about those who are followed longer.
    # Of one time, the censored enter the tree before the events ask, the events after.
    tree, equal = np.zeros(ranks + 1), np.zeros(ranks)
    seen, end = 0.0, n
    while end > 0:
        start = end - 1
        while start > 0 and group[start - 1] == group[end - 1]:
            start -= 1
        for i in range(start, end):
            if not event[i]:
                _add(tree, rank[i], 1.0)
                equal[rank[i]] += 1.0
                seen += 1.0
        for i in range(start, end):
            if event[i] and weight[i] > 0:
                below = _below(tree, rank[i])
                counts[0, i] = weight[i] * below
                counts[2, i] = weight[i] * equal[rank[i]]
                counts[1, i] = weight[i] * (seen - below - equal[rank[i]])
        for i in range(start, end):
            if event[i]:
                _add(tree, rank[i], 1.0)
                equal[rank[i]] += 1.0
                seen += 1.0
        end = start
    # From the first to the last: each patient asks about the events before.
    tree[:] = 0.0
    equal[:] = 0.0
    seen, start = 0.0, 0
    while start < n:
        end = start
        while end < n and group[end] == group[start]:
            end += 1
        for half in range(2):
            for i in range(start, end):
                if event[i] == (half == 0):
                    below = _below(tree, rank[i])
                    counts[0, i] += seen - below - equal[rank[i]]
                    counts[1, i] += below
                    counts[2, i] += equal[rank[i]]
            if half == 0:
                for i in range(start, end):
                    if event[i] and weight[i] > 0:
                        _add(tree, rank[i], weight[i])
                        equal[rank[i]] += weight[i]
                        seen += weight[i]
        start = end
    return counts


def count_pairs(time: Floats, event: Bools, risk: Floats, weight: Floats) -> Floats:
    """Weighted concordant, discordant and tied pairs that each patient is part of, (3, n)."""
    order = np.argsort(time)
    group = _steps(time[order])
    by_risk = np.argsort(risk)
    rank = np.empty(risk.size, dtype=np.int64)
    rank[by_risk] = _steps(risk[by_risk])
    counts = np.empty((3, time.size))
    counts[:, order] = _count(group, event[order], rank[order], weight[order], int(rank.max()) + 1)
    return counts


def _steps(ordered: Floats) -> Ints:
    """Dense ranks of values in ascending order."""
    ranks = np.zeros(ordered.size, dtype=np.int64)
    np.cumsum(ordered[1:] != ordered[:-1], out=ranks[1:])
    return ranks
