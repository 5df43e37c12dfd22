"""Printed digits: what they can still stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crpnet_bench.audit.printed import (
    CountCell,
    EstimateCell,
    MeanCell,
    MedianCell,
    NumberCell,
    RateCell,
    WholeCell,
)

number = TypeAdapter(NumberCell).validate_python
rate = TypeAdapter(RateCell).validate_python
whole = TypeAdapter(WholeCell).validate_python
estimate = TypeAdapter(EstimateCell).validate_python
mean = TypeAdapter(MeanCell).validate_python
median = TypeAdapter(MedianCell).validate_python
count = TypeAdapter(CountCell).validate_python


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("0.128", 0.1284, 0.1286),
        ("< 0.001", 0.0009, 0.0011),
        ("> 0.9", 0.95, 0.89),
        ("88.00%", 0.88004, 0.88006),
        ("53%", 0.53005, 0.5351),
        ("1,204", 1204.4, 1205),
        ("-0.5", -0.54, -0.56),
    ],
)
def test_number_agrees_with_what_rounds_to_it(text: str, inside: float, outside: float):
    cell = number(text)
    assert cell.agrees(inside)
    assert not cell.agrees(outside)


@given(st.floats(0, 1), st.integers(0, 6))
def test_a_number_agrees_with_its_own_rounding(value: float, decimals: int):
    assert number(f"{value:.{decimals}f}").agrees(value)
    assert number(f"{value * 100:.{decimals}f}%").agrees(value)


def test_bare_zero_among_percentages_is_exact():
    assert not rate("0").agrees(2 / 56)
    assert not rate("0%").agrees(2 / 56)
    assert rate("0%").agrees(0.004)
    assert not rate("0").agrees(0.004)


def test_nan_agrees_with_nothing():
    assert not rate("0").agrees(float("nan"))


def test_an_estimate_is_read_in_the_spellings_of_journals():
    spellings = [
        "0.879 (0.783-0.943)",
        "0.879 (0.783\u20130.943)",
        "0.879 (0.783 to 0.943)",
        "0.879 [0.783, 0.943]",
        "0.879 (95% CI: 0.783-0.943)",
        "0.879 (95% CI 0.783-0.943)",
    ]
    for text in spellings:
        cell = estimate(text)
        assert (cell.value.value, cell.low.value, cell.high.value) == (0.879, 0.783, 0.943)


def test_means_medians_and_counts():
    assert mean("61.37 ± 13.335").sd.value == 13.335
    assert mean("61.37 (13.335)").sd.value == 13.335
    assert median("30 (23.5, 40)").q1.value == 23.5
    assert count("97 (53%)").percent.value == 0.53
    assert count("97 (53.0)").percent.value == 0.53
    assert count("97").percent is None
    assert whole("183").half_unit == 0


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (number, 0.5, "in quotes"),
        (number, "about 5", "a printed number"),
        (number, "", "a printed number"),
        (number, True, "text such as"),
        (rate, "88.00", "a rate as '88.00%'"),
        (whole, "18.5", "a whole number"),
        (estimate, "0.879", "an estimate with its limits"),
        (mean, "61.37", "mean and standard deviation"),
        (median, "30", "median and quartiles"),
        (count, "many", "a count"),
    ],
)
def test_what_cannot_be_read_says_what_was_expected(read, value, expected):
    with pytest.raises(ValidationError, match=expected):
        read(value)
