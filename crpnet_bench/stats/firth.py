"""Firth's penalised Cox likelihood: finite estimates where an ordinary one is infinite.

The log partial likelihood (Breslow ties) gains half the log determinant of the information.
Intervals and P values are by profile of the penalised likelihood, as R's `coxphf`.

References:
    Firth D (1993). Biometrika 80:27-38. Heinze G, Schemper M (2001). Biometrics 57:114-119.
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from crpnet_bench.stats.inputs import Floats
from crpnet_bench.stats.newton import Maximum, maximise
from crpnet_bench.stats.partial_likelihood import Derivatives, PartialLikelihood, Stratum

__all__ = ["FirthProfile", "penalised_derivatives"]

_LONGEST_STEP = 1.0
_MAX_DOUBLINGS = 40


def penalised_derivatives(likelihood: PartialLikelihood, coef: Floats) -> Derivatives:
    """Penalised log likelihood, its exact gradient, and the unpenalised information."""
    plain = likelihood.derivatives(coef)
    sign, log_determinant = np.linalg.slogdet(plain.information)
    if sign <= 0 or not np.isfinite(log_determinant):
        return Derivatives(-np.inf, plain.score, plain.information)
    covariance: Floats = np.linalg.inv(plain.information).astype(np.float64)
    gradient = np.sum([_trace_gradient(s, coef, covariance) for s in likelihood.strata], axis=0)
    return Derivatives(
        plain.log_likelihood + 0.5 * float(log_determinant),
        plain.score + 0.5 * gradient,
        plain.information,
    )


def _trace_gradient(stratum: Stratum, coef: Floats, covariance: Floats) -> Floats:
    """trace(covariance @ d information / d coef), shape (p,), one stratum, Breslow ties.

    The derivative of a covariance is a third central moment over the risk set.
    """
    X = stratum.X
    if not X.size:
        return np.zeros(coef.size)
    linear = X @ coef
    weight = np.exp(linear - linear.max())
    total = stratum.over_risk_sets(weight)
    square = np.einsum("ij,jk,ik->i", X, covariance, X)

    mean = stratum.over_risk_sets(weight[:, None] * X) / total[:, None]
    mean_square = stratum.over_risk_sets(weight * square) / total
    mean_cross = stratum.over_risk_sets((weight * square)[:, None] * X) / total[:, None]
    second = stratum.over_risk_sets(weight[:, None, None] * X[:, :, None] * X[:, None, :])
    second = second / total[:, None, None]

    turned = mean @ covariance
    moment = (
        mean_cross
        - mean_square[:, None] * mean
        - 2 * np.einsum("klm,km->kl", second, turned)
        + 2 * np.sum(turned * mean, axis=1)[:, None] * mean
    )
    return np.asarray(stratum.deaths @ moment)


class FirthProfile:
    """A Firth fit and the profile of its penalised likelihood.

    Attributes:
        maximum: coefficients, penalised log likelihood and information at the maximum.
        log_likelihood_null: penalised log likelihood with all coefficients 0.
    """

    def __init__(self, likelihood: PartialLikelihood) -> None:
        self._likelihood = likelihood
        start = np.zeros(likelihood.p)
        self.maximum = self._climb(start, np.ones(likelihood.p, dtype=np.bool_))
        self.log_likelihood_null = self._derivatives(start).log_likelihood

    def _derivatives(self, coef: Floats) -> Derivatives:
        return penalised_derivatives(self._likelihood, coef)

    def _climb(self, start: Floats, free: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Maximum:
        return maximise(self._derivatives, start, longest_step=_LONGEST_STEP, free=free)

    def deviance(self, term: int, value: float) -> float:
        """Twice the loss of penalised log likelihood when one coefficient is held at `value`."""
        start = self.maximum.coef.copy()
        start[term] = value
        free = np.arange(start.size) != term
        held = self._climb(start, free).derivatives.log_likelihood
        return 2 * (self.maximum.derivatives.log_likelihood - held)

    def p_value(self, term: int) -> float:
        """Penalised likelihood ratio test of one coefficient."""
        return float(special.chdtrc(1, max(self.deviance(term, 0.0), 0.0)))

    def limit(self, term: int, direction: int, level: float, se: float) -> float | None:
        """Profile likelihood limit of one coefficient; None when there is none.

        Args:
            term: index of the coefficient.
            direction: -1 for the lower limit, 1 for the upper.
            level: confidence level.
            se: standard error, the unit in which the limit is searched.
        """
        allowed = float(special.chdtri(1, 1 - level))
        centre = float(self.maximum.coef[term])

        def excess(steps: float) -> float:
            return self.deviance(term, centre + direction * steps * se) - allowed

        outside = 2.0
        for _ in range(_MAX_DOUBLINGS):
            if excess(outside) > 0:
                root = optimize.brentq(excess, 0.0, outside, xtol=1e-12, rtol=1e-12)
                return centre + direction * float(root) * se
            outside *= 2
        return None
