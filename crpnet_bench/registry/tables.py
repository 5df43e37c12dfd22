"""Any table that a hospital sends, as text: csv, tsv, xlsx, parquet or json.

Cells stay text so that `007` is not 7 and an identifier of digits is not rounded. Every way
in which a file can be damaged ends as a `Problem` that names it.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from crpnet_bench.errors import Problem, did_you_mean, shorten

__all__ = ["LONGEST_CELL", "TextTable", "read_text_table"]

LONGEST_CELL = 131_072  # characters; the csv module's own limit
_LARGEST_FILE = 512 * 2**20  # bytes, packed or unpacked
_MOST_ROWS = 2_000_000
_PARQUET_KINDS = (str, bool, int, float, datetime.date, datetime.datetime, datetime.time)

Rows = list[list[str]]


@dataclass(frozen=True)
class TextTable:
    """Columns and rows of text; `first_row` is the spreadsheet's number of the first one."""

    file: str
    columns: tuple[str, ...]
    rows: Rows = field(repr=False)
    row_numbers: Sequence[int] = field(repr=False)

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {name: place for place, name in reversed(list(enumerate(self.columns)))}

    def __len__(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> list[str]:
        """The cells of one column, stripped.

        Raises:
            KeyError: there is no such column; ask `find` first.
        """
        place = self._places[name]
        return [row[place] for row in self.rows]

    def find(self, name: str, purpose: str) -> Problem | None:
        """What is wrong with asking for this column: it is absent or there are two."""
        count = self.columns.count(name)
        if count == 1:
            return None
        if count == 0:
            hint = did_you_mean(name, [column for column in self.columns if column])
            return Problem(self.file, f"a column {shorten(name)} for {purpose}; {hint}")
        return Problem(self.file, f"one column of this name, there are {count}", column=name)


def read_text_table(
    path: Path,
    *,
    name: str = "",
    skip_rows: int = 0,
    encoding: str | None = None,
    sheet: str | None = None,
) -> tuple[TextTable | None, list[Problem]]:
    """Read a table as text.

    Args:
        path: csv or txt (comma, semicolon or tab, whichever the header holds most), tsv,
            xlsx, parquet or json (a list of records; nested ones become `outer.inner`).
        name: the file's name in messages; that of `path` if empty.
        skip_rows: rows above the header.
        encoding: of a text file; None means UTF-8, or UTF-16 if the file says so by its
            first two bytes.
        sheet: of an xlsx file; None means the first.

    Returns:
        The table (None where it cannot be read at all) and everything wrong with it.
    """
    shown = name or path.name
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(_READERS)
        return None, [Problem(shown, f"a file of type {kinds}", value=path.suffix)]
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            limit = f"a table of at most {_LARGEST_FILE >> 20} MB"
            return None, [Problem(shown, limit, value=f"{size >> 20} MB")]
        rows = reader(path, encoding, sheet)
    except FileNotFoundError:
        return None, [Problem(shown, "an existing file", value="no such file")]
    except OSError as error:
        return None, [Problem(shown, "a readable file", value=error.strerror or str(error))]
    except _TableError as error:
        return None, [Problem(shown, str(error), row=error.row)]
    return _with_header(shown, rows, skip_rows)


class _TableError(Exception):
    """A file that is no table, with what was expected of it."""

    def __init__(self, expected: str, row: int | None = None) -> None:
        super().__init__(expected)
        self.row = row


def _with_header(file: str, rows: Rows, skip_rows: int) -> tuple[TextTable | None, list[Problem]]:
    if len(rows) <= skip_rows or not any(cell for cell in rows[skip_rows]):
        wanted = f"a header in row {skip_rows + 1}"
        return None, [Problem(file, wanted, value=f"{len(rows)} rows")]
    header = rows[skip_rows]
    width = len(header)
    problems: list[Problem] = []
    kept: Rows = []
    numbers: list[int] = []
    for number, row in enumerate(rows[skip_rows + 1 :], start=skip_rows + 2):
        if not any(row):
            continue
        if len(row) != width and any(row[width:]) or len(row) < width - _blank_tail(header):
            wanted = f"{width} cells as in the header (a separator inside a cell needs quotes)"
            problems.append(Problem(file, wanted, row=number, value=f"{len(row)} cells"))
            continue
        kept.append((row + [""] * width)[:width])
        numbers.append(number)
    if not kept and not problems:
        problems.append(Problem(file, "at least one row below the header", value="none"))
    return TextTable(file, tuple(header), kept, numbers), problems


def _blank_tail(header: list[str]) -> int:
    return len(header) - max(place + 1 for place, cell in enumerate(header) if cell)


def _read_delimited(path: Path, encoding: str | None, _: str | None) -> Rows:
    text = _decode(path.read_bytes(), encoding)
    if "\0" in text:
        row = text[: text.index("\0")].count("\n") + 1
        raise _TableError("text without NUL bytes (is this file damaged?)", row)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Rows = []
    try:
        for cells in reader:
            rows.append([cell.strip() for cell in cells])
            if len(rows) > _MOST_ROWS:
                raise _TableError(f"at most {_MOST_ROWS} rows", len(rows))
    except csv.Error as error:
        detail = str(error)
        wanted = (
            f"cells of at most {LONGEST_CELL} characters (or a quote is never closed)"
            if "field larger" in detail
            else f"quoted cells that are closed; {detail}"
        )
        raise _TableError(wanted, len(rows) + 1) from error
    return rows


def _decode(content: bytes, encoding: str | None) -> str:
    if encoding is None:
        utf16 = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
        encoding = "utf-16" if utf16 else "utf-8-sig"
    try:
        return content.decode(encoding)
    except LookupError as error:
        raise _TableError(f"an encoding Python knows, such as cp1252, not {encoding!r}") from error
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        row = content[:start].count(b"\n") + 1
        raise _TableError(
            f"{encoding.removesuffix('-sig').upper()} text: save the file as UTF-8, or name its "
            'encoding in the manifest (encoding = "cp1252")',
            row,
        ) from error


def _delimiter(text: str) -> str:
    lines = text.splitlines()[:5]
    counts = {mark: sum(line.count(mark) for line in lines) for mark in ",;\t"}
    return max(counts, key=lambda mark: counts[mark])


def _read_xlsx(path: Path, _: str | None, sheet: str | None) -> Rows:
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > _LARGEST_FILE:
            raise _TableError(f"a workbook of at most {_LARGEST_FILE >> 20} MB unpacked")
        rows, formulas = _sheet_rows(path, sheet, computed=False)
        if not formulas:
            return rows
        values, _formulas = _sheet_rows(path, sheet, computed=True)
    except _TableError:
        raise
    except Exception as error:
        # A damaged archive leads openpyxl into any kind of exception.
        raise _TableError(f"a whole xlsx workbook; {type(error).__name__} while reading") from error
    if not any(values[row][column] for row, column in formulas):
        row = formulas[0][0] + 1
        raise _TableError("values: its formulas were never computed; save it in Excel", row)
    return values


def _sheet_rows(
    path: Path, sheet: str | None, *, computed: bool
) -> tuple[Rows, list[tuple[int, int]]]:
    import openpyxl  # noqa: PLC0415 only for workbooks

    formulas: list[tuple[int, int]] = []
    rows: Rows = []
    with warnings.catch_warnings(), path.open("rb") as file:
        warnings.simplefilter("ignore")  # remarks about styles and validations
        book = openpyxl.load_workbook(file, read_only=True, data_only=computed)
        if sheet is not None and sheet not in book.sheetnames:
            raise _TableError(f"a sheet {sheet!r}; {did_you_mean(sheet, book.sheetnames)}")
        cells = book[sheet] if sheet is not None else book.worksheets[0]
        for number, row in enumerate(cells.iter_rows()):
            if number > _MOST_ROWS:
                raise _TableError(f"at most {_MOST_ROWS} rows", number)
            formulas += [(number, at) for at, cell in enumerate(row) if cell.data_type == "f"]
            rows.append([_as_text(cell.value) for cell in row])
        book.close()
    width = max((len(row) for row in rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows], formulas


def _read_parquet(path: Path, _: str | None, __: str | None) -> Rows:
    import pyarrow as pa  # noqa: PLC0415 only for Parquet
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(path)
        columns = [
            [_parquet_text(value) for value in column.to_pylist()] for column in table.columns
        ]
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise _TableError(f"a whole Parquet file; {type(error).__name__} while reading") from error
    return [list(table.column_names), *(list(row) for row in zip(*columns, strict=True))]


def _parquet_text(value: object) -> str:
    if value is not None and not isinstance(value, _PARQUET_KINDS):
        raise _TableError(f"columns of text, numbers or dates, not of {type(value).__name__}")
    return _as_text(value)


def _read_json(path: Path, encoding: str | None, _: str | None) -> Rows:
    try:
        records = json.loads(_decode(path.read_bytes(), encoding))
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise _TableError("a list of records, [{...}, {...}]")
        flat = [dict(_flattened(record)) for record in records]
    except (json.JSONDecodeError, RecursionError) as error:
        raise _TableError(f"JSON; {error}") from error
    columns = list(dict.fromkeys(name for record in flat for name in record))
    return [columns, *([record.get(name, "") for name in columns] for record in flat)]


def _flattened(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield prefix + key, "; ".join(_as_text(item) for item in value)
        else:
            yield prefix + key, _as_text(value)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value).strip()


_READERS: Mapping[str, Callable[[Path, str | None, str | None], Rows]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".xlsx": _read_xlsx,
    ".parquet": _read_parquet,
    ".json": _read_json,
}
