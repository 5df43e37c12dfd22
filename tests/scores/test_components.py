from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.scores.components import (
    COMPONENTS,
    EXPECTED,
    ClinicalInputs,
    completions,
    parse_component,
)

SPELLINGS = {
    ("pT", "T1a"): ["pT1a", "T1A", "1a", "t1A", " pT1a ", "PT1A", "pT 1a", "ypT1a", "pT1a(m)"],
    ("pT", "T1"): ["pT1", "T1", "1", "1.0", 1, 1.0, np.float64(1.0), np.int64(1)],
    ("pT", "T3c"): ["3C", "T3c", "pt3c"],
    ("pT", "T4"): ["4", "T4", 4.0],
    ("pT", None): ["", "TX", "pTx", "x", "NA", "NaN", "unknown", None, math.nan, pd.NA, "TX "],
    ("pN", "NX"): ["NX", "x", "pNX", "X", "cNX", "pnx"],
    ("pN", "N0"): ["N0", "0", "pN0", "0.0", 0, 0.0, "cN0"],
    ("pN", "N1"): ["pN1", "N1", 1.0, "1"],
    ("pN", "N2"): ["pN2", "n2"],
    ("pN", "N+"): ["N+", "pN+"],
    ("pN", None): ["", "NA", "unknown", None],
    ("M", "M0"): ["M0", "0", "cM0", "pM0", 0.0, "m0", "cM0 (i+)"],
    ("M", "M1"): ["M1", "1", "cM1", "M1b", 1],
    ("M", None): ["MX", "x", "cMx", "", "unknown", "Not Available"],
    ("grade", 3): ["G3", "III", "3.0", "Grade 3", "g3", 3, 3.0, "ISUP 3", "Fuhrman grade III"],
    ("grade", 4): ["iv", "G4", "4", "WHO/ISUP grade 4", "FG4"],
    ("grade", None): ["GX", "gx", "", "N/A", "[Not Available]", "'--"],
    ("necrosis", True): ["yes", "Y", "1", "true", "present", 1, True, np.True_, "1.0", "TRUE"],
    ("necrosis", False): ["no", "N", "0", "absent", False, 0.0, "not identified"],
    ("necrosis", None): ["", "NA", None, "unknown"],
    ("ecog", 2): ["2", 2.0, "2.0", "ECOG 2", "PS 2"],
    ("age", 61.0): ["61", 61, "61.0", np.float64(61)],
    ("age", 61.5): ["61.5", "61,5"],
    ("symptoms", "none"): ["none", "Incidental", "asymptomatic", "no"],
    ("symptoms", "systemic"): ["Systemic"],
    ("tumor_size_cm", 4.5): ["4.5", 4.5, "4,5", "4.50", "4.5 cm", "+4.5"],
    ("tumor_size_mm", 4.5): ["45", 45, "45.0", "45 mm", "45,0"],
}
BAD = {
    "pT": ["T5", "T1c", "T4a", "cT1a", "T0", "Tis", "T1-2", "high", "12", True, -1],
    "pN": ["N3", "cN1", "N", "yes", "-1", 0.5],
    "M": ["M2", "yes", "M0/1", 0.5],
    "grade": [5, 0, "V", "G2-3", "3.5", "high", -1, "IIII"],
    "necrosis": ["maybe", "none", "-", 2, "10%", "0.5"],
    "ecog": [5, -1, "1.5", "KPS 80", ">=1"],
    "age": [240, -3, "90+", ">89", "61y", math.inf, True],
    "symptoms": ["yes", "1", "pain"],
    "tumor_size_cm": [0, -4, 500, "1,234", "4-5", "45 mm", "<1", "4.5.1", math.inf, "1e300", True],
    "tumor_size_mm": [0, -4, 5000, "4.5 cm"],
}


@pytest.mark.parametrize(
    ("name", "value", "cell"),
    [(name, value, cell) for (name, value), cells in SPELLINGS.items() for cell in cells],
)
def test_every_known_spelling_is_read(name, value, cell):
    assert parse_component(name, cell) == value
    assert type(parse_component(name, cell)) is type(value)


@pytest.mark.parametrize(
    ("name", "cell"), [(name, cell) for name, cells in BAD.items() for cell in cells]
)
def test_an_unknown_spelling_is_refused_with_what_was_expected(name, cell):
    with pytest.raises(InputError) as error:
        parse_component(name, cell)
    assert EXPECTED[name] in str(error.value)
    assert name in str(error.value)


@given(st.sampled_from(sorted(COMPONENTS)), st.text(max_size=30))
def test_any_text_is_read_or_refused(name, text):
    try:
        value = parse_component(name, text)
    except InputError:
        return
    field = "tumor_size_cm" if name == "tumor_size_mm" else name
    ClinicalInputs(**{field: value})  # what is read is what the record accepts


@given(st.floats(min_value=0.1, max_value=49.9))
def test_millimetres_and_centimetres_agree(size):
    in_mm = parse_component("tumor_size_mm", repr(size * 10))
    assert in_mm == pytest.approx(parse_component("tumor_size_cm", repr(size)), rel=1e-12)


def test_round_millimetres_meet_the_thresholds_exactly():
    assert parse_component("tumor_size_mm", "50") == 5.0
    assert parse_component("tumor_size_mm", "100") == 10.0


def test_an_unknown_component_is_named():
    with pytest.raises(InputError, match="did you mean 'necrosis'"):
        parse_component("necroses", "yes")


@pytest.mark.parametrize(
    "fields",
    [{"pT": "pT1a"}, {"pN": "T1"}, {"grade": True}, {"grade": 5}, {"necrosis": 1}, {"age": -1}]
    + [{"tumor_size_cm": 0.0}, {"tumor_size_cm": math.nan}, {"M": "MX"}, {"ecog": "0"}],
)
def test_a_record_takes_only_values_that_mean_one_thing(fields):
    with pytest.raises(InputError):
        ClinicalInputs(**fields)


def test_completions_of_what_is_known_in_part():
    assert completions("pT", "T3") == ("T3a", "T3b", "T3c")
    assert completions("pT", "T4") == ("T4",)
    assert completions("pN", "N+") == ("N1", "N2")
