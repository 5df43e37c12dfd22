"""Test of proportional hazards, as R's `cox.zph` since survival 3.0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.covariates import CovariateInput
from crpnet_bench.stats.cox_design import CoxDesign, cox_design
from crpnet_bench.stats.cox_fit import fit_cox
from crpnet_bench.stats.cox_result import Ties
from crpnet_bench.stats.inputs import Floats, Ints
from crpnet_bench.stats.partial_likelihood import PartialLikelihood
from crpnet_bench.stats.survival_curve import kaplan_meier

__all__ = [
    "ProportionalHazardsResult",
    "ProportionalHazardsTest",
    "proportional_hazards_test",
]

TimeTransform = Literal["km", "rank", "identity", "log"]

_TIES = ("breslow", "efron")
_TRANSFORMS = ("identity", "km", "log", "rank")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProportionalHazardsTest:
    """One test: chi-square, degrees of freedom and p, or the reason why there is none."""

    statistic: float | None = None
    df: int = 1
    p_value: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProportionalHazardsResult:
    """Tests that hazard ratios do not change with time.

    Attributes:
        terms: covariate name -> its test.
        global_test: all covariates together.
        transform: the function of time along which a change is looked for.
        ties: handling of ties in the model.
        reason: why there is no test at all; None when there is one.
    """

    terms: Mapping[str, ProportionalHazardsTest]
    global_test: ProportionalHazardsTest
    transform: TimeTransform
    ties: Ties
    reason: str | None = None


def proportional_hazards_test(
    time: ArrayLike,
    event: ArrayLike,
    covariates: CovariateInput,
    ties: Ties = "efron",
    strata: ArrayLike | None = None,
    transform: TimeTransform = "km",
) -> ProportionalHazardsResult:
    """Score test of a coefficient beta + theta * g(t) against theta = 0, by term and globally.

    Equals R's `cox.zph(coxph(...), transform)` of survival 3.0 and later, which tests exactly
    and not by the older correlation with Schoenfeld residuals.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        covariates: DataFrame, mapping of columns, Series or array; numbers only.
        ties: handling of tied event times.
        strata: labels of strata, shape (n,).
        transform: g(t): "km" (1 - S(t-)), "rank", "identity" or "log".

    Returns:
        The tests; where no model can be fitted, or a likelihood is monotone, the reason.

    Raises:
        InputError: bad times, events, covariates, strata or an unknown transform; "log" with a
            time of 0.

    References:
        Grambsch PM, Therneau TM (1994). Biometrika 81:515-526.
    """
    if transform not in _TRANSFORMS:
        raise InputError(f"transform: found {transform!r}; {did_you_mean(transform, _TRANSFORMS)}")
    if ties not in _TIES:
        raise InputError(f"ties: found {ties!r}; {did_you_mean(ties, _TIES)}")
    design = cox_design(time, event, covariates, strata)
    reason = design.why_not_fitted()
    if reason is None and np.unique(design.time[design.event]).size < 2:
        reason = "all events at one time"
    if reason is not None:
        return _nothing(design, reason, ties, transform)
    likelihood = design.likelihood(efron=ties == "efron")
    fit = fit_cox(likelihood)
    if not fit.finite:
        return _nothing(design, "the model has no finite estimate", ties, transform)
    score, information = _score_of_change(design, likelihood, fit.maximum.coef, transform)
    tests = {name: _test(score, information, np.array([i])) for i, name in enumerate(design.names)}
    return ProportionalHazardsResult(
        terms=MappingProxyType(
            {
                name: tests.get(name, ProportionalHazardsTest(reason=design.reasons.get(name)))
                for name in design.table.names
            }
        ),
        global_test=_test(score, information, np.arange(score.size)),
        transform=transform,
        ties=ties,
    )


def _nothing(
    design: CoxDesign, reason: str, ties: Ties, transform: TimeTransform
) -> ProportionalHazardsResult:
    nothing = ProportionalHazardsTest(reason=reason)
    return ProportionalHazardsResult(
        terms=MappingProxyType(dict.fromkeys(design.table.names, nothing)),
        global_test=nothing,
        transform=transform,
        ties=ties,
        reason=reason,
    )


def _score_of_change(
    design: CoxDesign, likelihood: PartialLikelihood, coef: Floats, transform: TimeTransform
) -> tuple[Floats, Floats]:
    """Score (p,) of the changes with time, and the information (2p, 2p) of coef and changes."""
    event_times = np.unique(design.time[design.event])
    height = _transformed(design, event_times, transform)
    height = height - height[np.searchsorted(event_times, design.time[design.event])].mean()
    p = coef.size
    score, blocks = np.zeros(p), np.zeros((3, p, p))
    for stratum in likelihood.strata:
        terms = stratum.terms(coef)
        g = height[np.searchsorted(event_times, stratum.event_times)][stratum.at]
        score += g @ (stratum.X[stratum.dead] - terms.mean)
        blocks += [stratum.information(terms, weight) for weight in (np.ones_like(g), g, g**2)]
    return score, np.block([[blocks[0], blocks[1]], [blocks[1], blocks[2]]])


def _transformed(design: CoxDesign, event_times: Floats, transform: TimeTransform) -> Floats:
    """G at each event time, from the times of all patients in all strata."""
    if transform == "identity":
        return event_times
    if transform == "log":
        if event_times[0] == 0:
            raise InputError("transform: 'log' needs times above zero; found an event at time 0")
        return np.asarray(np.log(event_times))
    if transform == "rank":
        ordered = np.sort(design.time)
        below = np.searchsorted(ordered, event_times, side="left")
        upto = np.searchsorted(ordered, event_times, side="right")
        return np.asarray((below + upto + 1) / 2)
    curve = kaplan_meier(design.time, design.event)
    before = np.concatenate(([1.0], curve.survival))
    return np.asarray(1 - before[np.searchsorted(curve.time, event_times, side="left")])


def _test(score: Floats, information: Floats, tested: Ints) -> ProportionalHazardsTest:
    p = score.size
    rows = np.concatenate((np.arange(p), p + tested))
    block = information[np.ix_(rows, rows)]
    if np.linalg.matrix_rank(block, hermitian=True) < rows.size:
        return ProportionalHazardsTest(
            df=tested.size, reason="the events do not tell a change with time from none"
        )
    gradient = np.concatenate((np.zeros(p), score[tested]))
    statistic = float(gradient @ np.linalg.solve(block, gradient))
    return ProportionalHazardsTest(
        statistic=statistic,
        df=int(tested.size),
        p_value=float(special.chdtrc(tested.size, statistic)),
    )
