"""Scores for a whole table: parse every cell, list every problem, then compute.

Rows keep their order and identifiers their exact text. An identifier that a spreadsheet
would take for a formula is refused rather than altered, so that the output joins with
the input and is safe to open.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import pandas as pd

from crpnet_bench.errors import InputError, Problem, ValidationError, did_you_mean, shorten
from crpnet_bench.scores.catalogue import SCORES, get_score
from crpnet_bench.scores.components import (
    EXPECTED,
    ClinicalInputs,
    ComponentValue,
    parse_component,
)
from crpnet_bench.scores.reading import read_table
from crpnet_bench.scores.result import DEFAULT_OPTIONS, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import parse_grading, parse_tnm_edition, unstated_systems

__all__ = [
    "TABLE_SCORES",
    "ParsedTable",
    "ScoreSummary",
    "parse_table",
    "score_csv",
    "score_patients",
    "score_table",
]

TABLE_SCORES = ("uiss_2002", "ssign", "leibovich_2003", "grant", "keynote564")

_ID = "patient_id"
_SIZES = ("tumor_size_cm", "tumor_size_mm")
_COLUMNS = (
    *("pT", "pN", "M", "grade", "tumor_size_cm", "necrosis", "ecog", "age", "symptoms"),
    "sarcomatoid",
)
_OPTIONAL = ("tumor_size_mm", "rhabdoid", "m1_ned")  # not missed where they are absent
_NAMES = {name.casefold(): name for name in (_ID, *_COLUMNS, *_OPTIONAL)} | {
    "tumour_size_cm": "tumor_size_cm",
    "tumour_size_mm": "tumor_size_mm",
}
_ROUNDING_CM = 0.051  # two columns of one size may differ by rounding to a millimetre
_LONGEST_ID = 200
_NAMES_SHOWN = 10
_FIRST_ROW = 2  # as a spreadsheet counts, below the header

Column = list[ComponentValue | None]


@dataclass(frozen=True, slots=True)
class ParsedTable:
    """A table whose every cell was understood.

    Args:
        patient_ids: as written, in the order of the rows.
        inputs: one record a row.
        warnings: what is odd but no error: absent, unused and repeated things.
    """

    patient_ids: tuple[str, ...]
    inputs: tuple[ClinicalInputs, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What `score_csv` did.

    Args:
        patients: number of rows.
        determined: score -> number of rows with a value.
        warnings: what a reader must know.
        output: the file written.
    """

    patients: int
    determined: Mapping[str, int]
    warnings: tuple[str, ...]
    output: Path

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in self.determined.items())
        return f"{_patients(self.patients)} scored, determined: {counts}; written to {self.output}"

    def as_record(self) -> dict[str, object]:
        """The summary as one JSON document."""
        return {
            "patients": self.patients,
            "determined": dict(self.determined),
            "warnings": list(self.warnings),
            "output": str(self.output),
        }


def parse_table(frame: pd.DataFrame, file: str = "table") -> ParsedTable:
    """Every row as clinical inputs.

    Args:
        frame: columns `patient_id` and any of pT, pN, M, grade, tumor_size_cm (or
            tumor_size_mm), necrosis, ecog, age, symptoms, sarcomatoid, rhabdoid, m1_ned,
            in any case; cells as text, numbers or bool. An absent column is a missing input.
        file: how messages name the table.

    Raises:
        InputError: no patient_id column, a column given twice, or no rows.
        ValidationError: unknown spellings and impossible values, all listed.
    """
    columns = _find_columns(frame, file)
    if frame.empty:
        raise InputError(f"{file}: no rows below the header; expected one row a patient")
    cells = {name: list(frame.iloc[:, place]) for name, place in columns.items()}
    titles = {name: str(frame.columns[place]) for name, place in columns.items()}
    problems: list[Problem] = []
    ids = _parse_ids(cells.pop(_ID), file, titles[_ID], problems)
    parsed = {
        name: _parse_column(name, column, file, titles[name], problems)
        for name, column in cells.items()
    }
    _merge_sizes(parsed, file, titles, problems)
    if problems:
        problems.sort(key=lambda problem: (problem.row or 0, problem.column or ""))
        raise ValidationError(problems, f"{file} cannot be scored")
    rows = zip(*parsed.values(), strict=True) if parsed else iter([()] * len(ids))
    inputs = tuple(ClinicalInputs(**dict(zip(parsed, row, strict=True))) for row in rows)
    return ParsedTable(tuple(ids), inputs, _table_warnings(frame, columns, ids))


def score_patients(
    inputs: Iterable[ClinicalInputs],
    options: ScoreOptions = DEFAULT_OPTIONS,
    scores: Sequence[str] = TABLE_SCORES,
) -> dict[str, list[ScoreResult]]:
    """Score name -> one result a patient, in their order.

    Args:
        inputs: one record a patient.
        options: how scores are computed.
        scores: names in the registry of scores.

    Raises:
        NotFoundError: no score has that name.
    """
    patients = tuple(inputs)
    functions = {name: get_score(name).function for name in scores}
    return {
        name: [function(patient, options) for patient in patients]
        for name, function in functions.items()
    }


