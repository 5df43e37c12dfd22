from __future__ import annotations

import json

import pytest

from crpnet_bench.home import Home
from crpnet_bench.reporting.absolute_risk import learn_link
from crpnet_bench.reporting.patients import (
    absolute_risk,
    patient_scores,
    patients_table,
    position_figure,
    run_local_names,
    score_trace,
    slide_pictures,
)


@pytest.fixture
def names(sample):
    return {str(one): str(one) for one in sample.patients["patient_id"]}


def test_the_table_lists_everybody_highest_risk_first(sample, names):
    table = patients_table(sample, "ssign", names)
    assert len(table) == sample.n
    risks = table["Risk"].dropna()
    assert risks.is_monotonic_decreasing
    unknown = table[table["Risk"].isna()]
    assert len(unknown) == sample.metric("ssign", "n_missing")["value"]
    assert unknown["No prediction because"].str.len().gt(0).all()


def test_numbers_hide_identifiers_and_their_order():
    patients = [f"D{number:03d}" for number in range(200)]
    named = run_local_names(patients, "run-1")
    assert sorted(named.values()) == [f"Patient {number:03d}" for number in range(1, 201)]
    assert [named[one] for one in patients] != sorted(named.values())
    assert named == run_local_names(patients[::-1], "run-1")
    assert named != run_local_names(patients, "run-2")


def test_scores_say_what_is_possible_where_a_component_is_missing(home, sample):
    unknown = sample.patients.loc[sample.patients["necrosis"].isna(), "patient_id"].iloc[0]
    row = patient_scores(home, "drawn", unknown).set_index("Score").loc["SSIGN"]
    assert row["Value"] == "not determined"
    assert " to " in row["Possible"]
    assert "necrosis" in row["Because"]
    trace = score_trace(home, "drawn", unknown).set_index("Component")
    assert trace.loc["Necrosis", "Value"] == "missing"


def test_the_trace_adds_up_to_the_score(home, sample):
    known = sample.patients[sample.patients["necrosis"].notna()]["patient_id"].iloc[0]
    trace = score_trace(home, "drawn", known)
    points = [float(cell.split(" ")[0]) for cell in trace["SSIGN"] if cell[:1].isdigit()]
    value = patient_scores(home, "drawn", known).set_index("Score").loc["SSIGN", "Value"]
    assert sum(points) == float(value)


def test_the_absolute_risk_is_the_links(data, sample):
    rows = sample.of_model("crpnet").sort_values("risk")
    patient = str(rows["patient_id"].iloc[len(rows) // 2])
    risk = sample.of_model("crpnet").set_index("patient_id").loc[[patient], "risk"]
    expected = learn_link(data, "crpnet", 60.0).probability(risk.to_numpy(float), 60.0)[0]
    assert absolute_risk(data, sample, "crpnet", patient, 60.0) == f"{100 * expected:.0f} %"
    assert absolute_risk(data, sample, "crpnet", "nobody", 60.0) == "no prediction"
    highest = str(rows["patient_id"].iloc[-1])
    assert absolute_risk(data, sample, "crpnet", highest, 60.0) == "above 99 %"


def test_a_patient_is_placed_among_the_others_without_naming_them(sample):
    rows = sample.of_model("crpnet").sort_values("risk")
    highest = str(rows["patient_id"].iloc[-1])
    figure = position_figure(sample, "crpnet", highest, "Patient 007")
    assert f"higher than {100 * (len(rows) - 1) / len(rows):.0f} %" in figure.caption
    assert "patient_id" not in figure.data
    assert highest not in figure.caption


def test_an_identifier_is_drawn_sign_by_sign(sample):
    patient = str(sample.of_model("crpnet")["patient_id"].iloc[0])
    figure = position_figure(sample, "crpnet", patient, "<i>D</i> & $1$")
    words = [one.text for one in figure.plot.layout.annotations]
    assert "<b>&lt;i&gt;D&lt;/i&gt; &amp; &#36;1&#36;</b>" in words
    assert figure.caption.startswith("<i>D</i> & $1$: risk")


def test_pictures_are_found_in_the_runs_folder_only(tmp_path):
    home = Home(tmp_path)
    folder = home.runs / "r" / "explain" / "crpnet" / "abc"
    folder.mkdir(parents=True)
    told = {"fold": "repeat0-fold0", "role": "validation", "tiles": 12, "warning": None}
    (folder / "explain.json").write_text(json.dumps(told))
    for number in (2, 10, 1):
        (folder / f"high-{number}.jpg").write_bytes(b"")
    (found,) = slide_pictures(home, "r", "crpnet", ["abc", "unknown", "../abc"])
    assert found.tiles == 12
    assert [path.name for path in found.high] == ["high-1.jpg", "high-2.jpg", "high-10.jpg"]
    assert found.picture("thumbnail.jpg").parent == folder
    assert slide_pictures(home, "r", "crpnet", ["abc"], "there@1") == []
    elsewhere = home.runs / "r" / "external" / "there@1" / "explain" / "crpnet" / "abc"
    elsewhere.mkdir(parents=True)
    (elsewhere / "explain.json").write_text(json.dumps(told))
    (found,) = slide_pictures(home, "r", "crpnet", ["abc"], "there@1")
    assert found.folder == elsewhere
