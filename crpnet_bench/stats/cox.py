"""Cox proportional hazards regression that equals R's `coxph`, and `coxphf` under separation."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crpnet_bench.errors import InputError, did_you_mean, shorten
from crpnet_bench.stats.baseline_hazard import baseline_hazards
from crpnet_bench.stats.covariates import CovariateInput
from crpnet_bench.stats.cox_design import CoxDesign, cox_design
from crpnet_bench.stats.cox_fit import CoxFit, fit_cox
from crpnet_bench.stats.cox_result import CoxResult, CoxTerm, Ties
from crpnet_bench.stats.firth import FirthProfile
from crpnet_bench.stats.inputs import Floats, Ints
from crpnet_bench.stats.newton import Maximum
from crpnet_bench.stats.partial_likelihood import PartialLikelihood
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["cox_ph"]

_FEW_EVENTS = 10
_UNSTABLE_GROUP = 5
_LARGEST_EXPONENT = 709.0


def cox_ph(
    time: ArrayLike,
    event: ArrayLike,
    covariates: CovariateInput,
    ties: Ties = "efron",
    firth: Literal["auto"] | bool = "auto",
    strata: ArrayLike | None = None,
    level: float = 0.95,
) -> CoxResult:
    """Cox proportional hazards model by Newton's method to full convergence.

    Equals R's `coxph` (Efron by default, Wald intervals). Where the likelihood is monotone - an
    infinite hazard ratio, such as no event in one group - `firth="auto"` turns to Firth's
    penalised likelihood with Breslow ties and profile likelihood intervals, as R's `coxphf`,
    and `method` says so. Constant and collinear covariates are terms with a reason; the others
    are fitted without them.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        covariates: DataFrame, mapping of columns, Series or array; numbers only.
        ties: handling of tied event times.
        firth: "auto", True or False.
        strata: labels of strata with a baseline hazard each, shape (n,).
        level: confidence level.

    Returns:
        The fitted model, or a result whose `reason` says why there is none.

    Raises:
        InputError: bad times, events, covariates or strata, unequal lengths, an unknown option.

    References:
        Cox DR (1972). JRSS B 34:187-220. Efron B (1977). JASA 72:557-565. Heinze G,
        Schemper M (2001). Biometrics 57:114-119.

    >>> result = cox_ph([1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], {"x": [3, 1, 2, 2, 0, 1]})
    >>> round(result.terms["x"].hazard_ratio, 4), result.events
    (2.32, 4)
    """
    _check_options(ties, firth)
    check_level(level)
    design = cox_design(time, event, covariates, strata)
    reason = design.why_not_fitted()
    if reason is not None:
        return _nothing(design, reason, ties, level)
    likelihood = design.likelihood(efron=ties == "efron")
    fit = fit_cox(likelihood)
    if firth is True or (firth == "auto" and fit.endless is not None):
        return _firth_result(design, fit.endless, level, asked=firth is True)
    if not (fit.finite or fit.endless is not None):
        return _nothing(design, "the iteration did not converge", ties, level)
    return _wald_result(design, likelihood, fit, ties, level)


def _check_options(ties: str, firth: object) -> None:
    if ties not in {"efron", "breslow"}:
        raise InputError(f"ties: found {ties!r}; {did_you_mean(str(ties), ['efron', 'breslow'])}")
    if not (firth == "auto" or isinstance(firth, bool)):
        raise InputError(f"firth: found {shorten(firth)}; expected 'auto', True or False")


def _nothing(design: CoxDesign, reason: str, ties: Ties, level: float) -> CoxResult:
    own = design.reasons if design.event.any() else {}
    terms = {name: CoxTerm(name=name, reason=own.get(name, reason)) for name in design.table.names}
    return CoxResult(
        terms=MappingProxyType(terms),
        covariance=np.zeros((0, 0)),
        estimated=(),
        means=np.zeros(len(terms)),
        log_likelihood=None,
        log_likelihood_null=None,
        lrt_statistic=None,
        lrt_p_value=None,
        wald_statistic=None,
        wald_p_value=None,
        df=0,
        method="not fitted",
        ties=ties,
        firth=False,
        n=design.time.size,
        events=int(design.event.sum()),
        level=level,
        reason=reason,
        baselines=MappingProxyType({}),
    )


def _wald_result(
    design: CoxDesign,
    likelihood: PartialLikelihood,
    cox_fit: CoxFit,
    ties: Ties,
    level: float,
) -> CoxResult:
    fit, endless = cox_fit.maximum, cox_fit.endless
    diverging = np.zeros(fit.coef.size, dtype=np.bool_) if endless is None else endless != 0
    finite = np.flatnonzero(~diverging)
    information = fit.derivatives.information
    covariance = np.zeros_like(information)
    covariance[np.ix_(finite, finite)] = np.linalg.inv(information[np.ix_(finite, finite)])
    z = normal_quantile(level)
    terms = {}
    for i, name in enumerate(design.names):
        if diverging[i]:
            reason = "infinite: the likelihood is monotone; firth=True gives a finite estimate"
            terms[name] = CoxTerm(name=name, reason=reason)
            continue
        coef = float(fit.coef[i] / design.scale[i])
        se = float(math.sqrt(covariance[i, i]) / design.scale[i])
        p_value = 2 * float(special.ndtr(-abs(coef / se)))
        terms[name] = _term(name, coef, se, (coef - z * se, coef + z * se), p_value)
    null = likelihood.derivatives(np.zeros(fit.coef.size)).log_likelihood
    return _result(
        design,
        terms,
        fit,
        covariance=covariance[np.ix_(finite, finite)],
        estimated=finite,
        null=null,
        method=f"Cox partial likelihood, {ties.capitalize()} ties, Wald intervals",
        ties=ties,
        firth=False,
        level=level,
    )


def _firth_result(
    design: CoxDesign, endless: Floats | None, level: float, *, asked: bool
) -> CoxResult:
    likelihood = design.likelihood(efron=False)
    profile = FirthProfile(likelihood)
    if not profile.maximum.converged:
        return _nothing(design, "the Firth iteration did not converge", "breslow", level)
    covariance = profile.covariance
    terms = {}
    for i, name in enumerate(design.names):
        unit = float(design.scale[i])
        se = math.sqrt(float(covariance[i, i]))
        limits = [profile.limit(i, direction, level) for direction in (-1, 1)]
        low, high = (None if limit is None else limit / unit for limit in limits)
        coef = float(profile.maximum.coef[i]) / unit
        terms[name] = _term(name, coef, se / unit, (low, high), profile.p_value(i))
    return _result(
        design,
        terms,
        profile.maximum,
        covariance=covariance,
        estimated=np.arange(design.kept.size),
        null=profile.log_likelihood_null,
        method=_firth_method(design, endless, asked=asked),
        ties="breslow",
        firth=True,
        level=level,
    )


def _firth_method(design: CoxDesign, endless: Floats | None, *, asked: bool) -> str:
    base = "Firth penalised likelihood, Breslow ties, profile likelihood intervals"
    if asked or endless is None:
        return base
    names = ", ".join(name for name, d in zip(design.names, endless, strict=True) if d)
    return f"{base}; chosen automatically because the likelihood is monotone in {names}"


def _term(
    name: str,
    coef: float,
    se: float,
    limits: tuple[float | None, float | None],
    p_value: float,
) -> CoxTerm:
    ratio, low, high = (_exp(value) for value in (coef, *limits))
    reason = _why_no_limit(*limits)
    if reason is None and None in {ratio, low, high}:
        reason = (
            "too large to write as a hazard ratio of one unit; give the covariate a larger unit"
        )
    return CoxTerm(
        name=name,
        coef=coef,
        se=se,
        hazard_ratio=ratio,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        reason=reason,
    )


def _why_no_limit(low: float | None, high: float | None) -> str | None:
    missing = [side for side, limit in (("lower", low), ("upper", high)) if limit is None]
    if not missing:
        return None
    return f"no {' or '.join(missing)} limit: the profile likelihood is too flat to find one"


def _exp(value: float | None) -> float | None:
    # A hazard ratio per unit of a tiny covariate may pass the largest float.
    return None if value is None or value > _LARGEST_EXPONENT else math.exp(value)


def _result(
    design: CoxDesign,
    terms: dict[str, CoxTerm],
    fit: Maximum,
    *,
    covariance: Floats,
    estimated: Ints,
    null: float,
    method: str,
    ties: Ties,
    firth: bool,
    level: float,
) -> CoxResult:
    ordered = {
        name: terms.get(name, CoxTerm(name=name, reason=design.reasons.get(name)))
        for name in design.table.names
    }
    ordered = {name: _with_warning(design, i, t) for i, (name, t) in enumerate(ordered.items())}
    coef = np.array([term.coef or 0.0 for term in ordered.values()])
    likelihood_ratio = max(2 * (fit.derivatives.log_likelihood - null), 0.0)
    chosen = fit.coef[estimated]
    wald = float(chosen @ np.linalg.solve(covariance, chosen)) if estimated.size else None
    df = int(design.kept.size)
    means = _means(design.table.values)
    return CoxResult(
        terms=MappingProxyType(ordered),
        covariance=covariance / np.outer(design.scale[estimated], design.scale[estimated]),
        estimated=tuple(design.names[i] for i in estimated),
        means=means,
        log_likelihood=fit.derivatives.log_likelihood,
        log_likelihood_null=null,
        lrt_statistic=likelihood_ratio,
        lrt_p_value=float(special.chdtrc(df, likelihood_ratio)),
        wald_statistic=wald,
        wald_p_value=None if wald is None else float(special.chdtrc(estimated.size, wald)),
        df=df,
        method=method,
        ties=ties,
        firth=firth,
        n=design.time.size,
        events=int(design.event.sum()),
        level=level,
        warning=_few_events(int(design.event.sum())),
        baselines=baseline_hazards(
            design.time,
            design.event,
            (design.table.values - means) @ coef,
            design.stratum,
            design.strata,
            efron=ties == "efron",
        ),
    )


def _means(values: Floats) -> Floats:
    """Column means, but 0 for columns of only -1, 0 and 1 (R's `nocenter`)."""
    indicator = np.all(np.isin(values, (-1.0, 0.0, 1.0)), axis=0)
    return np.where(indicator, 0.0, values.mean(axis=0))


def _few_events(events: int) -> str | None:
    return f"only {events} events, fewer than {_FEW_EVENTS}" if events < _FEW_EVENTS else None


def _with_warning(design: CoxDesign, column: int, term: CoxTerm) -> CoxTerm:
    """Mark a two-valued covariate that has few events on one side."""
    values = design.table.values[:, column]
    levels = np.unique(values)
    if term.coef is None or levels.size != 2:
        return term
    counts = [int(design.event[values == value].sum()) for value in levels]
    if min(counts) >= _UNSTABLE_GROUP:
        return term
    told = ", ".join(f"{c} at {v:g}" for c, v in zip(counts, levels, strict=True))
    return replace(
        term, warning=f"unstable: fewer than {_UNSTABLE_GROUP} events in a group ({told})"
    )
