"""Area under the ROC curve: DeLong's interval and paired test, as R's `pROC`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.auc_bootstrap import resampled_auc
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.inputs import Bools, Floats, Ints, binary_label, codes, finite, same_length
from crpnet_bench.stats.pairs import pair_counts
from crpnet_bench.stats.perfection import perfect_bound
from crpnet_bench.stats.proportions import check_level, normal_quantile, proportion_interval

__all__ = ["RocComparison", "RocCurve", "RocResult", "compare_auc", "roc_auc", "roc_curve"]

AucInterval = Literal["delong", "bootstrap", "exact_binomial"]

_INTERVALS = ("bootstrap", "delong", "exact_binomial")
_FEW = 10
# Variances of areas are multiples of 1 / (pairs squared), far above this.
_NO_VARIANCE = 1e-24


@dataclass(frozen=True, slots=True, kw_only=True)
class RocResult(Estimate):
    """An area under the ROC curve.

    Attributes:
        n_positive, n_negative: patients of each class.
        small_sample_bound: where the area is exactly 0 or 1, a limit that the true area keeps
            to with confidence `level` (lower limit for 1, upper for 0); else None.
    """

    n_positive: int = 0
    n_negative: int = 0
    small_sample_bound: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RocCurve:
    """An ROC curve from (0, 0) to (1, 1); a patient is called positive when score >= threshold.

    Attributes:
        threshold: infinity, then the distinct scores, descending.
        true_positive_rate, false_positive_rate: at each threshold; empty where undefined.
        auc: area; None where undefined.
        reason: why there is no curve; None when there is one.
    """

    threshold: Floats
    true_positive_rate: Floats
    false_positive_rate: Floats
    auc: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RocComparison:
    """The difference of two areas on the same patients, a minus b.

    Attributes:
        difference, se, ci_low, ci_high, z, p_value: None where not estimable.
        a, b: the two areas.
        level, method, reason, warning: as in `Estimate`.
    """

    difference: float | None
    se: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    z: float | None = None
    p_value: float | None = None
    a: RocResult
    b: RocResult
    level: float = 0.95
    method: str = ""
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Classes:
    label: Bools
    fold: Ints | None
    cluster: Ints | None

    @property
    def folds(self) -> list[Bools]:
        """Rows of each fold; all rows when there are no folds."""
        if self.fold is None:
            return [np.ones(self.label.size, dtype=np.bool_)]
        return [self.fold == code for code in np.unique(self.fold)]

    @property
    def disjoint_pairs(self) -> int:
        """Largest number of pairs of a positive and a negative that share nobody."""
        sizes = ((self.label[rows].sum(), (~self.label[rows]).sum()) for rows in self.folds)
        return int(sum(min(positives, negatives) for positives, negatives in sizes))

    @property
    def rowwise(self) -> bool:
        """Whether each row is a patient and all rows may be compared (DeLong's case)."""
        return self.fold is None and self.cluster is None

    def warning(self) -> str | None:
        fewer = int(min(self.label.sum(), (~self.label).sum()))
        side = "positives" if self.label.sum() == fewer else "negatives"
        return f"only {fewer} {side}, fewer than {_FEW}" if fewer < _FEW else None


def _classes(label: ArrayLike, fold: ArrayLike | None, cluster: ArrayLike | None) -> _Classes:
    labels = binary_label(label)
    folds = None if fold is None else codes(fold, "fold")[0]
    clusters = None if cluster is None else codes(cluster, "cluster")[0]
    for name, array in (("fold", folds), ("cluster", clusters)):
        if array is not None:
            same_length(**{"label": labels, name: array})
    return _Classes(labels, folds, clusters)


def _checked_score(classes: _Classes, score: ArrayLike, name: str) -> Floats:
    values = finite(score, name)
    same_length(**{"label": classes.label, name: values})
    return values


def roc_auc(
    label: ArrayLike,
    score: ArrayLike,
    ci: AucInterval = "delong",
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> RocResult:
    """Probability that a positive has a higher score than a negative, ties counting one half.

    Intervals:

    - "delong": as R's `pROC::ci.auc`, on the raw scale, clipped to 0..1. With `fold` or
      `cluster` it is the infinitesimal jackknife over patients, as R's
      `concordance(label ~ score + strata(fold))`.
    - "bootstrap": percentiles over resamples of patients, positives and negatives apart; with
      `fold` or `cluster` patients are resampled as they are.
    - "exact_binomial": Clopper-Pearson with AUC * n successes of n patients, as some papers
      print it. It ignores how many are positive and is too narrow; for comparison only.

    Args:
        label: 1 or True for positive, shape (n,).
        score: higher means positive, shape (n,).
        ci: the interval.
        fold: labels of cross-validation folds; only pairs within a fold are compared.
        cluster: labels of the patients where a patient has several rows.
        level: confidence level.
        resamples: how many resamples the bootstrap takes.
        seed: of its random numbers.

    Returns:
        The area; where it is exactly 0 or 1 there is no DeLong or bootstrap interval but a
        small-sample bound.

    Raises:
        InputError: missing values, labels other than 0/1, unequal lengths, an unknown interval.

    References:
        DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Biometrics 44:837-845.
        Sun X, Xu W (2014). IEEE Signal Process Lett 21:1389-1393.

    >>> result = roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> result.value, round(result.se, 6)
    (0.75, 0.353553)
    """
    check_level(level)
    if ci not in _INTERVALS:
        raise InputError(f"ci: found {ci!r}; {did_you_mean(ci, _INTERVALS)}")
    if ci == "bootstrap" and resamples < 1:
        raise InputError(f"resamples: found {resamples}; expected at least 1")
    classes = _classes(label, fold, cluster)
    values = _checked_score(classes, score, "score")
    area, influence = _area(classes, values, level)
    if area.value is None or ci == "delong":
        return area
    if ci == "exact_binomial":
        return _exact_binomial(area, level)
    if area.small_sample_bound is not None:
        return area
    return _bootstrap(area, classes, values, level, resamples, seed)


def _area(classes: _Classes, score: Floats, level: float) -> tuple[RocResult, Floats]:
    """The area with DeLong or jackknife interval, and each unit's influence on it."""
    label = classes.label
    # Positives are events at time 0, negatives are followed beyond.
    counts = pair_counts(
        (~label).astype(np.float64), label, score, np.ones(label.size), classes.fold
    )
    concordant, discordant, tied = (float(total) / 2 for total in counts.sum(axis=1))
    pairs = concordant + discordant + tied
    blank = RocResult(
        value=None,
        level=level,
        method=_describe(classes),
        n_positive=int(label.sum()),
        n_negative=int((~label).sum()),
    )
    if pairs == 0:
        return replace(blank, reason=_why_no_pairs(blank)), np.zeros(0)
    value = (concordant + tied / 2) / pairs
    known = replace(blank, value=value, warning=classes.warning())
    influence = _influence(counts, value, pairs, classes.cluster)
    if concordant + tied == 0 or discordant + tied == 0:
        bound, reason = perfect_bound(
            value, classes.disjoint_pairs, level, "the AUC", "pairs of a positive and a negative"
        )
        return replace(known, reason=reason, small_sample_bound=bound), influence
    se, why = _standard_error(influence, classes)
    if se is None:
        return replace(known, reason=why), influence
    half = normal_quantile(level) * se
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return replace(known, se=se, ci_low=low, ci_high=high), influence


def _describe(classes: _Classes) -> str:
    within = "" if classes.fold is None else "pairs within a fold, "
    kind = "DeLong" if classes.rowwise else "infinitesimal jackknife over patients"
    return f"{within}{kind}, Wald"


def _why_no_pairs(area: RocResult) -> str:
    if area.n_positive + area.n_negative == 0:
        return "no patients"
    if area.n_positive == 0:
        return "no positives"
    return "no negatives" if area.n_negative == 0 else "no fold has both classes"


def _influence(counts: Floats, value: float, pairs: float, cluster: Ints | None) -> Floats:
    concordant, discordant, tied = counts
    influence: Floats = (concordant + tied / 2 - value * (concordant + discordant + tied)) / pairs
    if cluster is None:
        return influence
    return np.asarray(np.bincount(cluster, weights=influence), dtype=np.float64)


def _standard_error(influence: Floats, classes: _Classes) -> tuple[float | None, str | None]:
    """DeLong's, or the jackknife's where rows are not all comparable patients."""
    squares = influence**2
    if classes.rowwise:
        positives, negatives = int(classes.label.sum()), int((~classes.label).sum())
        if min(positives, negatives) < 2:
            side = "positive" if positives < 2 else "negative"
            return None, f"only one {side}, interval not estimable"
        # DeLong's sample variances: the jackknife's sums of squares over n - 1 instead of n.
        squares = squares * np.where(
            classes.label, positives / (positives - 1), negatives / (negatives - 1)
        )
    variance = float(squares.sum())
    if variance < _NO_VARIANCE:
        return None, "no variance (all scores of a class are ordered alike), no interval"
    return float(np.sqrt(variance)), None


def _exact_binomial(area: RocResult, level: float) -> RocResult:
    n = area.n_positive + area.n_negative
    interval = proportion_interval((area.value or 0.0) * n, n, "clopper_pearson", level)
    note = "ignores how many are positive: too narrow"
    return replace(
        area,
        se=None,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        method="exact binomial, AUC * n of n",
        reason=None,
        warning=f"{area.warning}; {note}" if area.warning else note,
    )


def _bootstrap(
    area: RocResult, classes: _Classes, score: Floats, level: float, resamples: int, seed: int
) -> RocResult:
    if classes.rowwise:
        unit, stratum = np.arange(score.size), classes.label.astype(np.int64)
    else:
        unit = np.arange(score.size) if classes.cluster is None else classes.cluster
        stratum = np.zeros(int(unit.max()) + 1, dtype=np.int64)
    areas = resampled_auc(
        classes.label, score, classes.folds, unit, stratum, resamples=resamples, seed=seed
    )
    tail = (1 - level) / 2
    low, high = np.quantile(areas, [tail, 1 - tail])
    within = "" if classes.fold is None else "pairs within a fold, "
    return replace(
        area,
        se=float(np.std(areas, ddof=1)) if areas.size > 1 else None,
        ci_low=float(low),
        ci_high=float(high),
        reason=None,
        method=f"{within}bootstrap of patients, percentiles of {areas.size} resamples, seed {seed}",
    )


def compare_auc(
    label: ArrayLike,
    score_a: ArrayLike,
    score_b: ArrayLike,
    fold: ArrayLike | None = None,
    *,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> RocComparison:
    """DeLong's paired test of two areas on the same patients, a minus b.

    Equals R's `pROC::roc.test(paired = TRUE, method = "delong")`; with `fold` or `cluster` the
    standard error is the infinitesimal jackknife over patients.

    Raises:
        InputError: as `roc_auc`.

    References:
        DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Biometrics 44:837-845.
    """
    check_level(level)
    classes = _classes(label, fold, cluster)
    a, influence_a = _area(classes, _checked_score(classes, score_a, "score_a"), level)
    b, influence_b = _area(classes, _checked_score(classes, score_b, "score_b"), level)
    blank = RocComparison(difference=None, a=a, b=b, level=level, method=a.method)
    if a.value is None or b.value is None:
        return replace(blank, reason=a.reason)
    known = replace(blank, difference=a.value - b.value, warning=_comparison_warning(a, b))
    se, why = _standard_error(influence_a - influence_b, classes)
    if se is None:
        if np.allclose(influence_a, influence_b, rtol=0, atol=1e-12):
            why = "both scores order every pair alike, no test"
        return replace(known, reason=why)
    half, z = normal_quantile(level) * se, (a.value - b.value) / se
    return replace(
        known,
        se=se,
        ci_low=a.value - b.value - half,
        ci_high=a.value - b.value + half,
        z=z,
        p_value=2 * float(special.ndtr(-abs(z))),
    )


def _comparison_warning(a: RocResult, b: RocResult) -> str | None:
    perfect = [name for name, area in (("a", a), ("b", b)) if area.small_sample_bound is not None]
    notes = [f"the AUC of {name} is exactly 0 or 1: its variance counts as 0" for name in perfect]
    return "; ".join([*([a.warning] if a.warning else []), *notes]) or None


def roc_curve(label: ArrayLike, score: ArrayLike) -> RocCurve:
    """The ROC curve at every distinct score.

    Args:
        label: 1 or True for positive, shape (n,).
        score: higher means positive, shape (n,).

    Returns:
        The curve; with one class only, empty arrays and the reason.

    Raises:
        InputError: missing values, labels other than 0/1, unequal lengths.

    >>> roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).true_positive_rate.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    classes = _classes(label, None, None)
    values = _checked_score(classes, score, "score")
    area, _ = _area(classes, values, 0.95)
    if area.value is None:
        nothing = np.zeros(0)
        return RocCurve(
            threshold=nothing,
            true_positive_rate=nothing,
            false_positive_rate=nothing,
            auc=None,
            reason=area.reason,
        )
    distinct, where = np.unique(values, return_inverse=True)
    positives = np.bincount(where[classes.label], minlength=distinct.size)[::-1]
    negatives = np.bincount(where[~classes.label], minlength=distinct.size)[::-1]
    return RocCurve(
        threshold=np.concatenate(([np.inf], distinct[::-1])),
        true_positive_rate=np.concatenate(([0.0], np.cumsum(positives) / area.n_positive)),
        false_positive_rate=np.concatenate(([0.0], np.cumsum(negatives) / area.n_negative)),
        auc=area.value,
    )
