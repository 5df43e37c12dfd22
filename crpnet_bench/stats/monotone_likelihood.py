"""Whether a Cox model has finite estimates at all.

The partial likelihood is monotone - some coefficient runs to infinity - exactly when there is a
direction d in which, at every event time, the patients with the event have the largest x'd of
all at risk, and at least once strictly so (Bryson and Johnson 1981). That is a linear programme,
which decides it without looking at how far an iteration has run.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, sparse

from crpnet_bench.stats.inputs import Floats, Ints
from crpnet_bench.stats.partial_likelihood import PartialLikelihood, Stratum

__all__ = ["diverging_direction"]

_STRICT = 1e-6
_VIOLATION = 1e-8


def diverging_direction(likelihood: PartialLikelihood) -> Floats | None:
    """A direction (p,) in which the likelihood rises for ever, or None when there is none.

    Covariates should be standardised, so that one tolerance fits all. Entries that take no part
    are exactly 0.
    """
    strata = [stratum for stratum in likelihood.strata if stratum.starts.size]
    p = likelihood.p
    # Variables: the direction, then for each event time a ceiling over its risk set.
    gain, blocks = np.zeros(p), []
    for stratum in strata:
        gain = np.append(gain, stratum.deaths * (len(stratum.X) - stratum.starts))
        gain[:p] -= stratum.deaths @ stratum.over_risk_sets(stratum.X)
        blocks.append(_constraints(stratum))
    directions = sparse.vstack([left for left, _ in blocks])
    ceilings = sparse.block_diag([right for _, right in blocks])
    solution = optimize.linprog(
        -gain,
        A_ub=sparse.hstack([directions, ceilings], format="csr"),
        b_ub=np.zeros(directions.shape[0]),
        bounds=[(-1.0, 1.0)] * p + [(None, None)] * (gain.size - p),
    )
    if solution.x is None:
        return None
    direction = np.where(np.abs(solution.x[:p]) > _STRICT, solution.x[:p], 0.0)
    return direction if _separates(strata, direction) else None


def _constraints(stratum: Stratum) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Coefficients of direction and ceilings in rows that must be at most zero.

    Every row lies below its ceiling, deaths lie at theirs, and ceilings fall with time.
    """
    k = stratum.starts.size
    later = np.arange(1, k)
    none = np.zeros((k - 1, stratum.X.shape[1]))
    left = sparse.csr_matrix(np.vstack([stratum.X, -stratum.X[stratum.dead], none]))
    falling = _one_hot(later, k) - _one_hot(later - 1, k)
    right = sparse.vstack(
        [-_one_hot(stratum.segment, k), _one_hot(stratum.at, k), falling], format="csr"
    )
    return left, right


def _one_hot(column: Ints, k: int) -> sparse.csr_matrix:
    n = column.size
    return sparse.csr_matrix((np.ones(n), (np.arange(n), column)), shape=(n, k))


def _separates(strata: list[Stratum], direction: Floats) -> bool:
    """The definition itself, checked on the direction that was found."""
    strict = False
    for stratum in strata:
        height = stratum.X @ direction
        top = np.maximum.accumulate(height[::-1])[::-1][stratum.starts]
        lowest = np.minimum.accumulate(height[::-1])[::-1][stratum.starts]
        if np.any(height[stratum.dead] < top[stratum.at] - _VIOLATION):
            return False
        strict = strict or bool(np.any(top - lowest > _STRICT))
    return strict
