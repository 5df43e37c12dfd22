"""Whether printed confidence intervals can belong to their estimates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from crpnet_bench.audit.classifiers import Table, confusion_tables
from crpnet_bench.audit.finding import Finding, Verdict
from crpnet_bench.audit.paper import Classifier, Concordance, HazardRatio, Paper
from crpnet_bench.audit.printed import Printed, PrintedEstimate
from crpnet_bench.stats.proportions import normal_quantile, proportion_interval

__all__ = ["approximate_se", "check_intervals", "exact_binomial_fit"]

_Z = normal_quantile(0.95)
# An interval below 0.6 or above 1.7 times the approximate width does not come from rounding
# or from a better formula; a standard error printed as an interval is 0.5 times as wide.
_NARROW, _WIDE = 0.6, 1.7
_FACTOR = 1.5  # between a printed hazard ratio and what its split of events suggests
_SAME_SE = 0.003
_ROUNDING_STEPS = 100


def approximate_se(value: float, events: int, others: int) -> float:
    """Standard error of an AUC or C-index from its value and the two counts.

    Newcombe RG (2006), Stat Med 25:559, method 4, as used in meta-analysis by Debray TPA et al.
    (2017), BMJ 356:i6460. An approximation: censoring is left out.

    >>> round(approximate_se(0.821, 19, 56), 3)
    0.056
    """
    half = (events + others) / 2 - 1
    spread = 1 + half * (1 - value) / (2 - value) + half * value / (1 + value)
    return math.sqrt(value * (1 - value) * spread / (events * others))


def check_intervals(paper: Paper) -> Iterator[Finding]:
    """All findings on AUC, C-index and hazard ratio."""
    with_auc = [entry for entry in paper.classifier if entry.auc is not None]
    yield from _aucs(with_auc)
    yield from (_concordance(entry) for entry in paper.concordance)
    for ratio in paper.hazard_ratio:
        yield from _hazard_ratio(ratio)


# --- AUC ---------------------------------------------------------------------------------


def exact_binomial_fit(cell: PrintedEstimate, n: int) -> str:
    """Whether an AUC's interval is the exact binomial one of AUC * n successes among n.

    Returns:
        "at the printed AUC", "inside its rounding", or "" where it does not fit.
    """
    centre = cell.value.value
    if _binomial_agrees(cell, centre, n):
        return "at the printed AUC"
    step = cell.value.half_unit / _ROUNDING_STEPS
    inside = (centre + k * step for k in range(-_ROUNDING_STEPS, _ROUNDING_STEPS + 1))
    fits = any(_binomial_agrees(cell, auc, n) for auc in inside)
    return "inside its rounding" if fits else ""


def _binomial_agrees(cell: PrintedEstimate, auc: float, n: int) -> bool:
    low, high = _binomial(auc, n)
    return cell.low.agrees(low) and cell.high.agrees(high)


def _binomial(auc: float, n: int) -> tuple[float, float]:
    interval = proportion_interval(min(max(auc, 0.0), 1.0) * n, n, "clopper_pearson")
    return float(interval.ci_low or 0.0), float(interval.ci_high or 1.0)


def _aucs(entries: Sequence[Classifier]) -> Iterator[Finding]:
    fits = [exact_binomial_fit(entry.auc, entry.n) for entry in entries if entry.auc]
    number = sum(bool(fit) for fit in fits)
    # Most of a paper's intervals come from one program: if half or more are exact binomial
    # intervals, the others have to be.
    is_rule = number >= 2 and 2 * number >= len(fits)
    for entry, fit in zip(entries, fits, strict=True):
        if entry.auc is not None:
            rule = f"as {number} of {len(fits)} AUC intervals here" if is_rule else ""
            yield _auc_interval(entry, entry.auc, fit, rule)
            if any(printing.cells() for printing in entry.printings):
                yield _auc_from_classes(entry, entry.auc.value, confusion_tables(entry).best)


def _auc_interval(entry: Classifier, cell: PrintedEstimate, fit: str, rule: str) -> Finding:
    low, high = _binomial(cell.value.value, entry.n)
    expected = _approximate(cell.value.value, entry.events, entry.n)
    ratio = _width(cell) / (expected[1] - expected[0]) if expected[1] > expected[0] else 1.0
    recomputed = f"{cell.low.like(low)}-{cell.high.like(high)}"
    if not cell.low.value <= cell.value.value <= cell.high.value:
        verdict: Verdict = "contradiction"
        told = "the estimate lies outside its interval"
    elif fit and rule:
        verdict = "consistent"
        told = (
            f"exact binomial interval of AUC x n successes, {fit}; it ignores how many of the n "
            f"are events, and is {ratio:.2f} times as wide as an interval that does not"
        )
    elif rule:
        verdict = "implausible"
        told = f"not an exact binomial interval, {rule} are"
    else:
        recomputed = f"about {cell.low.like(expected[0])}-{cell.high.like(expected[1])}"
        verdict = "consistent" if _NARROW <= ratio <= _WIDE else "implausible"
        told = f"{ratio:.2f} times the width to expect of {entry.events} events in {entry.n}"
    key = f"auc/{entry.group}/{entry.model}/interval"
    what = f"{entry.model}, {entry.group}: interval of the AUC"
    return Finding(key, what, entry.place, cell.text, recomputed, verdict, told)


def _auc_from_classes(entry: Classifier, auc: Printed, table: Table) -> Finding:
    """A class that is a cut of the score bounds the score's AUC."""
    events, others = table.tp + table.fn, table.fp + table.tn
    pairs = events * others
    least = table.tp * table.tn / pairs if pairs else math.nan
    most = 1 - table.fn * table.fp / pairs if pairs else math.nan
    fits = auc.meets(least, most)
    return Finding(
        f"auc/{entry.group}/{entry.model}/classes",
        f"{entry.model}, {entry.group}: AUC beside the confusion matrix",
        entry.place,
        auc.text,
        f"{auc.like(least)} to {auc.like(most)}",
        "consistent" if fits else "implausible",
        "possible AUCs of a score whose cut gives this matrix",
    )


