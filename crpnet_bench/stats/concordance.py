"""Concordance index with its standard error, as R's `survival::concordance`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    Ints,
    codes,
    event_indicator,
    finite,
    same_length,
    survival_times,
)
from crpnet_bench.stats.pairs import disjoint_pairs, pair_counts
from crpnet_bench.stats.perfection import perfect_bound
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = [
    "ConcordanceComparison",
    "ConcordanceMethod",
    "ConcordanceResult",
    "Outcome",
    "checked_risk",
    "compare_concordance",
    "concordance_index",
    "index_with_influence",
    "outcome",
]

ConcordanceMethod = Literal["harrell", "uno"]

_METHODS = ("harrell", "uno")
_FEW_EVENTS = 10
# Standard errors below this are rounding: the true one is zero.
_NO_SPREAD = 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcordanceResult(Estimate):
    """A concordance index.

    Attributes:
        concordant, discordant, tied_risk: comparable pairs of each kind (weighted for Uno's).
        comparable: their sum.
        n, events: patients and events (up to tau).
        small_sample_bound: where the index is exactly 0 or 1, a limit that the true index
            keeps to with confidence `level` (lower limit for 1, upper for 0); else None.
    """

    concordant: float = 0.0
    discordant: float = 0.0
    tied_risk: float = 0.0
    comparable: float = 0.0
    n: int = 0
    events: int = 0
    small_sample_bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcordanceComparison:
    """The difference of two concordance indices on the same patients, a minus b.

    Attributes:
        difference, se, ci_low, ci_high, z, p_value: None where not estimable.
        a, b: the two indices.
        level, method, reason, warning: as in `Estimate`.
    """

    difference: float | None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    z: float | None = None
    p_value: float | None = None
    a: ConcordanceResult
    b: ConcordanceResult
    level: float = 0.95
    method: str = ""
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Checked outcomes with the weight of each patient's pairs.

    Attributes:
        time, event: shapes (n,).
        weight: of the pairs in which the patient is the earlier one; 0 after tau, shape (n,).
        fold: fold codes, or None when all pairs count.
        cluster: codes of the patients that the rows belong to, or None when one row each.
        method: what the index and its interval are.
    """

    time: Floats
    event: Bools
    weight: Floats
    fold: Ints | None
    cluster: Ints | None
    method: str

    @property
    def events(self) -> int:
        """Number of events up to tau."""
        return int(np.sum(self.event & (self.weight > 0)))


def outcome(
    time: ArrayLike,
    event: ArrayLike,
    method: ConcordanceMethod = "harrell",
    tau: float | None = None,
    fold: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> Outcome:
    """Check outcomes and weigh their pairs; arguments as in `concordance_index`."""
    if method not in _METHODS:
        raise InputError(f"method: found {method!r}; {did_you_mean(method, _METHODS)}")
    if tau is not None and not tau > 0:
        raise InputError(f"tau: found {tau!r}; expected a time above zero")
    times, events = survival_times(time), event_indicator(event)
    same_length(time=times, event=events)
    folds = None if fold is None else codes(fold, "fold")[0]
    clusters = None if cluster is None else codes(cluster, "cluster")[0]
    for name, array in (("fold", folds), ("cluster", clusters)):
        if array is not None:
            same_length(**{"time": times, name: array})
    weight = np.ones(times.size) if method == "harrell" else 1 / _uncensored(times, events) ** 2
    if tau is not None:
        weight = np.where(times > tau, 0.0, weight)
    return Outcome(times, events, weight, folds, clusters, _describe(method, tau, folds))


def _describe(method: str, tau: float | None, fold: Ints | None) -> str:
    parts = ["Harrell's C" if method == "harrell" else "Uno's C"]
    if tau is not None:
        parts.append(f"events up to {tau:g}")
    if fold is not None:
        parts.append("pairs within a fold")
    return ", ".join([*parts, "infinitesimal jackknife over patients, Wald"])


def _uncensored(time: Floats, event: Bools) -> Floats:
    """Kaplan-Meier probability of being uncensored just before each patient's time, (n,).

    Events at a time leave before the censored ones do.
    """
    distinct, where = np.unique(time, return_inverse=True)
    leaving = np.bincount(where, minlength=distinct.size)
    deaths = np.bincount(where[event], minlength=distinct.size)
    at_risk = time.size - np.cumsum(leaving) + leaving - deaths
    stays = 1 - (leaving - deaths) / np.maximum(at_risk, 1)
    before = np.concatenate(([1.0], np.cumprod(stays)[:-1]))
    # Nobody has an event after the last is censored: that weight is never used.
    return np.where(before > 0, before, 1.0)[where]


def concordance_index(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    method: ConcordanceMethod = "harrell",
    tau: float | None = None,
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> ConcordanceResult:
    """Probability that of two comparable patients the earlier event has the higher risk.

    Equals R's `concordance(Surv(time, event) ~ risk, reverse = TRUE)`: ties in risk count one
    half, events at one time are not comparable, a censoring counts as later. The standard error
    is the infinitesimal jackknife over patients. Uno's index weights each pair by the inverse
    squared probability of being uncensored (R: `timewt = "n/G2"`, `ymax = tau`), estimated
    from all patients.

    Out-of-fold risks of different folds come from different models: give `fold`, and only pairs
    within a fold are compared (R: `strata(fold)`). Where cross-validation is repeated, `fold`
    names repeat and fold, and `cluster` the patient, whose rows are then one unit of the
    jackknife.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        risk: higher means an earlier event, shape (n,).
        method: "harrell" or "uno".
        tau: only events up to this time count; None for all.
        fold: labels of the folds, shape (n,).
        cluster: labels of the patients where a patient has several rows, shape (n,).
        level: confidence level.

    Returns:
        The index; where it is exactly 0 or 1 there is no interval but a small-sample bound.

    Raises:
        InputError: missing values, negative times, unequal lengths, an unknown method.

    References:
        Harrell FE (1996). Stat Med 15:361-387. Uno H (2011). Stat Med 30:1105-1117.
        Therneau TM, Watson DA (2017). The concordance statistic and the Cox model.

    >>> result = concordance_index([1, 2, 3, 4], [1, 1, 0, 1], [0.9, 0.4, 0.5, 0.1])
    >>> result.value, result.concordant, result.comparable
    (0.8, 4.0, 5.0)
    """
    check_level(level)
    known = outcome(time, event, method, tau, fold, cluster)
    return index_with_influence(known, checked_risk(known, risk, "risk"), level)[0]


def checked_risk(known: Outcome, risk: ArrayLike, name: str) -> Floats:
    """A risk for each row of the outcome, or an `InputError`."""
    values = finite(risk, name)
    same_length(**{"time": known.time, name: values})
    return values


def index_with_influence(
    known: Outcome, risk: Floats, level: float
) -> tuple[ConcordanceResult, Floats]:
    """The index and each unit's influence on it."""
    counts = pair_counts(known.time, known.event, risk, known.weight, known.fold)
    concordant, discordant, tied = (float(total) / 2 for total in counts.sum(axis=1))
    comparable = concordant + discordant + tied

    blank = ConcordanceResult(
        value=None,
        level=level,
        method=known.method,
        concordant=concordant,
        discordant=discordant,
        tied_risk=tied,
        comparable=comparable,
        n=known.time.size,
        events=known.events,
        warning=_few_events(known.events),
    )
    if comparable == 0:
        return replace(blank, reason=_why_no_pairs(known)), np.zeros(0)
    value = (concordant + tied / 2) / comparable
    result = replace(blank, value=value)
    influence = _influence(counts, value, comparable, known.cluster)
    if discordant + tied == 0 or concordant + tied == 0:
        bound, reason = _perfect(known, value, level)
        return replace(result, reason=reason, small_sample_bound=bound), influence
    se = float(np.sqrt(np.sum(influence**2)))
    if se < _NO_SPREAD:
        return replace(result, reason="no variance, interval not estimable"), influence
    half = normal_quantile(level) * se
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return replace(result, se=se, ci_low=low, ci_high=high), influence


def _influence(counts: Floats, value: float, comparable: float, cluster: Ints | None) -> Floats:
    """Change of the index when a patient's weight grows, per unit of weight (R's dfbeta)."""
    concordant, discordant, tied = counts
    own = concordant + tied / 2 - value * (concordant + discordant + tied)
    influence: Floats = own / comparable
    if cluster is None:
        return influence
    return np.asarray(np.bincount(cluster, weights=influence), dtype=np.float64)


def _perfect(known: Outcome, value: float, level: float) -> tuple[float, str]:
    if known.fold is None:
        folds = [np.ones(known.time.size, dtype=np.bool_)]
    else:
        folds = [known.fold == code for code in np.unique(known.fold)]
    useful = known.event & (known.weight > 0)
    pairs = sum(disjoint_pairs(known.time[rows], useful[rows]) for rows in folds)
    return perfect_bound(value, pairs, level, "the index", "comparable pairs")


def _few_events(events: int) -> str | None:
    return f"only {events} events, fewer than {_FEW_EVENTS}" if events < _FEW_EVENTS else None


def _why_no_pairs(known: Outcome) -> str:
    if not known.time.size:
        return "no patients"
    if not known.event.any():
        return "no events, all patients censored"
    if not known.events:
        return "no events up to tau"
    within = " within a fold" if known.fold is not None else ""
    return f"no comparable pairs{within}: nobody is followed beyond an event"


def compare_concordance(
    time: ArrayLike,
    event: ArrayLike,
    risk_a: ArrayLike,
    risk_b: ArrayLike,
    method: ConcordanceMethod = "harrell",
    tau: float | None = None,
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> ConcordanceComparison:
    """Paired comparison of two risks on the same patients, a minus b.

    The standard error is the infinitesimal jackknife of the difference: it equals the contrast
    that R's `vcov(concordance(fit_a, fit_b))` gives. Arguments are those of `concordance_index`.

    Raises:
        InputError: as `concordance_index`.

    References:
        Therneau TM, Watson DA (2017). Kang L et al. (2015). Stat Med 34:685-703.
    """
    check_level(level)
    known = outcome(time, event, method, tau, fold, cluster)
    a, influence_a = index_with_influence(known, checked_risk(known, risk_a, "risk_a"), level)
    b, influence_b = index_with_influence(known, checked_risk(known, risk_b, "risk_b"), level)
    blank = ConcordanceComparison(difference=None, a=a, b=b, level=level, method=known.method)
    if a.value is None or b.value is None:
        return replace(blank, reason=a.reason)
    difference = a.value - b.value
    result = replace(blank, difference=difference, warning=_comparison_warning(a, b))
    se = float(np.sqrt(np.sum((influence_a - influence_b) ** 2)))
    if se < _NO_SPREAD:
        return replace(result, reason="both risks order every comparable pair alike, no test")
    half, z = normal_quantile(level) * se, difference / se
    return replace(
        result,
        se=se,
        ci_low=difference - half,
        ci_high=difference + half,
        z=z,
        p_value=2 * float(special.ndtr(-abs(z))),
    )


def _comparison_warning(a: ConcordanceResult, b: ConcordanceResult) -> str | None:
    perfect = [name for name, r in (("a", a), ("b", b)) if r.small_sample_bound is not None]
    notes = [
        f"the index of {name} is exactly 0 or 1: its own variance counts as 0" for name in perfect
    ]
    return "; ".join([*([a.warning] if a.warning else []), *notes]) or None
