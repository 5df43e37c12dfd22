from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from firthmodels import FirthCoxPH
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.errors import InputError, ModelError
from crpnet_bench.stats import cox_ph
from crpnet_bench.stats.partial_likelihood import PartialLikelihood

COVARIATES = ["a", "b", "c"]
TIES = pytest.mark.parametrize("ties", ["efron", "breslow"])
STRATIFIED = pytest.mark.parametrize("stratified", [False, True])


def fit(d, ties="efron", stratified=False, **options):
    strata = d.stratum if stratified else None
    return cox_ph(d.time, d.event, d[COVARIATES], ties=ties, strata=strata, **options)


def column(result, attribute):
    return [getattr(result.terms[name], attribute) for name in COVARIATES]


@TIES
@STRATIFIED
def test_equals_coxph(data, r_survival, ties, stratified):
    name, d = data
    key = f"{ties} {str(stratified).upper()}"
    ours = fit(d, ties, stratified)
    for attribute, quantity in (
        ("coef", "coef"),
        ("se", "se"),
        ("ci_low", "ci_low"),
        ("ci_high", "ci_high"),
        ("p_value", "p"),
    ):
        r = r_survival(name, f"coxph {quantity}", key)
        np.testing.assert_allclose(column(ours, attribute), r, rtol=1e-9, err_msg=attribute)
    np.testing.assert_allclose(
        [
            ours.log_likelihood,
            ours.log_likelihood_null,
            ours.lrt_statistic,
            ours.lrt_p_value,
            ours.wald_statistic,
            ours.wald_p_value,
        ],
        r_survival(name, "coxph global", key),
        rtol=1e-9,
    )
    assert (ours.n, ours.events, ours.df) == (len(d), d.event.sum(), 3)
    assert ours.method == f"Cox partial likelihood, {ties.capitalize()} ties, Wald intervals"


@STRATIFIED
def test_linear_predictor_equals_r(data, r_survival, stratified):
    name, d = data
    ours = fit(d, stratified=stratified).linear_predictor(d[COVARIATES])
    r = r_survival(name, "coxph lp", f"efron {str(stratified).upper()}")
    np.testing.assert_allclose(ours, r, rtol=1e-9, atol=1e-11)


def new_patients(d):
    return pd.DataFrame(
        {
            "c": [0, 1, 0],
            "b": np.quantile(d.b, [0.9, 0.5, 0.1]),
            "a": np.quantile(d.a, [0.1, 0.5, 0.9]),
        }
    )


@TIES
def test_predicted_survival_equals_r(data, r_survival, ties):
    name, d = data
    times = r_survival(name, "survfit.coxph times", f"{ties} FALSE")
    ours = fit(d, ties).predict_survival(new_patients(d), times)
    r = r_survival(name, "survfit.coxph", f"{ties} FALSE")
    np.testing.assert_allclose(ours.ravel(), r, rtol=1e-9, atol=1e-15)


@TIES
def test_predicted_survival_in_a_stratum_equals_r(data, r_survival, ties):
    name, d = data
    times = r_survival(name, "survfit.coxph times", f"{ties} FALSE")
    model = fit(d, ties, stratified=True)
    for stratum in sorted(d.stratum.unique()):
        ours = model.predict_survival(new_patients(d), times, strata=[stratum] * 3)
        r = r_survival(name, f"survfit.coxph stratum {stratum}", f"{ties} TRUE")
        np.testing.assert_allclose(ours.ravel(), r, rtol=1e-9, atol=1e-15)


def reference(shared_data, name):
    path = shared_data.parent / "reference" / "r_values" / name
    if not path.is_file():
        pytest.skip(f"{name} with coxphf's values is not at hand")
    return pd.read_csv(path)


