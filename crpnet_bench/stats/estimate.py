"""What every estimate in this package looks like: a number with its interval, or a reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate", "not_estimable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its standard error and confidence interval.

    Attributes:
        value: the estimate, or None where it is not estimable.
        se: standard error on the scale of `value`; None where there is none.
        ci_low, ci_high: limits of the interval at `level`; None where not estimable.
        level: confidence level, 0.95 unless asked otherwise.
        method: how the interval was made ("DeLong", "Wilson", ...).
        reason: why value or interval is missing; None when both are there.
        warning: what the reader has to know ("fewer than 10 events"); None when nothing.
    """

    value: float | None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    level: float = 0.95
    method: str = ""
    reason: str | None = None
    warning: str | None = None

    @property
    def estimable(self) -> bool:
        """Whether there is a value at all."""
        return self.value is not None


def not_estimable(reason: str, method: str = "", level: float = 0.95) -> Estimate:
    """The named result for "there is no such number", with the reason."""
    return Estimate(value=None, method=method, reason=reason, level=level)
