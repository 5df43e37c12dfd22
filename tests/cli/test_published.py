"""`crpnet-bench audit` and `crpnet-bench reproduce` from the outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from crpnet_bench.cli import app

RUNNER = CliRunner()


def test_audit_of_the_article_lists_findings_and_exits_0():
    result = RUNNER.invoke(app, ["audit"])
    assert result.exit_code == 0
    assert "contradiction: 14" in result.stdout
    assert "printed 85.71%; recomputed 88.000%" in result.stdout


def test_audit_of_a_file_as_json(tmp_path: Path):
    file = tmp_path / "paper.toml"
    file.write_text(
        '[[rate]]\nwhat = "men"\nplace = "Table 1"\ncount = "97"\nof = "183"\nprinted = "54.0%"\n'
    )
    result = RUNNER.invoke(app, ["audit", str(file), "--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["counts"]["contradiction"] == 1
    assert document["findings"][0]["recomputed"] == "53.01%"


def test_audit_all_lists_what_holds(tmp_path: Path):
    file = tmp_path / "paper.toml"
    file.write_text('[[sum]]\nwhat = "n"\nplace = "Methods"\ntotal = "3"\nparts = ["1", "2"]\n')
    assert "1 + 2 = 3" not in RUNNER.invoke(app, ["audit", str(file)]).stdout
    assert "1 + 2 = 3" in RUNNER.invoke(app, ["audit", str(file), "--all"]).stdout


def test_audit_error_is_one_listing_without_traceback(tmp_path: Path):
    file = tmp_path / "paper.toml"
    file.write_text('[[rates]]\nwhat = "men"\n')
    call = [sys.executable, "-c", "from crpnet_bench.cli import main; main()", "audit", str(file)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did you mean 'rate'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_reproduce_as_json_and_registers_the_cohort(tmp_path: Path):
    result = RUNNER.invoke(app, ["reproduce", "--home", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["summary"]["differing"] == 9
    assert (tmp_path / "cohorts" / "changhai-sim" / "published_predictions.csv").is_file()
