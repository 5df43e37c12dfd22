"""The table-driven nomogram, with numbers that nobody could take for the real ones."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import ConfigError, InputError, ValidationError
from crpnet_bench.scores import ClinicalInputs, ScoreOptions, published_survival
from crpnet_bench.scores.karakiewicz import (
    karakiewicz,
    karakiewicz_score,
    load_karakiewicz_table,
    parse_karakiewicz_table,
)

ARTIFICIAL = """
[source]
citation = "An artificial table for tests; these are no published numbers"
tnm_edition = 6
grading = "fuhrman"

[pT]
T1a = 0
T1b = 1000
T2 = 2000
T3 = 3000
T4 = 4000

[pN]
N0 = 0
"N+" = 100

[M]
M0 = 0
M1 = 10000

[grade]
1 = 0
2 = 1
3 = 2
4 = 3

[symptoms]
none = 0
local = 10
systemic = 20

[tumor_size]
unit = "mm"
size = [0, 100, 200]
points = [0, 0.5, 0.75]

[survival]
unit = "percent"
total_points = [0, 10000, 20000]
year_1 = [100, 90, 80]
year_2 = [100, 80, 60]
year_5 = [100, 50, 10]
year_10 = [100, 40, 0]
"""
PATIENT = ClinicalInputs("T2", "N1", "M0", 3, 5.0, symptoms="local")


@pytest.fixture(scope="module")
def table():
    return parse_karakiewicz_table(ARTIFICIAL.encode(), "artificial.toml")


def test_points_add_up_with_a_trace_and_the_hash_of_the_table(table):
    result = karakiewicz(PATIENT, table=table)
    assert result.value == 2000 + 100 + 0 + 2 + 0.25 + 10
    assert sum(line.points for line in result.trace) == result.value
    assert hashlib.sha256(ARTIFICIAL.encode()).hexdigest() in result.definition_version
    assert result.citation.startswith("An artificial table")


def test_survival_is_interpolated_and_not_extrapolated(table):
    assert table.survival_at(5000) == pytest.approx({1: 0.95, 2: 0.9, 5: 0.75, 10: 0.7})
    assert table.survival_at(20000) == pytest.approx({1: 0.8, 2: 0.6, 5: 0.1, 10: 0.0})
    assert table.survival_at(20001) is None


def test_a_missing_component_leaves_bounds(table):
    result = karakiewicz(ClinicalInputs("T1", None, "M0", 1, None, symptoms="none"), table=table)
    assert (result.value, result.minimum, result.maximum) == (None, 0, 1100.75)
    assert result.reason == (
        "not determined: pT is known only as T1; pN is missing; tumor_size_cm is missing"
    )


@given(
    missing=st.sets(st.sampled_from(["pT", "pN", "M", "grade", "tumor_size_cm", "symptoms"])),
    data=st.data(),
)
def test_bounds_hold_every_completion_and_are_attained(table, missing, data):
    best = {"pT": "T1a", "pN": "N0", "M": "M0", "grade": 1, "tumor_size_cm": 1e-9}
    worst = {"pT": "T4", "pN": "N2", "M": "M1", "grade": 4, "tumor_size_cm": 20.0}
    best, worst = best | {"symptoms": "none"}, worst | {"symptoms": "systemic"}
    known = {name: data.draw(st.sampled_from([best[name], worst[name]])) for name in best}
    partial = karakiewicz(
        ClinicalInputs(**{k: v for k, v in known.items() if k not in missing}), table=table
    )
    low = karakiewicz(ClinicalInputs(**known | {k: best[k] for k in missing}), table=table)
    high = karakiewicz(ClinicalInputs(**known | {k: worst[k] for k in missing}), table=table)
    full = karakiewicz(ClinicalInputs(**known), table=table)
    assert partial.minimum == pytest.approx(low.value, abs=1e-6)
    assert partial.maximum == pytest.approx(high.value)
    assert partial.minimum <= full.value + 1e-6
    assert full.value <= partial.maximum


def test_a_size_beyond_the_table_is_not_computable(table):
    result = karakiewicz(ClinicalInputs("T2", "N0", "M0", 3, 20.5, symptoms="none"), table=table)
    assert (result.value, result.minimum) == (None, None)
    assert result.reason == "not computable: tumor_size_cm is 20.5, the table covers 0 to 20 cm"


def test_other_systems_than_the_tables_are_warned_about(table):
    result = karakiewicz(PATIENT, ScoreOptions(tnm_edition="8", grading="fuhrman"), table=table)
    assert result.warnings == (
        "the point table is for TNM edition 6, the inputs are of 8; used as given",
    )
    assert karakiewicz(PATIENT, table=table).warnings == ()


def test_it_is_a_score_like_the_others(table):
    score = karakiewicz_score(table)
    result = score.function(PATIENT)
    assert score.as_risk(result) == result.value
    assert score.range == (0, 14123.75)
    assert published_survival(result, "DSS") is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("T1b = 1000\n", "", "missing: T1b"),
        ("T2 = 2000", "T2 = 500", "column 'pT'"),
        ("T2 = 2000", "T2 = 2000\nT2a = 2000", "T2a once only"),
        ("T4 = 4000", "T5 = 4000", "found 'T5'"),
        ("systemic = 20", 'systemic = "20"', "a finite number"),
        ("4 = 3", "4 = nan", "a finite number"),
        ('unit = "mm"\n', "", "one of cm, mm"),
        ("size = [0, 100, 200]", "size = [0, 100, 100]", "each above the one before"),
        ("points = [0, 0.5, 0.75]", "points = [0, 0.5]", "a list of 3 numbers"),
        ("points = [0, 0.5, 0.75]", "points = [0, 0.5, 0.4]", "never falling"),
        ("year_5 = [100, 50, 10]", "year_5 = [100, 50, 60]", "never rising"),
        ("year_5 = [100, 50, 10]", "year_5 = [100, 85, 10]", "survival at 10000 points"),
        ("year_1 = [100, 90, 80]", "year_1 = [101, 90, 80]", "between 0 and 100"),
        ("year_10 = [100, 40, 0]", "", "survival.year_10"),
        (
            'citation = "An artificial table for tests; these are no published numbers"\n',
            "",
            "citation",
        ),
        ("tnm_edition = 6", "tnm_edition = 9", "source.tnm_edition"),
        ("[symptoms]", "[symptom]", "a section [symptoms]"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(old, new, words):
    assert old in ARTIFICIAL
    with pytest.raises(ValidationError) as error:
        parse_karakiewicz_table(ARTIFICIAL.replace(old, new).encode(), "artificial.toml")
    assert words in str(error.value)


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_karakiewicz_table(tmp_path / "absent.toml")
    path = tmp_path / "table.toml"
    path.write_text("[pT", encoding="utf-8")
    with pytest.raises(ConfigError, match="not a TOML document"):
        load_karakiewicz_table(path)
    path.write_text(ARTIFICIAL, encoding="utf-8")
    assert load_karakiewicz_table(path).totals == (0, 10000, 20000)
