"""Speed of the concordance index against lifelines, as ratios in one run."""

from __future__ import annotations

from time import perf_counter

import lifelines.utils
import numpy as np
import pytest

from crpnet_bench.stats import bootstrap_concordance, concordance_index

pytestmark = pytest.mark.perf


def survival_data(n):
    random = np.random.default_rng(0)
    risk = random.normal(size=n)
    time, censoring = random.exponential(size=n) * np.exp(-risk), random.exponential(size=n)
    # Rounded, since times closer than 1e-8 are tied here as in R, but not in lifelines.
    return np.minimum(time, censoring).round(6), time <= censoring, risk


def best_of(repeats, function):
    """Shortest of several runs: what else the machine does only ever adds."""
    seconds = []
    for _ in range(repeats):
        start = perf_counter()
        function()
        seconds.append(perf_counter() - start)
    return min(seconds)


def report(what, fast, slow):
    times = f"{1000 * fast:.1f} ms, lifelines {1000 * slow:.0f} ms"
    print(f"\n{what}: {times}, {slow / fast:.1f} times faster")


def test_index_with_standard_error_of_a_hundred_thousand_patients():
    time, event, risk = survival_data(100_000)
    theirs = lifelines.utils.concordance_index(time, -risk, event)
    ours = concordance_index(time, event, risk)  # also compiles
    assert ours.value == pytest.approx(theirs, rel=1e-12)
    fast = best_of(7, lambda: concordance_index(time, event, risk))
    slow = best_of(3, lambda: lifelines.utils.concordance_index(time, -risk, event))
    report("C-index with SE, n = 100,000", fast, slow)
    assert slow / fast >= 10


def test_a_thousand_bootstraps_of_258_patients():
    time, event, risk = survival_data(258)
    random = np.random.default_rng(1)
    draws = random.integers(0, 258, size=(1000, 258))

    def loop():
        for rows in draws:
            lifelines.utils.concordance_index(time[rows], -risk[rows], event[rows])

    fast = best_of(7, lambda: bootstrap_concordance(time, event, risk, resamples=1000))
    slow = best_of(2, loop)
    report("1000 bootstraps, n = 258", fast, slow)
    assert slow / fast >= 30
