from __future__ import annotations

import numpy as np
import pytest

import crpnet_bench.stats.concordance_bootstrap as module
from crpnet_bench.errors import InputError
from crpnet_bench.stats import bootstrap_concordance, concordance_index
from crpnet_bench.stats.resampling import multiplicities


def one_by_one(d, method, tau, fold, resamples, seed):
    """The same resamples, each written out row by row and counted afresh."""
    n = len(d)
    drawn = multiplicities(np.zeros(n, dtype=int), resamples, np.random.default_rng(seed))
    known = module.outcome(d.time, d.event, method, tau, fold)
    risk = d.a.to_numpy(float)
    right, pairs = module._by_row(known, risk, drawn)
    return right / pairs


@pytest.mark.parametrize(
    ("method", "tau", "folded"),
    [("harrell", None, False), ("uno", 20, False), ("harrell", 9, True)],
)
def test_matrix_and_rows_give_the_same_resamples(large_data, method, tau, folded):
    _, d = large_data
    tau = None if tau is None else float(d.time.quantile(0.8))
    fold = d.stratum.to_numpy() if folded else None
    ours = bootstrap_concordance(d.time, d.event, d.a, method, tau, fold, resamples=40, seed=3)
    indices = one_by_one(d, method, tau, fold, 40, 3)
    assert ours.se == pytest.approx(indices.std(ddof=1), rel=1e-10)
    assert ours.ci_low == pytest.approx(np.quantile(indices, 0.025), rel=1e-12)
    assert ours.value == concordance_index(d.time, d.event, d.a, method, tau, fold).value


def test_agrees_with_the_jackknife(data):
    name, d = data
    boot = bootstrap_concordance(d.time, d.event, d.a, resamples=2000)
    jackknife = concordance_index(d.time, d.event, d.a)
    assert boot.se == pytest.approx(jackknife.se, rel=0.35 if name == "small" else 0.1)
    assert "bootstrap of patients, percentiles of 2000 resamples, seed 0" in boot.method


def test_rows_of_one_patient_are_drawn_together(data):
    _, d = data
    twice, repeat = np.tile(np.arange(len(d)), 2), np.repeat([0, 1], len(d))
    columns = [d[c].to_numpy()[twice] for c in ("time", "event", "a")]
    both = bootstrap_concordance(*columns, fold=repeat, cluster=twice, resamples=300)
    single = bootstrap_concordance(d.time, d.event, d.a, resamples=300)
    assert (both.value, both.se) == pytest.approx((single.value, single.se))


def test_large_data_is_counted_row_by_row():
    random = np.random.default_rng(0)
    time, risk = random.exponential(size=2100), random.normal(size=2100)
    ours = bootstrap_concordance(time, np.ones(2100), risk, resamples=60)
    assert ours.se == pytest.approx(concordance_index(time, np.ones(2100), risk).se, rel=0.35)


def test_what_has_no_interval_stays_so():
    perfect = bootstrap_concordance(range(12), [1] * 12, range(12, 0, -1))
    assert (perfect.value, perfect.ci_low) == (1.0, None)
    assert perfect.small_sample_bound is not None
    assert bootstrap_concordance([], [], []).reason == "no patients"
    with pytest.raises(InputError, match="resamples"):
        bootstrap_concordance([1, 2], [1, 0], [2, 1], resamples=1)


def test_strata_keep_their_size():
    stratum = np.array([0, 1, 1, 0, 1])
    drawn = multiplicities(stratum, 200, np.random.default_rng(0))
    assert np.all(drawn[:, stratum == 0].sum(axis=1) == 2)
    assert np.all(drawn[:, stratum == 1].sum(axis=1) == 3)
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.25)
