"""Estimates at several times, and the interval that bounded quantities get."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crpnet_bench.errors import InputError
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.inputs import TIME_TOLERANCE, Floats
from crpnet_bench.stats.proportions import normal_quantile

__all__ = ["FEW_EVENTS", "Estimates", "EstimatesAtTimes", "bounded_wald", "few_events", "horizons"]

# Below this number of events, or of non-events, normal intervals cover too little.
FEW_EVENTS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """A row of estimates.

    The arrays `value`, `se`, `ci_low` and `ci_high` hold NaN where there is no number; `reason`
    says why. For a number to show, iterate or take one by position: those give `Estimate`, with
    None for NaN.

    Attributes:
        estimates: the estimates in order.
        scalar: whether a single one was asked; the arrays are then single numbers.
    """

    estimates: tuple[Estimate, ...]
    scalar: bool = field(default=False, kw_only=True)

    @property
    def value(self) -> Floats | np.float64:
        """The estimates, NaN where not estimable."""
        return self._column(lambda estimate: estimate.value)

    @property
    def se(self) -> Floats | np.float64:
        """Standard errors, NaN where there is none."""
        return self._column(lambda estimate: estimate.se)

    @property
    def ci_low(self) -> Floats | np.float64:
        """Lower limits, NaN where there is none."""
        return self._column(lambda estimate: estimate.ci_low)

    @property
    def ci_high(self) -> Floats | np.float64:
        """Upper limits, NaN where there is none."""
        return self._column(lambda estimate: estimate.ci_high)

    @property
    def reason(self) -> tuple[str | None, ...]:
        """Why a value or its interval is missing, one entry an estimate."""
        return tuple(estimate.reason for estimate in self.estimates)

    @property
    def warning(self) -> tuple[str | None, ...]:
        """What the reader has to know, one entry an estimate."""
        return tuple(estimate.warning for estimate in self.estimates)

    def __iter__(self) -> Iterator[Estimate]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def __getitem__(self, position: int) -> Estimate:
        return self.estimates[position]

    def _column(self, pick: Callable[[Estimate], float | None]) -> Floats | np.float64:
        numbers = [pick(estimate) for estimate in self.estimates]
        column = np.array([np.nan if number is None else number for number in numbers])
        return column[0] if self.scalar else column


@dataclass(frozen=True, slots=True, eq=False)
class EstimatesAtTimes(Estimates):
    """One estimate for each time asked; a single time asked gives single numbers.

    Attributes:
        times: the times asked, in their order.
    """

    times: Floats

    def at(self, time: float) -> Estimate:
        """The estimate at one of the times asked.

        Raises:
            InputError: that time was not asked.
        """
        where = np.flatnonzero(np.isclose(self.times, time, rtol=TIME_TOLERANCE, atol=0.0))
        if where.size == 0:
            asked = ", ".join(f"{one:g}" for one in self.times)
            raise InputError(f"time {time:g} was not asked; these were: {asked}")
        return self.estimates[int(where[0])]


def horizons(
    times: ArrayLike | Sequence[float] | float, name: str = "times"
) -> tuple[Floats, bool]:
    """The times asked as an array, and whether it was a single number.

    Raises:
        InputError: no time, or one that is missing, infinite or negative.
    """
    asked: NDArray[np.float64] = np.asarray(times, dtype=np.float64)
    scalar = asked.ndim == 0
    asked = np.atleast_1d(asked)
    if asked.ndim != 1 or asked.size == 0:
        raise InputError(f"{name}: expected one time or a list of times, found {times!r}")
    bad = asked[~np.isfinite(asked) | (asked < 0)]
    if bad.size:
        raise InputError(f"{name}: found {bad[0]:g}; expected finite times from zero upwards")
    return asked, scalar


def few_events(events: int, others: int) -> str | None:
    """The warning that small numbers on either side put on an interval, or None."""
    if events >= FEW_EVENTS and others >= FEW_EVENTS:
        return None
    return (
        f"{events} with and {others} without: below {FEW_EVENTS} of either, "
        "the interval is unreliable"
    )


def bounded_wald(
    value: float,
    se: float,
    level: float,
    method: str,
    warning: str | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Estimate with the normal interval, cut at the bounds of the quantity.

    A standard error of zero (a value at its bound, or constant data) is no certainty: the
    interval is then named not estimable.
    """
    if not np.isfinite(se) or se <= np.sqrt(np.finfo(np.float64).eps) * 1e-4:
        return Estimate(
            value=value,
            level=level,
            method=method,
            warning=warning,
            reason="interval not estimable: no variation in the data (standard error 0)",
        )
    margin = normal_quantile(level) * se
    return Estimate(
        value=value,
        se=se,
        ci_low=max(bounds[0], value - margin),
        ci_high=min(bounds[1], value + margin),
        level=level,
        method=method,
        warning=warning,
    )
