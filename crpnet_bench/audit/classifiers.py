"""Confusion matrices from printed rates, and whether all that is printed follows from one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.audit.paper import Classifier
from crpnet_bench.audit.printed import Printed

__all__ = ["ConfusionSearch", "Table", "confusion_tables", "metric_name", "rate"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_LARGEST_SEARCH = 20_000_000


@dataclass(frozen=True, slots=True)
class Table:
    """A confusion matrix."""

    tp: int
    fp: int
    fn: int
    tn: int

    def __str__(self) -> str:
        return f"TP {self.tp}, FP {self.fp}, FN {self.fn}, TN {self.tn}"

    def value(self, name: str) -> float:
        """A count or a rate of this table; NaN where it is 0/0."""
        tp, fp, fn, tn = (np.array([float(x)]) for x in (self.tp, self.fp, self.fn, self.tn))
        return float(_value(name, tp, fp, fn, tn)[0])


@dataclass(frozen=True, slots=True)
class ConfusionSearch:
    """The table that agrees with most printed cells.

    Attributes:
        best: the table; of equally good ones the one with the fewest positives.
        agreeing: with how many printed cells it agrees.
        cells: how many are printed.
        ties: how many tables agree with as many.
    """

    best: Table
    agreeing: int
    cells: int
    ties: int


def rate(name: str) -> tuple[str, str]:
    """Numerator and denominator of a rate, in words."""
    return _FRACTIONS[name]


def metric_name(name: str) -> str:
    """How a metric is written in a sentence.

    >>> metric_name("fpr"), metric_name("accuracy"), metric_name("tp")
    ('FPR', 'accuracy', 'TP')
    """
    in_capitals = {"auc", "fpr", "fnr", "npv", "f1", "tp", "fp", "tn", "fn"}
    return name.upper() if name in in_capitals else name


_FRACTIONS = {
    "accuracy": ("TP + TN", "n"),
    "precision": ("TP", "TP + FP"),
    "recall": ("TP", "TP + FN"),
    "fpr": ("FP", "FP + TN"),
    "fnr": ("FN", "TP + FN"),
    "specificity": ("TN", "FP + TN"),
    "npv": ("TN", "TN + FN"),
    "f1": ("2 TP", "2 TP + FP + FN"),
}


def confusion_tables(entry: Classifier) -> ConfusionSearch:
    """Search all tables with this n and number of events.

    Cells of the first place count a little more than repetitions elsewhere, so that a slip
    in the text does not decide against the table.

    Raises:
        ValueError: more tables than can be searched.
    """
    others = entry.n - entry.events
    if (entry.events + 1) * (others + 1) > _LARGEST_SEARCH:
        raise ValueError(f"{entry.model}, {entry.group}: too many patients to search all tables")
    tp, fp = np.meshgrid(np.arange(entry.events + 1.0), np.arange(others + 1.0), indexing="ij")
    fn, tn = entry.events - tp, others - fp
    agreeing = np.zeros(tp.shape)
    weight = np.zeros(tp.shape)
    cells = 0
    for place, printing in enumerate(entry.printings):
        for name, cell in printing.cells().items():
            fits = _agrees(cell, _value(name, tp, fp, fn, tn))
            agreeing += fits
            weight += fits * (1.0 if place == 0 else 0.1)
            cells += 1
    best = np.unravel_index(int(np.argmax(weight)), weight.shape)
    found = Table(*(int(grid[best]) for grid in (tp, fp, fn, tn)))
    ties = int((weight >= weight[best] - 1e-9).sum())
    return ConfusionSearch(found, int(agreeing[best]), cells, ties)


def _agrees(cell: Printed, values: Floats) -> Bools:
    low, high = cell.low - 1e-9, cell.high + 1e-9
    return np.asarray((values >= low) & (values <= high), dtype=np.bool_)


def _value(name: str, tp: Floats, fp: Floats, fn: Floats, tn: Floats) -> Floats:
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn}
    if name in counts:
        return counts[name]
    above, below = {
        "accuracy": (tp + tn, tp + fp + fn + tn),
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "fpr": (fp, fp + tn),
        "fnr": (fn, tp + fn),
        "specificity": (tn, fp + tn),
        "npv": (tn, tn + fn),
        "f1": (2 * tp, 2 * tp + fp + fn),
    }[name]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(above, below), dtype=np.float64)
