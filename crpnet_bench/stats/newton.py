"""Newton's method for likelihoods that are concave or nearly so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats
from crpnet_bench.stats.partial_likelihood import Derivatives

__all__ = ["Maximum", "maximise"]

_MAX_HALVINGS = 20
# Where rounding keeps the climb from its tolerance, this much is still a maximum.
_GOOD_ENOUGH = 1e-8
# Relative rounding error of a log likelihood: near the maximum a good step may seem to lower it.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Maximum:
    """Where the climb ended: coefficients, derivatives there, and whether it is a maximum."""

    coef: Floats
    derivatives: Derivatives
    converged: bool


def maximise(
    derivatives: Callable[[Floats], Derivatives],
    start: Floats,
    *,
    tolerance: float = 1e-20,
    longest_step: float = np.inf,
    max_steps: int = 100,
    free: Bools | None = None,
    give_up: Callable[[Floats], bool] = lambda _: False,
) -> Maximum:
    """Climb from `start` by Newton steps, halved where they do not rise.

    Args:
        derivatives: log likelihood, score and information at given coefficients.
        start: coefficients to begin with, shape (p,).
        tolerance: on Newton's decrement, which approximates twice the log likelihood still to
            be gained.
        longest_step: limit on each coefficient's change in one step.
        max_steps: how many steps are tried.
        free: boolean mask of the coefficients that may move; all by default.
        give_up: told the coefficients after each step; True ends the climb unconverged.
    """
    movable = np.ones(start.size, dtype=np.bool_) if free is None else free
    coef, here = start, derivatives(start)
    decrement = np.inf
    for _ in range(max_steps):
        step = _newton_step(here, movable)
        if step is None:
            return Maximum(coef, here, converged=False)
        decrement = float(here.score @ step)
        if not np.isfinite(decrement):  # the start lies beyond the floats
            return Maximum(coef, here, converged=False)
        if decrement < tolerance:
            return Maximum(coef, here, converged=True)
        step = step * min(1.0, longest_step / float(np.max(np.abs(step))))
        risen = _rise(derivatives, coef, here, step)
        if risen is None:
            return Maximum(coef, here, converged=decrement < _GOOD_ENOUGH)
        coef, here = risen
        if give_up(coef):
            return Maximum(coef, here, converged=False)
    return Maximum(coef, here, converged=decrement < _GOOD_ENOUGH)


def _newton_step(here: Derivatives, movable: Bools) -> Floats | None:
    step = np.zeros(here.score.size)
    index = np.flatnonzero(movable)
    if not index.size:
        return step
    block = here.information[np.ix_(index, index)]
    try:
        step[index] = np.linalg.solve(block, here.score[index])
    except np.linalg.LinAlgError:
        return None
    return step if np.all(np.isfinite(step)) else None


def _rise(
    derivatives: Callable[[Floats], Derivatives], coef: Floats, here: Derivatives, step: Floats
) -> tuple[Floats, Derivatives] | None:
    """The first halving of `step` that does not lower the likelihood; None when there is none."""
    floor = here.log_likelihood - _ROUNDING * (1 + abs(here.log_likelihood))
    for _ in range(_MAX_HALVINGS):
        there = derivatives(coef + step)
        if there.log_likelihood >= floor:  # False where the step ran into NaN
            return coef + step, there
        step = step / 2
    return None
