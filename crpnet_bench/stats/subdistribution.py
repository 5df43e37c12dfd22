"""Fine-Gray model: effect of covariates on the cumulative incidence of one event.

Patients with a competing event stay in the risk set with weight G(t-)/G(T-), G the
Kaplan-Meier estimate of censoring. Ties as Breslow; the variance is the sandwich of Fine and
Gray (JASA 1999;94:496), which counts that G was estimated. Numbers are those of `cmprsk::crr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm

from crpnet_bench.stats.at_times import few_events
from crpnet_bench.stats.covariates import CovariateInput, covariate_table
from crpnet_bench.stats.inputs import Floats, Ints, event_status, same_length, survival_times
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["FineGrayResult", "FineGrayTerm", "fine_gray"]

_MAX_STEPS = 50
_MAX_HALVINGS = 30
# Newton's decrement is twice the log likelihood still to be gained. Below this one full step
# more, which squares the error, is the maximum to rounding.
_DECREMENT = 1e-10
# A linear predictor that ranges this far (a hazard ratio of 6e7) diverges.
_DIVERGED = 18.0
_METHOD = "Fine-Gray, Breslow ties, sandwich variance"


@dataclass(frozen=True, slots=True, kw_only=True)
class FineGrayTerm:
    """One covariate of the model.

    Attributes:
        coef: log subdistribution hazard ratio per unit; None when not estimable.
        se: its standard error.
        hazard_ratio, ci_low, ci_high: subdistribution hazard ratio with its interval.
        p_value: Wald test.
        reason: why there are no numbers, or None.
    """

    coef: float | None = None
    se: float | None = None
    hazard_ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FineGrayResult:
    """A fitted Fine-Gray model.

    Attributes:
        terms: covariate name -> term.
        log_likelihood, null_log_likelihood: log pseudo-likelihood at the fit and at zero.
        wald_p_value: all coefficients together.
        n, events, competing_events: counts.
        method: the variant fitted.
        level: confidence level.
        reason: why nothing could be fitted, or None.
        warning: what the reader has to know, or None.
    """

    terms: Mapping[str, FineGrayTerm]
    n: int
    events: int
    competing_events: int
    log_likelihood: float | None = None
    null_log_likelihood: float | None = None
    wald_p_value: float | None = None
    method: str = _METHOD
    level: float = 0.95
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Patients by rising time; `first` and `past` index distinct event times, shape (k,)."""

    time: Floats
    status: Ints
    X: Floats
    G: Floats  # at T-, per patient
    at: Floats  # distinct times of the event
    deaths: Floats  # events at each
    G_at: Floats  # G(t-) at each
    first: Ints  # first patient with T >= t


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    log_likelihood: float
    score: Floats
    information: Floats
    hazard: Floats  # d Lambda at each event time, (k,)
    mean: Floats  # weighted covariate mean at each, (k, p)
    relative: Floats  # exp(x'b) a patient, (n,)


def fine_gray(
    time: ArrayLike,
    status: ArrayLike,
    covariates: CovariateInput,
    level: float = 0.95,
) -> FineGrayResult:
    """Proportional subdistribution hazards of status 1 with status 2 as competing event.

    Args:
        time: follow-up, shape (n,).
        status: 0 censored, 1 event, 2 competing event, shape (n,).
        covariates: DataFrame, mapping of columns, Series or array, n rows.
        level: confidence level.

    Returns:
        Terms with coef, se, hazard ratio, interval and P; a reason without events, with a
        constant covariate or when a hazard ratio is infinite.

    Raises:
        InputError: lengths differ or a value cannot be used.
    """
    check_level(level)
    checked_time, checked_status = survival_times(time), event_status(status)
    table = covariate_table(covariates)
    same_length(time=checked_time, status=checked_status, covariates=table.values)
    events, competing = int((checked_status == 1).sum()), int((checked_status == 2).sum())
    shape: dict[str, Any] = {
        "n": checked_time.size,
        "events": events,
        "competing_events": competing,
        "level": level,
    }
    reason = _why_not(table.values, table.names, events)
    if reason is None:
        scale = table.values.std(axis=0)
        data = _arrange(checked_time, checked_status, (table.values - table.values.mean(0)) / scale)
        coef, fit, reason = _climb(data, table.names)
    if reason is not None:
        nothing = {name: FineGrayTerm(reason=reason) for name in table.names}
        return FineGrayResult(terms=MappingProxyType(nothing), reason=reason, **shape)
    covariance = _sandwich(data, fit)
    wald = float(coef @ np.linalg.solve(covariance, coef))
    se = np.sqrt(np.diag(covariance)) / scale
    terms = {
        name: _term(float(coef[i] / scale[i]), float(se[i]), level)
        for i, name in enumerate(table.names)
    }
    return FineGrayResult(
        terms=MappingProxyType(terms),
        log_likelihood=fit.log_likelihood,
        null_log_likelihood=_evaluate(data, np.zeros(coef.size)).log_likelihood,
        wald_p_value=float(chi2.sf(wald, coef.size)),
        warning=few_events(events, checked_time.size - events),
        **shape,
    )


