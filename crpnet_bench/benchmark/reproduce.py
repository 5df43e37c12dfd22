"""The article's numbers beside those that the ordinary evaluation gives on simulated patients.

This checks the evaluation. It does not reproduce the study: the patients are simulated, the
risks are assigned, and most of what is compared was put in. Each row therefore says what it is
worth: "recomputed from printed counts", "matched by construction", or "not determined by the
paper", the last with its range over many simulated cohorts that all match the paper.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crpnet_bench.audit import Paper, audit_paper, shipped_cohort
from crpnet_bench.audit.classifiers import metric_name
from crpnet_bench.audit.paper import (
    RATE_NAMES,
    BaselineRow,
    Classifier,
    Concordance,
    HazardRatio,
)
from crpnet_bench.audit.printed import Printed, PrintedEstimate
from crpnet_bench.benchmark.differences import explain, load_differences
from crpnet_bench.benchmark.published_run import STAGE_MODELS, PublishedRun, evaluate_published
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.results import write_atomically
from crpnet_bench.stats.baseline import BaselineRow as TableRow
from crpnet_bench.stats.baseline import BaselineTable, baseline_table
from crpnet_bench.stats.correlations import correlation
from crpnet_bench.stats.discrimination import compare_auc, roc_auc
from crpnet_bench.synthetic.changhai import (
    COHORT_NAME,
    MODELS,
    T_STAGES,
    column_of,
    level_of,
    load_article,
    simulate_changhai,
)

__all__ = [
    "BY_CONSTRUCTION",
    "COHORT_NAME",
    "COUNTED",
    "MARKS",
    "RANGES_FILE",
    "UNDETERMINED",
    "WHAT_IT_IS",
    "Comparison",
    "document",
    "read_ranges",
    "report",
    "reproduce",
    "simulate_ranges",
    "summary",
    "to_frame",
    "write_ranges",
]

Mark = Literal[
    "recomputed from printed counts", "matched by construction", "not determined by the paper"
]
COUNTED: Mark = "recomputed from printed counts"
BY_CONSTRUCTION: Mark = "matched by construction"
UNDETERMINED: Mark = "not determined by the paper"
MARKS = (COUNTED, BY_CONSTRUCTION, UNDETERMINED)
RANGES_FILE = "simulated_ranges.csv"
GROUPS = ("training", "validation")
WHAT_IT_IS = (
    "Simulated patients with the article's printed margins, and risks assigned as published: "
    "this checks the evaluation, it does not reproduce the study."
)

_RATES = ("accuracy", "precision", "recall", "fpr", "fnr")
_AUC_TOLERANCE, _C_TOLERANCE = 0.005, 0.01
_SCORES = ("UISS", "SSIGN", "Karakiewicz")
_CORRELATED = ("WHO/ISUP grade", "T stage", "tumor diameter")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One printed cell beside its recomputed value.

    Attributes:
        key: stable name, as in the audit.
        part: which table of the article.
        group: training or validation.
        what: the quantity.
        place: where it is printed.
        published: as printed; empty where the article gives none.
        recomputed: the same by the ordinary evaluation.
        mark: what the agreement is worth.
        agrees: whether both are equal to the printed digits (by construction: to the stated
            tolerance); None where the article does not determine it.
        numbers: the recomputed numbers, unrounded: value, low, high.
        spread: range over simulated cohorts of what is not determined.
        note: the method, or why there is no number.
        explanation: what the list of differences says of it.
    """

    key: str
    part: str
    group: str
    what: str
    place: str
    published: str
    recomputed: str
    mark: Mark
    agrees: bool | None
    numbers: tuple[float, ...] = ()
    spread: str = ""
    note: str = ""
    explanation: str = ""

    @property
    def is_difference(self) -> bool:
        """Whether it differs, or is explained although the article does not determine it."""
        return self.agrees is False or bool(self.explanation)

    def as_record(self) -> dict[str, Any]:
        """For JSON: not-a-number becomes None."""
        record = asdict(self)
        record["numbers"] = [None if math.isnan(x) else x for x in self.numbers]
        return record


