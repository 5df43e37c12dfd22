from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError
from crpnet_bench.stats import logrank


@pytest.mark.parametrize("rho", [0, 1, 0.5])
@pytest.mark.parametrize("stratified", [False, True])
def test_equals_survdiff(data, r_survival, rho, stratified):
    name, d = data
    key = f"{rho} {str(stratified).upper()}"
    ours = logrank(d.time, d.event, d.group, d.stratum if stratified else None, rho)
    r = r_survival(name, "survdiff", key)
    np.testing.assert_allclose([ours.statistic, ours.p_value], r, rtol=1e-9)
    np.testing.assert_allclose(
        ours.observed, r_survival(name, "survdiff observed", key), rtol=1e-10
    )
    np.testing.assert_allclose(
        ours.expected, r_survival(name, "survdiff expected", key), rtol=1e-10
    )
    assert ours.df == len(ours.groups) - 1
    assert ours.n.sum() == len(d)
    assert ours.method.startswith("stratified") == stratified


def test_far_tail_does_not_underflow():
    time = np.arange(600.0)
    ours = logrank(time, np.ones(600), time < 300)
    assert 0 < ours.p_value < 1e-80


def test_p_below_every_float_is_told():
    time = np.arange(6000.0)
    ours = logrank(time, np.ones(6000), time < 3000)
    assert ours.p_value == 0
    assert "smallest number" in ours.warning


@pytest.mark.parametrize(
    ("time", "event", "group", "reason"),
    [
        ([], [], [], "no patients"),
        ([1, 2], [1, 1], ["a", "a"], "only one group"),
        ([1, 2], [0, 0], ["a", "b"], "no events"),
        ([1, 2], [0, 1], ["a", "b"], "only one group has patients at risk when an event happens"),
        ([1, 1], [1, 1], ["a", "b"], "singular variance"),
    ],
)
def test_what_cannot_be_tested_is_a_named_result(time, event, group, reason):
    ours = logrank(time, event, group)
    assert (ours.statistic, ours.p_value) == (None, None)
    assert ours.reason.startswith(reason)


def test_bad_input_is_one_clear_error():
    with pytest.raises(InputError, match="group: 1 of 2 labels are missing"):
        logrank([1, 2], [1, 1], ["a", None])
    with pytest.raises(InputError, match="lengths differ"):
        logrank([1, 2], [1, 1], ["a"])
    with pytest.raises(InputError, match="lengths differ"):
        logrank([1, 2], [1, 1], ["a", "b"], strata=[1])
    with pytest.raises(InputError, match="rho"):
        logrank([1, 2], [1, 1], ["a", "b"], rho=np.nan)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 2)), min_size=2, max_size=50
    ),
    st.permutations(["alpha", "beta", "gamma"]),
    st.sampled_from([0.0, 1.0]),
)
def test_group_names_do_not_matter(rows, names, rho):
    time, event, group = zip(*rows, strict=True)
    by_number = logrank(time, event, group, rho=rho)
    by_name = logrank(time, event, [names[g] for g in group], rho=rho)
    assert by_number.df == by_name.df
    if by_number.statistic is None:
        assert by_name.reason == by_number.reason
    else:
        assert by_name.statistic == pytest.approx(by_number.statistic, rel=1e-9, abs=1e-12)