def _why_not(X: Floats, names: tuple[str, ...], events: int) -> str | None:
    if events == 0:
        return "not estimable: no events"
    constant = [name for name, column in zip(names, X.T, strict=True) if np.ptp(column) == 0]
    if constant:
        return f"not estimable: {', '.join(constant)} is the same for all patients"
    if np.linalg.matrix_rank(X - X.mean(axis=0)) < X.shape[1]:
        return "not estimable: covariates are linear combinations of each other"
    return None


def _term(coef: float, se: float, level: float) -> FineGrayTerm:
    margin = normal_quantile(level) * se
    return FineGrayTerm(
        coef=coef,
        se=se,
        hazard_ratio=float(np.exp(coef)),
        ci_low=float(np.exp(coef - margin)),
        ci_high=float(np.exp(coef + margin)),
        p_value=float(2 * norm.sf(abs(coef / se))),
    )


def _arrange(time: Floats, status: Ints, X: Floats) -> _Data:
    order = np.argsort(time, kind="stable")
    time, status, X = time[order], status[order], X[order]
    distinct, where = np.unique(time, return_inverse=True)
    censored = np.bincount(where[status == 0], minlength=distinct.size)
    leaving = np.bincount(where, minlength=distinct.size)
    at_risk = time.size - np.cumsum(leaving) + leaving
    before = np.concatenate(([1.0], np.cumprod(1 - censored / at_risk)))[:-1]
    at = np.unique(time[status == 1])
    position = np.searchsorted(distinct, at)
    deaths = np.bincount(where[status == 1], minlength=distinct.size)[position]
    first = np.searchsorted(time, at, side="left")
    return _Data(
        time, status, X, before[where], at, deaths.astype(np.float64), before[position], first
    )


def _risk_sums(data: _Data, values: Floats) -> Floats:
    """Weighted sum of values (n, ...) over the risk set of each event time, (k, ...)."""
    ahead = np.concatenate(
        [np.cumsum(values[::-1], axis=0)[::-1], np.zeros((1, *values.shape[1:]))]
    )
    shape = (-1,) + (1,) * (values.ndim - 1)
    kept = values * np.where(data.status == 2, 1 / data.G, 0.0).reshape(shape)
    behind = _running(kept)
    return np.asarray(ahead[data.first] + data.G_at.reshape(shape) * behind[data.first])


def _evaluate(data: _Data, coef: Floats) -> _Fit:
    linear = data.X @ coef
    relative = np.exp(linear)
    weighted = data.X * relative[:, None]
    s0 = _risk_sums(data, relative)
    mean = _risk_sums(data, weighted) / s0[:, None]
    second = _risk_sums(data, weighted[:, :, None] * data.X[:, None, :]) / s0[:, None, None]
    spread = second - mean[:, :, None] * mean[:, None, :]
    failed = data.status == 1
    return _Fit(
        float(linear[failed].sum() - data.deaths @ np.log(s0)),
        data.X[failed].sum(axis=0) - data.deaths @ mean,
        np.tensordot(data.deaths, spread, axes=1),
        data.deaths / s0,
        mean,
        relative,
    )