def reproduce(
    seed: int = 0, ranges: pd.DataFrame | None = None, paper: Paper | None = None
) -> tuple[Comparison, ...]:
    """Evaluate one simulated cohort and set each printed cell beside its recomputed value.

    Args:
        seed: of the simulated cohort.
        ranges: from `read_ranges` or `simulate_ranges`; the shipped ones if not given.
        paper: the printed figures; the shipped ones if not given.

    Returns:
        One row a printed cell, in the order of the article's tables.
    """
    article = paper or load_article()
    run = evaluate_published(simulate_changhai(seed, article))
    spread = read_ranges() if ranges is None else ranges
    return tuple(_explained(row, spread) for row in _rows(article, run))


def to_frame(rows: Iterable[Comparison]) -> pd.DataFrame:
    """The rows as a table for people: part, group, what, published, recomputed, mark, ..."""
    agreement = {True: "yes", False: "no", None: ""}
    records = [
        {
            "part": row.part,
            "group": row.group,
            "what": row.what,
            "published": row.published,
            "recomputed": row.recomputed,
            "mark": row.mark,
            "range": row.spread,
            "agrees": agreement[row.agrees],
            "note": row.note,
            "explanation": row.explanation,
        }
        for row in rows
    ]
    return pd.DataFrame(records)


def summary(rows: Iterable[Comparison]) -> dict[str, int]:
    """How many rows bear each mark, and how many differ."""
    listed = list(rows)
    counted: dict[str, int] = {mark: sum(row.mark == mark for row in listed) for mark in MARKS}
    return counted | {"differing": sum(row.agrees is False for row in listed)}


def document(rows: Iterable[Comparison]) -> dict[str, Any]:
    """For `--json`: what it is, counts by mark, and every row."""
    listed = list(rows)
    return {
        "what": WHAT_IT_IS,
        "summary": summary(listed),
        "rows": [row.as_record() for row in listed],
    }


def report(rows: Iterable[Comparison]) -> str:
    """Every row as a line, table by table, then the differences with their explanation."""
    listed = list(rows)
    tables: dict[str, list[str]] = {}
    explained: dict[str, list[str]] = {}
    for row in listed:
        tables.setdefault(f"{row.part}, {row.group}", []).append(_line(row))
        if row.is_difference:
            told = f"  {row.what}, {row.group}: printed {row.published}, here {row.recomputed}"
            explained.setdefault(row.explanation, []).append(told)
    lines = [line for title, members in tables.items() for line in ("", title, *members)]
    lines += ["", "Differences, and what explains them"]
    for explanation, members in explained.items():
        indent = " " * 6
        lines += members
        lines += textwrap.wrap(explanation, 100, initial_indent=indent, subsequent_indent=indent)
    counts = ", ".join(f"{mark}: {count}" for mark, count in summary(listed).items())
    return "\n".join([*lines, "", counts])


def _line(row: Comparison) -> str:
    agreement = {True: "=", False: "differs", None: ""}[row.agrees]
    spread = f" [{row.spread}]" if row.spread else ""
    note = f" ({row.note})" if row.note else ""
    return (
        f"  {row.what:<52} {row.published or '-':<26} {row.recomputed or '-':<26} "
        f"{agreement:<8} {row.mark}{spread}{note}"
    ).rstrip()


# --- Ranges over simulated cohorts ----------------------------------------------------------