def score_table(
    frame: pd.DataFrame,
    *,
    tnm_edition: str | int | None = None,
    grading: str | None = None,
    outside_scope: bool = False,
    ssign_pt4_points: int = 0,
    assume_ecog_0: bool = False,
) -> pd.DataFrame:
    """All scores of a table, computed from raw columns.

    Args:
        frame: as `parse_table` takes it.
        tnm_edition: recorded, never converted.
        grading: recorded, never converted.
        outside_scope: compute scores also for patients for whom they were not made.
        ssign_pt4_points: points of pT4 in SSIGN.
        assume_ecog_0: resolve a missing ECOG in UISS as 0.

    Returns:
        One row a patient: patient_id; for each score its value, `_group`, `_min`,
        `_max`, `_reason`; tnm_edition, grading, warnings. A value that is not
        determined is missing, its bounds are not; bounds equal a determined value
        (UISS and KEYNOTE-564: its group).

    Raises:
        InputError: see `parse_table`.
        ValidationError: see `parse_table`.
    """
    options = ScoreOptions(
        tnm_edition=parse_tnm_edition(tnm_edition),
        grading=parse_grading(grading),
        outside_scope=outside_scope,
        ssign_pt4_points=ssign_pt4_points,
        assume_ecog_0=assume_ecog_0,
    )
    table = parse_table(frame)
    return _as_frame(table.patient_ids, score_patients(table.inputs, options), options)


