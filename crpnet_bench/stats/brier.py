"""Brier score of predicted risks at a horizon, with censoring weights.

    BS(t) = mean of  (1 - p)^2 / G(T-)   event by t
                     p^2 / G(T-)         competing event by t
                     p^2 / G(t)          followed beyond t
                     0                   censored by t

Graf, Schmoor, Sauerbrei and Schumacher, Stat Med 1999;18:2529; Gerds and Schumacher,
Biom J 2006;48:1029. Equal to `riskRegression::Score(metrics = "Brier", cens.model = "km")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError
from crpnet_bench.stats.at_times import EstimatesAtTimes, bounded_wald, few_events, horizons
from crpnet_bench.stats.censoring import (
    CensoringDistribution,
    WeightsAtTime,
    censoring_distribution,
)
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.inputs import Floats, event_status, same_length, survival_times

__all__ = ["BrierScore", "brier_score", "integrated_brier_score", "risks_at"]

_METHOD = "IPCW, influence function"
# A Brier score below this is zero, up to rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class BrierScore(EstimatesAtTimes):
    """Brier score at each time, beside that of a model that knows only the average.

    Attributes:
        null: Brier score of predicting everybody the marginal risk (1 - Kaplan-Meier, or
            Aalen-Johansen with competing events).
        ipa: index of prediction accuracy, 1 - Brier / null (Kattan and Gerds, Diagn Progn Res
            2018;2:7). Positive is better than the average.
    """

    null: EstimatesAtTimes
    ipa: EstimatesAtTimes


@dataclass(frozen=True, slots=True, eq=False)
class _Loss:
    value: float
    influence: Floats


def brier_score(
    time: ArrayLike,
    event: ArrayLike,
    predicted_risk: ArrayLike,
    times: ArrayLike | Sequence[float] | float,
    level: float = 0.95,
) -> BrierScore:
    """Brier score at each of `times`.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        predicted_risk: probability of the event by the horizon, shape (n,) or (n, len(times));
            one column serves all times.
        times: one horizon or several, in the unit of `time`.
        level: confidence level.

    Returns:
        value, se, ci_low, ci_high at each time, with `null` and `ipa`; not estimable beyond the
        end of follow-up.

    Raises:
        InputError: a probability is outside 0..1 (a risk score is no probability: fit a link
            first), lengths differ or a value cannot be used.
    """
    fitted, risks, asked, scalar = _gate(time, event, predicted_risk, times)
    average = [_marginal_risk(fitted, float(t)) for t in asked]
    model, null, ipa = [], [], []
    for column, t in enumerate(asked):
        loss = _loss(fitted, risks[:, column], float(t))
        base = _loss(fitted, np.full(risks.shape[0], average[column]), float(t))
        model.append(_estimate(fitted, loss, float(t), level))
        null.append(_estimate(fitted, base, float(t), level))
        ipa.append(_accuracy_index(fitted, loss, base, float(t), level))
    return BrierScore(
        tuple(model),
        asked,
        EstimatesAtTimes(tuple(null), asked, scalar=scalar),
        EstimatesAtTimes(tuple(ipa), asked, scalar=scalar),
        scalar=scalar,
    )


def integrated_brier_score(
    time: ArrayLike,
    event: ArrayLike,
    predicted_risk: ArrayLike,
    times: ArrayLike | Sequence[float],
    level: float = 0.95,
) -> EstimatesAtTimes:
    """Brier score averaged over time, from zero up to each of `times`.

    The rule is that of `riskRegression::Score(summary = "ibs")`: the score keeps the value of
    the last time asked until the next one, and is 0 before the first, when nobody has had an
    event. Give a fine grid. The overall value is the last one.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        predicted_risk: shape (n, len(times)), or (n,) for one column at all times.
        times: rising grid of horizons, in the unit of `time`.
        level: confidence level.

    Returns:
        The integrated score up to each time, with SE from the influence function.

    Raises:
        InputError: the grid does not rise, or as `brier_score`.
    """
    fitted, risks, asked, scalar = _gate(time, event, predicted_risk, times)
    if np.any(np.diff(asked) <= 0) or asked[0] <= 0:
        raise InputError("times: expected a rising grid of times above zero")
    losses = [_loss(fitted, risks[:, column], float(t)) for column, t in enumerate(asked)]
    estimates = tuple(_integrated(fitted, losses, asked, last, level) for last in range(asked.size))
    return EstimatesAtTimes(estimates, asked, scalar=scalar)


def risks_at(predicted_risk: ArrayLike, columns: int, name: str = "predicted_risk") -> Floats:
    """Predicted probabilities as an array of shape (n, columns).

    Raises:
        InputError: the shape does not fit or a value is not a probability.
    """
    try:
        risks = np.asarray(predicted_risk, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers; {error}") from error
    if risks.ndim == 1:
        risks = np.repeat(risks[:, None], columns, axis=1)
    if risks.ndim != 2 or risks.shape[1] != columns:
        raise InputError(
            f"{name}: found shape {risks.shape}; expected (n,) or (n, {columns}), a column a time"
        )
    outside = ~((risks >= 0) & (risks <= 1))
    if outside.any():
        row = int(np.flatnonzero(outside.any(axis=1))[0])
        raise InputError(
            f"{name}: found {risks[row][outside[row]][0]:g} at position {row}; expected "
            "probabilities from 0 to 1 (turn a risk score into a probability first)"
        )
    return risks


def _gate(
    time: ArrayLike, event: ArrayLike, predicted_risk: ArrayLike, times: ArrayLike | Sequence[float]
) -> tuple[CensoringDistribution, Floats, Floats, bool]:
    asked, scalar = horizons(times)
    checked_time = survival_times(time)
    status = event_status(event, "event")
    risks = risks_at(predicted_risk, asked.size)
    same_length(time=checked_time, event=status, predicted_risk=risks)
    return censoring_distribution(checked_time, status), risks, asked, scalar


def _why_not(fitted: CensoringDistribution, t: float) -> str | None:
    if not fitted.time.size:
        return "not estimable: no patients"
    if fitted.knows(t):
        return None
    return f"not estimable: follow-up ends at {fitted.end:g}, before {t:g}"


def _loss(fitted: CensoringDistribution, risk: Floats, t: float) -> _Loss:
    state = fitted.at(t)
    loss = state.weight * (state.case - risk) ** 2
    average = float(loss.sum() / max(loss.size, 1))
    return _Loss(average, state.influence(loss) - average)


def _marginal_risk(fitted: CensoringDistribution, t: float) -> float:
    state = fitted.at(t)
    # The weighted share of events is 1 - Kaplan-Meier (Satten and Datta, Am Stat 2001;55:207).
    return min(1.0, float(state.weight[state.case].sum() / max(state.weight.size, 1)))


def _state_counts(state: WeightsAtTime) -> tuple[int, int]:
    return int(state.case.sum()), int((state.survivor | state.competing).sum())


def _estimate(fitted: CensoringDistribution, loss: _Loss, t: float, level: float) -> Estimate:
    reason = _why_not(fitted, t)
    if reason:
        return not_estimable(reason, _METHOD, level)
    n = loss.influence.size
    se = float(np.std(loss.influence, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return bounded_wald(loss.value, se, level, _METHOD, few_events(*_state_counts(fitted.at(t))))


def _accuracy_index(
    fitted: CensoringDistribution, model: _Loss, null: _Loss, t: float, level: float
) -> Estimate:
    reason = _why_not(fitted, t)
    if reason is None and null.value < _ROUNDING:
        reason = f"not estimable: at {t:g} all patients have the same outcome"
    if reason:
        return not_estimable(reason, _METHOD, level)
    # The average risk minimises its own Brier score, so having estimated it adds nothing.
    influence = (model.value / null.value * null.influence - model.influence) / null.value
    se = float(np.std(influence, ddof=1) / np.sqrt(influence.size))
    warning = few_events(*_state_counts(fitted.at(t)))
    value = 1 - model.value / null.value
    return bounded_wald(value, se, level, _METHOD, warning, (-np.inf, 1.0))


def _integrated(
    fitted: CensoringDistribution, losses: list[_Loss], grid: Floats, last: int, level: float
) -> Estimate:
    reason = _why_not(fitted, float(grid[last]))
    if reason:
        return not_estimable(reason, _METHOD, level)
    if last == 0:
        return Estimate(
            value=0.0,
            level=level,
            method=_METHOD,
            reason=f"the rule gives 0 at the first time, {grid[0]:g}; give earlier times",
        )
    steps = np.diff(grid[: last + 1]) / grid[last]
    value = float(sum(step * losses[k].value for k, step in enumerate(steps)))
    influence = np.sum([step * losses[k].influence for k, step in enumerate(steps)], axis=0)
    se = float(np.std(influence, ddof=1) / np.sqrt(influence.size))
    return bounded_wald(value, se, level, _METHOD)
