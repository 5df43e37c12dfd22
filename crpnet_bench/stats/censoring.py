"""Inverse probability of censoring weights, with the influence of having estimated them.

The censoring distribution G is the marginal Kaplan-Meier estimate with the roles of event
and censoring exchanged. At a tied time events come first: patients with an event at u are no
longer at risk of being censored at u, as in R's `prodlim(reverse = TRUE)`, which
`riskRegression::Score` and `timeROC` use. At horizon t

    event (or competing event) at T <= t     weight 1 / G(T-)
    followed beyond t                        weight 1 / G(t)
    censored at or before t                  weight 0

A statistic that is a smooth function of the weights has the influence function

    h_i + sum_j h_j * integral_0^{s_j} dM_i(u) / Y(u),

where h_j is n times the derivative with respect to log weight j, s_j is T_j- or t, M_i is
patient i's censoring martingale and Y the number at risk (Blanche, Dartigues and
Jacqmin-Gadda, Stat Med 2013;32:5381; Gerds and Schumacher, Biom J 2006;48:1029).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import TIME_TOLERANCE, Bools, Floats, Ints

__all__ = ["CensoringDistribution", "WeightsAtTime", "censoring_distribution"]


@dataclass(frozen=True, slots=True, eq=False)
class CensoringDistribution:
    """Kaplan-Meier estimate of the time to censoring.

    Attributes:
        time: distinct observed times, rising, shape (k,).
        survival: G at those times, shape (k,).
        patient_time, patient_status: the data, shape (n,).
        position: index into `time` of each patient's own time, shape (n,).
        own_jump: n / Y(T_i) for the censored, else 0, shape (n,).
        hazard: n * dC(u) / Y(u)**2 at each distinct time, shape (k,).
    """

    time: Floats
    survival: Floats
    patient_time: Floats
    patient_status: Ints
    position: Ints
    own_jump: Floats
    hazard: Floats

    def at(self, t: float) -> WeightsAtTime:
        """Who is what at time t, with the weights."""
        t = self._snap(t)
        known = self.patient_time <= t
        case = known & (self.patient_status == 1)
        competing = known & (self.patient_status == 2)
        survivor = ~known
        before_or_at = int(np.searchsorted(self.time, t, side="right"))
        stairs = np.concatenate(([1.0], self.survival))
        weight = np.zeros(self.patient_time.size)
        failed = case | competing
        weight[failed] = 1 / stairs[self.position[failed]]
        if survivor.any():
            weight[survivor] = 1 / stairs[before_or_at]
        last = np.where(survivor, before_or_at, self.position) - 1
        return WeightsAtTime(t, case, competing, survivor, weight, last, self)

    @property
    def end(self) -> float:
        """The last observed time."""
        return float(self.time[-1])

    def knows(self, t: float) -> bool:
        """Whether anybody's state at t is observed: follow-up reaches t, or ends in an event."""
        return t <= self.end or not np.any(
            (self.patient_status == 0) & (self.patient_time == self.end)
        )

    def _snap(self, t: float) -> float:
        if not self.time.size:
            return t
        nearest = float(self.time[np.argmin(np.abs(self.time - t))])
        return nearest if abs(nearest - t) <= TIME_TOLERANCE * max(1.0, abs(t)) else t


@dataclass(frozen=True, slots=True, eq=False)
class WeightsAtTime:
    """State of each patient at one horizon, and the weight that makes up for the censored.

    Attributes:
        time: the horizon.
        case: event of interest at or before the horizon, shape (n,).
        competing: competing event at or before the horizon, shape (n,).
        survivor: followed beyond the horizon without any event, shape (n,).
        weight: inverse probability of censoring weights, shape (n,).
    """

    time: float
    case: Bools
    competing: Bools
    survivor: Bools
    weight: Floats
    last: Ints
    distribution: CensoringDistribution

    def influence(self, derivative: Floats) -> Floats:
        """Influence function of a statistic, from n times its log-weight derivatives, (n,)."""
        fitted = self.distribution
        n = derivative.size
        counted = self.last >= 0
        per_time = np.bincount(
            self.last[counted], weights=derivative[counted], minlength=fitted.time.size
        )
        still_ahead = np.cumsum(per_time[::-1])[::-1]
        drift = np.cumsum(fitted.hazard * still_ahead)
        martingale = fitted.own_jump * still_ahead[fitted.position] - drift[fitted.position]
        return np.asarray(derivative + martingale / max(n, 1), dtype=np.float64)

    def standard_error(self, derivative: Floats) -> float:
        """Standard error of the statistic with these derivatives."""
        n = derivative.size
        if n < 2:
            return float("nan")
        return float(np.std(self.influence(derivative), ddof=1) / np.sqrt(n))


def censoring_distribution(time: Floats, status: Ints) -> CensoringDistribution:
    """Fit the censoring distribution to checked times and status (0 censored, 1, 2), shape (n,)."""
    unique, position = np.unique(time, return_inverse=True)
    n = time.size
    censored_here = np.bincount(position[status == 0], minlength=unique.size)
    failed_here = np.bincount(position[status != 0], minlength=unique.size)
    leaving = censored_here + failed_here
    at_risk = n - np.concatenate(([0], np.cumsum(leaving)[:-1]))
    exposed = at_risk - failed_here
    survival = np.cumprod(1 - censored_here / np.maximum(exposed, 1)).astype(np.float64)
    own_jump = np.where(status == 0, n / at_risk[position], 0.0).astype(np.float64)
    hazard = (n * censored_here / at_risk.astype(np.float64) ** 2).astype(np.float64)
    return CensoringDistribution(
        unique, survival, time, status, position.astype(np.int64), own_jump, hazard
    )
