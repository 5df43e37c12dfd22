"""Tests of one variable between groups, from data or from what a paper prints.

Counts follow one rule: 2 x 2 tables by their smallest expected count - at least 5 Pearson's
chi-square, 1 to below 5 Yates' continuity correction, below 1 Fisher's exact test - and larger
tables always by Pearson. Means are compared by Welch's test where the variances differ (F test,
P < 0.05; Bartlett's with more groups) and with pooled variance otherwise, ranks by the
Mann-Whitney (Kruskal-Wallis) test as R's `wilcox.test`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from crpnet_bench.errors import InputError
from crpnet_bench.stats.inputs import Floats, finite

__all__ = ["GroupTest", "count_test", "mean_test", "mean_test_from_summary", "rank_test"]

_VARIANCES_DIFFER = 0.05
# R's `wilcox.test` is exact below this size of both groups, when no value is tied.
_EXACT_BELOW = 50


@dataclass(frozen=True, slots=True)
class GroupTest:
    """A test and how it was chosen.

    Attributes:
        method: name of the test.
        p_value: None when not estimable.
        statistic: chi-square, t, F or W; None for Fisher's test.
        df: degrees of freedom, None where there are none.
        reason: why there is no P value, or None.
    """

    method: str
    p_value: float | None
    statistic: float | None = None
    df: float | None = None
    reason: str | None = None


def count_test(table: ArrayLike | Sequence[Sequence[int]]) -> GroupTest:
    """Association in a table of counts, shape (levels, groups); empty rows and columns drop out.

    Raises:
        InputError: the table is not two-dimensional or holds other than counts.

    >>> test = count_test([[43, 17], [13, 2]])
    >>> test.method, round(test.p_value, 3)
    ("Yates' chi-square", 0.388)
    """
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2 or not np.all((counts >= 0) & (counts == np.round(counts))):
        raise InputError(f"table: expected counts of shape (levels, groups), found {table!r}")
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return GroupTest("none", None, reason="not estimable: one level or one group only")
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    smallest = float(expected.min())
    if counts.shape == (2, 2) and smallest < 1:
        return GroupTest("Fisher's exact test", float(stats.fisher_exact(counts).pvalue))
    yates = counts.shape == (2, 2) and smallest < 5
    # R's rule: the correction is never larger than the difference itself.
    correction = min(0.5, float(np.abs(counts - expected).min())) if yates else 0.0
    statistic = float(((np.abs(counts - expected) - correction) ** 2 / expected).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    name = "Yates' chi-square" if yates else "Pearson's chi-square"
    return GroupTest(name, float(stats.chi2.sf(statistic, df)), statistic, float(df))


def mean_test_from_summary(
    means: ArrayLike, sds: ArrayLike, sizes: ArrayLike, equal_variance: bool | None = None
) -> GroupTest:
    """Two or more means from what a paper prints: mean, standard deviation and n per group.

    Args:
        means: shape (groups,).
        sds: shape (groups,).
        sizes: shape (groups,).
        equal_variance: None decides by the F test (Bartlett's with more than two groups).

    Raises:
        InputError: lengths differ, or a value is impossible.

    >>> round(mean_test_from_summary([61.37, 64.042], [13.335, 9.0834], [135, 48]).p_value, 3)
    0.128
    """
    mean, sd, n = finite(means, "means"), finite(sds, "sds"), finite(sizes, "sizes")
    if not mean.size == sd.size == n.size:
        raise InputError(f"means, sds, sizes: lengths differ: {mean.size}, {sd.size}, {n.size}")
    if np.any(sd < 0) or np.any(n < 0):
        raise InputError("sds, sizes: expected no negative number")
    if mean.size < 2 or np.any(n < 2):
        return GroupTest("none", None, reason="not estimable: fewer than two patients in a group")
    if np.all(sd == 0):
        return GroupTest("none", None, reason="not estimable: no variation within the groups")
    if equal_variance is None:
        equal_variance = _variances_agree(sd, n)
    if mean.size == 2:
        return _two_means(mean, sd, n, equal_variance)
    return _many_means(mean, sd, n, equal_variance)


def mean_test(*groups: ArrayLike, equal_variance: bool | None = None) -> GroupTest:
    """Two or more means from data, one array a group; see `mean_test_from_summary`."""
    checked = [finite(group, f"group {i + 1}") for i, group in enumerate(groups)]
    if any(group.size < 2 for group in checked):
        return GroupTest("none", None, reason="not estimable: fewer than two patients in a group")
    return mean_test_from_summary(
        [group.mean() for group in checked],
        [group.std(ddof=1) for group in checked],
        [group.size for group in checked],
        equal_variance,
    )


def rank_test(*groups: ArrayLike) -> GroupTest:
    """Mann-Whitney test of two groups as R's `wilcox.test`, Kruskal-Wallis of more.

    Exact with fewer than 50 patients in both groups and no tie, otherwise normal with
    correction for ties and continuity.
    """
    checked = [finite(group, f"group {i + 1}") for i, group in enumerate(groups)]
    if len(checked) < 2 or any(group.size == 0 for group in checked):
        return GroupTest("none", None, reason="not estimable: a group without patients")
    pooled = np.concatenate(checked)
    if np.ptp(pooled) == 0:
        return GroupTest("none", None, reason="not estimable: all values are equal")
    if len(checked) > 2:
        kruskal = stats.kruskal(*checked)
        df = float(len(checked) - 1)
        return GroupTest("Kruskal-Wallis test", float(kruskal.pvalue), float(kruskal.statistic), df)
    tied = np.unique(pooled).size < pooled.size
    exact = max(group.size for group in checked) < _EXACT_BELOW and not tied
    first, second = checked
    found = stats.mannwhitneyu(first, second, method="exact" if exact else "asymptotic")
    name = "Mann-Whitney test, exact" if exact else "Mann-Whitney test"
    return GroupTest(name, float(found.pvalue), float(found.statistic))


def _variances_agree(sd: Floats, n: Floats) -> bool:
    if np.any(sd == 0):
        return False
    if sd.size == 2:
        below = stats.f.cdf((sd[0] / sd[1]) ** 2, n[0] - 1, n[1] - 1)
        return bool(2 * min(below, 1 - below) >= _VARIANCES_DIFFER)
    df = n - 1
    pooled = (df @ sd**2) / df.sum()
    spread = df.sum() * np.log(pooled) - df @ np.log(sd**2)
    factor = 1 + (np.sum(1 / df) - 1 / df.sum()) / (3 * (sd.size - 1))
    return bool(stats.chi2.sf(spread / factor, sd.size - 1) >= _VARIANCES_DIFFER)


def _two_means(mean: Floats, sd: Floats, n: Floats, equal_variance: bool) -> GroupTest:
    found = stats.ttest_ind_from_stats(
        mean[0], sd[0], n[0], mean[1], sd[1], n[1], equal_var=equal_variance
    )
    parts = sd**2 / n
    welch_df = parts.sum() ** 2 / np.sum(parts**2 / (n - 1))
    return GroupTest(
        "t test, pooled variance" if equal_variance else "Welch's t test",
        float(found.pvalue),
        float(found.statistic),
        float(n.sum() - 2 if equal_variance else welch_df),
    )


def _many_means(mean: Floats, sd: Floats, n: Floats, equal_variance: bool) -> GroupTest:
    """One-way analysis of variance, Welch's where variances differ (R's `oneway.test`)."""
    k = mean.size
    if equal_variance:
        center = n @ mean / n.sum()
        within = (n - 1) @ sd**2 / (n.sum() - k)
        statistic = float(n @ (mean - center) ** 2 / (k - 1) / within)
        df = float(n.sum() - k)
        name = "analysis of variance"
    elif np.any(sd == 0):
        return GroupTest("none", None, reason="not estimable: no variation within a group")
    else:
        weight = n / sd**2
        center = weight @ mean / weight.sum()
        imbalance = np.sum((1 - weight / weight.sum()) ** 2 / (n - 1)) / (k**2 - 1)
        between = weight @ (mean - center) ** 2 / (k - 1)
        statistic = float(between / (1 + 2 * (k - 2) * imbalance))
        df = float(1 / (3 * imbalance))
        name = "Welch's analysis of variance"
    return GroupTest(name, float(stats.f.sf(statistic, k - 1, df)), statistic, df)
