"""Worked examples: committed here, and those of the reference folder where it is at hand."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace

import pytest

from crpnet_bench.scores import (
    SCORES,
    ClinicalInputs,
    ScoreOptions,
    parse_component,
    published_survival,
)
from crpnet_bench.scores.leibovich import _COEFFICIENTS, _FACTORS, POINTS_PER_COEFFICIENT

# score, cells by component, value, group
EXAMPLES = [
    ("uiss_2002", "pT=1b pN=X M=0 grade=2 ecog=0", "low", "localized-low"),
    ("uiss_2002", "pT=4 pN=0 M=0", "high", "localized-high"),
    ("uiss_2002", "pN=1 M=0", "low", "metastatic-low"),
    ("uiss_2002", "M=1 grade=3", "intermediate", "metastatic-intermediate"),
    ("uiss_2001", "pT=2 pN=0 M=0", "II", "II"),
    ("uiss_2001", "M=1 grade=4 ecog=2", "V", "V"),
    ("ssign", "pT=1 pN=X M=0 grade=1 tumor_size_cm=4.9 necrosis=no", 0, "0-2"),
    ("ssign", "pT=2b pN=2 M=0 grade=4 tumor_size_cm=11 necrosis=yes", 10, ">=10"),
    ("ssign", "pT=3c pN=1 M=1 grade=4 tumor_size_cm=5.0 necrosis=yes", 15, ">=10"),
    ("leibovich_2003", "pT=1a pN=0 M=0 grade=3 tumor_size_cm=3.2 necrosis=yes", 2, "low"),
    ("leibovich_2003", "pT=3 pN=N+ M=0 grade=4 tumor_size_mm=100 necrosis=yes", 11, "high"),
    ("grant", "age=60 grade=4 pN=X pT=3a", 1, "favourable"),
    ("grant", "age=60.5 grade=2 pN=0 pT=3b", 2, "unfavourable"),
    ("keynote564", "pT=2a pN=0 M=0 grade=2 sarcomatoid=y", *["intermediate-high"] * 2),
    ("keynote564", "pT=3a pN=X M=0", "intermediate-high", "intermediate-high"),
    ("keynote564", "pN=1 M=0", "high", "high"),
    ("keynote564", "M=1 m1_ned=yes", "M1 NED", "M1 NED"),
    ("keynote564", "M=1 m1_ned=no", "not eligible", "not eligible"),
    ("keynote564", "pT=1b pN=0 M=0", "not eligible", "not eligible"),
]
# score, cells by component, bounds, group
UNDETERMINED = [
    ("leibovich_2003", "pT=1 pN=0 M=0 grade=1 tumor_size_cm=3 necrosis=no", (0, 2), "low"),
    ("leibovich_2003", "pT=2 pN=0 M=0 tumor_size_cm=3 necrosis=no", (3, 6), None),
    ("leibovich_2003", "", (0, 11), None),
    ("ssign", "", (0, 15), None),
    ("grant", "pT=3 pN=0 age=50 grade=1", (0, 1), "favourable"),
    ("uiss_2002", "", ("localized-low", "metastatic-high"), None),
    ("uiss_2002", "pT=3 pN=0 grade=1 ecog=0", ("localized-intermediate", "metastatic-low"), None),
    ("keynote564", "M=1", ("not eligible", "M1 NED"), None),
    ("keynote564", "pT=2 pN=0 M=0 grade=3", ("not eligible", "intermediate-high"), None),
]


def patient(cells):
    parsed = {}
    for cell in cells.split():
        name, text = cell.split("=")
        field = "tumor_size_cm" if name == "tumor_size_mm" else name
        parsed[field] = parse_component(name, text)
    return ClinicalInputs(**parsed)


@pytest.mark.parametrize(("score", "cells", "value", "group"), EXAMPLES)
def test_worked_example(score, cells, value, group):
    result = SCORES[score].function(patient(cells))
    assert (result.value, result.group, result.reason) == (value, group, None)


@pytest.mark.parametrize(("score", "cells", "bounds", "group"), UNDETERMINED)
def test_worked_bounds(score, cells, bounds, group):
    result = SCORES[score].function(patient(cells))
    assert result.value is None
    assert result.risk is None
    assert (result.minimum, result.maximum, result.group) == (*bounds, group)
    assert result.reason.startswith("not determined: ")


def test_the_trace_holds_every_component_and_adds_up():
    result = SCORES["ssign"].function(
        ClinicalInputs("T3a", "NX", "M1", 3, tumor_size_cm=7.0, necrosis=True)
    )
    assert [(line.input, line.value, line.points) for line in result.trace] == [
        ("pT", "T3a", 2),
        ("pN", "NX", 0),
        ("M", "M1", 4),
        ("tumor_size_cm", 7.0, 2),
        ("grade", 3, 1),
        ("necrosis", True, 2),
    ]
    assert sum(line.points for line in result.trace) == result.value == 11
    assert result.trace[1].note == "N0 (NX counts as N0)"


def test_the_trace_of_a_missing_component_has_no_points():
    result = SCORES["ssign"].function(ClinicalInputs("T1", "N0", "M0", 2, 3.0))
    assert result.trace[-1].points is None
    assert result.trace[-1].note == "missing: no or yes (0 to 2 points)"
    assert result.trace[0].points == 0  # pT1 without a letter is enough


def test_leibovich_is_not_applicable_to_m1_unless_asked_for():
    inputs = ClinicalInputs("T3a", "N0", "M1", 3, 7.0, necrosis=True)
    leibovich = SCORES["leibovich_2003"].function
    result = leibovich(inputs)
    assert (result.value, result.minimum, result.maximum) == (None, None, None)
    assert result.reason == "not applicable: M1"
    outside = leibovich(inputs, ScoreOptions(outside_scope=True))
    assert outside.value == 6
    assert not outside.in_scope
    assert any("outside its scope" in text for text in outside.warnings)


def test_leibovich_points_follow_from_the_coefficients():
    for factor in _FACTORS:
        for level, points in factor.points.items():
            assert round(_COEFFICIENTS[factor.name][level] * POINTS_PER_COEFFICIENT) == points


def test_the_linear_predictor_needs_the_letter_that_the_points_do_not():
    inputs = ClinicalInputs("T3", "N0", "M0", 2, 3.0, necrosis=False)
    result = SCORES["leibovich_2003"].function(inputs)
    assert result.value == 4
    assert result.linear_predictor is None
    assert SCORES["leibovich_2003"].function(replace(inputs, pT="T3a")).linear_predictor == 1.896


def test_assumed_ecog_is_recorded_and_only_where_it_was_needed():
    policy = ScoreOptions(assume_ecog_0=True)
    uiss = SCORES["uiss_2002"].function
    assumed = uiss(ClinicalInputs("T1a", "N0", "M0", 2), policy)
    assert assumed.group == "localized-low"
    assert assumed.warnings == ("ECOG is missing and was assumed to be 0",)
    assert "assumed" in assumed.definition_version
    assert assumed.trace[-1].note == "missing: assumed 0"
    determined = uiss(ClinicalInputs("T4", "N0", "M0", 2), policy)
    assert determined.warnings == ()
    assert uiss(ClinicalInputs("T1a", "N0", "M0", 2)).value is None


def test_uiss_2001_is_marked_unconfirmed():
    assert not SCORES["uiss_2001"].confirmed
    result = SCORES["uiss_2001"].function(ClinicalInputs("T1", "N0", "M0", 1, ecog=0))
    assert "unconfirmed" in result.warnings[0]


# ---------------------------------------------------------------- the reference examples

_NAMES = {"UISS": "uiss_2002", "SSIGN": "ssign", "Leibovich": "leibovich_2003", "GRANT": "grant"}
_KEYS = {"t": "pT", "n": "pN", "m": "M", "size_cm": "tumor_size_cm"}


def test_every_reference_example_agrees(shared_data):
    with (shared_data.parent / "reference" / "score_examples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    for row in rows:
        score = SCORES[_NAMES[re.match(r"[A-Za-z]+", row["score"])[0]]]
        inputs = {_KEYS.get(key, key): value for key, value in json.loads(row["inputs"]).items()}
        points = re.search(r"pT4=(\d)", row["score"])
        options = ScoreOptions(ssign_pt4_points=int(points[1]) if points else 0)
        result = score.function(ClinicalInputs(**inputs), options)
        if "|" in row["expected_group"]:
            assert "|".join(sorted(result.possible)) == row["expected_group"], row["id"]
            assert result.value is None
            continue
        assert result.group == row["expected_group"], row["id"]
        assert str(result.value) == row["expected_value"].split("-")[-1], row["id"]
        _check_survival(row, score, result)
        predictor = re.search(r"predictor ([\d.]+)", row["note"])
        assert result.linear_predictor == (float(predictor[1]) if predictor else None), row["id"]


def _check_survival(row, score, result):
    published = re.match(r"5y \w+ ([\d.]+)%", row["published_outcome"])
    if published:
        survival = published_survival(result, score.endpoint)
        assert survival.percent[5] == float(published[1]), row["id"]
