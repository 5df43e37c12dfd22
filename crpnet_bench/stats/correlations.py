"""Correlation coefficients with interval and test, as R's `cor.test`.

- Pearson: t distribution; Fisher's z.
- Spearman: without ties exact up to 9 pairs and Edgeworth series up to 1290, else t distribution;
  Fisher's z with the standard error of Bonett and Wright (Psychometrika 2000;65:23).
- Kendall's tau-b: exact below 50 pairs without ties, else normal with the variance for ties;
  Fisher's z with the standard error of Fieller, Hartley and Pearson (Biometrika 1957;44:470).

R gives no interval for Spearman and Kendall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.inputs import Floats, finite, same_length
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["Correlation", "correlation"]

Method = Literal["pearson", "spearman", "kendall"]

_METHODS = ("kendall", "pearson", "spearman")
# The limits at which R changes from exact to approximate.
_SPEARMAN_ENUMERATED = 9
_SPEARMAN_SERIES = 1290
_KENDALL_EXACT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation(Estimate):
    """A correlation coefficient.

    Attributes:
        p_value: two-sided test of no correlation; None when not estimable.
        test: how P was found ("exact", "Edgeworth series", "t", "normal").
        n: number of pairs.
    """

    p_value: float | None = None
    test: str = ""
    n: int = 0


def correlation(
    x: ArrayLike, y: ArrayLike, method: Method = "pearson", level: float = 0.95
) -> Correlation:
    """Correlation of two variables.

    Args:
        x: shape (n,).
        y: shape (n,).
        method: "pearson", "spearman" or "kendall".
        level: confidence level.

    Returns:
        value, ci_low, ci_high, p_value; a reason for constant or too few data, and without an
        interval for a correlation of exactly 1 or -1.

    Raises:
        InputError: lengths differ, values are missing or the method is unknown.

    >>> result = correlation([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], "kendall")
    >>> round(result.value, 2), round(result.p_value, 4), result.test
    (0.6, 0.2333, 'exact')
    """
    if method not in _METHODS:
        raise InputError(f"method: found {method!r}; {did_you_mean(str(method), _METHODS)}")
    check_level(level)
    a, b = finite(x, "x"), finite(y, "y")
    n = same_length(x=a, y=b)
    name = f"{method.capitalize()} correlation"
    if n < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        why = "fewer than three pairs" if n < 3 else "a variable is constant"
        return Correlation(
            value=None, reason=f"not estimable: {why}", method=name, n=n, level=level
        )
    value, p_value, test = _TESTS[method](a, b)
    se = _standard_error(method, value, n)
    if se is None or abs(value) >= 1 - 1e-12:
        why = f"interval not estimable: {'too few pairs' if se is None else 'perfect correlation'}"
        return Correlation(
            value=value, p_value=p_value, test=test, n=n, method=name, reason=why, level=level
        )
    center, margin = math.atanh(value), normal_quantile(level) * se
    return Correlation(
        value=value,
        se=se * (1 - value**2),
        ci_low=math.tanh(center - margin),
        ci_high=math.tanh(center + margin),
        level=level,
        method=f"{name}, Fisher's z",
        p_value=p_value,
        test=test,
        n=n,
    )


def _standard_error(method: Method, value: float, n: int) -> float | None:
    """Of Fisher's z."""
    if method == "kendall":
        return math.sqrt(0.437 / (n - 4)) if n > 4 else None
    if n <= 3:
        return None
    factor = 1 + value**2 / 2 if method == "spearman" else 1.0
    return math.sqrt(factor / (n - 3))


def _tied(values: Floats) -> bool:
    return np.unique(values).size < values.size


def _t_test(value: float, n: int) -> float:
    rest = max(1 - value**2, 0.0)
    if rest == 0:
        return 0.0
    return float(2 * stats.t.sf(abs(value) * math.sqrt((n - 2) / rest), n - 2))


def _pearson(a: Floats, b: Floats) -> tuple[float, float, str]:
    value = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    return value, _t_test(value, a.size), "t"


def _spearman(a: Floats, b: Floats) -> tuple[float, float, str]:
    n = a.size
    ranks = stats.rankdata(a), stats.rankdata(b)
    value = float(np.clip(np.corrcoef(*ranks)[0, 1], -1, 1))
    if _tied(a) or _tied(b) or n > _SPEARMAN_SERIES:
        return value, _t_test(value, n), "t"
    distance = float(np.sum((ranks[0] - ranks[1]) ** 2))
    center = (n**3 - n) / 6
    if n <= _SPEARMAN_ENUMERATED:
        return value, _spearman_exact(distance, center, n), "exact"
    upper = distance > center
    tail = _edgeworth_upper(distance, n) if upper else 1 - _edgeworth_upper(distance + 2, n)
    return value, min(1.0, 2 * tail), "Edgeworth series"


def _spearman_exact(distance: float, center: float, n: int) -> float:
    base = np.arange(n)
    orders = np.array(list(permutations(range(n))), dtype=np.int8)
    distances = np.sum((orders - base.astype(np.int8)).astype(np.int64) ** 2, axis=1)
    tail = distances >= distance if distance > center else distances <= distance
    return float(min(1.0, 2 * tail.mean()))


def _edgeworth_upper(distance: float, n: int) -> float:
    """P(S >= distance) of Spearman's S: AS 89 (Best and Roberts, Appl Stat 1975;24:377)."""
    b = 1 / n
    x = (6 * (distance - 1) * b / (n**2 - 1) - 1) * math.sqrt(1 / b - 1)
    y = x * x
    u = (
        x
        * b
        * (
            0.2274
            + b * (0.2531 + 0.1745 * b)
            + y
            * (
                -0.0758
                + b * (0.1033 + 0.3932 * b)
                - y
                * b
                * (0.0879 + 0.0151 * b - y * (0.0072 - 0.0831 * b + y * b * (0.0131 - 4.6e-4 * y)))
            )
        )
    )
    return min(1.0, max(0.0, u / math.exp(y / 2) + float(stats.norm.sf(x))))


def _kendall(a: Floats, b: Floats) -> tuple[float, float, str]:
    exact = a.size < _KENDALL_EXACT and not (_tied(a) or _tied(b))
    found = stats.kendalltau(a, b, method="exact" if exact else "asymptotic")
    return float(found.statistic), float(found.pvalue), "exact" if exact else "normal"


_TESTS = {"pearson": _pearson, "spearman": _spearman, "kendall": _kendall}