def simulate_ranges(cohorts: int = 200, progress: Progress | None = None) -> pd.DataFrame:
    """Least and largest value of each undetermined number over the seeds 0 to cohorts - 1.

    Returns:
        Columns key, number (value | low | high), least, median, largest, cohorts, estimable.
    """
    article = load_article()
    found: dict[tuple[str, str], list[float]] = {}
    with (progress or SilentProgress()).task("simulated cohorts", cohorts, "cohorts") as task:
        for seed in range(cohorts):
            run = evaluate_published(simulate_changhai(seed, article))
            for row in _rows(article, run):
                if row.mark == UNDETERMINED:
                    for name, number in zip(("value", "low", "high"), row.numbers, strict=False):
                        found.setdefault((row.key, name), []).append(number)
            task.advance()
    records = []
    for (key, name), numbers in found.items():
        known = np.array([number for number in numbers if not math.isnan(number)])
        if known.size:
            low, middle, high = np.quantile(known, [0.0, 0.5, 1.0])
            records.append((key, name, low, middle, high, cohorts, known.size))
    names = ["key", "number", "least", "median", "largest", "cohorts", "estimable"]
    return pd.DataFrame(records, columns=names)


def write_ranges(ranges: pd.DataFrame, path: Path) -> None:
    """Write ranges as the file that comes with the program."""
    text = ranges.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(path, text.encode())


def read_ranges(path: Path | None = None) -> pd.DataFrame:
    """The shipped ranges over 200 simulated cohorts, or another file of that format."""
    return pd.read_csv(path or shipped_cohort("changhai") / RANGES_FILE)


def _explained(row: Comparison, ranges: pd.DataFrame) -> Comparison:
    spread = _spread(row, ranges) if row.mark == UNDETERMINED else ""
    differs = row.agrees is False or row.mark == UNDETERMINED
    said = explain(row.key, load_differences()) if differs and row.published else ""
    return replace(row, spread=spread, explanation=said)


def _spread(row: Comparison, ranges: pd.DataFrame) -> str:
    mine = ranges[ranges["key"] == row.key].set_index("number")
    told = []
    for name, label in (("value", ""), ("low", "lower limit "), ("high", "upper limit ")):
        if name in mine.index:
            low, high = (float(mine[edge].loc[name]) for edge in ("least", "largest"))
            told.append(f"{label}{_short(low)} to {_short(high)}")
    return ", ".join(told)


def _short(number: float) -> str:
    if number and abs(number) < 1e-3:
        return f"{number:.1e}"
    return f"{number:.3f}" if abs(number) < 10 else f"{number:.1f}"


# --- Rows -----------------------------------------------------------------------------------


def _rows(paper: Paper, run: PublishedRun) -> Iterator[Comparison]:
    for entry in paper.classifier:
        yield from _table_1(entry, run)
    for interval in paper.concordance:
        yield from _c_index(interval, run)
    yield from _c_order(paper, run)
    for ratio in paper.hazard_ratio:
        yield _hazard_ratio(ratio, run)
    yield from _statements(paper, run)
    yield from _patients(run)
    for group in GROUPS:
        yield from _baseline(paper, group, run)
    yield from _sizes(paper)


def _table_1(entry: Classifier, run: PublishedRun) -> Iterator[Comparison]:
    key = f"classifier/{entry.group}/{entry.model}"
    if entry.auc is not None:
        yield from _auc(entry, entry.auc, run)
    for number, printing in enumerate(entry.printings):
        for name, cell in printing.cells().items():
            value, _, _ = run.estimate(entry.group, entry.model, name)
            suffix = f"/again {number}" if number else ""
            yield Comparison(
                f"{key}/{name}{suffix}",
                "Table 1" if number == 0 else "text",
                entry.group,
                f"{entry.model} {metric_name(name)}",
                printing.place,
                cell.text,
                _recomputed(name, cell, value),
                COUNTED,
                cell.agrees(value),
                (value,),
            )


