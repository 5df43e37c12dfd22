"""Firth's penalised Cox likelihood: finite estimates where an ordinary one is infinite.

The log partial likelihood (Breslow ties) gains half the log determinant of the information.
Intervals and P values are by profile of the penalised likelihood, as R's `coxphf`.

References:
    Firth D (1993). Biometrika 80:27-38. Heinze G, Schemper M (2001). Biometrics 57:114-119.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import optimize, special

from crpnet_bench.stats.inputs import Bools, Floats
from crpnet_bench.stats.newton import Maximum, maximise
from crpnet_bench.stats.partial_likelihood import Derivatives, PartialLikelihood, Stratum

__all__ = ["FirthProfile", "penalised_derivatives"]

# In standard deviations of a covariate.
_LONGEST_STEP = 5.0
# Newton's method with the unpenalised information converges linearly.
_TOLERANCE = 1e-17
_PROFILE_TOLERANCE = 1e-13
_CHEAP_STEPS = 15
_EXACT_STEPS = 25
_DIFFERENCE = 1e-5
_MAX_DOUBLINGS = 20


@np.errstate(over="ignore", divide="ignore", invalid="ignore")
def penalised_derivatives(likelihood: PartialLikelihood, coef: Floats) -> Derivatives:
    """Penalised log likelihood, its exact gradient, and the unpenalised information.

    Beyond the range of floats the likelihood is -inf, so that no climb goes there.
    """
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
        maximum: coefficients and penalised log likelihood at the maximum.
        covariance: inverse of the (unpenalised) information there, shape (p, p).
        log_likelihood_null: penalised log likelihood with all coefficients 0.
    """

    def __init__(self, likelihood: PartialLikelihood) -> None:
        self._likelihood = likelihood
        start = np.zeros(likelihood.p)
        everything = np.ones(start.size, dtype=np.bool_)
        self.maximum = self._climb(start, everything, _TOLERANCE)
        at_maximum = self._derivatives(self.maximum.coef).information
        self.covariance: Floats = np.asarray(np.linalg.inv(at_maximum))
        self.log_likelihood_null = self._derivatives(start).log_likelihood

    def _derivatives(self, coef: Floats) -> Derivatives:
        return penalised_derivatives(self._likelihood, coef)

    def _held(self, term: int, value: float, start: Floats) -> Maximum:
        """The maximum with one coefficient held at `value`, the others beginning at `start`."""
        start = start.copy()
        start[term] = value
        free = np.arange(start.size) != term
        return self._climb(start, free, _PROFILE_TOLERANCE)

    def _climb(self, start: Floats, free: Bools, tolerance: float) -> Maximum:
        """Climb with the unpenalised information, which is cheap; finish with the exact one.

        Far out on a profile the penalty bends the likelihood more than the data do, and the
        unpenalised information leads astray.
        """
        cheap = maximise(
            self._derivatives,
            start,
            free=free,
            tolerance=tolerance,
            longest_step=_LONGEST_STEP,
            max_steps=_CHEAP_STEPS,
        )
        if cheap.converged:
            return cheap
        return maximise(
            self._exact_derivatives,
            cheap.coef,
            free=free,
            tolerance=tolerance,
            longest_step=_LONGEST_STEP,
            max_steps=_EXACT_STEPS,
        )

    def _exact_derivatives(self, coef: Floats) -> Derivatives:
        """With the information of the penalised likelihood, by differences of its gradient."""
        here = self._derivatives(coef)
        if not np.isfinite(here.log_likelihood):
            return here
        rows = []
        for axis in np.eye(coef.size):
            step = _DIFFERENCE * (1 + abs(float(axis @ coef)))
            ahead, behind = (self._derivatives(coef + s * step * axis).score for s in (1, -1))
            rows.append((behind - ahead) / (2 * step))
        information = (np.array(rows) + np.array(rows).T) / 2
        curved = np.all(np.isfinite(information)) and np.linalg.eigvalsh(information)[0] > 0
        return replace(here, information=information) if curved else here

    def _deviance(self, held: Maximum) -> float:
        return 2 * (self.maximum.derivatives.log_likelihood - held.derivatives.log_likelihood)

    def _quadratic(self, term: int, value: float) -> Floats:
        """Where the others would be for this value if the likelihood were quadratic."""
        slope = self.covariance[:, term] / self.covariance[term, term]
        return np.asarray(self.maximum.coef + slope * (value - self.maximum.coef[term]))

    def p_value(self, term: int) -> float:
        """Penalised likelihood ratio test of one coefficient."""
        deviance = self._deviance(self._held(term, 0.0, self._quadratic(term, 0.0)))
        return float(special.chdtrc(1, max(deviance, 0.0)))

    def limit(self, term: int, direction: int, level: float) -> float | None:
        """Profile likelihood limit of one coefficient; None when there is none.

        Args:
            term: index of the coefficient.
            direction: -1 for the lower limit, 1 for the upper.
            level: confidence level.
        """
        allowed = float(special.chdtri(1, 1 - level))
        centre = float(self.maximum.coef[term])
        unit = direction * float(np.sqrt(self.covariance[term, term]))
        last = self._quadratic(term, centre + 2 * unit)

        def excess(steps: float) -> float:
            nonlocal last  # the last point of the profile is the best start for the next
            held = self._held(term, centre + steps * unit, last)
            if not held.converged:
                raise _NoProfileError
            last = held.coef
            return self._deviance(held) - allowed

        try:
            root = _first_root(excess)
        except _NoProfileError:
            return None
        return None if root is None else centre + root * unit


class _NoProfileError(Exception):
    """The likelihood is too flat there for a maximum to be found."""


def _first_root(excess: Callable[[float], float]) -> float | None:
    """Where a function that begins below zero crosses it; None when it is not found."""
    inside, outside = 0.0, 2.0
    for _ in range(_MAX_DOUBLINGS):
        if excess(outside) > 0:
            if excess(inside) > 0:
                return None  # not a single hill
            return float(optimize.brentq(excess, inside, outside, xtol=1e-9, rtol=1e-10))
        inside, outside = outside, 2 * outside
    return None
