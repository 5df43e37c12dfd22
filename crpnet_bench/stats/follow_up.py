"""How long patients were followed: the reverse Kaplan-Meier estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.stats.inputs import event_status, same_length, survival_times
from crpnet_bench.stats.survival_curve import ConfType, KaplanMeier, kaplan_meier

__all__ = ["FollowUp", "median_follow_up"]


@dataclass(frozen=True, slots=True, eq=False)
class FollowUp:
    """Follow-up of a cohort.

    Attributes:
        median, median_ci_low, median_ci_high: reverse Kaplan-Meier; None when not reached.
        longest: last observed time, None without patients.
        n, events, censored: patients; with an event or competing event; without.
        curve: the reverse Kaplan-Meier curve, share still under follow-up were there no events.
        reason: why there is no median, or None.
    """

    median: float | None
    median_ci_low: float | None
    median_ci_high: float | None
    longest: float | None
    n: int
    events: int
    censored: int
    curve: KaplanMeier
    reason: str | None = None


def median_follow_up(
    time: ArrayLike, event: ArrayLike, conf_type: ConfType = "log-log", level: float = 0.95
) -> FollowUp:
    """Median follow-up by reverse Kaplan-Meier.

    Events and censorings change places, as R's `survfit(Surv(time, event == 0) ~ 1)`: how long
    patients would have been followed without events.

    Args:
        time: follow-up, shape (n,).
        event: 0 censored, 1 event, 2 competing event, shape (n,).
        conf_type: scale of the interval of the median.
        level: confidence level.

    Raises:
        InputError: lengths differ or a value cannot be used.

    Source:
        Schemper and Smith, Control Clin Trials 1996;17:343.

    >>> median_follow_up([1, 2, 3, 4], [1, 0, 0, 0]).median
    3.0
    """
    checked_time, status = survival_times(time), event_status(event, "event")
    n = same_length(time=checked_time, event=status)
    curve = kaplan_meier(checked_time, status == 0, conf_type=conf_type, level=level)
    censored = int((status == 0).sum())
    reason = curve.reason
    if n and not censored:
        reason = "everybody had an event, so that no follow-up ended by itself"
    return FollowUp(
        curve.median,
        curve.median_ci_low,
        curve.median_ci_high,
        float(np.max(checked_time)) if n else None,
        n,
        n - censored,
        censored,
        curve,
        reason,
    )
