from __future__ import annotations

import datetime
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from crpnet_bench.registry.tables import read_text_table


def read(path: Path, **options):
    table, problems = read_text_table(path, **options)
    return table, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"id,x\n007,1.50\n"),
        ("a.csv", b"\xef\xbb\xbfid,x\r\n007,1.50\r\n"),
        ("a.csv", b"id;x\n007;1.50\n"),
        ("a.txt", b"id\tx\n007\t1.50\n"),
        ("a.tsv", b"id\tx\n007\t1.50\n\n"),
        ("a.csv", "id,x\n007,1.50\n".encode("utf-16")),
        ("a.csv", b'id,x\n"007","1.50"\n'),
    ],
)
def test_text_files_give_the_same_cells(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    table, problems = read(tmp_path / name)
    assert problems == []
    assert table.columns == ("id", "x")
    assert table.rows == [["007", "1.50"]]
    assert list(table.row_numbers) == [2]


def test_workbook_keeps_leading_zeros_and_whole_numbers(tmp_path: Path):
    book = openpyxl.Workbook()
    book.active.append(["id", "n", "when", "flag", "part"])
    book.active.append(["007", 12345678901, datetime.datetime(2020, 1, 2), True, 0.5])
    book.save(tmp_path / "a.xlsx")
    table, problems = read(tmp_path / "a.xlsx")
    assert problems == []
    assert table.rows == [["007", "12345678901", "2020-01-02", "true", "0.5"]]


def test_workbook_of_formulas_that_were_never_computed_is_refused(tmp_path: Path):
    book = openpyxl.Workbook()
    book.active.append(["id", "n"])
    book.active.append(["a", "=1+1"])
    book.save(tmp_path / "a.xlsx")
    table, problems = read(tmp_path / "a.xlsx")
    assert table is None
    assert "never computed" in problems[0]


def test_unknown_sheet_is_named_with_the_nearest(tmp_path: Path):
    book = openpyxl.Workbook()
    book.active.title = "Clinical"
    book.active.append(["id"])
    book.save(tmp_path / "a.xlsx")
    _, problems = read(tmp_path / "a.xlsx", sheet="Clinicl")
    assert "did you mean 'Clinical'" in problems[0]


def test_parquet_numbers_become_text_without_decimals(tmp_path: Path):
    frame = pd.DataFrame({"id": [1, 2], "x": [1.5, None], "b": [True, None]})
    frame.to_parquet(tmp_path / "a.parquet")
    table, problems = read(tmp_path / "a.parquet")
    assert problems == []
    assert table.rows == [["1", "1.5", "true"], ["2", "", ""]]


def test_parquet_of_lists_is_refused(tmp_path: Path):
    pd.DataFrame({"id": [[1, 2]]}).to_parquet(tmp_path / "a.parquet")
    _, problems = read(tmp_path / "a.parquet")
    assert "columns of text" in problems[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "a header in row 1"),
        ("a.csv", b"id,x\n", "at least one row"),
        ("a.csv", b"id,x\n1,2\n1,2,3\n", "row 3: found '3 cells'; expected 2 cells"),
        ("a.csv", b"id,x\n1\n", "row 2: found '1 cells'"),
        ("a.csv", b'id,x\n1,"2\n', "row 2"),
        ("a.csv", b"id,x\n1,\xe9\n", "row 2; expected UTF-8 text"),
        ("a.csv", b"id,x\n1,\x00\n", "NUL"),
        ("a.csv", b"id,x\n1," + b"9" * 200_000 + b"\n", "131072 characters"),
        ("a.xlsx", b"PK\x03\x04 truncated", "a whole xlsx workbook"),
        ("a.parquet", b"PAR1", "a whole Parquet file"),
        ("a.doc", b"", "a file of type"),
    ],
)
def test_damage_is_named(tmp_path: Path, name: str, content: bytes, message: str):
    (tmp_path / name).write_bytes(content)
    _, problems = read(tmp_path / name)
    assert message in problems[0]


def test_named_encoding_is_used_and_an_unknown_one_refused(tmp_path: Path):
    (tmp_path / "a.csv").write_bytes("id,x\n1,é\n".encode("cp1252"))
    table, _ = read(tmp_path / "a.csv", encoding="cp1252")
    assert table.rows == [["1", "é"]]
    _, problems = read(tmp_path / "a.csv", encoding="klingon")
    assert "an encoding Python knows" in problems[0]


def test_absent_file_and_repeated_column(tmp_path: Path):
    _, problems = read(tmp_path / "none.csv")
    assert "no such file" in problems[0]
    (tmp_path / "a.csv").write_text("id,id\n1,2\n")
    table, _ = read(tmp_path / "a.csv")
    assert "there are 2" in str(table.find("id", "patient_id"))
    assert "did you mean 'id'" in str(table.find("idd", "patient_id"))


def test_rows_above_the_header_shift_the_row_numbers(tmp_path: Path):
    (tmp_path / "a.csv").write_text("Title,,\nid,x\n\n1,2\n")
    table, problems = read(tmp_path / "a.csv", skip_rows=1)
    assert problems == []
    assert list(table.row_numbers) == [4]
