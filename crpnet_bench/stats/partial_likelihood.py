"""Cox's partial likelihood with its derivatives: Efron or Breslow ties, strata.

One term of the likelihood is one death. With d tied deaths, Efron lets the l-th of them
(l = 0..d-1) see the risk set less l/d of the tied deaths; Breslow lets each see all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats, Ints

__all__ = ["Derivatives", "PartialLikelihood", "Stratum", "Terms"]


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """The likelihood terms of one stratum at one coefficient vector.

    Attributes:
        weight: exp(linear predictor - shift) of each row, shape (n,).
        total: weighted size of the risk set that each death sees, shape (deaths,).
        mean: weighted mean of the covariates in it, shape (deaths, p).
        shift: subtracted from the linear predictor against overflow.
    """

    weight: Floats
    total: Floats
    mean: Floats
    shift: float


@dataclass(frozen=True, slots=True, eq=False)
class Derivatives:
    """Log partial likelihood, its gradient (p,) and the information (p, p)."""

    log_likelihood: float
    score: Floats
    information: Floats


class Stratum:
    """Rows of one stratum that are at risk at some event time, in order of time.

    Attributes:
        X: covariates, shape (n, p).
        dead: which rows have the event, shape (n,).
        event_times: distinct times of events, ascending, shape (k,).
        starts: first row at risk at each event time, shape (k,).
        segment: index of the last event time at or before each row's time, shape (n,).
        at: index of the event time of each death, shape (deaths,).
        fraction: share of the tied deaths that each death no longer sees, shape (deaths,).
    """

    def __init__(self, time: Floats, event: Bools, X: Floats, *, efron: bool) -> None:
        order = np.lexsort((~event, time))
        time, event, X = time[order], event[order], X[order]
        self.event_times = np.unique(time[event])
        first = np.searchsorted(time, self.event_times[0]) if self.event_times.size else time.size
        time, self.dead, self.X = time[first:], event[first:], X[first:]
        self.starts: Ints = np.searchsorted(time, self.event_times).astype(np.int64)
        self.segment: Ints = np.searchsorted(self.event_times, time, side="right") - 1
        deaths = np.bincount(self.segment[self.dead], minlength=self.event_times.size)
        self.deaths: Ints = deaths.astype(np.int64)
        self.at: Ints = np.repeat(np.arange(deaths.size), deaths)
        first_death = np.cumsum(deaths) - deaths
        rank = np.arange(self.at.size) - first_death[self.at]
        self.fraction: Floats = rank / deaths[self.at] if efron else np.zeros(self.at.size)
        self._first_death = first_death

    def over_risk_sets(self, values: Floats) -> Floats:
        """Sum of `values` (n, ...) over the risk set of each event time, shape (k, ...)."""
        if not self.starts.size:
            return np.zeros((0, *values.shape[1:]))
        segments = np.add.reduceat(values, self.starts, axis=0)
        sums: Floats = np.cumsum(segments[::-1], axis=0)[::-1]
        return sums

    def over_deaths(self, values: Floats) -> Floats:
        """Sum of `values` (n, ...) over the deaths at each event time, shape (k, ...)."""
        if not self.starts.size:
            return np.zeros((0, *values.shape[1:]))
        return np.asarray(np.add.reduceat(values[self.dead], self._first_death, axis=0))

    def as_each_death_sees(self, values: Floats) -> Floats:
        """Sum of `values` (n, ...) over the risk set less the tied deaths' share, (deaths, ...)."""
        whole, tied = self.over_risk_sets(values)[self.at], self.over_deaths(values)[self.at]
        return whole - self.fraction.reshape((-1, *[1] * (values.ndim - 1))) * tied

    def terms(self, coef: Floats) -> Terms:
        """Risk-set sizes and means at `coef`."""
        linear = self.X @ coef
        shift = float(linear.max()) if linear.size else 0.0
        weight = np.exp(linear - shift)
        total = self.as_each_death_sees(weight)
        mean = self.as_each_death_sees(weight[:, None] * self.X) / total[:, None]
        return Terms(weight, total, mean, shift)

    def share(self, terms: Terms, death_weight: Floats) -> Floats:
        """How much each row contributes to all terms, weighted by `death_weight`, shape (n,)."""
        per_death = death_weight / terms.total
        k = self.event_times.size
        hazard = np.cumsum(np.bincount(self.at, weights=per_death, minlength=k))
        unseen = np.bincount(self.at, weights=per_death * self.fraction, minlength=k)
        return terms.weight * (hazard[self.segment] - np.where(self.dead, unseen[self.segment], 0))

    def information(self, terms: Terms, death_weight: Floats) -> Floats:
        """Sum over deaths of `death_weight` times the covariance in their risk sets, (p, p)."""
        rows = self.share(terms, death_weight)
        crossed: Floats = (self.X * rows[:, None]).T @ self.X
        return crossed - (terms.mean * death_weight[:, None]).T @ terms.mean

    # Where a coefficient is far off, the weights of a late risk set can all round to 0.
    @np.errstate(over="ignore", divide="ignore", invalid="ignore")
    def derivatives(self, coef: Floats) -> Derivatives:
        """Log likelihood, score and information at `coef`; NaN beyond the range of floats."""
        terms = self.terms(coef)
        dead_rows = self.X[self.dead]
        # An empty risk set has no logarithm; -inf would make the likelihood look infinitely good.
        log_total = np.log(np.where(terms.total > 0, terms.total, np.nan))
        log_likelihood = float(np.sum(dead_rows @ coef - terms.shift) - np.sum(log_total))
        score = dead_rows.sum(axis=0) - terms.mean.sum(axis=0)
        return Derivatives(log_likelihood, score, self.information(terms, np.ones(self.at.size)))


class PartialLikelihood:
    """The likelihood of all strata together.

    Args:
        time, event, X: shapes (n,), (n,), (n, p).
        stratum: codes of the strata, shape (n,).
        efron: Efron's handling of ties, else Breslow's.
    """

    def __init__(
        self, time: Floats, event: Bools, X: Floats, stratum: Ints, *, efron: bool
    ) -> None:
        self.p = X.shape[1]
        self.codes: Ints = np.unique(stratum)
        self.strata = [
            Stratum(time[rows], event[rows], X[rows], efron=efron)
            for rows in (stratum == code for code in self.codes)
        ]

    def derivatives(self, coef: Floats) -> Derivatives:
        """Log likelihood, score (p,) and information (p, p) at `coef`."""
        parts = [stratum.derivatives(coef) for stratum in self.strata]
        return Derivatives(
            float(sum(part.log_likelihood for part in parts)),
            np.sum([part.score for part in parts], axis=0),
            np.sum([part.information for part in parts], axis=0),
        )

    def spread(self, coef: Floats) -> float:
        """Largest range of the linear predictor within a stratum."""
        ranges = [np.ptp(s.X @ coef) for s in self.strata if s.X.size]
        return float(max(ranges, default=0.0))
