"""A pointwise interval around an ROC curve: sensitivity at each specificity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError
from crpnet_bench.stats.inputs import Floats, binary_label, finite, same_length
from crpnet_bench.stats.proportions import check_level

__all__ = ["RocBand", "roc_band"]

_GRID = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, slots=True, eq=False)
class RocBand:
    """Pointwise limits of the true-positive rate; arrays of shape (101,), empty where undefined.

    Attributes:
        false_positive_rate: 0, 0.01, ..., 1.
        ci_low, ci_high: percentiles over the resamples.
        method: how they were made.
        reason: why there is no band; None when there is one.
    """

    false_positive_rate: Floats
    ci_low: Floats
    ci_high: Floats
    method: str
    reason: str | None = None


def roc_band(
    label: ArrayLike,
    score: ArrayLike,
    level: float = 0.95,
    resamples: int = 500,
    seed: int = 0,
) -> RocBand:
    """Percentile band of the sensitivity at fixed specificities.

    Positives and negatives are resampled apart, as R's `pROC::ci.se`; between two thresholds the
    curve is a straight line.

    Args:
        label: 1 or True for positive, shape (n,).
        score: higher means positive, shape (n,).
        level: confidence level of each point.
        resamples: how many.
        seed: of the random numbers.

    Returns:
        The band; without both classes, empty arrays and the reason.

    Raises:
        InputError: missing values, labels other than 0/1, unequal lengths.
    """
    check_level(level)
    labels, scores = binary_label(label), finite(score, "score")
    same_length(label=labels, score=scores)
    if resamples < 1:
        raise InputError(f"resamples: found {resamples}; expected at least 1")
    method = f"stratified bootstrap, percentiles of {resamples} resamples, seed {seed}"
    if labels.all() or not labels.any():
        side = (
            "no patients" if not labels.size else "no negatives" if labels.all() else "no positives"
        )
        empty = np.zeros(0)
        return RocBand(empty, empty, empty, method, side)
    rng = np.random.default_rng(seed)
    distinct, place = np.unique(-scores, return_inverse=True)
    curves = np.empty((resamples, _GRID.size))
    for resample in range(resamples):
        positive = _cumulative(place[labels], distinct.size, rng)
        negative = _cumulative(place[~labels], distinct.size, rng)
        # Where the curve is vertical, the upper end counts: the last of equal abscissas.
        curves[resample] = np.interp(_GRID, negative, positive)
    tail = (1 - level) / 2
    low, high = np.quantile(curves, [tail, 1 - tail], axis=0)
    return RocBand(_GRID.copy(), low, high, method)


def _cumulative(
    place: np.ndarray[tuple[int], np.dtype[np.int64]], size: int, rng: np.random.Generator
) -> Floats:
    """Share of a resampled class at or above each distinct score, from 0 to 1."""
    drawn = place[rng.integers(0, place.size, place.size)]
    counts = np.bincount(drawn, minlength=size)
    return np.concatenate(([0.0], np.cumsum(counts) / place.size))
