"""Logistic regression of a label on one score: how a score becomes a probability.

Maximum likelihood by Newton's method. Where the score separates the classes the likelihood has
no maximum; Firth's penalised likelihood then gives finite coefficients, and the result says so.

References:
    Firth D (1993). Biometrika 80:27-38. Heinze G, Schemper M (2002). Stat Med 21:2409-2419.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from crpnet_bench.errors import ModelError

__all__ = ["ScoreLogistic", "fit_score_logistic", "link_with_notes"]

_STEPS = 1000
_LONGEST_STEP = 5.0
_TOLERANCE = 1e-12
_HALVINGS = 30
_CLOSE = 1e-6  # of coefficients, in standard deviations
_NOISE = 1e-13  # of a log-likelihood


@dataclass(frozen=True, slots=True)
class ScoreLogistic:
    """Log-odds = intercept + slope * score.

    Attributes:
        intercept, slope: coefficients; the slope is 0 where all scores are equal.
        method: "maximum likelihood", "Firth" or "constant score".
        n, events: patients and events it was fitted on.
    """

    intercept: float
    slope: float
    method: str
    n: int
    events: int

    def probability(self, score: ArrayLike) -> NDArray[np.float64]:
        """Probability of the event, shape as `score`; NaN stays NaN."""
        values = np.asarray(score, dtype=np.float64)
        return np.asarray(special.expit(self.intercept + self.slope * values))


def fit_score_logistic(score: ArrayLike, label: ArrayLike) -> ScoreLogistic:
    """Fit the probability of the label as a function of the score.

    Args:
        score: finite, shape (patients,).
        label: 0 or 1, both present, shape (patients,).

    Raises:
        ModelError: one class only, or no convergence.

    >>> fit_score_logistic([0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 0, 1]).method
    'maximum likelihood'
    >>> fit_score_logistic([0, 0, 1, 1], [0, 0, 1, 1]).method
    'Firth'
    """
    x = np.asarray(score, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    n, events = len(y), int(y.sum())
    if not 0 < events < n:
        raise ModelError(f"logistic regression: {events} events among {n}; expected both classes")
    centre, spread = float(x.mean()), float(x.std())
    if spread == 0:
        return ScoreLogistic(float(special.logit(events / n)), 0.0, "constant score", n, events)
    # In standard deviations, so that steps and tolerance mean the same for every score.
    design = np.column_stack([np.ones(n), (x - centre) / spread])
    firth = _separated(x, y)
    coefficients = _newton(design, y, firth=firth)
    slope = float(coefficients[1] / spread)
    intercept = float(coefficients[0] - slope * centre)
    return ScoreLogistic(intercept, slope, "Firth" if firth else "maximum likelihood", n, events)


def link_with_notes(risk: ArrayLike, label: ArrayLike) -> tuple[ScoreLogistic, tuple[str, ...]]:
    """The fit of `fit_score_logistic`, and what the reader has to know about it.

    Raises:
        ModelError: as there.
    """
    link = fit_score_logistic(risk, label)
    if link.method == "Firth":
        return link, (
            "the training risks separate the classes: probabilities by Firth's penalised "
            "logistic regression",
        )
    if link.method == "constant score":
        return link, ("all training patients have the same risk: their probability is the mean",)
    return link, ()


def _separated(x: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    with_event, without = x[y == 1], x[y == 0]
    return bool(without.max() <= with_event.min() or with_event.max() <= without.min())


@dataclass(frozen=True, slots=True)
class _Point:
    """Coefficients, their log-likelihood (Firth: penalised), its slope, and the information."""

    beta: NDArray[np.float64]
    likelihood: float
    score: NDArray[np.float64]
    information: NDArray[np.float64]

    @classmethod
    def at(
        cls,
        beta: NDArray[np.float64],
        design: NDArray[np.float64],
        y: NDArray[np.float64],
        *,
        firth: bool,
    ) -> _Point:
        log_odds = design @ beta
        p = special.expit(log_odds)
        weight = p * (1 - p)
        information = design.T @ (design * weight[:, None])
        likelihood = float(special.log_expit((2 * y - 1) * log_odds).sum())
        residual = y - p
        if firth:
            sign, logarithm = np.linalg.slogdet(information)
            if sign <= 0:  # so far out that nothing can be told
                return cls(beta, -np.inf, residual @ design, information)
            likelihood += 0.5 * float(logarithm)
            covariance = np.linalg.inv(information)
            leverage = weight * np.einsum("ij,jk,ik->i", design, covariance, design)
            residual = residual + leverage * (0.5 - p)
        return cls(beta, likelihood, design.T @ residual, information)

    def better_than(self, other: _Point) -> bool:
        """Uphill; where that cannot be told for rounding, flatter."""
        noise = _NOISE * (1 + abs(other.likelihood))
        gain = self.likelihood - other.likelihood
        flatter = np.abs(self.score).max() < np.abs(other.score).max()
        return gain > noise or bool(gain > -noise and flatter)


def _newton(
    design: NDArray[np.float64], y: NDArray[np.float64], *, firth: bool
) -> NDArray[np.float64]:
    point = _Point.at(np.zeros(design.shape[1]), design, y, firth=firth)
    for _ in range(_STEPS):
        step = np.linalg.solve(point.information, point.score)
        longest = float(np.abs(step).max())
        if longest < _TOLERANCE * (1 + float(np.abs(point.beta).max())):
            return np.asarray(point.beta + step, dtype=np.float64)
        step = step * min(1.0, _LONGEST_STEP / longest)
        # Firth's step leaves out how the penalty bends: taken whole it can leap to and fro.
        for _ in range(_HALVINGS):
            further = _Point.at(point.beta + step, design, y, firth=firth)
            if further.better_than(point):
                break
            step = step / 2
        else:  # as high as rounding lets one see
            if longest < _CLOSE:
                return point.beta
        point = further
    raise ModelError(f"logistic regression of {len(y)} patients did not converge")
