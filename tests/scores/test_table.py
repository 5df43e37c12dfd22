"""Whole tables: what is read, what is refused, what is written."""

from __future__ import annotations

import csv
import time

import pandas as pd
import pytest

from crpnet_bench.errors import InputError, ValidationError
from crpnet_bench.scores import SCORES, ScoreOptions
from crpnet_bench.scores.components import parse_component
from crpnet_bench.scores.table import TABLE_SCORES, parse_table, score_csv, score_table

HEADER = "patient_id,pT,pN,M,grade,tumor_size_cm,necrosis,ecog,age,symptoms,sarcomatoid"
ROW = "007,pT1a,NX,M0,G3,3.0,yes,0,61,none,no"


def written(folder, text, name="in.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def scored(folder, text, options=None, name="in.csv"):
    source, target = written(folder, text, name), folder / "out.csv"
    summary = score_csv(source, target, options or ScoreOptions())
    with target.open(newline="", encoding="utf-8") as file:
        return summary, list(csv.DictReader(file))


def refused(folder, text, name="in.csv", error=ValidationError):
    source, target = written(folder, text, name), folder / "out.csv"
    with pytest.raises(error) as caught:
        score_csv(source, target)
    assert not target.exists()
    assert sorted(path.name for path in folder.iterdir()) == [name]
    return str(caught.value)


def test_one_patient_with_every_column(tmp_path):
    _, (row,) = scored(tmp_path, f"{HEADER}\n{ROW}\n")
    assert row["patient_id"] == "007"
    expected = {
        "uiss_2002": ("intermediate", "localized-intermediate", "localized-intermediate"),
        "ssign": ("3", "3-4", "3"),
        "leibovich_2003": ("2", "low", "2"),
        "grant": ("2", "unfavourable", "2"),
        "keynote564": ("not eligible", "not eligible", "not eligible"),
    }
    for score, (value, group, bound) in expected.items():
        assert row[score] == value
        assert row[f"{score}_group"] == group
        assert row[f"{score}_min"] == row[f"{score}_max"] == bound
        assert row[f"{score}_reason"] == ""
    assert (row["tnm_edition"], row["grading"]) == ("unknown", "unknown")


def test_output_columns_are_those_that_are_documented(tmp_path):
    _, (row,) = scored(tmp_path, f"{HEADER}\n{ROW}\n")
    per_score = [
        f"{s}{end}" for s in TABLE_SCORES for end in ("", "_group", "_min", "_max", "_reason")
    ]
    assert list(row) == ["patient_id", *per_score, "tnm_edition", "grading", "warnings"]


def test_missing_components_give_bounds_and_an_empty_value(tmp_path):
    _, rows = scored(
        tmp_path, "patient_id,pT,pN,M,grade\na,T3,N0,M0,2\nb,T4,N0,M0,\nc,TX,NX,M1,GX\n"
    )
    a, b, c = rows
    assert a["uiss_2002"] == ""
    assert (a["uiss_2002_min"], a["uiss_2002_max"]) == ("localized-intermediate", "localized-high")
    assert a["uiss_2002_reason"] == "not determined: ecog is missing"
    assert (a["ssign"], a["ssign_min"], a["ssign_max"]) == ("", "2", "6")
    assert b["uiss_2002"] == "high"  # pT4 is enough
    assert (c["leibovich_2003_min"], c["leibovich_2003_reason"]) == ("", "not applicable: M1")


def test_column_names_in_any_case_and_order_and_other_columns_are_named(tmp_path):
    summary, (row,) = scored(tmp_path, "GRADE,Tumour_Size_MM,Hospital,PT,Patient ID\n3,45,X,1B,q\n")
    assert row["patient_id"] == "q"
    assert row["leibovich_2003_min"] == "3"
    assert "columns not used: 'Hospital'" in summary.warnings
    assert any(text.startswith("no column for pN, M, necrosis") for text in summary.warnings)


def test_a_column_nearly_named_right_is_pointed_out(tmp_path):
    summary, _ = scored(tmp_path, "patient_id,pT,necroses\nq,1B,yes\n")
    assert "column 'necroses': did you mean 'necrosis'?" in summary.warnings


def test_every_problem_is_listed_with_row_and_column(tmp_path):
    message = refused(
        tmp_path,
        f"{HEADER}\n{ROW}\n"
        "b,T9,N0,M0,5,-4,perhaps,7,240,sometimes,no\n"
        "=cmd|' /C calc'!A0,T1,N0,M0,2,3,no,0,50,none,no\n"
        ",T1,N0,M0,2,9999,no,0,50,none,no\n",
    )
    for place in ("pT", "grade", "tumor_size_cm", "necrosis", "ecog", "age", "symptoms"):
        assert f"row 3, column '{place}'" in message
    assert "row 4, column 'patient_id'" in message
    assert "row 5, column 'patient_id'" in message
    assert "row 5, column 'tumor_size_cm'" in message
    assert "10 problems, nothing was written" in message


def test_contradicting_size_columns_are_refused_and_agreeing_ones_merged(tmp_path):
    message = refused(tmp_path, "patient_id,tumor_size_cm,tumor_size_mm\na,4.5,45\nb,4.5,60\n")
    assert "row 3, column 'tumor_size_cm': found 4.5" in message
    assert "1 problem," in message
    table = parse_table(
        pd.DataFrame(
            {
                "patient_id": ["a", "b", "c"],
                "tumor_size_cm": ["4.5", "", ""],
                "tumor_size_mm": ["45.4", "60", None],
            }
        )
    )
    assert [inputs.tumor_size_cm for inputs in table.inputs] == [4.5, 6.0, None]


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", InputError, "empty"),
        ("patient_id,pT\n", InputError, "no rows"),
        ("id,pT\na,T1\n", InputError, "no column 'patient_id'"),
        ("patient_id,pT,PT\na,T1,T1\n", InputError, "both hold pT"),
        ("patient_id,pT\na,T1,N0\nb\n", ValidationError, "2 problems"),
        ('patient_id,pT\na,"T1\n', InputError, "not valid delimited text"),
        ("patient_id,pT\na,T\0\n", InputError, "NUL"),
        (f"patient_id,pT\na,{'x' * 200_000}\n", InputError, "field larger"),
        (f"patient_id,pT\na,{'x' * 2_000}\n", ValidationError, "..."),
    ],
)
def test_a_damaged_table_ends_in_one_clear_error(tmp_path, text, error, words):
    assert words in refused(tmp_path, text, error=error)