def score_csv(source: Path, target: Path, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreSummary:
    """Score a file; the output appears whole or not at all.

    Args:
        source: .csv, .tsv or .xlsx.
        target: the table to write; tab-separated if it ends in .tsv, else CSV.
        options: how scores are computed.

    Raises:
        InputError: the table cannot be read or the output cannot be written.
        ValidationError: unknown spellings and impossible values, all listed.
    """
    _check_target(source, target)
    table = parse_table(read_table(source), str(source))
    results = score_patients(table.inputs, options)
    _write(_as_frame(table.patient_ids, results, options), target)
    return ScoreSummary(
        patients=len(table.patient_ids),
        determined={
            name: sum(result.determined for result in column) for name, column in results.items()
        },
        warnings=(
            *table.warnings,
            *unstated_systems(options.tnm_edition, options.grading),
            *_counted_warnings(results),
        ),
        output=target,
    )


# ---------------------------------------------------------------- reading


def _find_columns(frame: pd.DataFrame, file: str) -> dict[str, int]:
    """Input name -> position of its column."""
    found: dict[str, int] = {}
    for place, title in enumerate(frame.columns):
        name = _name_of(title)
        if name is None:
            continue
        if name in found:
            titles = f"{frame.columns[found[name]]!r} and {title!r}"
            raise InputError(f"{file}: columns {titles} both hold {name}; keep one of them")
        found[name] = place
    if _ID not in found:
        titles = ", ".join(repr(str(title)) for title in frame.columns[:20])
        raise InputError(f"{file}: no column {_ID!r}; found {titles}; rename the one that holds it")
    return found


def _name_of(title: object) -> str | None:
    return _NAMES.get(str(title).strip().casefold().replace(" ", "_"))


def _parse_ids(
    cells: Sequence[object], file: str, title: str, problems: list[Problem]
) -> list[str]:
    ids = [_id_text(cell) for cell in cells]
    for row, text in enumerate(ids, start=_FIRST_ROW):
        expected = _why_not_an_id(text)
        if expected:
            problems.append(Problem(file, expected, column=title, row=row, value=text))
    return ids


def _id_text(cell: object) -> str:
    if cell is None or cell != cell or type(cell).__name__ in {"NAType", "NaTType"}:  # noqa: PLR0124 NaN
        return ""
    # A column of numbers with a gap in it comes as floats; 7 was meant, not 7.0.
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _why_not_an_id(text: str) -> str | None:
    if not text.strip():
        return "an identifier in every row"
    if text.lstrip()[0] in "=+-@" or text[0] in "\t\r\n":
        return "an identifier that no spreadsheet takes for a formula (not beginning with = + - @)"
    if len(text) > _LONGEST_ID:
        return f"an identifier of at most {_LONGEST_ID} characters"
    return None


def _parse_column(
    name: str, cells: Sequence[object], file: str, title: str, problems: list[Problem]
) -> Column:
    parse = lru_cache(maxsize=4096)(partial(parse_component, name))  # a column repeats its cells
    values: Column = []
    for row, cell in enumerate(cells, start=_FIRST_ROW):
        try:
            values.append(parse(cell) if isinstance(cell, str) else parse_component(name, cell))
        except InputError:
            values.append(None)
            problems.append(Problem(file, EXPECTED[name], column=title, row=row, value=cell))
    return values


def _merge_sizes(
    parsed: dict[str, Column], file: str, titles: Mapping[str, str], problems: list[Problem]
) -> None:
    """One size column in cm out of the two that a table may have; they must agree."""
    millimetres = parsed.pop("tumor_size_mm", None)
    if millimetres is None:
        return
    centimetres = parsed.get("tumor_size_cm", [None] * len(millimetres))
    for row, (cm, mm) in enumerate(zip(centimetres, millimetres, strict=True), start=_FIRST_ROW):
        if cm is not None and mm is not None and abs(float(cm) - float(mm)) > _ROUNDING_CM:
            expected = f"the same size as in column {titles['tumor_size_mm']!r} ({float(mm):g} cm)"
            problems.append(
                Problem(file, expected, column=titles["tumor_size_cm"], row=row, value=cm)
            )
    parsed["tumor_size_cm"] = [
        mm if cm is None else cm for cm, mm in zip(centimetres, millimetres, strict=True)
    ]


def _table_warnings(
    frame: pd.DataFrame, columns: Mapping[str, int], ids: Sequence[str]
) -> tuple[str, ...]:
    has_size = any(name in columns for name in _SIZES)
    absent = [n for n in _COLUMNS if n not in columns and not (n in _SIZES and has_size)]
    unused = [str(title) for title in frame.columns if _name_of(title) is None]
    repeated = [text for text, count in Counter(ids).items() if count > 1]
    return (
        *([f"no column for {', '.join(absent)}: missing for every patient"] if absent else []),
        *([f"columns not used: {_first(unused)}"] if unused else []),
        *(hint for title in unused if (hint := _nearest(title, absent))),
        *(
            [f"in several rows, each scored alone: patient_id {_first(repeated)}"]
            if repeated
            else []
        ),
    )


def _first(names: Sequence[str]) -> str:
    shown = ", ".join(shorten(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _nearest(title: str, absent: Sequence[str]) -> str | None:
    hint = did_you_mean(title[:_LONGEST_ID], absent) if absent else ""
    return f"column {shorten(title)}: {hint}" if hint.startswith("did you mean") else None


def _patients(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


# ---------------------------------------------------------------- writing


def _as_frame(
    patient_ids: Sequence[str], results: Mapping[str, list[ScoreResult]], options: ScoreOptions
) -> pd.DataFrame:
    columns: dict[str, pd.Series] = {_ID: pd.Series(patient_ids, dtype=object)}
    for name, column in results.items():
        values = pd.Int64Dtype() if isinstance(SCORES[name].range[0], int) else object
        columns[name] = pd.Series([result.value for result in column], dtype=values)
        columns[f"{name}_group"] = pd.Series([result.group for result in column], dtype=object)
        columns[f"{name}_min"] = pd.Series([result.minimum for result in column], dtype=values)
        columns[f"{name}_max"] = pd.Series([result.maximum for result in column], dtype=values)
        columns[f"{name}_reason"] = pd.Series([result.reason for result in column], dtype=object)
    frame = pd.DataFrame(columns)
    frame["tnm_edition"] = options.tnm_edition
    frame["grading"] = options.grading
    frame["warnings"] = pd.Series(
        [_row_warnings(row) for row in zip(*results.values(), strict=True)], dtype=object
    )
    return frame


def _row_warnings(results: Iterable[ScoreResult]) -> str | None:
    scores_by_text: dict[str, list[str]] = defaultdict(list)
    for result in results:
        for text in result.warnings:
            scores_by_text[text].append(result.score)
    sentences = [f"{', '.join(names)}: {text}" for text, names in scores_by_text.items()]
    return " | ".join(sentences) or None


def _counted_warnings(results: Mapping[str, list[ScoreResult]]) -> list[str]:
    """Each warning once, with the scores and the number of patients it concerns."""
    patients: dict[str, set[int]] = defaultdict(set)
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for name, column in results.items():
        for row, result in enumerate(column):
            for text in result.warnings:
                patients[text].add(row)
                names[text][name] = None
    return [
        f"{', '.join(names[text])}, {_patients(len(rows))}: {text}"
        for text, rows in patients.items()
    ]


def _check_target(source: Path, target: Path) -> None:
    if target.suffix.lower() in {".xlsx", ".xls", ".parquet"}:
        raise InputError(f"{target}: the output is a text table; expected .csv or .tsv")
    if target.is_dir() or not target.parent.is_dir():
        raise InputError(f"{target}: not a file in an existing folder; expected a .csv to write")
    if source.exists() and target.exists() and source.samefile(target):
        raise InputError(f"{target}: input and output are the same file; name another output")


def _write(frame: pd.DataFrame, target: Path) -> None:
    """Write under a temporary name beside the target, then rename."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        separator = "\t" if target.suffix.lower() == ".tsv" else ","
        frame.to_csv(temporary, index=False, sep=separator, encoding="utf-8", lineterminator="\n")
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from error
    finally:
        temporary.unlink(missing_ok=True)
