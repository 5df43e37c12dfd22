"""P values of a family of tests, adjusted for their number, as R's `p.adjust`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.inputs import Floats

__all__ = ["adjust_p_values"]

Adjustment = Literal["holm", "bh", "bonferroni"]

_METHODS = ("bh", "bonferroni", "holm")


def adjust_p_values(
    p_values: ArrayLike | Sequence[float | None], method: Adjustment = "holm"
) -> Floats:
    """Adjusted P values in the order given.

    Args:
        p_values: shape (k,); None or NaN (a test that could not be made) stays NaN and does not
            count as a test.
        method: "holm" (family-wise error), "bh" (false discovery rate, Benjamini and Hochberg)
            or "bonferroni".

    Returns:
        Shape (k,), at most 1.

    Raises:
        InputError: a value is outside 0..1 or the method is unknown.

    Source:
        Holm, Scand J Stat 1979;6:65; Benjamini and Hochberg, JRSS B 1995;57:289.

    >>> adjust_p_values([0.01, 0.04, None, 0.03]).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    if method not in _METHODS:
        raise InputError(f"method: found {method!r}; {did_you_mean(str(method), _METHODS)}")
    given = np.array(
        [np.nan if p is None else p for p in np.asarray(p_values, dtype=object)], dtype=np.float64
    )
    known = np.flatnonzero(~np.isnan(given))
    p = given[known]
    if np.any((p < 0) | (p > 1)):
        raise InputError(f"p_values: found {p[(p < 0) | (p > 1)][0]:g}; expected 0 to 1")
    k = p.size
    order = np.argsort(p, kind="stable")
    rank = np.arange(k)
    if method == "holm":
        steps = np.maximum.accumulate((k - rank) * p[order])
    elif method == "bh":
        steps = np.minimum.accumulate((k / (rank + 1) * p[order])[::-1])[::-1]
    else:
        steps = k * p[order]
    adjusted = np.full(given.size, np.nan)
    adjusted[known[order]] = np.minimum(steps, 1.0)
    return adjusted
