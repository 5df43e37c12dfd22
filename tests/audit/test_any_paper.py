"""A made-up paper whose numbers hold, and the same with one digit altered."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import pydantic
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.audit import Paper, audit_paper
from crpnet_bench.stats.proportions import proportion_interval
from crpnet_bench.stats.study_size import power_logistic

# 120 patients, 40 events; three tests with these counts: TP, FP, FN, TN.
N, EVENTS = 120, 40
COUNTS = {"New": (32, 8, 8, 72), "Old": (24, 14, 16, 66), "Age": (20, 20, 20, 60)}
AUCS = {"New": 0.884, "Old": 0.741, "Age": 0.662}
# No share is a tie between two roundings. P values: R's chisq.test(correct = FALSE).
SEX = {"men": (46, 29), "women": (34, 11)}
GRADE = {"1": (18, 5), "2": (44, 20), "3": (18, 15)}


def levels(counts: dict[str, tuple[int, int]]) -> dict[str, list[str]]:
    sizes = (N - EVENTS, EVENTS)
    return {
        level: [f"{k} ({percent(k / n, 1)})" for k, n in zip(pair, sizes, strict=True)]
        for level, pair in counts.items()
    }


def percent(share: float, decimals: int = 2) -> str:
    return f"{100 * share:.{decimals}f}%"


def classifier(model: str) -> dict[str, Any]:
    tp, fp, fn, tn = COUNTS[model]
    interval = proportion_interval(AUCS[model] * N, N, "clopper_pearson")
    return {
        "model": model, "group": "test", "place": "Table 2", "n": N, "events": EVENTS,
        "auc": f"{AUCS[model]:.3f} ({interval.ci_low:.3f}-{interval.ci_high:.3f})",
        "accuracy": percent((tp + tn) / N), "precision": percent(tp / (tp + fp)),
        "recall": percent(tp / EVENTS), "fpr": percent(fp / (N - EVENTS)),
        "fnr": percent(fn / EVENTS), "tp": str(tp), "fp": str(fp),
    }  # fmt: skip


def made_up() -> dict[str, Any]:
    """Figures that were computed from counts, hence hold."""
    power = power_logistic(N, EVENTS / N, 1.4).value
    return {
        "methods": {"counts_test": "by expected count"},
        "same": [{"what": "patients", "printed": [
            {"value": "120", "place": "Abstract"}, {"value": "120", "place": "Table 1"}]}],
        "sum": [{"what": "patients", "place": "Methods", "total": "120", "parts": ["40", "80"]}],
        "rate": [{"what": "women", "place": "Methods", "count": "45", "of": "120",
                  "printed": "37.5%"}],
        "classifier": [classifier(model) for model in COUNTS],
        "hazard_ratio": [{"variable": "New", "group": "test", "place": "Table 3",
                          "value": hazard_ratio(2.4, 0.21)}],
        "sample_size": [{"what": "EPV", "place": "Methods", "rule": "events_per_variable",
                         "n": N, "events": EVENTS, "predictors": 8, "needed": "240"}],
        "power": [{"what": "power", "place": "Methods", "odds_ratio": 1.4, "n": N,
                   "events": EVENTS, "printed": percent(power)}],
        "baseline": [{"group": "test", "place": "Table 1", "columns": ["no event", "event"],
                      "n": ["80", "40"], "percent_of": "column", "row": [
            {"name": "Sex", "p": "0.110", "levels": levels(SEX)},
            {"name": "Grade", "p": "0.157", "levels": levels(GRADE)},
        ]}],
    }  # fmt: skip


def hazard_ratio(value: float, se: float) -> str:
    low, high = (value * math.exp(sign * 1.959964 * se) for sign in (-1, 1))
    return f"{value:.3f} ({low:.3f}-{high:.3f})"


def serious(values: dict[str, Any]) -> list[str]:
    findings = audit_paper(Paper.model_validate(values))
    return [finding.key for finding in findings if finding.is_finding]


# Where a changed digit must show. Not the digits that rounding leaves free: limits of an
# interval (a unit of the last digit may still fit) and shares of a count that is not printed.
Path = tuple[Any, ...]
DETERMINED = {
    "same": ("printed",),
    "sum": ("total", "parts"),
    "rate": ("count", "of", "printed"),
    "classifier": ("accuracy", "precision", "recall", "fpr", "fnr", "tp", "fp"),
    "sample_size": ("needed",),
    "power": ("printed",),
    "baseline": ("n", "row"),
}
FREE = {"place", "what", "name"}


def texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        if key not in FREE:
            yield from texts(inner, (*path, key))


def alterable() -> list[tuple[Path, int]]:
    paper = made_up()
    return [
        (path, position)
        for section, keys in DETERMINED.items()
        for number, entry in enumerate(paper[section])
        for key in keys
        for path, text in texts(entry[key], (section, number, key))
        for position, character in enumerate(text)
        if character.isdigit()
    ]


ALTERABLE = sorted(alterable(), key=str)


def test_a_consistent_paper_has_no_contradiction():
    assert serious(made_up()) == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ALTERABLE), st.integers(1, 9))
def test_a_single_altered_digit_is_found(where: tuple[Path, int], shift: int):
    path, position = where
    paper = copy.deepcopy(made_up())
    holder: Any = paper
    for key in path[:-1]:
        holder = holder[key]
    text = holder[path[-1]]
    digit = str((int(text[position]) + shift) % 10)
    holder[path[-1]] = text[:position] + digit + text[position + 1 :]
    with contextlib.suppress(pydantic.ValidationError):  # refused at once, as a rate of 138 %
        assert serious(paper), f"{text} -> {holder[path[-1]]} at {path} was not found"


def test_wrong_hazard_ratio_and_auc_are_found():
    paper = made_up()
    paper["hazard_ratio"][0]["value"] = hazard_ratio(2.4, 0.21).replace("2.400", "2.430")
    paper["classifier"][0]["auc"] = paper["classifier"][0]["auc"].replace("0.884 ", "0.894 ")
    assert {"hazard_ratio/test/New", "auc/test/New/interval"} <= set(serious(paper))


def test_auc_that_its_own_classes_forbid():
    paper = made_up()
    paper["classifier"][1]["auc"] = "0.970 (0.948-0.984)"
    assert "auc/test/Old/classes" in serious(paper)


def test_rate_without_a_count_needs_some_count():
    entry = {"what": "x", "place": "p", "of": "19"}
    assert serious({"rate": [entry | {"printed": "63.16%"}]}) == []
    assert serious({"rate": [entry | {"printed": "64.00%"}]}) == ["rate/x"]


def test_mean_of_whole_numbers_that_no_sum_gives():
    row = {"name": "Age", "whole_numbers": True, "mean_sd": ["59.05 ± 5.3", "61.24 ± 5.1"]}
    table = {"group": "g", "place": "p", "columns": ["a", "b"], "n": ["19", "19"], "row": [row]}
    assert serious({"baseline": [table]}) == ["baseline/g/Age/b/mean"]


def test_unknown_test_of_counts_may_be_any():
    row = {"name": "Sex", "levels": {"m": ["8", "2"], "f": ["1", "5"]}}
    table = {"group": "g", "place": "p", "columns": ["a", "b"], "n": ["9", "7"]}
    for p in ("0.013", "0.051", "0.035"):  # Pearson, Yates, Fisher (R: chisq.test, fisher.test)
        assert serious({"baseline": [table | {"row": [row | {"p": p}]}]}) == []
    assert serious({"baseline": [table | {"row": [row | {"p": "0.020"}]}]}) == ["baseline/g/Sex/p"]
