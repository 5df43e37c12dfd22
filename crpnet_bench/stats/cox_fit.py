"""Maximising a Cox partial likelihood, and noticing when it has no maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import Floats
from crpnet_bench.stats.monotone_likelihood import diverging_direction
from crpnet_bench.stats.newton import Maximum, maximise
from crpnet_bench.stats.partial_likelihood import PartialLikelihood

__all__ = ["CoxFit", "fit_cox"]

# A linear predictor that ranges this far asks for the separation test; no finite fit of
# ordinary data gets there, and a diverging one passes it within about fifteen steps.
_SUSPICIOUS_SPREAD = 15.0
_GIVE_UP_SPREAD = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class CoxFit:
    """Where the climb ended.

    Attributes:
        maximum: coefficients and derivatives there.
        endless: the direction in which the likelihood rises for ever, or None.
    """

    maximum: Maximum
    endless: Floats | None

    @property
    def finite(self) -> bool:
        """Whether this is the maximum."""
        return self.endless is None and self.maximum.converged


def fit_cox(likelihood: PartialLikelihood) -> CoxFit:
    """Newton's method from 0, with the separation test where the fit asks for it."""
    start = np.zeros(likelihood.p)
    maximum = maximise(
        likelihood.derivatives, start, give_up=lambda b: likelihood.spread(b) > _GIVE_UP_SPREAD
    )
    if maximum.converged and likelihood.spread(maximum.coef) < _SUSPICIOUS_SPREAD:
        return CoxFit(maximum, None)
    endless = diverging_direction(likelihood)
    if endless is None and not maximum.converged:
        # Extreme covariates, not separation: the climb needs to go further than the limit.
        maximum = maximise(likelihood.derivatives, start)
    return CoxFit(maximum, endless)