def test_other_encodings_and_broken_workbooks_are_named(tmp_path):
    target = tmp_path / "out.csv"
    latin = tmp_path / "latin.csv"
    latin.write_bytes("patient_id,pT\nMüller,T1\n".encode("latin-1"))
    with pytest.raises(InputError, match="save the table as CSV UTF-8"):
        score_csv(latin, target)
    workbook = tmp_path / "cut.xlsx"
    pd.DataFrame({"patient_id": ["a"], "pT": ["T1"]}).to_excel(workbook, index=False)
    workbook.write_bytes(workbook.read_bytes()[:500])
    with pytest.raises(InputError, match="not a readable workbook"):
        score_csv(workbook, target)
    with pytest.raises(InputError, match="no such file"):
        score_csv(tmp_path / "absent.csv", target)
    with pytest.raises(InputError, match=r"expected \.csv, \.tsv or \.xlsx"):
        score_csv(written(tmp_path, "{}", "table.json"), target)
    assert not target.exists()


def test_csv_tsv_semicolons_utf16_and_workbook_give_the_same(tmp_path):
    _, expected = scored(tmp_path, f"{HEADER}\n{ROW}\n")
    tabs, semicolons = (
        f"{HEADER}\n{ROW}\n".replace(",", "\t"),
        f"{HEADER}\n{ROW}\n".replace(",", ";"),
    )
    assert scored(tmp_path, tabs, name="in.tsv")[1] == expected
    assert scored(tmp_path, semicolons.replace("3.0", "3,0"))[1] == expected
    (tmp_path / "wide.csv").write_bytes(f"{HEADER}\r\n{ROW}\r\n".encode("utf-16"))
    score_csv(tmp_path / "wide.csv", tmp_path / "wide_out.csv")
    workbook = tmp_path / "in.xlsx"
    cells = ["007", "pT1a", "NX", "M0", 3, 3.0, True, 0, 61, "none", "no"]
    pd.DataFrame([cells], columns=HEADER.split(",")).to_excel(workbook, index=False)
    score_csv(workbook, tmp_path / "book_out.csv")
    for name in ("wide_out.csv", "book_out.csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            assert list(csv.DictReader(file)) == expected


def test_identifiers_keep_their_text_and_order(tmp_path):
    ids = ["007", "10", " x ", "Ä-1", "1e5", "2", "NA"]
    _, rows = scored(tmp_path, "patient_id,pT\n" + "".join(f"{text},T1\n" for text in ids))
    assert [row["patient_id"] for row in rows] == ids


def test_a_repeated_patient_is_scored_and_named(tmp_path):
    summary, rows = scored(tmp_path, "patient_id,pT\na,T1\na,T2\n")
    assert len(rows) == 2
    assert "in several rows, each scored alone: patient_id 'a'" in summary.warnings


def test_the_output_is_replaced_whole_and_never_the_input(tmp_path):
    source = written(tmp_path, f"{HEADER}\n{ROW}\n")
    with pytest.raises(InputError, match="same file"):
        score_csv(source, source)
    assert source.read_text(encoding="utf-8").startswith(HEADER)
    with pytest.raises(InputError, match="existing folder"):
        score_csv(source, tmp_path / "absent" / "out.csv")
    with pytest.raises(InputError, match="expected .csv or .tsv"):
        score_csv(source, tmp_path / "out.xlsx")


def test_an_earlier_output_stays_when_the_input_is_refused(tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("earlier", encoding="utf-8")
    with pytest.raises(ValidationError):
        score_csv(written(tmp_path, "patient_id,pT\na,T9\n"), target)
    assert target.read_text(encoding="utf-8") == "earlier"


def test_edition_and_grading_are_recorded_and_warned_about_where_they_matter(tmp_path):
    text = "patient_id,pT,pN,M,grade\na,T1a,N0,M0,2\nb,T1a,N1,M0,2\nc,T4,N0,M0,\n"
    summary, rows = scored(tmp_path, text, ScoreOptions(tnm_edition="2016", grading="WHO/ISUP"))
    assert {row["tnm_edition"] for row in rows} == {"8"}
    assert {row["grading"] for row in rows} == {"who_isup"}
    assert "pN2" not in rows[0]["warnings"]
    assert "uiss_2002: pN2 does not exist" in rows[1]["warnings"]
    assert "adrenal" in rows[2]["warnings"]
    assert "one to one" not in rows[2]["warnings"]  # no grade, nothing to say
    assert any(text.startswith("uiss_2002, 1 patient: pN2") for text in summary.warnings)
    unstated, _ = scored(tmp_path, text)
    assert any("TNM edition is not stated" in text for text in unstated.warnings)
    assert any("grading system" in text for text in unstated.warnings)


def test_values_do_not_depend_on_edition_and_grading():
    frame = pd.DataFrame(
        {"patient_id": ["a"], "pT": ["T3a"], "pN": ["N1"], "M": ["0"], "grade": [3]}
    )
    values = [
        score_table(frame, tnm_edition=edition, grading=grading).drop(
            columns=["tnm_edition", "grading", "warnings"]
        )
        for edition, grading in ((5, "fuhrman"), (8, "who_isup"), (None, None))
    ]
    pd.testing.assert_frame_equal(values[0], values[1])
    pd.testing.assert_frame_equal(values[0], values[2])


def test_unknown_edition_and_grading_are_refused():
    with pytest.raises(InputError, match="expected 5, 6, 7 or 8"):
        ScoreOptions(tnm_edition="9")
    with pytest.raises(InputError, match="expected fuhrman, who_isup or unknown"):
        ScoreOptions(grading="paner")


def test_frame_values_are_integers_even_beside_missing_ones():
    frame = pd.DataFrame({"patient_id": ["a", "b"], "pT": ["T1a", None], "pN": ["0", "0"]})
    frame = frame.assign(grade=1, age=[50, 70])
    result = score_table(frame)
    assert result["grant"].tolist() == [0, pd.NA]
    assert result["grant_max"].tolist() == [0, 2]


def test_every_column_of_the_table_is_in_the_registry_of_scores():
    assert set(TABLE_SCORES) <= set(SCORES)


@pytest.mark.perf
def test_ten_thousand_patients_take_under_three_seconds():
    frame = pd.DataFrame({"patient_id": [f"p{i}" for i in range(10_000)]}).assign(
        pT="pT3a", pN="NX", M="M0", grade="G3", necrosis="yes", ecog="", age="61"
    )
    frame["tumor_size_mm"] = [str(10 + i % 180) for i in range(10_000)]
    start = time.process_time()  # not the clock on the wall: other work shares the machine
    score_table(frame, tnm_edition=8, grading="who_isup")
    assert time.process_time() - start < 3


def test_a_frame_keeps_what_a_cell_parser_reads():
    table = parse_table(pd.DataFrame({"patient_id": [7.0], "age": [61], "rhabdoid": ["yes"]}))
    assert table.patient_ids == ("7",)
    assert table.inputs[0].age == parse_component("age", 61)
    assert table.inputs[0].rhabdoid is True
