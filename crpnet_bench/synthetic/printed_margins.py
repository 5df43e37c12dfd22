"""Values that have exactly the summary a paper prints: mean and SD, or median and quartiles.

Values are whole multiples of a unit (1 mm, 0.001 kg/m2). They are placed, not searched for:
the order statistics that a type 7 quantile looks at are fixed first, the others are drawn
between them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.audit.printed import PrintedMean, PrintedMedian

__all__ = ["Layout", "layouts", "place", "with_mean_sd", "with_quartiles"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_WIDEST_GAP = 10  # units between the two values that a quantile lies between
_WIDEST_DRAW = 2.1  # standard deviations; keeps ages and the like in a human range


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to satisfy the quartiles together with counts by bin.

    Attributes:
        anchors: (index in the sorted values, value in units), ascending.
        cumulative: how many values lie at or below each inner bin edge.
    """

    anchors: tuple[tuple[int, int], ...]
    cumulative: tuple[int, ...]


@cache
def layouts(
    summary: PrintedMedian,
    n: int,
    edges: tuple[int, ...] = (),
    required: tuple[int, ...] = (),
    unit: float = 1.0,
) -> tuple[Layout, ...]:
    """All layouts of `n` values with these quartiles and at least `required` values a bin.

    Args:
        summary: median and quartiles, type 7.
        n: number of values.
        edges: inner bin edges in units; bin k holds values above edge k-1, up to edge k.
        required: least number of values in each of the `len(edges) + 1` bins.
        unit: size of a unit.

    Raises:
        ValueError: no values can have this summary.
    """
    quartiles = ((0.25, summary.q1), (0.5, summary.median), (0.75, summary.q3))
    choices = [list(_pairs(part.value / unit, (n - 1) * q)) for q, part in quartiles]
    found: list[Layout] = []
    for combination in itertools.product(*choices):
        anchors = tuple(dict(anchor for pair in combination for anchor in pair).items())
        values = [value for _, value in anchors]
        if values == sorted(values):
            found.extend(Layout(anchors, counts) for counts in _counts(anchors, n, edges, required))
    if not found:
        raise ValueError(f"no {n} values have the summary {summary.text} and {required} a bin")
    return tuple(found)


def _pairs(target: float, position: float) -> list[tuple[tuple[int, int], ...]]:
    """The two neighbours of a quantile, as whole numbers, a small gap apart."""
    index = int(np.floor(position + 1e-9))
    share = position - index
    if share < 1e-9:
        return [((index, round(target)),)]
    pairs: list[tuple[tuple[int, int], ...]] = []
    for gap in range(_WIDEST_GAP + 1):
        low, high = target - share * gap, target + (1 - share) * gap
        if abs(low - round(low)) < 1e-6 and abs(high - round(high)) < 1e-6:
            pairs.append(((index, round(low)), (index + 1, round(high))))
    return pairs


def _counts(
    anchors: tuple[tuple[int, int], ...],
    n: int,
    edges: tuple[int, ...],
    required: tuple[int, ...],
) -> list[tuple[int, ...]]:
    """Cumulative counts at the edges that anchors and required counts allow."""
    ranges = []
    for edge in edges:
        least = max((index + 1 for index, value in anchors if value <= edge), default=0)
        most = min((index for index, value in anchors if value > edge), default=n)
        ranges.append(range(least, most + 1))
    allowed = []
    for counts in itertools.product(*ranges):
        bounds = (0, *counts, n)
        sizes = [high - low for low, high in itertools.pairwise(bounds)]
        if all(size >= least for size, least in itertools.zip_longest(sizes, required or (0,))):
            allowed.append(counts)
    return allowed


def place(
    layout: Layout, n: int, edges: tuple[int, ...], span: tuple[int, int], rng: np.random.Generator
) -> Ints:
    """Sorted values in units that follow a layout; shape (n,).

    Args:
        layout: from `layouts`, for the same n and edges.
        n: number of values.
        edges: inner bin edges in units.
        span: smallest and largest value that may be drawn.
        rng: source of randomness.
    """
    walls = [(-1, span[0]), *layout.anchors, (n, span[1])]
    bins = np.searchsorted(np.asarray(layout.cumulative), np.arange(n), side="right")
    limits = (span[0] - 1, *edges, span[1])
    fixed = dict(layout.anchors)
    values = np.empty(n, dtype=np.int64)
    for (left, low), (right, high) in itertools.pairwise(walls):
        for index in range(left + 1, right):
            bin_low, bin_high = limits[bins[index]] + 1, limits[bins[index] + 1]
            values[index] = rng.integers(max(low, bin_low), min(high, bin_high) + 1)
    for index, value in fixed.items():
        values[index] = value
    return np.sort(values)


def with_quartiles(
    summary: PrintedMedian, n: int, unit: float, span: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """Values with these quartiles and no other condition, in random order; shape (n,)."""
    options = layouts(summary, n, unit=unit)
    layout = options[rng.integers(len(options))]
    units = place(layout, n, (), (round(span[0] / unit), round(span[1] / unit)), rng)
    return rng.permutation(units) * unit


def with_mean_sd(summary: PrintedMean, n: int, unit: float, rng: np.random.Generator) -> Floats:
    """Values with this mean and standard deviation (n - 1) to the printed digits; shape (n,).

    Raises:
        ValueError: no whole multiples of the unit have that summary.
    """
    mean, sd = summary.mean.value / unit, summary.sd.value / unit
    draw = rng.normal(size=n)
    while np.any(far := np.abs(draw) > _WIDEST_DRAW):
        draw[far] = rng.normal(size=int(far.sum()))
    draw = (draw - draw.mean()) / draw.std(ddof=1)
    units = np.rint(mean + sd * draw).astype(np.int64)
    units = _with_sum(units, round(mean * n), rng)
    units = _with_squares(units, sd, rng)
    values = units * unit
    if not (summary.mean.agrees(values.mean()) and summary.sd.agrees(values.std(ddof=1))):
        raise ValueError(f"no {n} multiples of {unit:g} found with {summary.text}")
    return rng.permutation(values)


def _with_sum(units: Ints, total: int, rng: np.random.Generator) -> Ints:
    missing = total - int(units.sum())
    changed = units.copy()
    for index in rng.permutation(len(units))[: abs(missing)]:
        changed[index] += np.sign(missing)
    return changed


def _with_squares(units: Ints, sd: float, rng: np.random.Generator) -> Ints:
    """Move pairs by +1 and -1, which keeps the sum, until the sum of squares fits."""
    n = len(units)
    changed = units.astype(np.float64)
    # With the sum fixed, the parity of the sum of squares is fixed too: aim at the nearest.
    wanted = sd * sd * (n - 1) + changed.sum() ** 2 / n
    parity = changed.sum() % 2
    wanted = 2 * np.rint((wanted - parity) / 2) + parity
    for _ in range(10_000):
        gap = wanted - (changed**2).sum()
        if abs(gap) < 1:
            break
        up = int(rng.integers(n))
        # Raising x[up] and lowering x[down] changes the sum of squares by 2 (x_up - x_down + 1).
        change = 2 * (changed[up] - changed + 1)
        change[up] = 0
        down = int(np.argmin(np.abs(gap - change)))
        if abs(gap - change[down]) < abs(gap):
            changed[up] += 1
            changed[down] -= 1
    return changed.astype(np.int64)
