"""Concordance index in resamples of patients, all resamples at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crpnet_bench.errors import InputError
from crpnet_bench.stats.concordance import (
    ConcordanceMethod,
    ConcordanceResult,
    Outcome,
    checked_risk,
    index_with_influence,
    outcome,
)
from crpnet_bench.stats.inputs import Floats
from crpnet_bench.stats.pairs import comparable_pairs, pair_counts
from crpnet_bench.stats.proportions import check_level
from crpnet_bench.stats.resampling import multiplicities

__all__ = ["bootstrap_concordance"]

# Up to this many rows the matrix of all pairs fits; beyond, resamples are counted one by one.
_MATRIX_LIMIT = 2000
# Resamples are worked on in blocks of about this many numbers.
_BLOCK = 4_000_000


def bootstrap_concordance(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    method: ConcordanceMethod = "harrell",
    tau: float | None = None,
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> ConcordanceResult:
    """Concordance index with a percentile interval over resamples of patients.

    A resample is a multiplicity for each patient; its index follows from the matrix of
    comparable pairs, so that no pair is compared twice. A patient drawn twice is not comparable
    with himself. Uno's weights are those of the whole sample.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        risk: higher means an earlier event, shape (n,).
        method: as in `concordance_index`.
        tau: as in `concordance_index`.
        fold: as in `concordance_index`.
        cluster: as in `concordance_index`; all rows of a patient are drawn together.
        level: confidence level.
        resamples: how many resamples are drawn.
        seed: of the random numbers.

    Returns:
        The index with the standard deviation of its resamples as standard error; where it is
        exactly 0 or 1, no interval but a small-sample bound.

    Raises:
        InputError: as `concordance_index`, or fewer than two resamples.

    >>> time, event, risk = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], [6, 3, 4, 5, 1, 2]
    >>> result = bootstrap_concordance(time, event, risk, resamples=200)
    >>> result.ci_low < result.value < result.ci_high
    True
    """
    check_level(level)
    if resamples < 2:
        raise InputError(f"resamples: found {resamples}; expected at least 2")
    known = outcome(time, event, method, tau, fold, cluster)
    risks = checked_risk(known, risk, "risk")
    result, _ = index_with_influence(known, risks, level)
    if result.value is None or result.small_sample_bound is not None:
        return result
    indices = _resampled(known, risks, resamples, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(indices, [tail, 1 - tail])
    return replace(
        result,
        se=float(np.std(indices, ddof=1)),
        ci_low=float(low),
        ci_high=float(high),
        reason=None,
        method=result.method.replace(
            "infinitesimal jackknife over patients, Wald",
            f"bootstrap of patients, percentiles of {indices.size} resamples, seed {seed}",
        ),
    )


def _resampled(known: Outcome, risk: Floats, resamples: int, seed: int) -> Floats:
    """The index in each resample that has comparable pairs."""
    rng = np.random.default_rng(seed)
    unit = np.arange(risk.size) if known.cluster is None else known.cluster
    one_stratum = np.zeros(int(unit.max()) + 1, dtype=np.int64)
    count = _by_matrix(known, risk) if risk.size <= _MATRIX_LIMIT else None
    block = max(1, _BLOCK // risk.size)
    indices = []
    for first in range(0, resamples, block):
        drawn = multiplicities(one_stratum, min(block, resamples - first), rng)[:, unit]
        right, pairs = _by_row(known, risk, drawn) if count is None else count(drawn)
        indices.append(right[pairs > 0] / pairs[pairs > 0])
    return np.concatenate(indices)


class _PairMatrix:
    """Weights of rightly ordered (ties one half) and of all comparable pairs, (n, n) each."""

    def __init__(self, right: NDArray[np.floating], pairs: NDArray[np.floating]) -> None:
        self._right, self._pairs = right, pairs

    def __call__(self, drawn: Floats) -> tuple[Floats, Floats]:
        """Both sums in each resample, shape (resamples,)."""
        weight = drawn.astype(self._right.dtype)
        right, pairs = (
            np.einsum("bi,bi->b", weight @ matrix, drawn) for matrix in (self._right, self._pairs)
        )
        return right, pairs


def _by_matrix(known: Outcome, risk: Floats) -> _PairMatrix:
    pairs = comparable_pairs(known.time, known.event) * known.weight[:, None]
    if known.fold is not None:
        pairs = pairs * (known.fold[:, None] == known.fold[None, :])
    right = pairs * ((risk[:, None] > risk[None, :]) + 0.5 * (risk[:, None] == risk[None, :]))
    # Sums of halves stay exact in single precision, which is twice as fast.
    exact = np.all((known.weight == 0) | (known.weight == 1))
    kind = np.float32 if exact else np.float64
    return _PairMatrix(right.astype(kind), pairs.astype(kind))


def _by_row(known: Outcome, risk: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    right, pairs = np.zeros(len(drawn)), np.zeros(len(drawn))
    for i, times_drawn in enumerate(drawn):
        rows = np.repeat(np.arange(risk.size), times_drawn.astype(np.int64))
        fold = None if known.fold is None else known.fold[rows]
        counts = pair_counts(
            known.time[rows], known.event[rows], risk[rows], known.weight[rows], fold
        ).sum(axis=1)
        right[i], pairs[i] = counts[0] + counts[2] / 2, counts.sum()
    return right, pairs