def _auc(entry: Classifier, cell: PrintedEstimate, run: PublishedRun) -> Iterator[Comparison]:
    group, model, key = entry.group, entry.model, f"auc/{entry.group}/{entry.model}"
    value, low, high = run.estimate(group, model, "auc")
    interval = f"{cell.low}-{cell.high}"
    yield Comparison(
        f"{key}/value", "Table 1", group, f"{model} AUC", entry.place, cell.value.text,
        f"{value:.3f}", BY_CONSTRUCTION, abs(value - cell.value.value) <= _AUC_TOLERANCE, (value,),
    )  # fmt: skip
    scored = run.scored(group, model)
    exact = roc_auc(
        scored["outcome"].to_numpy(), scored["risk"].to_numpy(np.float64), ci="exact_binomial"
    )
    limits = (float(exact.ci_low or 0.0), float(exact.ci_high or 1.0))
    close = max(abs(limits[0] - cell.low.value), abs(limits[1] - cell.high.value))
    yield Comparison(
        f"{key}/exact binomial", "Table 1", group, f"{model} AUC, exact binomial interval",
        entry.place, interval, f"{limits[0]:.3f}-{limits[1]:.3f}", BY_CONSTRUCTION,
        close <= _AUC_TOLERANCE, limits, note="the article's own method",
    )  # fmt: skip
    yield Comparison(
        f"{key}/DeLong", "Table 1", group, f"{model} AUC, DeLong interval", entry.place, interval,
        f"{low:.3f}-{high:.3f}", UNDETERMINED, None, (math.nan, low, high),
    )  # fmt: skip


def _c_index(entry: Concordance, run: PublishedRun) -> Iterator[Comparison]:
    value, low, high = run.estimate(entry.group, entry.model, "c_index")
    cell = entry.value
    key = f"concordance/{entry.group}/{entry.model}"
    yield Comparison(
        f"{key}/value", "C-index", entry.group, f"{entry.model} C-index", entry.place,
        cell.value.text, f"{value:.3f}", BY_CONSTRUCTION,
        abs(value - cell.value.value) <= _C_TOLERANCE, (value,),
    )  # fmt: skip
    yield Comparison(
        f"{key}/interval", "C-index", entry.group, f"{entry.model} C-index, 95% interval",
        entry.place, f"{cell.low}-{cell.high}", f"{low:.3f}-{high:.3f}", UNDETERMINED, None,
        (math.nan, low, high),
    )  # fmt: skip


def _c_order(paper: Paper, run: PublishedRun) -> Iterator[Comparison]:
    for entry in paper.order:
        values = {
            model: run.estimate(entry.group, model, "c_index")[0]
            for model in (*MODELS, *STAGE_MODELS)
        }
        printed = [model for model in entry.highest_first if model in values]
        found = sorted(values, key=lambda model: -values[model])
        yield Comparison(
            f"order/{entry.group}/{entry.what}", "C-index", entry.group, "order of the C-indices",
            entry.place, " > ".join(entry.highest_first), " > ".join(found), BY_CONSTRUCTION,
            found == printed, note="necrosis is not published, so it is not simulated",
        )  # fmt: skip
        for model in printed[1:]:
            yield Comparison(
                f"concordance/{entry.group}/{model}", "C-index", entry.group, f"{model} C-index",
                entry.place, "", f"{values[model]:.3f}", UNDETERMINED, None, (values[model],),
            )  # fmt: skip


def _hazard_ratio(entry: HazardRatio, run: PublishedRun) -> Comparison:
    known = entry.variable in (*MODELS, *STAGE_MODELS)
    numbers = (math.nan,) * 3
    if known:
        numbers = run.estimate(entry.group, entry.variable, "hr_high_low")
    value, low, high = numbers
    split = {"T stage": "T3-4 against T1-2", "WHO/ISUP grade": "III-IV against I-II"}.get(
        entry.variable, "high against low"
    )
    return Comparison(
        f"hazard_ratio/{entry.group}/{entry.variable}",
        "hazard ratios",
        entry.group,
        f"{entry.variable} hazard ratio, {split}",
        entry.place,
        entry.value.text,
        f"{value:.3f} ({low:.3f}-{high:.3f})" if known else "",
        UNDETERMINED,
        None,
        numbers,
        note="" if known else "not published by patient group, so it is not simulated",
    )


def _statements(paper: Paper, run: PublishedRun) -> Iterator[Comparison]:
    """What the article says without a number, beside the number."""
    for group in GROUPS:
        yield from _risk_groups(paper, group, run)
        for model in _SCORES:
            yield _paired(paper, group, model, run)
        for variable in _CORRELATED:
            yield _correlation(paper, group, variable, run)


