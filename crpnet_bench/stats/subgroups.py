"""Does a risk group separate in every subgroup, and does it differ between subgroups?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from crpnet_bench.errors import InputError
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxTerm
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    codes,
    event_indicator,
    same_length,
    survival_times,
)
from crpnet_bench.stats.multiplicity import Adjustment, adjust_p_values

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["InteractionTest", "SubgroupEffect", "interaction_test", "subgroup_effects"]

_FEWEST_PATIENTS = 10
_FEWEST_EVENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionTest:
    """Likelihood ratio test of an interaction.

    Attributes:
        p_value: None when not estimable.
        statistic: twice the gain in log partial likelihood.
        df: number of interaction terms that the data can tell apart.
        reason: why there is no test, or None.
        warning: what the reader has to know, or None.
    """

    p_value: float | None = None
    statistic: float | None = None
    df: int = 0
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubgroupEffect:
    """The risk group's effect in one level of one variable.

    Attributes:
        variable, level: the subgroup.
        n, events: its patients and events.
        n_high, events_high: of those, in the high-risk group.
        effect: hazard ratio high against low; suppressed with a reason in small cells.
        interaction: test over all levels of the variable.
        p_value, adjusted_p_value: of the effect; adjusted over all subgroups shown.
        missing: patients without a value of the variable.
    """

    variable: str
    level: Any
    n: int
    events: int
    n_high: int
    events_high: int
    effect: CoxTerm
    interaction: InteractionTest
    adjusted_p_value: float | None = None
    missing: int = 0

    @property
    def p_value(self) -> float | None:
        """P value of the hazard ratio in this subgroup."""
        return self.effect.p_value


def interaction_test(
    time: ArrayLike, event: ArrayLike, risk_group: ArrayLike, subgroup: ArrayLike
) -> InteractionTest:
    """Whether the effect of `risk_group` differs between levels of `subgroup`.

    Likelihood ratio of Cox models (Efron ties) with and without the interaction, as R's
    `anova(coxph(S ~ g + s), coxph(S ~ g * s))`. It stands even where a hazard ratio is infinite,
    with a warning.

    Args:
        time: follow-up, shape (n,).
        event: 0 or 1, shape (n,).
        risk_group: labels, shape (n,).
        subgroup: labels, shape (n,).

    Raises:
        InputError: lengths differ or a label is missing.
    """
    times, events = survival_times(time), event_indicator(event)
    group, group_labels = codes(risk_group, "risk_group")
    level, level_labels = codes(subgroup, "subgroup")
    same_length(time=times, event=events, risk_group=group, subgroup=level)
    if len(group_labels) < 2 or len(level_labels) < 2:
        what = "risk group" if len(group_labels) < 2 else "subgroup"
        return InteractionTest(reason=f"not estimable: one {what} only")
    columns = {f"group {k}": (group == k) * 1.0 for k in range(1, len(group_labels))}
    columns |= {f"level {k}": (level == k) * 1.0 for k in range(1, len(level_labels))}
    products = {
        f"group {g}, level {k}": ((group == g) & (level == k)) * 1.0
        for g in range(1, len(group_labels))
        for k in range(1, len(level_labels))
    }
    main = cox_ph(times, events, columns, firth=False)
    full = cox_ph(times, events, columns | products, firth=False)
    reason = main.reason or full.reason
    df = full.df - main.df
    if reason is None and df < 1:
        reason = "the interaction cannot be told from the main effects (empty cells)"
    if reason or main.log_likelihood is None or full.log_likelihood is None:
        return InteractionTest(reason=f"not estimable: {reason}")
    statistic = max(0.0, 2 * (full.log_likelihood - main.log_likelihood))
    infinite = any(t.reason and t.reason.startswith("infinite") for t in full.terms.values())
    return InteractionTest(
        p_value=float(chi2.sf(statistic, df)),
        statistic=statistic,
        df=df,
        warning="a hazard ratio is infinite: P is approximate" if infinite else full.warning,
    )


def subgroup_effects(
    time: ArrayLike,
    event: ArrayLike,
    high_risk: ArrayLike,
    subgroups: Mapping[str, ArrayLike] | pd.DataFrame,
    adjust: Adjustment = "holm",
    level: float = 0.95,
) -> tuple[SubgroupEffect, ...]:
    """Hazard ratio of high against low risk in every level of every variable.

    Fewer than 10 patients or 5 events suppress the hazard ratio of a cell; a group without any
    event gets Firth's estimate. Patients without a value of a variable are left out there, and
    counted.

    Args:
        time: follow-up, shape (n,).
        event: 0 or 1, shape (n,).
        high_risk: 0/1 or False/True, shape (n,).
        subgroups: variable -> labels, shape (n,); None and NaN are missing.
        adjust: "holm" or "bh" over the P values of all subgroups, see `adjust_p_values`.
        level: confidence level.

    Raises:
        InputError: lengths differ or a value cannot be used.
    """
    times, events = survival_times(time), event_indicator(event)
    high = event_indicator(high_risk, "high_risk")
    same_length(time=times, event=events, high_risk=high)
    found: list[SubgroupEffect] = []
    for name in map(str, subgroups):
        values = np.asarray(subgroups[name], dtype=object)
        if values.shape != times.shape:
            raise InputError(
                f"subgroups: {name!r} has shape {values.shape}; expected {times.shape}"
            )
        found.extend(_variable(name, values, (times, events, high), level))
    adjusted = adjust_p_values([effect.p_value for effect in found], adjust)
    return tuple(
        replace(effect, adjusted_p_value=None if np.isnan(p) else float(p))
        for effect, p in zip(found, adjusted, strict=True)
    )


def _variable(
    name: str, values: NDArray[np.object_], data: tuple[Floats, Bools, Bools], level: float
) -> list[SubgroupEffect]:
    missing = [value is None or value != value for value in values]  # noqa: PLR0124 NaN
    known = ~np.array(missing, dtype=np.bool_)
    times, events, high = (column[known] for column in data)
    code, labels = codes(values[known], name)
    test = interaction_test(times, events, high, code)
    effects = []
    for k, label in enumerate(labels):
        inside = code == k
        effects.append(
            SubgroupEffect(
                variable=name,
                level=label,
                n=int(inside.sum()),
                events=int(events[inside].sum()),
                n_high=int((inside & high).sum()),
                events_high=int((inside & high & events).sum()),
                effect=_effect(times[inside], events[inside], high[inside], level),
                interaction=test,
                missing=int((~known).sum()),
            )
        )
    return effects


def _effect(time: Floats, event: Bools, high: Bools, level: float) -> CoxTerm:
    name, count = "high risk", int(event.sum())
    if time.size < _FEWEST_PATIENTS or count < _FEWEST_EVENTS:
        reason = (
            f"suppressed: {time.size} patients and {count} events, fewer than "
            f"{_FEWEST_PATIENTS} or {_FEWEST_EVENTS}"
        )
        return CoxTerm(name=name, reason=reason)
    if high.all() or not high.any():
        return CoxTerm(name=name, reason="not estimable: one risk group only")
    return cox_ph(time, event, {name: high * 1.0}, level=level).terms[name]