def _climb(data: _Data, names: tuple[str, ...]) -> tuple[Floats, _Fit, str | None]:
    """Newton's method with step halving, from zero."""
    coef = np.zeros(data.X.shape[1])
    fit = _evaluate(data, coef)
    for _ in range(_MAX_STEPS):
        try:
            step: Floats = np.linalg.solve(fit.information, fit.score).astype(np.float64)
        except np.linalg.LinAlgError:
            return coef, fit, "not estimable: the information matrix is singular"
        if float(fit.score @ step) < _DECREMENT:
            return coef + step, _evaluate(data, coef + step), None
        risen = _rise(data, coef, fit, step)
        if risen is None:
            return coef, fit, None
        coef, fit = risen
        if np.ptp(data.X @ coef) > _DIVERGED:
            infinite = names[int(np.argmax(np.abs(coef) * np.ptp(data.X, axis=0)))]
            return coef, fit, f"not estimable: the hazard ratio of {infinite} is infinite"
    return coef, fit, "not estimable: the fit did not converge"


def _rise(data: _Data, coef: Floats, fit: _Fit, step: Floats) -> tuple[Floats, _Fit] | None:
    """The first halving of the step that does not fall; None when only rounding is left."""
    for _ in range(_MAX_HALVINGS):
        ahead = _evaluate(data, coef + step)
        if ahead.log_likelihood >= fit.log_likelihood:
            return coef + step, ahead
        step = step / 2
    return None


def _sandwich(data: _Data, fit: _Fit) -> Floats:
    residual = _score_residuals(data, fit) + _censoring_residuals(data, fit)
    bread = np.linalg.inv(fit.information)
    return np.asarray(bread @ (residual.T @ residual) @ bread, dtype=np.float64)


def _score_residuals(data: _Data, fit: _Fit) -> Floats:
    """eta_i: integral of x - mean(t) over the weighted subdistribution martingale, (n, p)."""
    k = data.at.size
    passed = np.searchsorted(data.at, data.time, side="right")
    plain = _running(fit.hazard), _running(fit.hazard[:, None] * fit.mean)
    faded_hazard = data.G_at * fit.hazard
    faded = _running(faded_hazard), _running(faded_hazard[:, None] * fit.mean)
    kept = np.where(data.status == 2, 1 / data.G, 0.0)
    exposure = plain[0][passed] + kept * (faded[0][k] - faded[0][passed])
    drift = plain[1][passed] + kept[:, None] * (faded[1][k] - faded[1][passed])
    eta = -fit.relative[:, None] * (data.X * exposure[:, None] - drift)
    failed = data.status == 1
    eta[failed] += data.X[failed] - fit.mean[passed[failed] - 1]
    return np.asarray(eta, dtype=np.float64)


def _censoring_residuals(data: _Data, fit: _Fit) -> Floats:
    """psi_i: what estimating G adds, an integral over patient i's censoring martingale, (n, p)."""
    k = data.at.size
    distinct, start, where = np.unique(data.time, return_index=True, return_inverse=True)
    kept = np.where(data.status == 2, fit.relative / data.G, 0.0)
    gone = _running(kept)[start], _running(kept[:, None] * data.X)[start]
    hazard = data.G_at * fit.hazard
    ahead_from = np.searchsorted(data.at, distinct, side="left")
    sums, means = _running(hazard), _running(hazard[:, None] * fit.mean)
    q = gone[1] * (sums[k] - sums[ahead_from])[:, None]
    q -= gone[0][:, None] * (means[k] - means[ahead_from])
    at_risk = data.time.size - start
    censored = np.bincount(where[data.status == 0], minlength=distinct.size)
    drift = np.cumsum(q * (censored / at_risk**2)[:, None], axis=0)
    own = np.where(data.status == 0, 1.0, 0.0)[:, None] * (q / at_risk[:, None])[where]
    return np.asarray(own - drift[where], dtype=np.float64)


def _running(values: Floats) -> Floats:
    """Sums of the first 0, 1, ..., k rows, (k + 1, ...)."""
    return np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
