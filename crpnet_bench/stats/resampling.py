"""Bootstrap resamples as multiplicities: how often each unit is drawn."""

from __future__ import annotations

import numpy as np

from crpnet_bench.stats.inputs import Floats, Ints

__all__ = ["multiplicities"]


def multiplicities(stratum: Ints, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each unit is drawn in each resample, shape (resamples, units).

    Args:
        stratum: codes of the strata, each of which keeps its size, shape (units,).
        resamples: how many.
        rng: source of random numbers.
    """
    drawn = np.zeros((resamples, stratum.size))
    for code in np.unique(stratum):
        members = np.flatnonzero(stratum == code)
        chosen = rng.integers(0, members.size, size=(resamples, members.size))
        places = chosen + members.size * np.arange(resamples)[:, None]
        counts = np.bincount(places.ravel(), minlength=resamples * members.size)
        drawn[:, members] = counts.reshape(resamples, members.size)
    return drawn
