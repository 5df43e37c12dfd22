"""Confidence intervals of a proportion."""

from __future__ import annotations

import math
from typing import Literal

from scipy import special

from crpnet_bench.errors import InputError, did_you_mean, shorten
from crpnet_bench.stats.estimate import Estimate, not_estimable

__all__ = ["ProportionInterval", "check_level", "normal_quantile", "proportion_interval"]

ProportionInterval = Literal["wilson", "clopper_pearson"]

_METHOD_NAMES = {"wilson": "Wilson score", "clopper_pearson": "Clopper-Pearson exact"}


def check_level(level: float) -> float:
    """The confidence level, strictly between 0 and 1.

    Raises:
        InputError: the level is something else (95 instead of 0.95).
    """
    if not 0 < level < 1:
        raise InputError(
            f"level: found {shorten(level)}; expected a number between 0 and 1, such as 0.95"
        )
    return level


def normal_quantile(level: float) -> float:
    """Two-sided standard normal quantile.

    >>> round(normal_quantile(0.95), 6)
    1.959964
    """
    return float(special.ndtri(0.5 + check_level(level) / 2))


def proportion_interval(
    successes: float,
    n: float,
    method: ProportionInterval = "wilson",
    level: float = 0.95,
) -> Estimate:
    """A proportion with its Wilson or Clopper-Pearson interval.

    Clopper-Pearson limits are beta quantiles, so that successes need not be whole: with
    AUC * n successes of n patients this is the interval that some papers print for an AUC.

    Args:
        successes: how many of `n` have the property, 0 <= successes <= n.
        n: how many there are; with 0 the proportion is a named result without value.
        method: "wilson" (score interval without continuity correction, as R's
            `prop.test(correct = FALSE)`) or "clopper_pearson" (as R's `binom.test`).
        level: confidence level.

    Raises:
        InputError: successes outside 0..n, an unknown method, a level outside 0..1.

    References:
        Wilson EB (1927). JASA 22:209-212. Clopper CJ, Pearson ES (1934). Biometrika 26:404-413.

    >>> estimate = proportion_interval(66, 75)
    >>> round(estimate.value, 4), round(estimate.ci_low, 4), round(estimate.ci_high, 4)
    (0.88, 0.7874, 0.9356)
    """
    check_level(level)
    if method not in _METHOD_NAMES:
        raise InputError(f"method: found {method!r}; {did_you_mean(method, _METHOD_NAMES)}")
    if not 0 <= successes <= n or not math.isfinite(n):
        raise InputError(f"successes: found {successes:g} of {n:g}; expected 0 <= successes <= n")
    name = _METHOD_NAMES[method]
    if n == 0:
        return not_estimable("nobody to count (0 of 0)", method=name, level=level)
    limits = _wilson if method == "wilson" else _clopper_pearson
    low, high = limits(successes, n, level)
    share = successes / n
    standard_error = math.sqrt(share * (1 - share) / n)
    return Estimate(
        value=share, se=standard_error, ci_low=low, ci_high=high, level=level, method=name
    )


def _wilson(successes: float, n: float, level: float) -> tuple[float, float]:
    z = normal_quantile(level)
    centre = (successes + z * z / 2) / (n + z * z)
    half = z * math.sqrt(successes * (n - successes) / n + z * z / 4) / (n + z * z)
    # At 0 and n the limit is exact in theory; rounding must not push it off the edge.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return max(low, 0.0), min(high, 1.0)


def _clopper_pearson(successes: float, n: float, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, tail))
    high = (
        1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - tail))
    )
    return low, high
