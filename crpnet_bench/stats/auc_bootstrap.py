"""Areas under the ROC curve in resamples of patients, all resamples at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats, Ints
from crpnet_bench.stats.resampling import multiplicities

__all__ = ["resampled_auc"]

# Resamples are worked on in blocks of about this many numbers.
_BLOCK = 4_000_000


def resampled_auc(
    label: Bools,
    score: Floats,
    folds: Sequence[Bools],
    unit: Ints,
    stratum: Ints,
    *,
    resamples: int,
    seed: int,
) -> Floats:
    """Areas in resamples; those without a pair of both classes are left out.

    Args:
        label: shape (n,).
        score: shape (n,).
        folds: rows of each fold, only pairs within one count.
        unit: the unit of resampling that each row belongs to, shape (n,).
        stratum: the stratum of each unit, shape (units,).
        resamples: how many.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(score.size, 1))
    areas = []
    for first in range(0, resamples, block):
        weight = multiplicities(stratum, min(block, resamples - first), rng)[:, unit]
        right, pairs = np.zeros(len(weight)), np.zeros(len(weight))
        for rows in folds:
            more_right, more_pairs = _weighted_pairs(label[rows], score[rows], weight[:, rows])
            right += more_right
            pairs += more_pairs
        areas.append(right[pairs > 0] / pairs[pairs > 0])
    return np.concatenate(areas)


def _weighted_pairs(label: Bools, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Weight of rightly ordered pairs (ties one half) and of all pairs, each (resamples,)."""
    order = np.argsort(score)
    label, weight = label[order], weight[:, order]
    starts = np.flatnonzero(np.concatenate(([True], np.diff(score[order]) > 0)))
    positives = np.add.reduceat(weight * label, starts, axis=1)
    negatives = np.add.reduceat(weight * ~label, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    right = np.sum(positives * (below + negatives / 2), axis=1)
    return right, positives.sum(axis=1) * negatives.sum(axis=1)