@pytest.mark.parametrize("names", [["group"], ["group", "x"]])
def test_separation_turns_to_firth_and_equals_coxphf(shared_data, names):
    d = reference(shared_data, "separated.csv")
    values = reference(shared_data, "values.csv")
    values = values[
        (values.analysis == "cox_firth_coxphf_breslow") & (values.spec == "+".join(names))
    ].set_index(["key", "quantity"])["value"]
    ours = cox_ph(d.time, d.event, d[names])
    assert ours.firth
    assert "chosen automatically because the likelihood is monotone in group" in ours.method
    for name in names:
        term = ours.terms[name]
        for attribute, quantity in (
            ("coef", "coef"),
            ("se", "se"),
            ("ci_low", "hr_lower_pl"),
            ("ci_high", "hr_upper_pl"),
            ("p_value", "p_pl"),
        ):
            r = values[name, quantity]
            assert getattr(term, attribute) == pytest.approx(r, rel=1e-8), (name, quantity)
    assert ours.log_likelihood == pytest.approx(values["model", "loglik"], rel=1e-9)
    assert ours.log_likelihood_null == pytest.approx(values["model", "loglik0"], rel=1e-9)


def test_firth_equals_an_independent_implementation(data):
    _, d = data
    ours = fit(d, firth=True)
    theirs = FirthCoxPH(backend="numpy", gtol=1e-7, xtol=1e-8, max_iter=500)
    theirs.fit(d[COVARIATES].to_numpy(float), (d.event.to_numpy(bool), d.time.to_numpy(float)))
    np.testing.assert_allclose(column(ours, "coef"), theirs.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(column(ours, "se"), theirs.bse_, rtol=1e-6)
    assert "chosen automatically" not in ours.method


def separated(n=60, seed=3):
    random = np.random.default_rng(seed)
    group = np.arange(n) % 2
    time = random.exponential(size=n).round(2)
    return pd.DataFrame({"time": time, "event": group * (random.random(n) < 0.7), "group": group})


def test_separation_in_strata_turns_to_firth_too():
    d = separated()
    ours = cox_ph(d.time, d.event, d[["group"]], strata=np.arange(60) % 3)
    assert ours.firth
    assert ours.terms["group"].hazard_ratio > 1
    assert ours.terms["group"].ci_low > 1
    assert np.isfinite(ours.terms["group"].ci_high)


def test_separation_without_firth_is_named():
    d = separated()
    d["x"] = np.random.default_rng(0).normal(size=60)
    ours = cox_ph(d.time, d.event, d[["group", "x"]], firth=False)
    assert ours.terms["group"].coef is None
    assert "monotone" in ours.terms["group"].reason
    within = d[d.group == 1]  # the others never meet an event of their own
    alone = cox_ph(within.time, within.event, within[["x"]])
    assert ours.terms["x"].coef == pytest.approx(alone.terms["x"].coef, rel=1e-6)


def test_a_continuous_covariate_in_the_order_of_the_events_is_separation():
    time = np.arange(1.0, 13.0)
    ours = cox_ph(time, np.ones(12), -time)
    assert ours.firth
    assert ours.terms["x"].coef > 0


def test_a_hidden_combination_that_separates_is_found():
    random = np.random.default_rng(5)
    time = np.arange(1.0, 41.0)
    a = random.normal(size=40)
    d = pd.DataFrame({"a": a, "b": -time / 5 - a, "c": random.normal(size=40)})
    ours = cox_ph(time, np.ones(40), d)
    assert ours.firth
    assert "monotone in a, b" in ours.method


@pytest.mark.parametrize("seed", range(6))
def test_a_strong_but_finite_effect_is_not_separation(seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=300)
    time = random.exponential(size=300) * np.exp(-4 * x)
    ours = cox_ph(time, np.ones(300), x)
    assert not ours.firth
    assert ours.terms["x"].coef == pytest.approx(4, rel=0.2)


def test_an_outlying_covariate_does_not_stop_the_fit():
    random = np.random.default_rng(1)
    x = random.normal(size=100)
    x[7] = 1e4
    ours = cox_ph(random.exponential(size=100), np.ones(100), x)
    assert ours.terms["x"].coef is not None


@pytest.mark.parametrize("firth", ["auto", True])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_covariate_that_grows_with_time_beyond_all_measure_is_fitted_without_a_warning(
    sign, firth
):
    # On the way, the weights of late risk sets round to 0: warnings are errors here.
    time = np.arange(1.0, 31.0)
    event = time % 3 != 0
    result = cox_ph(time, event, {"x": sign * np.exp(2 * time)}, firth=firth)
    assert result.firth
    assert sign * result.terms["x"].coef < 0


def test_a_likelihood_beyond_the_floats_is_not_a_number():
    time, event = np.array([1.0, 2.0, 3.0]), np.ones(3, dtype=np.bool_)
    likelihood = PartialLikelihood(
        time, event, np.array([[1.0], [0.0], [0.5]]), np.zeros(3, dtype=np.int64), efron=True
    )
    assert np.isfinite(likelihood.derivatives(np.array([100.0])).log_likelihood)
    # Not +inf, which a climb would take for a rise.
    assert np.isnan(likelihood.derivatives(np.array([1e4])).log_likelihood)


def test_a_stratum_without_events_predicts_no_event():
    d = pd.DataFrame({"x": [1, 2, 3, 1, 2, 1], "s": list("aaaabb")})
    model = cox_ph([1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 0, 0], d[["x"]], strata=d.s)
    assert model.predict_survival({"x": [1, 2]}, 9.0, strata=["b", "b"]).tolist() == [[1], [1]]
    assert model.predict_survival({"x": [1]}, [0.5, 9], strata=["a"])[0, 0] == 1


def test_a_hazard_ratio_beyond_every_float_is_named():
    time, event, x = [1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], np.array([3, 1, 2, 2, 0, 1])
    term = cox_ph(time, event, x / 1e4).terms["x"]
    assert (term.hazard_ratio, term.ci_high) == (None, None)
    assert "larger unit" in term.reason
    assert term.coef == pytest.approx(1e4 * cox_ph(time, event, x).terms["x"].coef)


def test_scale_and_origin_of_a_covariate_do_not_matter(data):
    _, d = data
    plain = fit(d).terms["a"]
    moved = d.assign(a=d.a * 1e6 + 3e7)
    assert fit(moved).terms["a"].coef * 1e6 == pytest.approx(plain.coef, rel=1e-7)
    assert fit(moved).terms["a"].p_value == pytest.approx(plain.p_value, rel=1e-6)


def test_constant_and_collinear_covariates_are_named_and_the_others_fitted(data):
    _, d = data
    wide = d[COVARIATES].assign(same=1.5, sum=d.a + 2 * d.b, twice=2 * d.c)
    ours = cox_ph(d.time, d.event, wide)
    assert ours.terms["same"].reason == "constant"
    assert ours.terms["sum"].reason == "collinear with a, b"
    assert ours.terms["twice"].reason == "collinear with c"
    for name in COVARIATES:
        assert ours.terms[name].coef == pytest.approx(fit(d).terms[name].coef, rel=1e-9)
    assert ours.estimated == ("a", "b", "c")
    np.testing.assert_allclose(ours.linear_predictor(wide), fit(d).linear_predictor(d[COVARIATES]))


def test_a_covariate_that_varies_only_among_the_never_at_risk():
    ours = cox_ph([1, 2, 3, 4, 5], [0, 1, 1, 1, 0], {"x": [1, 0, 0, 0, 0]})
    assert ours.terms["x"].reason == "does not vary among patients at risk at any event time"
    assert ours.reason == "x: does not vary among patients at risk at any event time"


@pytest.mark.parametrize(
    ("time", "event", "x", "reason"),
    [
        ([], [], [], "no patients"),
        ([1, 2], [0, 0], [1, 2], "no events"),
        ([1, 2], [1, 1], [3, 3], "x: constant"),
        ([1], [1], [3], "x: constant"),
    ],
)
def test_what_cannot_be_fitted_is_a_named_result(time, event, x, reason):
    ours = cox_ph(time, event, {"x": x})
    assert ours.reason == reason
    assert ours.terms["x"].coef is None
    assert ours.terms["x"].reason in reason
    assert ours.lrt_p_value is None
    with pytest.raises(ModelError, match="nothing was fitted"):
        ours.linear_predictor({"x": [1.0]})


def test_few_events_and_small_groups_are_told():
    d = pd.DataFrame({"x": [0, 1] * 20})
    event = [1, 1, 0, 1] * 3 + [0] * 28
    ours = cox_ph(np.arange(40.0), event, d)
    assert ours.warning == "only 9 events, fewer than 10"
    assert ours.terms["x"].warning == "unstable: fewer than 5 events in a group (3 at 0, 6 at 1)"


def test_forms_of_covariates():
    time, event, x = [1, 2, 3, 4], [1, 1, 0, 1], [2.0, 1.0, 2.0, 0.0]
    as_frame = cox_ph(time, event, pd.DataFrame({"size": x}, index=[9, 9, 3, 1]))
    as_series = cox_ph(time, event, pd.Series(x, name="size", index=[4, 3, 2, 1]))
    as_mapping = cox_ph(time, event, {"size": x})
    as_array = cox_ph(time, event, np.array(x)[:, None])
    coefs = [r.terms["size"].coef for r in (as_frame, as_series, as_mapping)]
    assert coefs == [as_array.terms["x1"].coef] * 3
    assert cox_ph(time, event, x).terms["x"].coef == coefs[0]
    np.testing.assert_array_equal(
        as_frame.linear_predictor({"other": [1, 1], "size": [1, 2]}),
        as_array.linear_predictor(np.array([[1.0], [2.0]])),
    )


@pytest.mark.parametrize(
    ("covariates", "told"),
    [
        ({"x": [1, 2, np.nan, 4]}, "covariate 'x': 1 of 4 values are missing"),
        ({"x": ["low", "high", "low", "low"]}, "covariate 'x': expected numbers"),
        ({"x": [1, 2, 3]}, "lengths differ"),
        ({"x": [1, 2, 3, 4], "y": [1, 2]}, "covariates: lengths differ: x 4, y 2"),
        ({}, "covariates: found no column"),
        (np.zeros((4, 1, 1)), "covariates: expected shape"),
        (pd.DataFrame([[1, 2]] * 4, columns=["x", "x"]), "'x' names several columns"),
    ],
)
def test_bad_covariates_are_one_clear_error(covariates, told):
    with pytest.raises(InputError, match=told):
        cox_ph([1, 2, 3, 4], [1, 1, 0, 1], covariates)


def test_options_are_checked():
    with pytest.raises(InputError, match="did you mean 'efron'"):
        cox_ph([1, 2], [1, 1], [0, 1], ties="efrom")
    with pytest.raises(InputError, match="expected 'auto', True or False"):
        cox_ph([1, 2], [1, 1], [0, 1], firth="yes")


def test_predictions_check_their_input(data):
    _, d = data
    model = fit(d, stratified=True)
    with pytest.raises(InputError, match="column 'b' of the model is missing"):
        model.linear_predictor(d[["a", "c"]])
    with pytest.raises(InputError, match="found 2 columns; expected 3"):
        model.linear_predictor(np.zeros((4, 2)))
    with pytest.raises(InputError, match="expected the stratum of each row"):
        model.predict_survival(d[COVARIATES], [1.0])
    with pytest.raises(InputError, match="found 9; expected one of 1, 2"):
        model.predict_survival(d[COVARIATES][:1], [1.0], strata=[9])
    with pytest.raises(InputError, match="found 1 labels for 2 rows"):
        model.predict_survival(d[COVARIATES][:2], [1.0], strata=[1])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 8), st.booleans(), st.integers(0, 3), st.integers(0, 1)),
        min_size=2,
        max_size=25,
    )
)
def test_whatever_the_data_there_is_an_estimate_or_a_reason(rows):
    time, event, x, y = zip(*rows, strict=True)
    ours = cox_ph(time, event, {"x": x, "y": y})
    for term in ours.terms.values():
        if term.coef is None:
            assert term.reason
        else:
            assert np.isfinite([term.coef, term.se, term.p_value]).all()
            assert term.se > 0
            assert term.ci_low is None or term.ci_low <= term.hazard_ratio
            assert abs(term.coef) < 20
