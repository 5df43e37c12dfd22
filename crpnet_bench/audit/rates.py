"""Whether all rates and counts of a classifier follow from one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterator

from crpnet_bench.audit.classifiers import Table, confusion_tables, metric_name, rate
from crpnet_bench.audit.finding import Finding, Verdict
from crpnet_bench.audit.paper import RATE_NAMES, Classifier, Paper, Printing
from crpnet_bench.audit.printed import Printed

__all__ = ["check_classifiers"]


def check_classifiers(paper: Paper) -> Iterator[Finding]:
    """All findings on rates and counts of two-class models."""
    for entry in paper.classifier:
        if any(printing.cells() for printing in entry.printings):
            yield from _classifier(entry)


def _classifier(entry: Classifier) -> Iterator[Finding]:
    key = f"classifier/{entry.group}/{entry.model}"
    search = confusion_tables(entry)
    table = search.best
    yield Finding(
        f"{key}/matrix",
        f"{entry.model}, {entry.group}: confusion matrix",
        entry.place,
        f"{search.cells} numbers",
        str(table),
        "consistent" if search.agreeing == search.cells else "note",
        f"{search.agreeing} of {search.cells} numbers follow from it"
        + (f"; {search.ties} matrices fit as well" if search.ties > 1 else "")
        + ("; nobody is called positive" if table.tp + table.fp == 0 else ""),
    )
    for number, printing in enumerate(entry.printings):
        suffix = f"/again {number}" if number else ""
        for name, cell in printing.cells().items():
            yield _cell(entry, printing, table, name, cell, f"{key}/{name}{suffix}")
        if number and printing.auc is not None and entry.auc is not None:
            yield _same_auc(entry, printing, f"{key}/auc{suffix}")


def _cell(
    entry: Classifier, printing: Printing, table: Table, name: str, cell: Printed, key: str
) -> Finding:
    value = table.value(name)
    if value != value:  # noqa: PLR0124 NaN
        recomputed, how = "undefined", f"{rate(name)[0]} over {rate(name)[1]} is 0/0"
        verdict: Verdict = "contradiction"
    else:
        recomputed = cell.like(value) if name in RATE_NAMES else f"{value:g}"
        verdict = "consistent" if cell.agrees(value) else "contradiction"
        how = f"from {table}" + _other_names(cell, table, name, verdict)
    what = f"{entry.model}, {entry.group}: {metric_name(name)}"
    return Finding(key, what, printing.place, cell.text, recomputed, verdict, how)


def _other_names(cell: Printed, table: Table, name: str, verdict: Verdict) -> str:
    """A wrong number is often another row's: name the rates that it would fit."""
    if verdict == "consistent" or name not in RATE_NAMES:
        return ""
    fits = [other for other in RATE_NAMES if other != name and cell.agrees(table.value(other))]
    return f"; the printed number is the {' or '.join(fits)}" if fits else ""


def _same_auc(entry: Classifier, printing: Printing, key: str) -> Finding:
    first, second = entry.auc, printing.auc
    equal = first is not None and second is not None and _values(first) == _values(second)
    return Finding(
        key,
        f"{entry.model}, {entry.group}: AUC",
        f"{printing.place}; {entry.place}",
        second.text if second else "",
        first.text if first else "",
        "consistent" if equal else "contradiction",
        "" if equal else "printed with different values",
    )


def _values(cell: object) -> tuple[float, ...]:
    return tuple(getattr(cell, name).value for name in ("value", "low", "high"))
