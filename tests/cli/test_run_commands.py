"""`run`, `runs`, `validate` and `config` as a user types them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from crpnet_bench.cli import app

CLINICAL = """
[cohort]
name = "{name}"
title = "A small cohort"
kind = "simulated"
default_split = "half"

[outcome]
endpoint = "RFS"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"

[clinical.columns]
patient_id = "id"
time = "time"
event = "event"
pT = "pT"
pN = "pN"
M = "M"
grade = "grade"
tumor_size = {{column = "size", unit = "cm"}}
necrosis = "necrosis"
"""


def _write_cohort(folder, name, prefix):
    (folder / "splits").mkdir(parents=True)
    (folder / "cohort.toml").write_text(CLINICAL.format(name=name))
    rows, split = ["id,time,event,pT,pN,M,grade,size,necrosis"], ["patient_id,repeat,fold,role"]
    for i in range(40):
        stage = ("T1a", "T1b", "T2a", "T3a")[i % 4]
        event = int((3 * i + i % 7) % 5 < 1 + i % 3)
        time, size = 5 + (11 * i) % 53, 2 + i % 9
        rows.append(f"{prefix}{i},{time},{event},p{stage},N0,M0,{1 + i % 4},{size},{i % 2}")
        split.append(f"{prefix}{i},0,0,{'train' if i < 26 else 'validation'}")
    (folder / "clinical.csv").write_text("\n".join(rows))
    (folder / "splits" / "half.csv").write_text("\n".join(split))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with two cohorts and two runs on the first."""
    place = tmp_path_factory.mktemp("commands")
    for name, prefix in (("here", "A"), ("there", "B")):
        folder = _write_cohort(place / name, name, prefix)
        assert invoke(place / "home", "cohort", "register", str(folder)).exit_code == 0
    for model in ("ssign", "leibovich_2003"):
        done = invoke(place / "home", "run", "here", "--model", model, "--device", "cpu")
        assert done.exit_code == 0, done.output
    return place / "home"


def invoke(home, *arguments):
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])


def document(home, *arguments):
    done = invoke(home, *arguments, "--json")
    return json.loads(done.stdout)


def run_ids(home):
    return sorted(row["run"] for row in document(home, "runs", "list"))


def test_runs_are_listed_shown_and_compared(home):
    a, b = run_ids(home)
    listed = invoke(home, "runs", "list")
    assert a in listed.stdout
    shown = invoke(home, "runs", "show", a)
    for text in ("Validation: here [simulated data], RFS", "Primary, declared before outcomes",
                 "all else is exploratory", "Ledger: outcomes of here@1"):  # fmt: skip
        assert text in shown.stdout
    compared = document(home, "runs", "compare", a, b)
    assert [row["key"] for row in compared["settings"]] == ["models"]
    assert compared["data"] == []
    assert "a - b" in invoke(home, "runs", "compare", a, b).stdout


def test_a_validation_shows_itself_and_with_the_run(home):
    run_id = run_ids(home)[0]
    done = invoke(home, "validate", run_id, "there", "--device", "cpu")
    assert done.exit_code == 0, done.output
    for text in ("External validation: there@1 [simulated data], RFS", "Calibration", "Case mix",
                 "wants at least 100 of each", "look 1 of this run"):  # fmt: skip
        assert text in done.stdout
    shown = invoke(home, "runs", "show", run_id)
    assert "External validation on there@1" in shown.stdout
    again = document(home, "validate", run_id, "there", "--device", "cpu")
    assert any("look 2 of this run" in text for text in again["remarks"])
    told = document(home, "runs", "show", run_id)
    assert [one["cohort"] for one in told["external"]] == ["there@1"]
    assert [row["command"] for row in told["ledger"]] == ["run", "validate", "validate"]


def test_imported_predictions_and_fusion_by_name(home, tmp_path):
    table = tmp_path / "rival.csv"
    table.write_text("patient_id,risk\n" + "\n".join(f"A{i},{(5 * i) % 13}" for i in range(40)))
    found = document(
        home, "run", "here", "--model", f"imported:rival={table}", "--model",
        "ssign+imported:rival", "--device", "cpu", "--seeds", "2",
    )  # fmt: skip
    assert found["run"]["models"] == ["imported:rival", "ssign", "ssign+imported:rival"]
    assert found["run"]["primary_model"] == "imported:rival"
    assert {row["seeds"] for row in found["seeds"] if row["metric"] == "auc"} == {2}


def test_results_are_shown_before_pictures_are_tried(home):
    done = invoke(home, "run", "here", "--model", "ssign", "--device", "cpu", "--explain")
    assert "Primary result" in done.stdout
    assert "none of its models reads tiles" in str(done.exception)


def test_a_failed_fold_is_exit_3(home, tmp_path):
    table = tmp_path / "rival.csv"
    table.write_text("patient_id,risk\nB0,1\n")
    done = invoke(home, "run", "here", "--model", f"imported:rival={table}", "--device", "cpu")
    assert done.exit_code == 3
    assert "none of 26 training patients has a risk" in done.stderr


def test_settings_are_printed_as_toml(home, tmp_path):
    done = invoke(home, "config", "show")
    assert "# optimizer steps\niterations = 300" in done.stdout
    own = tmp_path / "own.toml"
    own.write_text("[train]\niterations = 7\n")
    assert "iterations = 7" in invoke(home, "config", "show", "--config", str(own)).stdout
    assert document(home, "config", "show")["train"]["iterations"] == 300