def _beside(
    paper: Paper, key: str, group: str, what: str, recomputed: str, numbers: tuple[float, ...]
) -> Comparison:
    """A row of a statement; without one in this group nothing is published."""
    said = paper.statement_of(what, group)
    return Comparison(
        key, "statements without a number", group, what, said.place if said else "",
        said.says if said else "", recomputed, UNDETERMINED, None, numbers,
    )  # fmt: skip


def _risk_groups(paper: Paper, group: str, run: PublishedRun) -> Iterator[Comparison]:
    value, _, _ = run.estimate(group, "CRPNet", "logrank_p")
    what = "log-rank P of the CRPNet risk groups"
    yield _beside(paper, f"logrank/{group}/CRPNet", group, what, _p(value), (value,))
    what = "CRPNet recurrences above the median risk"
    if paper.statement_of(what, group):
        scored = run.scored(group, "CRPNet")
        high = int(scored.loc[scored["risk_group"] == "high", "outcome"].sum())
        told = f"{high} of {int(scored['outcome'].sum())}"
        row = _beside(paper, f"risk groups/{group}/CRPNet", group, what, told, ())
        yield replace(row, mark=BY_CONSTRUCTION, agrees=told == row.published)


def _patients(run: PublishedRun) -> Iterator[Comparison]:
    """The article counts its training patients in two ways; the cohort holds both."""
    patients = run.cohort.clinical.merge(run.cohort.split, on="patient_id")
    everybody = patients.loc[patients["role"] == "train", "recurrence"]
    scored = run.scored("training", "CRPNet")["outcome"]
    for what, printed, whole, counted in (
        ("patients in training", "183 / 174", len(everybody), len(scored)),
        ("recurrences in training", "48 / 45", int(everybody.sum()), int(scored.sum())),
    ):
        yield Comparison(
            f"same/{what}", "patients", "training", what,
            "Abstract and supplement / sample size and Table 1", printed,
            f"{whole} in the cohort, {counted} with a prediction", BY_CONSTRUCTION, False,
            (float(whole), float(counted)),
        )  # fmt: skip


def _paired(paper: Paper, group: str, model: str, run: PublishedRun) -> Comparison:
    mine, other = run.scored(group, "CRPNet"), run.scored(group, model)
    test = compare_auc(
        mine["outcome"].to_numpy(),
        mine["risk"].to_numpy(np.float64),
        other["risk"].to_numpy(np.float64),
    )
    value = _known(test.p_value)
    row = _beside(
        paper,
        f"paired/{group}/{model}",
        group,
        f"CRPNet against {model}",
        f"P {_p(value)}",
        (value,),
    )
    return replace(row, note="DeLong's paired test")


def _correlation(paper: Paper, group: str, variable: str, run: PublishedRun) -> Comparison:
    mine = run.scored(group, "CRPNet").merge(run.cohort.clinical, on="patient_id")
    values = {
        "WHO/ISUP grade": mine["grade"],
        "T stage": mine["pT"].map(T_STAGES.index),
        "tumor diameter": mine["diameter_mm"],
    }[variable]
    found = correlation(mine["risk"].to_numpy(np.float64), values.to_numpy(np.float64), "spearman")
    value = _known(found.value)
    row = _beside(
        paper,
        f"correlation/{group}/{variable}",
        group,
        f"correlation of CRPNet with {variable}",
        f"{value:.2f} (P {_p(_known(found.p_value))})",
        (value,),
    )
    return replace(row, note="Spearman")


# --- Supplementary tables -------------------------------------------------------------------


