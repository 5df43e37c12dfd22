from __future__ import annotations

import numpy as np
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.stats import proportional_hazards_test

COVARIATES = ["a", "b", "c"]


@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("stratified", [False, True])
def test_equals_cox_zph(data, r_survival, transform, ties, stratified):
    name, d = data
    ours = proportional_hazards_test(
        d.time, d.event, d[COVARIATES], ties, d.stratum if stratified else None, transform
    )
    tests = [*(ours.terms[c] for c in COVARIATES), ours.global_test]
    r = r_survival(name, f"cox.zph {transform}", f"{ties} {str(stratified).upper()}")
    np.testing.assert_allclose([t.statistic for t in tests], r[:4], rtol=1e-7)
    np.testing.assert_allclose([t.p_value for t in tests], r[4:], rtol=1e-7)
    assert [t.df for t in tests] == [1, 1, 1, 3]


@pytest.mark.parametrize(
    ("time", "event", "x", "reason"),
    [
        ([], [], [], "no patients"),
        ([1, 2, 3], [0, 0, 0], [1, 2, 3], "no events"),
        ([1, 2, 3], [1, 1, 0], [1, 1, 1], "x: constant"),
        ([1, 1, 2], [1, 1, 0], [1, 2, 1], "all events at one time"),
        ([1, 2, 3, 4], [1, 1, 0, 0], [1, 1, 0, 0], "the model has no finite estimate"),
    ],
)
def test_what_cannot_be_tested_is_a_named_result(time, event, x, reason):
    ours = proportional_hazards_test(time, event, {"x": x})
    assert ours.reason == reason
    assert ours.terms["x"].reason == reason
    assert ours.global_test.p_value is None


def test_a_collinear_covariate_keeps_its_reason(data):
    _, d = data
    ours = proportional_hazards_test(d.time, d.event, {"a": d.a, "same": d.a})
    assert ours.terms["same"].reason == "collinear with a"
    assert ours.terms["a"].p_value == pytest.approx(ours.global_test.p_value)


def test_options_are_checked():
    with pytest.raises(InputError, match="transform"):
        proportional_hazards_test([1, 2], [1, 1], [0, 1], transform="sqrt")
    with pytest.raises(InputError, match="ties"):
        proportional_hazards_test([1, 2], [1, 1], [0, 1], ties="exact")
    with pytest.raises(InputError, match="times above zero"):
        proportional_hazards_test([0, 1, 2, 3], [1, 1, 1, 0], [0, 1, 0, 1], transform="log")
