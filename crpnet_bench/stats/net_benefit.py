"""Decision curves: what acting on a prediction is worth at each threshold probability.

    net benefit = share treated * (R - (1 - R) * w),   w = threshold / (1 - threshold)

R is the cumulative incidence at the horizon among those treated (Kaplan-Meier, Aalen-Johansen
with competing events), as `dcurves` computes it (Vickers, Cronin, Elkin and Gonen, BMC Med Inform
Decis Mak 2008;8:53). A model treats when its probability is at or above the threshold; a fixed
rule treats whom it names, whatever the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError
from crpnet_bench.stats.at_times import Estimates, bounded_wald, few_events, horizons
from crpnet_bench.stats.brier import risks_at
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.incidence_at import IncidenceIn, incidence_at, incidence_in
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    Ints,
    binary_label,
    event_status,
    same_length,
    survival_times,
)
from crpnet_bench.stats.proportions import check_level

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ALL", "NONE", "DecisionCurve", "NetBenefitCurve", "decision_curve"]

ALL = "treat all"
NONE = "treat none"

_METHOD = "cumulative incidence among the treated, influence function"
_THRESHOLDS = tuple(percent / 100 for percent in range(5, 61))


@dataclass(frozen=True, slots=True, eq=False)
class NetBenefitCurve(Estimates):
    """Net benefit of one strategy, one estimate a threshold.

    Attributes:
        thresholds: threshold probabilities, shape (k,).
        treated: share of patients treated, shape (k,).
        true_positive, false_positive: share of all patients treated with and without an event
            by the horizon, shape (k,); NaN where not estimable.
    """

    thresholds: Floats
    treated: Floats
    true_positive: Floats
    false_positive: Floats

    def at(self, threshold: float) -> Estimate:
        """Net benefit at one of the thresholds.

        Raises:
            InputError: that threshold was not asked.
        """
        where = np.flatnonzero(np.isclose(self.thresholds, threshold, rtol=0, atol=1e-9))
        if where.size == 0:
            raise InputError(
                f"threshold {threshold:g} was not asked; asked were "
                f"{self.thresholds.min():g} to {self.thresholds.max():g}"
            )
        return self.estimates[int(where[0])]


@dataclass(frozen=True, slots=True, eq=False)
class DecisionCurve:
    """Net benefit of every strategy.

    Attributes:
        curves: name -> curve: the models, "treat all", "treat none", the fixed rules.
        thresholds: threshold probabilities, shape (k,).
        horizon: time at which the outcome counts.
        incidence: cumulative incidence at the horizon among all patients.
        n: number of patients.
    """

    curves: Mapping[str, NetBenefitCurve]
    thresholds: Floats
    horizon: float
    incidence: Estimate
    n: int


def decision_curve(
    time: ArrayLike,
    event: ArrayLike,
    predicted_risk: ArrayLike | Mapping[str, ArrayLike] | pd.DataFrame,
    horizon: float,
    thresholds: ArrayLike | Sequence[float] = _THRESHOLDS,
    rules: Mapping[str, ArrayLike] | None = None,
    level: float = 0.95,
) -> DecisionCurve:
    """Net benefit over threshold probabilities.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        predicted_risk: probability of the event by the horizon: one array of shape (n,), called
            "model", or a mapping or DataFrame with one column a model.
        horizon: time of the prediction, in the unit of `time`.
        thresholds: threshold probabilities above 0 and below 1; 5 to 60 % by default.
        rules: name -> whom a fixed rule treats (0/1 or False/True, shape (n,)), such as
            eligibility for an adjuvant trial.
        level: confidence level.

    Returns:
        A curve for each model and rule, and for treating all and none. Not estimable where
        follow-up of the treated ends before the horizon.

    Raises:
        InputError: a probability or threshold is impossible, names clash or lengths differ.
    """
    check_level(level)
    asked, _ = horizons(horizon, "horizon")
    grid = _checked_thresholds(thresholds)
    checked_time, status = survival_times(time), event_status(event, "event")
    treated = _strategies(predicted_risk, rules or {}, grid, checked_time.size)
    for name, whom in treated.items():
        same_length(**{"time": checked_time, "event": status, name: whom})
    data = (checked_time, status, float(asked[0]))
    curves = {name: _curve(data, whom, grid, level) for name, whom in treated.items()}
    return DecisionCurve(
        MappingProxyType(curves), grid, data[2], _incidence(data, level), checked_time.size
    )


def _checked_thresholds(thresholds: ArrayLike | Sequence[float]) -> Floats:
    grid, _ = horizons(thresholds, "thresholds")
    bad = grid[(grid <= 0) | (grid >= 1)]
    if bad.size:
        raise InputError(
            f"thresholds: found {bad[0]:g}; expected probabilities above 0 and below 1 "
            "(5 % is 0.05)"
        )
    return grid


def _strategies(
    predicted_risk: Any,  # noqa: ANN401 array, mapping or DataFrame
    rules: Mapping[str, ArrayLike],
    grid: Floats,
    n: int,
) -> dict[str, Bools]:
    """Name -> who is treated at each threshold, shape (n, k)."""
    if isinstance(predicted_risk, Mapping) or hasattr(predicted_risk, "columns"):
        models = {str(name): np.asarray(predicted_risk[name]) for name in predicted_risk}
    else:
        models = {"model": np.asarray(predicted_risk)}
    clash = (set(models) & set(rules)) | ({ALL, NONE} & (set(models) | set(rules)))
    if clash:
        raise InputError(f"{min(clash)!r}: names two strategies; rename the model or the rule")
    treated = {
        name: risks_at(risk, 1, f"predicted_risk {name!r}") >= grid for name, risk in models.items()
    }
    treated[ALL] = np.ones((n, grid.size), dtype=np.bool_)
    treated[NONE] = np.zeros((n, grid.size), dtype=np.bool_)
    for name, whom in rules.items():
        chosen = binary_label(whom, f"rule {name!r}")
        treated[name] = np.repeat(chosen[:, None], grid.size, axis=1)
    return treated


def _incidence(data: tuple[Floats, Ints, float], level: float) -> Estimate:
    time, status, horizon = data
    method = "Aalen-Johansen, plain interval"
    found = incidence_at(time, status, horizon)
    if not found.known:
        return not_estimable(_ends_early(time, horizon), method, level)
    events = int(((status == 1) & (time <= horizon)).sum())
    warning = few_events(events, time.size - events)
    return bounded_wald(found.value, found.se, level, method, warning)


def _ends_early(time: Floats, horizon: float) -> str:
    if not time.size:
        return "not estimable: no patients"
    return f"not estimable: follow-up ends at {time.max():g}, before {horizon:g}"


def _among(time: Floats, status: Ints, horizon: float, treated: Bools) -> IncidenceIn:
    """Incidence among the treated at each threshold; once only for a rule that is fixed."""
    if not np.array_equal(treated, np.broadcast_to(treated[:, :1], treated.shape)):
        return incidence_in(time, status, horizon, treated)
    once = incidence_in(time, status, horizon, treated[:, :1])
    k = treated.shape[1]
    return IncidenceIn(np.repeat(once.value, k), once.influence, np.repeat(once.known, k))


def _curve(
    data: tuple[Floats, Ints, float], treated: Bools, grid: Floats, level: float
) -> NetBenefitCurve:
    time, status, horizon = data
    n = time.size
    if n == 0:
        none = not_estimable("not estimable: no patients", _METHOD, level)
        empty = np.full(grid.size, np.nan)
        return NetBenefitCurve((none,) * grid.size, grid, empty, empty, empty)
    found = _among(time, status, horizon, treated)
    weight, share = grid / (1 - grid), treated.mean(axis=0)
    hit, miss = share * found.value, share * (1 - found.value)
    value = hit - weight * miss
    own = (1 + weight) * (found.value + found.influence) - weight
    influence = np.where(treated, own, 0.0) - value
    se = np.std(influence, axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(grid.size, np.nan)
    events = ((status == 1) & (time <= horizon)) @ treated
    estimates = []
    for k in range(grid.size):
        if share[k] == 0:
            zero = Estimate(value=0.0, level=level, method=_METHOD, reason="nobody is treated")
            estimates.append(zero)
        elif not found.known[k]:
            reason = f"{_ends_early(time[treated[:, k]], horizon)} among the treated"
            estimates.append(not_estimable(reason, _METHOD, level))
        else:
            with_event = int(events[k])
            warning = few_events(with_event, int(treated[:, k].sum()) - with_event)
            estimates.append(
                bounded_wald(float(value[k]), float(se[k]), level, _METHOD, warning, (-np.inf, 1.0))
            )
    unknown = ~found.known & (share > 0)
    hit[unknown] = miss[unknown] = np.nan
    return NetBenefitCurve(tuple(estimates), grid, share, hit, miss)