def _baseline(paper: Paper, group: str, run: PublishedRun) -> Iterator[Comparison]:
    printed = paper.baseline_of(group)
    patients = run.cohort.clinical.merge(run.cohort.split, on="patient_id")
    role = "train" if group == "training" else "validation"
    mine = patients[patients["role"] == role].astype({"grade": str})
    summaries = {column_of(row.name): _summary(row) for row in printed.row}
    table = baseline_table(mine, "recurrence", list(summaries), summaries)
    for row in printed.row:
        cells = list(_counts(row, table) if row.levels else _summaries(row, table))
        for recurrence, (label, text, value, agrees) in cells:
            yield Comparison(
                f"baseline/{group}/{row.name}/{label}/{recurrence}", printed.place, group,
                f"{row.name}{label and ', '}{label}, {printed.columns[recurrence]}",
                printed.place, text, value, BY_CONSTRUCTION, agrees,
            )  # fmt: skip
        if row.p is not None:
            yield _p_value(row, row.p, table, group, printed.place)


def _summary(row: BaselineRow) -> Literal["count", "mean", "median"]:
    if row.levels is not None:
        return "count"
    return "mean" if row.mean_sd is not None else "median"


_Cell = tuple[int, tuple[str, str, str, bool]]


def _counts(row: BaselineRow, table: BaselineTable) -> Iterator[_Cell]:
    everybody = table.n
    for level, cells in (row.levels or {}).items():
        mine = table.row(column_of(row.name), level_of(row.name, level))
        for recurrence, cell in enumerate(cells):
            count = int(mine.cells[recurrence].count or 0)
            share = count / everybody
            same = count == cell.count and (cell.percent is None or cell.percent.agrees(share))
            percent = "" if cell.percent is None else f" ({cell.percent.like(share)})"
            yield recurrence, (level, cell.text, f"{count}{percent}", same)


def _summaries(row: BaselineRow, table: BaselineTable) -> Iterator[_Cell]:
    mine = table.row(column_of(row.name)).cells
    for recurrence, mean in enumerate(row.mean_sd or ()):
        own = mine[recurrence]
        pairs = ((mean.mean, own.mean), (mean.sd, own.sd))
        yield recurrence, ("", mean.text, _told(pairs, "{} ± {}"), _all_agree(pairs))
    for recurrence, median in enumerate(row.median_iqr or ()):
        own = mine[recurrence]
        parts = ((median.median, own.median), (median.q1, own.q1), (median.q3, own.q3))
        yield recurrence, ("", median.text, _told(parts, "{} ({}, {})"), _all_agree(parts))


def _told(pairs: Iterable[tuple[Printed, float | None]], form: str) -> str:
    return form.format(*(cell.like(_known(value)) for cell, value in pairs))


def _all_agree(pairs: Iterable[tuple[Printed, float | None]]) -> bool:
    return all(cell.agrees(_known(value)) for cell, value in pairs)


def _known(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _p_value(
    row: BaselineRow, printed: Printed, table: BaselineTable, group: str, place: str
) -> Comparison:
    """Counts decide their P value, means and SDs theirs; medians do not."""
    first: TableRow = table.row(column_of(row.name))
    value = _known(first.p_value)
    mark = {"count": COUNTED, "mean": BY_CONSTRUCTION, "median": UNDETERMINED}[_summary(row)]
    method = first.test.method if first.test else ""
    return Comparison(
        f"baseline/{group}/{row.name}/p",
        place,
        group,
        f"{row.name}, P value",
        place,
        printed.text,
        _p(value),
        mark,
        None if mark == UNDETERMINED else printed.agrees(value),
        (value,),
        note=method,
    )


def _sizes(paper: Paper) -> Iterator[Comparison]:
    """Sample size and power come from no patient: the audit recomputes them."""
    for finding in audit_paper(paper):
        if finding.key.startswith(("sample_size/", "power/")):
            apart = finding.key.endswith("/all criteria")
            yield Comparison(
                finding.key, "sample size", "training", finding.what, finding.place,
                finding.printed, finding.recomputed, COUNTED,
                None if apart else finding.verdict == "consistent",
                note=finding.explanation,
            )  # fmt: skip


def _recomputed(name: str, cell: Printed, value: float) -> str:
    if math.isnan(value):
        return "undefined (0/0)"
    return cell.like(value) if name in RATE_NAMES else f"{value:g}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 or math.isnan(value) else f"{value:.1e}"
