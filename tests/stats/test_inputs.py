from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats.covariates import covariate_table
from crpnet_bench.stats.inputs import (
    binary_label,
    codes,
    event_indicator,
    event_status,
    finite,
    same_length,
    survival_times,
)


def test_times_nearer_than_r_can_tell_are_one_time():
    times = survival_times([0.1 * 3, 0.3, 1.0, 1.0 + 1e-9, 1.0 + 1e-7])
    assert np.unique(times).tolist() == [0.3, 1.0, 1.0 + 1e-7]


def test_large_times_are_tied_relative_to_their_mean():
    # In days since an epoch: a difference of 1e-5 is rounding.
    assert np.unique(survival_times([20000.0, 20000.00001, 20001.0])).size == 2


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_whole_times_pass_unchanged(times):
    np.testing.assert_array_equal(survival_times(times), np.array(times, dtype=float))


@pytest.mark.parametrize(
    ("gate", "values", "told"),
    [
        (survival_times, [1, -0.5], "time: found -0.5 at position 1"),
        (survival_times, [1, np.inf], "time: 1 of 2 values are missing or infinite"),
        (survival_times, [[1, 2]], "time: expected one dimension"),
        (event_indicator, [1, 2], "event: found 2.0; expected 0 .censored. or 1 .event."),
        (event_indicator, [0, np.nan], "event: 1 of 2 values are missing"),
        (event_status, [0, 3], "status: found 3.0; expected 0 .censored., 1 .event. or 2"),
        (binary_label, [0, 0.5], "label: found 0.5; expected 0 or 1"),
        (codes, ["a", None], "group: 1 of 2 labels are missing .first at position 1."),
        (codes, [1.0, np.nan], "group: 1 of 2 labels are missing"),
        (codes, pd.Series(["a", pd.NA]), "group: 1 of 2 labels are missing"),
        (codes, [["a"]], "group: expected one dimension"),
        (covariate_table, {"age": [1, None]}, "covariate 'age': 1 of 2 values are missing"),
    ],
)
def test_bad_values_are_named_with_what_was_expected(gate, values, told):
    with pytest.raises(InputError, match=told):
        gate(values)


def test_one_and_two_coding_never_passes_as_events():
    with pytest.raises(InputError, match="found 2.0"):
        event_indicator([1, 2, 2, 1])


def test_labels_are_sorted_and_coded():
    coded, labels = codes(["low", "high", "low"])
    assert labels == ["high", "low"]
    assert coded.tolist() == [1, 0, 1]


def test_lengths_are_compared_and_named():
    assert same_length(a=np.zeros(3), b=np.ones(3)) == 3
    with pytest.raises(InputError, match="lengths differ: a 3, b 2"):
        same_length(a=np.zeros(3), b=np.ones(2))


def test_finite_takes_booleans_and_strings_of_numbers_as_numpy_does():
    assert finite([True, False], "x").tolist() == [1.0, 0.0]
    with pytest.raises(InputError, match="x: expected numbers"):
        finite(["low"], "x")
