"""Tables of public archives by the meaning of their columns, whatever release named them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crpnet_bench.errors import InputError, Problem, ValidationError
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.results import write_atomically
from crpnet_bench.schema import formula_like
from crpnet_bench.scores.components import is_missing

__all__ = ["ImportReport", "Rows", "read_rows", "write_csv"]

Rows = list[dict[str, str]]
_NOT_KNOWN = frozenset({"not applicable", "discrepancy", "completed", "--"})


@dataclass(frozen=True)
class ImportReport:
    """What an importer wrote.

    Attributes:
        folder: the cohort folder; `cohort register` takes it.
        name: of the cohort.
        patients: rows of its clinical table.
        slides: rows of its slide table.
        notes: what a user should know of the way there.
    """

    folder: Path
    name: str
    patients: int
    slides: int
    notes: tuple[str, ...] = field(default=())


def read_rows(
    path: Path,
    names: Mapping[str, Sequence[str]],
    required: Sequence[str],
    sheet: str | None = None,
) -> Rows:
    """A table with our column names, cells of missing values emptied.

    Args:
        path: csv, tsv, txt, xlsx or parquet.
        names: our column -> the names that releases gave it, in order of preference.
        required: of our columns, those that must be there.
        sheet: of a workbook.

    Raises:
        ValidationError: the file cannot be read.
        InputError: a required column is absent.
    """
    table, problems = read_text_table(path, sheet=sheet, skip_rows=_comment_rows(path))
    if table is None or problems:
        raise ValidationError(problems, path.name)
    found = {ours: theirs for ours, options in names.items()
             if (theirs := _first(table, options)) is not None}  # fmt: skip
    for column in required:
        if column not in found:
            raise InputError(
                f"{path.name}: no column for {column}; expected one of {', '.join(names[column])}"
            )
    columns = {ours: [_clean(cell) for cell in table.column(theirs)]
               for ours, theirs in found.items()}  # fmt: skip
    cells = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in cells]


def _comment_rows(path: Path) -> int:
    """Lines that start with # above the header, as cBioPortal's data files have them."""
    if path.suffix.lower() not in {".txt", ".tsv", ".csv"}:
        return 0
    try:
        with path.open("rb") as file:
            count = 0
            while file.readline(1_000_000).startswith(b"#") and count < 50:
                count += 1
    except OSError:
        return 0
    return count


def _first(table: TextTable, options: Sequence[str]) -> str | None:
    known = {name.casefold(): name for name in reversed(table.columns)}
    return next((known[o.casefold()] for o in options if o.casefold() in known), None)


def _clean(cell: str) -> str:
    if is_missing(cell) or cell.strip("[]'").casefold() in _NOT_KNOWN:
        return ""
    return cell


def write_csv(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Write rows as UTF-8 csv, atomically; absent cells are empty.

    Raises:
        ValidationError: a cell that a spreadsheet would run as a formula.
    """
    problems = [
        Problem(path.name, "text that is no formula", column, number, row[column])
        for number, row in enumerate(rows, start=2)
        for column in columns
        if formula_like(row.get(column, ""))
    ]
    if problems:
        raise ValidationError(problems, path.name)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(column, "") for column in columns] for row in rows)
    write_atomically(path, text.getvalue().encode())
