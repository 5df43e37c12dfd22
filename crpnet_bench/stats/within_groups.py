"""What a risk gains or loses by telling groups apart, such as the hospitals of a cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.stats.concordance import (
    ConcordanceResult,
    checked_risk,
    index_with_influence,
    outcome,
)
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.inputs import Ints, codes, same_length
from crpnet_bench.stats.proportions import check_level, normal_quantile

__all__ = ["WithinGroups", "concordance_within"]

_NO_SPREAD = 1e-13  # standard errors below this are rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinGroups:
    """An index over all pairs and over pairs of one group, on the same patients.

    Attributes:
        overall: over all comparable pairs.
        within: over those of one group.
        gain: overall minus within. Above 0 the risk follows the groups as their event rates do,
            below 0 against them.
    """

    overall: ConcordanceResult
    within: ConcordanceResult
    gain: Estimate


def concordance_within(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    group: ArrayLike,
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> WithinGroups:
    """Harrell's index over all pairs beside that over pairs of one group.

    The standard error of the difference is the infinitesimal jackknife over patients: the
    influences on both indices are subtracted before they are squared, for the patients are the
    same. With every positive an event at time 0 and every negative censored at 1 the index is the
    area under the ROC curve.

    Args:
        time: follow-up, shape (n,).
        event: 1 or True for an event, shape (n,).
        risk: higher means an earlier event, shape (n,).
        group: labels, shape (n,), none missing.
        fold: labels of the folds; only pairs within a fold are compared, shape (n,).
        cluster: labels of the patients where a patient has several rows, shape (n,).
        level: confidence level.

    Raises:
        InputError: as `concordance_index`; a missing group.

    >>> found = concordance_within([1, 2, 3, 4], [1, 1, 1, 0], [3, 1, 2, 0], ["a", "b", "a", "b"])
    >>> round(found.overall.value, 3), found.within.value
    (0.833, 1.0)
    """
    check_level(level)
    everyone = outcome(time, event, fold=fold, cluster=cluster)
    inside = outcome(time, event, fold=_crossed(group, fold), cluster=cluster)
    same_length(time=everyone.time, group=codes(group)[0])
    values = checked_risk(everyone, risk, "risk")
    overall, influence = index_with_influence(everyone, values, level)
    within, influence_within = index_with_influence(inside, values, level)
    method = "difference on the same patients, infinitesimal jackknife, Wald"
    if overall.value is None or within.value is None:
        reason = overall.reason or within.reason or ""
        return WithinGroups(
            overall=overall, within=within, gain=not_estimable(reason, method, level)
        )
    gain = overall.value - within.value
    se = float(np.sqrt(np.sum((influence - influence_within) ** 2)))
    if se < _NO_SPREAD:
        found = Estimate(value=gain, level=level, method=method, reason="no variance, no interval")
    else:
        half = normal_quantile(level) * se
        found = Estimate(
            value=gain, se=se, ci_low=gain - half, ci_high=gain + half, level=level, method=method
        )
    return WithinGroups(overall=overall, within=within, gain=found)


def _crossed(group: ArrayLike, fold: ArrayLike | None) -> Ints:
    """One code for each group in each fold."""
    groups, labels = codes(group)
    if fold is None:
        return groups
    folds, _ = codes(fold, "fold")
    same_length(group=groups, fold=folds)
    return np.asarray(folds * len(labels) + groups, dtype=np.int64)
