"""Tables of characteristics: counts that add up, percentages, possible means, P values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from crpnet_bench.audit.counts import check_rate
from crpnet_bench.audit.finding import Finding
from crpnet_bench.audit.paper import Baseline, BaselineRow, Methods, Paper
from crpnet_bench.audit.printed import Printed, PrintedMean
from crpnet_bench.stats.group_tests import count_test, mean_test_from_summary

__all__ = ["check_baselines"]

Floats = NDArray[np.float64]
_Test = tuple[str, float, float]  # name, least and largest P value


def check_baselines(paper: Paper) -> Iterator[Finding]:
    """All findings on baseline tables."""
    for table in paper.baseline:
        for row in table.row:
            key = f"baseline/{table.group}/{row.name}"
            if row.levels is not None:
                yield from _counts(table, row, key, paper.methods)
            elif row.mean_sd is not None:
                yield from _means(table, row, row.mean_sd, key)
            else:
                yield from _medians(table, row, key)


def _what(table: Baseline, row: BaselineRow, rest: str) -> str:
    return f"{row.name}, {table.group}: {rest}"


def _p_finding(
    table: Baseline,
    row: BaselineRow,
    printed: Printed,
    key: str,
    tests: Sequence[tuple[str, float, float]],
) -> Finding:
    """The first test whose P value can have been printed so, or the first of all.

    Args:
        table: where the row stands.
        row: the characteristic.
        printed: the printed P value.
        key: of the row.
        tests: name, least and largest P value that the printed numbers allow.
    """
    fitting = [test for test in tests if printed.meets(test[1], test[2])]
    name, low, high = (fitting or tests)[0]
    value = _p(low) if high - low < 5e-5 else f"{_p(low)} to {_p(high)}"
    others = "" if fitting else "".join(f"; {other}: {_p(p)}" for other, p, _ in tests[1:])
    return Finding(
        f"{key}/p",
        _what(table, row, "P value"),
        table.place,
        printed.text,
        value,
        "consistent" if fitting else "contradiction",
        name + others,
    )


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


# --- Counts ------------------------------------------------------------------------------


def _counts(table: Baseline, row: BaselineRow, key: str, methods: Methods) -> Iterator[Finding]:
    levels = row.levels or {}
    counts = np.array([[cell.count for cell in cells] for cells in levels.values()], dtype=float)
    sizes = [size.value for size in table.n]
    sums = counts.sum(axis=0)
    for column, (total, size) in enumerate(zip(sums, sizes, strict=True)):
        yield Finding(
            f"{key}/{table.columns[column]}/sum",
            _what(table, row, f"patients, {table.columns[column]}"),
            table.place,
            f"{size:g}",
            f"{total:g}",
            "consistent" if total == size else "contradiction",
            " + ".join(f"{count:g}" for count in counts[:, column]),
        )
    yield from _percentages(table, row, key)
    if row.p is not None and counts.shape[1] > 1:
        tests = _count_tests(counts, methods.counts_test)
        if tests:
            yield _p_finding(table, row, row.p, key, tests)
        else:
            yield Finding(f"{key}/p", _what(table, row, "P value"), table.place, row.p.text, "",
                          "not derivable", "one level or one group only")  # fmt: skip


def _percentages(table: Baseline, row: BaselineRow, key: str) -> Iterator[Finding]:
    everybody = sum(size.value for size in table.n)
    for level, cells in (row.levels or {}).items():
        for column, cell in enumerate(cells):
            if cell.percent is None:
                continue
            of = {"all": [everybody], "column": [table.n[column].value]}.get(
                table.percent_of, [everybody, table.n[column].value]
            )
            results = [check_rate(cell.percent, cell.count, whole) for whole in of]
            holds, value, how = next((found for found in results if found[0]), results[0])
            yield Finding(
                f"{key}/{level}/{table.columns[column]}/percent",
                _what(table, row, f"{level}, {table.columns[column]}"),
                table.place,
                cell.text,
                value,
                "consistent" if holds else "contradiction",
                how,
            )


def _count_tests(counts: Floats, wanted: str) -> list[_Test]:
    """The tests that a paper may have used, the usual one first."""
    kept = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(kept.shape) < 2:
        return []
    rule = count_test(kept.astype(int))
    tests = {"by expected count": (rule.method, rule.p_value)}
    if wanted != "by expected count":
        pearson = stats.chi2_contingency(kept, correction=False).pvalue
        tests["pearson"] = ("Pearson's chi-square", float(pearson))
    if wanted != "by expected count" and kept.shape == (2, 2):
        yates = stats.chi2_contingency(kept, correction=True).pvalue
        tests["yates"] = ("Yates' chi-square", float(yates))
        tests["fisher"] = ("Fisher's exact test", float(stats.fisher_exact(kept).pvalue))
    chosen = [tests[wanted]] if wanted in tests else list(tests.values())
    return [(name, p, p) for name, p in chosen if p is not None]


# --- Means and medians -------------------------------------------------------------------


def _means(
    table: Baseline, row: BaselineRow, cells: Sequence[PrintedMean], key: str
) -> Iterator[Finding]:
    sizes = [round(size.value) for size in table.n]
    if row.whole_numbers:
        for name, cell, size in zip(table.columns, cells, sizes, strict=True):
            yield _possible_mean(table, row, name, cell, size, key)
    if row.p is not None and len(cells) > 1:
        tests = [
            (name, *_p_range(cells, sizes, equal_variance=equal))
            for name, equal in (("Welch's t test", False), ("t test, pooled variance", True))
        ]
        yield _p_finding(table, row, row.p, key, tests)


def _possible_mean(
    table: Baseline, row: BaselineRow, column: str, cell: PrintedMean, n: int, key: str
) -> Finding:
    """Whole numbers have means k/n only: the GRIM test (Brown and Heathers 2017)."""
    least = math.ceil(cell.mean.low * n - 1e-6)
    most = math.floor(cell.mean.high * n + 1e-6)
    nearest = round(cell.mean.value * n)
    return Finding(
        f"{key}/{column}/mean",
        _what(table, row, f"mean of whole numbers, {column}"),
        table.place,
        cell.mean.text,
        cell.mean.like(nearest / n),
        "consistent" if least <= most else "contradiction",
        f"{nearest}/{n}" if least <= most else f"no sum of {n} whole numbers gives it",
    )


def _p_range(
    cells: Sequence[PrintedMean], sizes: Sequence[int], *, equal_variance: bool
) -> tuple[float, float]:
    """Least and largest P value over the corners of what was rounded."""
    values: list[float] = []
    means = itertools.product(*((cell.mean.low, cell.mean.high) for cell in cells))
    for mean in means:
        for sds in zip(*((cell.sd.low, cell.sd.high) for cell in cells), strict=True):
            test = mean_test_from_summary(mean, np.maximum(sds, 0), sizes, equal_variance)
            if test.p_value is not None:
                values.append(test.p_value)
    centre = mean_test_from_summary(
        [cell.mean.value for cell in cells],
        [cell.sd.value for cell in cells],
        sizes,
        equal_variance,
    ).p_value
    values += [] if centre is None else [centre]
    return (min(values), max(values)) if values else (math.nan, math.nan)


def _medians(table: Baseline, row: BaselineRow, key: str) -> Iterator[Finding]:
    for column, cell in zip(table.columns, row.median_iqr or (), strict=True):
        rising = cell.q1.value <= cell.median.value <= cell.q3.value
        yield Finding(
            f"{key}/{column}/quartiles",
            _what(table, row, f"quartiles, {column}"),
            table.place,
            cell.text,
            "",
            "consistent" if rising else "contradiction",
            "" if rising else "the median lies outside the quartiles",
        )
    if row.p is not None:
        yield Finding(
            f"{key}/p",
            _what(table, row, "P value"),
            table.place,
            row.p.text,
            "",
            "not derivable",
            "a rank test needs the patients' values",
        )
