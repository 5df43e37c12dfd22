"""Which slide file belongs to which patient, and which ones are not used, with the reason."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic

from crpnet_bench.errors import InputError, Problem
from crpnet_bench.registry.barcodes import read_barcode
from crpnet_bench.registry.cells import parser_of
from crpnet_bench.registry.manifest import problems_of
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.schema import Slide, SlidesSection, formula_like
from crpnet_bench.scores.components import is_missing

__all__ = ["SLIDE_COLUMNS", "match_slides", "read_slides", "table_file"]

SLIDE_COLUMNS = ("patient_id", "path", "mpp", "specimen", "preparation", "tumor_no")
_SPELLINGS: Mapping[str, Mapping[str, str]] = {
    "specimen": {
        "tumour": "tumour",
        "tumor": "tumour",
        "primary tumor": "tumour",
        "primary tumour": "tumour",
        "normal": "normal",
        "solid tissue normal": "normal",
    },
    "preparation": {
        "ffpe": "ffpe",
        "diagnostic": "ffpe",
        "paraffin": "ffpe",
        "frozen": "frozen",
        "ff": "frozen",
        "cryo": "frozen",
    },
}
_EXPECTED = {
    "specimen": "tumour or normal",
    "preparation": "ffpe or frozen",
    "mpp": "micrometres a pixel, above 0 and at most 20, such as 0.25; empty where not known",
    "path": "a path to a slide, relative to cohort.toml",
}
NOT_A_PATIENT = "its patient is not in the clinical table"

Row = dict[str, Any]


def table_file(folder: Path, section: SlidesSection | None) -> Path | None:
    """The slide table, None where slides are found by a pattern or there are none."""
    return folder / section.file if section is not None and section.file else None


def read_slides(
    folder: Path, section: SlidesSection | None, patients: Collection[str]
) -> tuple[list[Row], list[Problem], list[str]]:
    """The slides of a cohort.

    Args:
        folder: of the manifest; paths are relative to it.
        section: `[slides]`; None means a cohort without slides.
        patients: identifiers of the clinical table.

    Returns:
        One dict a slide (fields of `Slide`, `excluded`, `reason`), problems, warnings.
    """
    if section is None:
        return [], [], ["no [slides]: the cohort serves clinical scores only"]
    warnings: list[str] = []
    if section.file is not None:
        table, problems = read_text_table(
            folder / section.file, name=section.file, encoding=section.encoding
        )
        rows = [] if table is None else _rows_of_table(table, problems)
    else:
        rows, problems, warnings = _rows_of_folder(folder, section, patients)
    if not problems:
        warnings += _decide(rows, section, patients, problems)
    return rows, problems, warnings


def _rows_of_table(table: TextTable, problems: list[Problem]) -> list[Row]:
    for name in ("patient_id", "path"):
        absent = table.find(name, "the slide table")
        if absent:
            problems.append(absent)
    problems += [
        Problem(table.file, f"only the columns {', '.join(SLIDE_COLUMNS)}", column=name)
        for name in table.columns
        if name and name not in SLIDE_COLUMNS
    ]
    if problems:
        return []
    rows = []
    for number, cells in zip(table.row_numbers, table.rows, strict=True):
        row = dict(zip(table.columns, cells, strict=True))
        row.pop("", None)
        parsed = {name: _cell(name, row.get(name, ""), table, number, problems) for name in row}
        _hold_to_record(parsed, table.file, number, problems)
        rows.append(parsed)
    counts = Counter(row["path"] for row in rows)
    problems += [
        Problem(table.file, "each file once", "path", number, row["path"])
        for number, row in zip(table.row_numbers, rows, strict=True)
        if row["path"] and counts[row["path"]] > 1
    ]
    return rows


def _cell(name: str, text: str, table: TextTable, row: int, problems: list[Problem]) -> Any:  # noqa: ANN401
    """One cell; a bad one is listed."""
    try:
        return _PARSERS[name](text)
    except InputError as error:
        expected = _EXPECTED.get(name) or parser_of("patient_id").expected
        problems.append(Problem(table.file, expected, name, row, text or str(error)))
        return None


def _identifier(text: str) -> Any:  # noqa: ANN401 a parser's value
    if is_missing(text):
        raise InputError("empty")
    return parser_of("patient_id").parse(text)


def _path(text: str) -> str:
    if not text or formula_like(text) or not text.isprintable() or len(text) > 4_096:
        raise InputError("empty")
    return text


def _mpp(text: str) -> float | None:
    if is_missing(text):
        return None
    number = parser_of("time").parse(text)
    if not isinstance(number, float) or not 0 < number <= 20:
        raise InputError("out of range")
    return number


def _optional(text: str) -> Any:  # noqa: ANN401 a parser's value
    return None if is_missing(text) else parser_of("tumor_no").parse(text)


def _word(name: str, text: str) -> str | None:
    if is_missing(text):
        return None
    try:
        return _SPELLINGS[name][text.casefold()]
    except KeyError:
        raise InputError("unknown") from None


_PARSERS: Mapping[str, Any] = {
    "patient_id": _identifier,
    "path": _path,
    "mpp": _mpp,
    "specimen": lambda text: _word("specimen", text),
    "preparation": lambda text: _word("preparation", text),
    "tumor_no": _optional,
}


def _hold_to_record(row: Row, file: str, number: int, problems: list[Problem]) -> None:
    if row["patient_id"] is None or row["path"] is None:
        return  # listed already
    try:
        Slide.model_validate({name: value for name, value in row.items() if value is not None})
    except pydantic.ValidationError as error:
        problems += [
            Problem(file, found.expected, found.column, number, found.value)
            for found in problems_of(error, file, Slide)
        ]


def _rows_of_folder(
    folder: Path, section: SlidesSection, patients: Collection[str]
) -> tuple[list[Row], list[Problem], list[str]]:
    root, pattern = folder / str(section.dir), str(section.pattern)
    if not root.is_dir():
        problem = Problem("cohort.toml", "an existing folder", "slides.dir", value=section.dir)
        return [], [problem], []
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    matched = match_slides(files, pattern, patients)
    if not matched:
        wanted = f"a pattern that a file in {section.dir} and a patient fit ({len(files)} files)"
        return [], [Problem("cohort.toml", wanted, "slides.pattern", value=pattern)], []
    prefix = str(section.dir).rstrip("/")
    rows: list[Row] = [
        {"patient_id": patient, "path": f"{prefix}/{file}"} for file, patient in matched.items()
    ]
    suffix = Path(pattern).suffix.casefold()
    left = [f for f in files if f not in matched and Path(f).suffix.casefold() == suffix]
    return rows, [], [f"{len(left)} files fit no patient: {_first_of(left)}"] if left else []


def _first_of(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")


def match_slides(files: Sequence[str], pattern: str, patients: Collection[str]) -> dict[str, str]:
    """File -> patient for the files that fit a pattern such as `{patient_id}*.svs`.

    An identifier ends where no letter or digit follows, so that P1 does not take the
    slides of P10; of several that fit, the longest counts. A pattern without `/` is held to
    the file's name, in whatever folder it lies.

    >>> match_slides(["P1_a.svs", "P10.svs"], "{patient_id}*.svs", ["P1", "P10"])
    {'P1_a.svs': 'P1', 'P10.svs': 'P10'}
    """
    before, after = (fnmatch.translate(part) for part in pattern.split("{patient_id}"))
    head, tail = re.compile(before), re.compile(after)
    known = frozenset(patients)
    lengths = sorted({len(patient) for patient in known}, reverse=True)
    matched = {}
    for file in files:
        text = file if "/" in pattern else file.rsplit("/", maxsplit=1)[-1]
        found = next(
            (
                text[start : start + length]
                for length in lengths
                for start in range(len(text) - length + 1)
                if text[start : start + length] in known
                and _stands_alone(text, start, start + length)
                and head.match(text[:start])
                and tail.match(text[start + length :])
            ),
            None,
        )
        if found is not None:
            matched[file] = found
    return matched


def _stands_alone(text: str, start: int, end: int) -> bool:
    return not (text[end : end + 1].isalnum() or text[start - 1 : start].isalnum())


def _decide(
    rows: Sequence[Row],
    section: SlidesSection,
    patients: Collection[str],
    problems: list[Problem],
) -> list[str]:
    """Complete each row and say which slides are not used."""
    known = frozenset(patients)
    listed = section.file is not None
    read_from_name: dict[str, bool] = {}
    for row in rows:
        barcode = read_barcode(Path(row["path"]).name)
        for name, default in (("specimen", "tumour"), ("preparation", "ffpe")):
            if row.get(name) is None:
                said = getattr(barcode, name) if barcode else default
                # A slide table without such a column lists what is wanted: then the barcode
                # is a warning only.
                row[name] = default if listed and name not in row else said
                if said != default:
                    read_from_name[Path(row["path"]).name] = row[name] == said
        row["mpp"] = row.get("mpp") or section.mpp
        row.setdefault("tumor_no", None)
        row["reason"] = _why_not_used(row, known)
        row["excluded"] = row["reason"] is not None
    return _remarks(rows, known, _of_barcodes(read_from_name), problems)


def _of_barcodes(left_out: Mapping[str, bool]) -> list[str]:
    """What TCGA barcodes say against slides: file name -> whether it is left out for that."""
    remarks = []
    for is_out, done in (
        (True, "left out"),
        (False, "used as listed; columns specimen and preparation in the slide table settle it"),
    ):
        names = [name for name, out in left_out.items() if out is is_out]
        if names:
            which = f"{len(names)} slides are frozen or normal tissue by their TCGA barcode"
            remarks.append(f"{which} ({_first_of(names)}): {done}")
    return remarks


def _why_not_used(row: Row, known: Collection[str]) -> str | None:
    if row["patient_id"] not in known:
        return NOT_A_PATIENT
    if row["specimen"] == "normal":
        return "normal tissue"
    if row["preparation"] == "frozen":
        return "frozen section"
    return None


def _remarks(
    rows: Sequence[Row], known: Collection[str], barcodes: list[str], problems: list[Problem]
) -> list[str]:
    strangers = sorted({row["patient_id"] for row in rows if row["reason"] == NOT_A_PATIENT})
    without = len(set(known) - {row["patient_id"] for row in rows if not row["excluded"]})
    if rows and len(strangers) == len({row["patient_id"] for row in rows}):
        wanted = "identifiers of the clinical table; none matches"
        problems.append(Problem("slides", wanted, "patient_id", value=strangers[0]))
        return []
    remarks = []
    if strangers:
        shown = _first_of(strangers)
        remarks.append(f"slides of {len(strangers)} patients who are not in the table: {shown}")
    if without:
        remarks.append(f"{without} patients without a usable slide")
    return [*remarks, *barcodes]
