"""Numbers printed twice, sums, percentages, bounds, and what the text says of an order."""

from __future__ import annotations

import math
from collections.abc import Iterator

from crpnet_bench.audit.classifiers import metric_name
from crpnet_bench.audit.finding import Finding, Verdict
from crpnet_bench.audit.paper import Bound, Claim, Order, Paper, Rate, Same, Statement, Sum
from crpnet_bench.audit.printed import Printed

__all__ = ["check_counts", "check_rate"]


def check_counts(paper: Paper) -> Iterator[Finding]:
    """All findings on plain numbers."""
    yield from (_same(entry) for entry in paper.same)
    yield from (_sum(entry) for entry in paper.sum)
    yield from (_rate(entry) for entry in paper.rate)
    yield from (_bound(entry) for entry in paper.bound)
    yield from (_claim(entry, paper) for entry in paper.claim)
    yield from (_order(entry, paper) for entry in paper.order)
    yield from (_statement(entry) for entry in paper.statement)


def _verdict(holds: bool) -> Verdict:
    return "consistent" if holds else "contradiction"


def _same(entry: Same) -> Finding:
    cells = [printing.value for printing in entry.printed]
    low, high = max(cell.low for cell in cells), min(cell.high for cell in cells)
    # Whole numbers are counts: 183 and 174 are not two roundings of one number.
    whole = all(cell.text.isdecimal() for cell in cells)
    holds = len({cell.value for cell in cells}) == 1 if whole else low <= high + 1e-9
    return Finding(
        f"same/{entry.what}",
        entry.what,
        "; ".join(f"{printing.value}: {printing.place}" for printing in entry.printed),
        " / ".join(dict.fromkeys(cell.text for cell in cells)),
        "",
        _verdict(holds),
        "" if holds else "printed with different values",
    )


def _sum(entry: Sum) -> Finding:
    total = sum(part.value for part in entry.parts)
    told = " + ".join(part.text for part in entry.parts)
    holds = entry.total.agrees(total)
    return Finding(
        f"sum/{entry.what}",
        entry.what,
        entry.place,
        entry.total.text,
        f"{total:g}",
        _verdict(holds),
        f"{told} = {total:g}",
    )


def check_rate(printed: Printed, count: float | None, of: float) -> tuple[bool, str, str]:
    """Whether a percentage fits a count, or any count.

    Returns:
        Whether it fits, the recomputed percentage, and how.
    """
    if of == 0:
        return False, "undefined", "0/0"
    if count is not None:
        return (
            printed.agrees(count / of),
            printed.like(count / of),
            f"{count:g}/{of:g}",
        )
    least, most = math.ceil(printed.low * of - 1e-9), math.floor(printed.high * of + 1e-9)
    if least <= most:
        return True, printed.like(least / of), f"{least}/{of:g}"
    nearest = round(printed.value * of)
    return False, printed.like(nearest / of), f"no count of {of:g}; nearest {nearest}/{of:g}"


def _rate(entry: Rate) -> Finding:
    count = None if entry.count is None else entry.count.value
    holds, value, how = check_rate(entry.printed, count, entry.of.value)
    return Finding(
        f"rate/{entry.what}",
        entry.what,
        entry.place,
        entry.printed.text,
        value,
        _verdict(holds),
        how,
    )


def _bound(entry: Bound) -> Finding:
    limits = []
    holds = True
    if entry.at_most is not None:
        limits.append(f"at most {entry.at_most}")
        holds &= entry.value.low <= entry.at_most.high
    if entry.at_least is not None:
        limits.append(f"at least {entry.at_least}")
        holds &= entry.value.high >= entry.at_least.low
    return Finding(
        f"bound/{entry.what}",
        entry.what,
        entry.place,
        entry.value.text,
        " and ".join(limits),
        _verdict(holds),
        "" if holds else "outside what the other numbers allow",
    )


def _claim(entry: Claim, paper: Paper) -> Finding:
    values = {model: _metric(paper, model, entry) for model in entry.among}
    known = {model: value for model, value in values.items() if value is not None}
    told = ", ".join(f"{model} {value.text}" for model, value in known.items())
    key = f"claim/{entry.group}/{entry.metric}/{entry.winner}"
    what = f"what the text says of the {metric_name(entry.metric)}, {entry.group}"
    winner = known.pop(entry.winner, None)
    if winner is None or len(known) < len(entry.among) - 1:
        return Finding(key, what, entry.place, entry.says, told, "not derivable",
                       "not every model's number is printed")  # fmt: skip
    sign = 1 if entry.highest else -1
    better = [model for model, value in known.items() if sign * value.value > sign * winner.value]
    equal = [model for model, value in known.items() if value.value == winner.value]
    parts = [f"{model} is better" for model in better] + [f"{model} equals it" for model in equal]
    return Finding(
        key,
        what,
        entry.place,
        entry.says,
        told,
        _verdict(not parts),
        "; ".join(parts),
    )


def _metric(paper: Paper, model: str, entry: Claim) -> Printed | None:
    classifier = paper.classifier_of(model, entry.group)
    if classifier is None:
        return None
    if entry.metric == "auc":
        return None if classifier.auc is None else classifier.auc.value
    return classifier.cells().get(entry.metric)


def _order(entry: Order, paper: Paper) -> Finding:
    printed = {c.model: c.value.value for c in paper.concordance if c.group == entry.group}
    known = [(model, printed[model]) for model in entry.highest_first if model in printed]
    holds = all(a.high >= b.low for (_, a), (_, b) in zip(known, known[1:], strict=False))
    told = ", ".join(f"{model} {value}" for model, value in known)
    derivable = len(known) > 1
    return Finding(
        f"order/{entry.group}/{entry.what}",
        f"order of the {entry.what}, {entry.group}",
        entry.place,
        " > ".join(entry.highest_first),
        told,
        _verdict(holds) if derivable else "not derivable",
        "" if derivable else "fewer than two of the numbers are printed",
    )


def _statement(entry: Statement) -> Finding:
    return Finding(
        f"statement/{entry.group}/{entry.what}",
        f"{entry.what}, {entry.group}",
        entry.place,
        entry.says,
        "",
        "not derivable",
        "no number is printed",
    )
