"""Recorded events by group, and whether the groups differ: is a hospital a prognostic factor?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError
from crpnet_bench.stats.inputs import codes, event_indicator, same_length, survival_times
from crpnet_bench.stats.log_rank import logrank

__all__ = ["EventRates", "GroupRate", "event_rates"]


@dataclass(frozen=True, slots=True)
class GroupRate:
    """Events of one group.

    Attributes:
        group: its label.
        n: patients.
        events: patients whose event was recorded, however long they were followed.
    """

    group: str
    n: int
    events: int

    @property
    def rate(self) -> float:
        """Share of the patients."""
        return self.events / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRates:
    """Events by group, with a test that minds follow-up.

    Attributes:
        groups: sorted by label; those with fewer than the asked number of patients are left out.
        p_value: of the log-rank test between these groups; None where not estimable.
        reason: why there is no P value; None when there is one.
        left_out: patients of smaller groups.
    """

    groups: tuple[GroupRate, ...]
    p_value: float | None
    reason: str | None
    left_out: int

    @property
    def spread(self) -> float:
        """Difference of the highest and the lowest rate; 0 with fewer than two groups."""
        rates = [group.rate for group in self.groups]
        return max(rates) - min(rates) if rates else 0.0


def event_rates(
    time: ArrayLike, event: ArrayLike, group: ArrayLike, *, smallest: int = 5
) -> EventRates:
    """Recorded events of each group and the log-rank test between them.

    Rates ignore length of follow-up, as the label "ever recorded" does; the test does not.

    Args:
        time: follow-up, shape (n,), from zero upwards.
        event: 1 or True for an event, shape (n,).
        group: labels, shape (n,), none missing.
        smallest: groups of fewer patients are left out of rates and test.

    Raises:
        InputError: missing or negative times, missing labels, unequal lengths, `smallest` below 1.

    >>> found = event_rates([1, 2, 3, 4], [1, 1, 1, 0], ["a", "a", "b", "b"], smallest=2)
    >>> [(one.group, one.events, one.n) for one in found.groups], found.spread
    ([('a', 2, 2), ('b', 1, 2)], 0.5)
    """
    if smallest < 1:
        raise InputError(f"smallest: found {smallest!r}; expected at least 1 patient")
    times, events = survival_times(time), event_indicator(event)
    group_code, labels = codes(group)
    same_length(time=times, event=events, group=group_code)
    sizes = np.bincount(group_code, minlength=len(labels))
    kept = sizes[group_code] >= smallest
    test = logrank(times[kept], events[kept], group_code[kept])
    counts = np.bincount(group_code[events], minlength=len(labels))
    return EventRates(
        groups=tuple(
            GroupRate(str(label), int(n), int(count))
            for label, n, count in zip(labels, sizes, counts, strict=True)
            if n >= smallest
        ),
        p_value=test.p_value,
        reason=test.reason,
        left_out=int((~kept).sum()),
    )
