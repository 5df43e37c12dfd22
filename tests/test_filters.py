from __future__ import annotations

import contextlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.filters import parse_filter, select

FRAME = pd.DataFrame(
    {
        "M": pd.array(["M0", "M1", None, "M0"], dtype="string"),
        "age": pd.array([40, 70, 55, None], dtype="Float64"),
        "grade": pd.array([1, 4, 3, 2], dtype="Int64"),
        "necrosis": pd.array([True, False, None, True], dtype="boolean"),
        "os.time": [1.0, 2.0, 3.0, 4.0],
    }
)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("M == 'M1'", [0, 1, 0, 0]),
        ("M = m1", [0, 1, 0, 0]),
        ("M != 'M0'", [0, 1, 0, 0]),
        ("M is missing", [0, 0, 1, 0]),
        ("M is not missing and age > 50", [0, 1, 0, 0]),
        ("not M == M1", [1, 0, 0, 1]),
        ("age >= 55 or grade in (1, 2)", [1, 1, 1, 1]),
        ("grade not in [1, 4]", [0, 0, 1, 1]),
        ("grade in (3)", [0, 0, 1, 0]),
        ("necrosis", [1, 0, 0, 1]),
        ("not necrosis", [0, 1, 0, 0]),
        ("necrosis == false", [0, 1, 0, 0]),
        ("necrosis == yes", [1, 0, 0, 1]),
        ("M in ('M1') or not (age < 50 and necrosis)", [0, 1, 1, 0]),
        ("`os.time` > 2.5", [0, 0, 1, 1]),
        ("os.time <= -1e3", [0, 0, 0, 0]),
        ("grade == '4'", [0, 1, 0, 0]),
        ("M == 'cM1'", [0, 1, 0, 0]),
    ],
)
def test_rules_select_rows(rule: str, expected: list[int]):
    assert select(FRAME, rule).astype(int).tolist() == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "column's name"),
        ("M ==", "expected a number"),
        ("M == 'M1", "character 5"),
        ("agee > 3", "did you mean 'age'"),
        ("M > 3", "holds text such as 'M0'"),
        ("necrosis < 1", "yes/no"),
        ("(M == M1", "expected \\)"),
        ("M == M1 M", "end of the rule"),
        ("M in M1", "list of values"),
        ("M is M1", "'missing'"),
        ("__import__('os')", "end of the rule"),
        ("(" * 200 + "M" + ")" * 200, "nested deeper"),
        ("x" * 3000, "3000 characters"),
    ],
)
def test_bad_rules_are_named(rule: str, message: str):
    with pytest.raises(InputError, match=message):
        select(FRAME, rule)


def test_columns_are_those_the_rule_asks_for():
    assert parse_filter("M == M1 and (age < 3 or M == M0)").columns == ("M", "age")


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_an_input_error(text: str):
    with contextlib.suppress(InputError):
        select(FRAME, text)


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1), st.integers(-5, 5))
def test_negation_leaves_missing_rows_out(values: list[int | None], limit: int):
    frame = pd.DataFrame({"x": pd.array(values, dtype="Int64")})
    below, not_below = select(frame, f"x < {limit}"), select(frame, f"not x < {limit}")
    assert not (below & not_below).any()
    assert ((below | not_below) == frame["x"].notna().to_numpy()).all()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("pT in (T1, T2)", [True, True, True, False, False]),
        ("pT == pT1", [True, True, False, False, False]),
        ("pT != T3", [True, True, True, False, True]),
        ("pT <= T2", [True, True, True, False, False]),
        ("pT == T1a", [True, False, False, False, False]),
    ],
)
def test_a_stage_without_a_letter_stands_for_its_letters(rule, expected):
    frame = pd.DataFrame({"pT": ["T1a", "T1b", "T2", "T3b", "T4"]})
    assert select(frame, rule).tolist() == expected
