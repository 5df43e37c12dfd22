"""A table from a file, cell by cell as text: nothing guessed, nothing dropped."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from crpnet_bench.errors import InputError, Problem, ValidationError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_table"]

_DELIMITERS = (",", ";", "\t")


def read_table(path: Path) -> pd.DataFrame:
    """A table as a frame of cells: text from csv and tsv, Excel's own values from xlsx.

    The header is row 1. Text must be UTF-8 (or UTF-16 with a byte order mark); the
    delimiter is the comma, semicolon or tab that the header has most of. Of a workbook
    the first sheet is read. Blank rows at the end are left out.

    Args:
        path: a .csv, .tsv, .txt or .xlsx file.

    Raises:
        InputError: the file is not there, is of another kind, or cannot be read.
        ValidationError: rows that are longer or shorter than the header, all listed.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a .csv, .tsv or .xlsx table")
    suffix = path.suffix.lower()
    if suffix == ".xlsx":
        return _read_workbook(path)
    if suffix in {".csv", ".tsv", ".txt"}:
        return _read_text(path)
    raise InputError(f"{path}: a {suffix or 'nameless'} file; expected .csv, .tsv or .xlsx")


def _read_workbook(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - heavy, and this module is on the command line's path

    try:
        frame = pd.read_excel(path, dtype=object, keep_default_na=False, header=None)
    except Exception as error:  # noqa: BLE001 - a damaged workbook raises whatever its parser does
        raise InputError(
            f"{path}: not a readable workbook ({type(error).__name__}); save it as .xlsx again, "
            "or as CSV UTF-8"
        ) from error
    if frame.empty:
        raise InputError(f"{path}: the first sheet is empty; expected a header and rows")
    header = ["" if cell is None else str(cell).strip() for cell in frame.iloc[0]]
    body = frame.iloc[1:].reset_index(drop=True)
    body.columns = pd.Index(header)
    return _without_blank_end(body)


def _read_text(path: Path) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - see above

    text = _decode(path)
    header_line = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError(
            f"{path}: line {reader.line_num} is not valid delimited text ({error}); "
            "save the table as CSV UTF-8 again"
        ) from error
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    if not rows:
        raise InputError(f"{path}: the file is empty; expected a header and rows")
    header = [name.strip() for name in rows[0]]
    return pd.DataFrame(_complete(path, rows, len(header)), columns=pd.Index(header), dtype=object)


def _complete(path: Path, rows: list[list[str]], width: int) -> list[list[str]]:
    """The rows below the header; a blank line is a row of empty cells."""
    body = [row or [""] * width for row in rows[1:]]
    problems = [
        Problem(str(path), f"{width} cells, as in the header", row=number, value=len(row))
        for number, row in enumerate(body, start=2)
        if len(row) != width
    ]
    if problems:
        raise ValidationError(problems, "rows of another length than the header")
    return body


def _decode(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not {encoding.removesuffix('-sig')} text; "
            "save the table as CSV UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(
            f"{path}: holds NUL bytes, so it is not a text table; save it as CSV UTF-8"
        )
    return text


def _without_blank_end(frame: pd.DataFrame) -> pd.DataFrame:
    filled = frame.map(lambda cell: cell is not None and cell == cell and str(cell).strip() != "")  # noqa: PLR0124 NaN
    rows = filled.any(axis=1).to_numpy().nonzero()[0]
    return frame.iloc[: rows[-1] + 1 if len(rows) else 0]