def _approximate(value: float, events: int, n: int) -> tuple[float, float]:
    if not 0 < value < 1 or not 0 < events < n:
        return value, value
    half = _Z * approximate_se(value, events, n - events)
    return max(value - half, 0.0), min(value + half, 1.0)


def _width(cell: PrintedEstimate) -> float:
    return cell.high.value - cell.low.value


# --- C-index -----------------------------------------------------------------------------


def _concordance(entry: Concordance) -> Finding:
    cell = entry.value
    value = cell.value.value
    low, high = _approximate(value, entry.events, entry.n)
    ratio = _width(cell) / (high - low) if high > low else 1.0
    verdict: Verdict = "consistent" if _NARROW <= ratio <= _WIDE else "implausible"
    told = f"{ratio:.2f} times the width to expect of {entry.events} events in {entry.n}"
    if not cell.low.value <= value <= cell.high.value:
        verdict, told = "contradiction", "the estimate lies outside its interval"
    elif ratio < _NARROW:
        half = _Z * _width(cell) / 2
        told += (
            "; read as plus and minus one standard error, the 95 % interval is "
            f"{value - half:.3f}-{min(value + half, 1.0):.3f}"
        )
    return Finding(
        f"concordance/{entry.group}/{entry.model}",
        f"{entry.model}, {entry.group}: interval of the C-index",
        entry.place,
        cell.text,
        f"about {cell.low.like(low)}-{cell.high.like(high)}",
        verdict,
        told,
    )


# --- Hazard ratio ------------------------------------------------------------------------


def _hazard_ratio(entry: HazardRatio) -> Iterator[Finding]:
    cell = entry.value
    key = f"hazard_ratio/{entry.group}/{entry.variable}"
    what = f"{entry.variable}, {entry.group}: hazard ratio"
    if min(cell.low.value, cell.value.value) <= 0:
        yield Finding(key, what, entry.place, cell.text, "", "contradiction",
                      "a hazard ratio and its limits are above 0")  # fmt: skip
        return
    least = math.sqrt(max(cell.low.low, 0.0) * cell.high.low)
    most = math.sqrt(cell.low.high * cell.high.high)
    centre = math.sqrt(cell.low.value * cell.high.value)
    fits = cell.value.meets(least, most)
    split = _split(cell, entry.events) if entry.events else None
    told = "geometric mean of the limits"
    if split is not None:
        told += f"; their width is that of {split[0]} against {split[1]} events"
    yield Finding(key, what, entry.place, cell.text, cell.value.like(centre),
                  "consistent" if fits else "contradiction", told)  # fmt: skip
    if entry.high_risk is not None and entry.n and split is not None:
        yield _from_split(entry, split, entry.n, round(entry.high_risk.value))


def _split(cell: PrintedEstimate, events: int) -> tuple[int, int] | None:
    """How many events each group has, if SE(log HR) = sqrt(1/a + 1/b) gives it away."""
    se = math.log(cell.high.value / cell.low.value) / (2 * _Z)
    misfit, larger = min(
        (abs(math.sqrt(1 / a + 1 / (events - a)) / se - 1), a)
        for a in range((events + 1) // 2, events)
    )
    return (larger, events - larger) if misfit <= _SAME_SE else None


def _from_split(entry: HazardRatio, split: tuple[int, int], n: int, high_risk: int) -> Finding:
    """The hazard ratio that this split of events suggests when both groups are followed alike."""
    cell = entry.value
    in_high, in_low = split if cell.value.value >= 1 else split[::-1]
    low_risk = n - high_risk
    key = f"hazard_ratio/{entry.group}/{entry.variable}/split"
    what = f"{entry.variable}, {entry.group}: hazard ratio beside the size of the risk groups"
    if in_high >= high_risk or in_low >= low_risk:
        return Finding(key, what, entry.place, cell.text, "", "not derivable",
                       "a group in which everybody has the event")  # fmt: skip
    expected = math.log1p(-in_high / high_risk) / math.log1p(-in_low / low_risk)
    ratio = cell.value.value / expected
    return Finding(
        key,
        what,
        entry.place,
        cell.text,
        f"about {expected:.1f}",
        "consistent" if 1 / _FACTOR <= ratio <= _FACTOR else "implausible",
        f"{in_high} of {high_risk} against {in_low} of {low_risk} with the event, "
        "if both groups were followed equally long",
    )
