"""Statements on sample size and power, recomputed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from crpnet_bench.audit.finding import Finding
from crpnet_bench.audit.paper import Paper, Power, SampleSize
from crpnet_bench.errors import InputError
from crpnet_bench.stats.study_size import (
    largest_number_of_predictors,
    power_logistic,
    sample_size,
    sample_size_for_events_per_variable,
    sample_size_for_shrinkage,
)

__all__ = ["check_sizes"]


def check_sizes(paper: Paper) -> Iterator[Finding]:
    """All findings on sample size and power."""
    for entry in paper.sample_size:
        yield _statement(entry)
        if entry.rule == "shrinkage":
            yield _all_criteria(entry)
    for power in paper.power:
        yield _power(power)


def _statement(entry: SampleSize) -> Finding:
    value, how = _required(entry)
    if entry.needed is not None:
        text, fits = entry.needed.text, entry.needed.value in {math.ceil(value), round(value)}
    else:
        allowed = entry.predictors_allowed
        text = allowed.text if allowed else ""
        fits = allowed is not None and allowed.value == math.floor(value)
    return Finding(
        f"sample_size/{entry.what}", entry.what, entry.place, text, f"{value:.2f}",
        "consistent" if fits else "contradiction", how,
    )  # fmt: skip


def _required(entry: SampleSize) -> tuple[float, str]:
    if entry.rule == "events_per_variable":
        value = sample_size_for_events_per_variable(
            entry.predictors, entry.events / entry.n, entry.events_per_variable
        )
        return value, (
            f"{entry.events_per_variable:g} events per variable at "
            f"{entry.events} events in {entry.n}"
        )
    r2 = entry.r2_cox_snell or 0.0
    if entry.predictors_allowed is not None:
        value = largest_number_of_predictors(entry.n, r2, entry.shrinkage)
        return value, f"{entry.n} (S - 1) ln(1 - R2/S): Riley's criterion (i) for the predictors"
    value = sample_size_for_shrinkage(entry.predictors, r2, entry.shrinkage)
    return value, "predictors / ((S - 1) ln(1 - R2/S)): Riley's criterion (i)"


def _all_criteria(entry: SampleSize) -> Finding:
    allowed = entry.predictors_allowed
    predictors = entry.predictors if allowed is None else round(allowed.value)
    key, what = f"sample_size/{entry.what}/all criteria", f"{entry.what}: all of Riley's criteria"
    try:
        size = sample_size(
            "binary",
            predictors=predictors,
            prevalence=entry.events / entry.n,
            cox_snell_r2=entry.r2_cox_snell,
            shrinkage=entry.shrinkage,
        )
    except InputError as error:
        return Finding(key, what, entry.place, f"n = {entry.n}", "", "contradiction", str(error))
    enough = size.n <= entry.n
    return Finding(
        key,
        what,
        entry.place,
        f"n = {entry.n}",
        f"{size.n} for {predictors} predictor{'s' if predictors != 1 else ''}",
        "consistent" if enough else "note",
        f"the criterion that asks for most: {size.deciding}",
    )


def _power(entry: Power) -> Finding:
    power = power_logistic(entry.n, entry.events / entry.n, entry.odds_ratio, alpha=entry.alpha)
    return Finding(
        f"power/{entry.what}",
        entry.what,
        entry.place,
        entry.printed.text,
        entry.printed.like(power.value),
        "consistent" if entry.printed.agrees(power.value) else "contradiction",
        f"Hsieh 1998, one standardised predictor, {entry.events} events in {entry.n}",
    )
