"""Counts and rates of a two-class prediction, each rate with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.inputs import binary_label, same_length
from crpnet_bench.stats.proportions import (
    ProportionInterval,
    normal_quantile,
    proportion_interval,
)

__all__ = ["ConfusionResult", "confusion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfusionResult:
    """A two by two table and its rates; a rate with denominator 0 has no value but a reason.

    Attributes:
        tp, fp, tn, fn: counts.
        accuracy: (tp + tn) / n.
        precision: tp / (tp + fp), the positive predictive value.
        recall: tp / (tp + fn), the sensitivity.
        specificity: tn / (tn + fp).
        fpr, fnr: fp / (fp + tn) and fn / (fn + tp).
        npv: tn / (tn + fn).
        f1: harmonic mean of precision and recall.
        mcc: Matthews correlation coefficient (phi).
    """

    tp: int
    fp: int
    tn: int
    fn: int
    accuracy: Estimate
    precision: Estimate
    recall: Estimate
    fpr: Estimate
    fnr: Estimate
    specificity: Estimate
    npv: Estimate
    f1: Estimate
    mcc: Estimate

    @property
    def n(self) -> int:
        """Number of patients."""
        return self.tp + self.fp + self.tn + self.fn


def confusion(
    label: ArrayLike,
    predicted: ArrayLike,
    interval: ProportionInterval = "wilson",
    level: float = 0.95,
) -> ConfusionResult:
    """Confusion matrix with an interval for every rate.

    Rates are proportions with Wilson's or the Clopper-Pearson interval. F1 is
    2 J / (1 + J) with J = tp / (tp + fp + fn), itself a proportion, so that its limits are
    those of J carried over. The Matthews coefficient is a correlation of two binary variables:
    its large-sample variance (multinomial sampling) is put to work on Fisher's z scale.

    Args:
        label: 1 or True for positive, shape (n,).
        predicted: the class predicted, 1 or True for positive, shape (n,).
        interval: "wilson" or "clopper_pearson".
        level: confidence level.

    Raises:
        InputError: missing values, classes other than 0/1, unequal lengths, unknown interval.

    References:
        Wilson EB (1927); Clopper CJ, Pearson ES (1934). Variance of phi: Bishop YMM, Fienberg
        SE, Holland PW (1975), Discrete Multivariate Analysis, section 11.3.

    >>> result = confusion([1, 1, 0, 0], [1, 0, 0, 0])
    >>> result.tp, result.recall.value, result.fpr.value, result.precision.value
    (1, 0.5, 0.0, 1.0)
    """
    truth, called = binary_label(label), binary_label(predicted, "predicted")
    n = same_length(label=truth, predicted=called)
    tp, fp = int(np.sum(truth & called)), int(np.sum(~truth & called))
    fn = int(np.sum(truth & ~called))
    tn = n - tp - fp - fn

    def rate(successes: int, total: int, nobody: str) -> Estimate:
        estimate = proportion_interval(successes, total, interval, level)
        if total:
            return estimate
        return not_estimable(nobody, method=estimate.method, level=level)

    return ConfusionResult(
        tp=tp,
        fp=fp,
        tn=tn,
        fn=fn,
        accuracy=rate(tp + tn, n, "no patients"),
        precision=rate(tp, tp + fp, "nobody is predicted positive"),
        recall=rate(tp, tp + fn, "nobody is positive"),
        fpr=rate(fp, fp + tn, "nobody is negative"),
        fnr=rate(fn, fn + tp, "nobody is positive"),
        specificity=rate(tn, tn + fp, "nobody is negative"),
        npv=rate(tn, tn + fn, "nobody is predicted negative"),
        f1=_f1(rate(tp, tp + fp + fn, "nobody is positive or predicted positive")),
        mcc=_matthews(tp, fp, tn, fn, level),
    )


def _f1(jaccard: Estimate) -> Estimate:
    """F1 from tp / (tp + fp + fn), of which it is a rising function."""
    method = f"{jaccard.method} of tp / (tp + fp + fn), carried over"
    if jaccard.value is None:
        return not_estimable(jaccard.reason or "", method=method, level=jaccard.level)
    return Estimate(
        value=_carried(jaccard.value),
        se=2 / (1 + jaccard.value) ** 2 * (jaccard.se or 0.0),
        ci_low=_carried(jaccard.ci_low),
        ci_high=_carried(jaccard.ci_high),
        level=jaccard.level,
        method=method,
    )


def _carried(jaccard: float | None) -> float | None:
    return None if jaccard is None else 2 * jaccard / (1 + jaccard)


def _matthews(tp: int, fp: int, tn: int, fn: int, level: float) -> Estimate:
    method = "large-sample variance on Fisher's z scale"
    n = tp + fp + tn + fn
    margins = (tp + fn, fp + tn, tp + fp, tn + fn)
    if min(margins) == 0:
        kinds = ("positive", "negative", "predicted positive", "predicted negative")
        reason = "no patients" if n == 0 else f"nobody is {kinds[margins.index(0)]}"
        return not_estimable(reason, method=method, level=level)
    phi = (tp * tn - fp * fn) / math.sqrt(math.prod(margins))
    if fp + fn == 0 or tp + tn == 0:
        reason = "all predictions are right" if tp + tn else "all predictions are wrong"
        return Estimate(
            value=phi, level=level, method=method, reason=f"{reason}, interval not estimable"
        )
    se = math.sqrt(_phi_variance(phi, [margin / n for margin in margins]) / n)
    centre, half = math.atanh(phi), normal_quantile(level) * se / (1 - phi**2)
    return Estimate(
        value=phi,
        se=se,
        ci_low=math.tanh(centre - half),
        ci_high=math.tanh(centre + half),
        level=level,
        method=method,
    )


def _phi_variance(phi: float, margins: list[float]) -> float:
    """N times the large-sample variance of phi; margins as shares: label 1, 0, called 1, 0."""
    positive, negative, called, left = margins
    label_skew = (positive - negative) / math.sqrt(positive * negative)
    called_skew = (called - left) / math.sqrt(called * left)
    return (
        1
        - phi**2
        + phi * (1 + phi**2 / 2) * label_skew * called_skew
        - 0.75 * phi**2 * (label_skew**2 + called_skew**2)
    )
