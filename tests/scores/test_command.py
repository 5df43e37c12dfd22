"""The command `score`, run as a user runs it."""

from __future__ import annotations

import csv
import json

import pytest
import typer
from typer.testing import CliRunner

from crpnet_bench.cli.score import score
from crpnet_bench.errors import InputError, ValidationError

app = typer.Typer()
app.command()(score)
runner = CliRunner()


def test_a_table_in_and_a_table_out(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("patient_id,pT,pN,M,grade,tumor_size_mm,necrosis\n007,4,1,M1,IV,150,Y\n")
    arguments = ["--csv", str(source), "--out", str(target), "--tnm-edition", "8"]
    arguments += ["--grading", "who_isup", "--outside-scope", "--ssign-pt4-points", "4"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0
    assert "1 patient scored, determined: uiss_2002 0, ssign 1" in result.stdout
    assert "warning: leibovich_2003, 1 patient: computed outside its scope" in result.stderr
    with target.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["patient_id"], row["ssign"], row["leibovich_2003"]) == ("007", "17", "11")
    assert (row["tnm_edition"], row["grading"]) == ("8", "who_isup")


def test_json_is_one_document_on_stdout(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("patient_id,pT\na,T4\n")
    result = runner.invoke(app, ["--csv", str(source), "--out", str(target), "--json"])
    document = json.loads(result.stdout)
    assert document["patients"] == 1
    assert document["output"] == str(target)
    assert document["warnings"]


@pytest.mark.parametrize(
    ("extra", "cell", "error"),
    [([], "T9", ValidationError), (["--tnm-edition", "12"], "T1", InputError)],
)
def test_errors_are_the_expected_kind_and_leave_no_output(tmp_path, extra, cell, error):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f"patient_id,pT\na,{cell}\n")
    result = runner.invoke(app, ["--csv", str(source), "--out", str(target), *extra])
    assert isinstance(result.exception, error)
    assert not target.exists()
