from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.stats.discrimination import roc_curve
from crpnet_bench.stats.roc_band import roc_band

R_FOLDER = Path(__file__).parent / "r"


@pytest.mark.parametrize("name", ["veteran", "lung", "rounded"])
def test_the_band_is_that_of_proc_within_monte_carlo_error(name):
    data = pd.read_csv(R_FOLDER / f"{name}.csv")
    witness = pd.read_csv(R_FOLDER / "roc_band.csv", comment="#").query("data == @name")
    band = roc_band(data["event"], data["a"], resamples=4000)
    places = np.searchsorted(band.false_positive_rate, witness["false_positive_rate"] - 1e-9)
    inside = slice(1, -1)  # at 0 and 1 percentiles sit on atoms
    for column in ("ci_low", "ci_high"):
        ours = getattr(band, column)[places]
        np.testing.assert_allclose(ours[inside], witness[column].to_numpy()[inside], atol=0.03)


def test_the_band_holds_the_curve_and_rises():
    rng = np.random.default_rng(0)
    label = rng.random(200) < 0.3
    score = rng.normal(size=200) + label
    band, curve = roc_band(label, score), roc_curve(label, score)
    middle = np.interp(
        band.false_positive_rate, curve.false_positive_rate, curve.true_positive_rate
    )
    assert ((band.ci_low <= middle + 0.02) & (middle - 0.02 <= band.ci_high)).all()
    assert (np.diff(band.ci_low) >= 0).all()
    assert (np.diff(band.ci_high) >= 0).all()


def test_the_same_seed_gives_the_same_band_and_monotone_maps_change_nothing():
    label, score = [0, 1, 0, 1, 1, 0], np.array([1.0, 2.0, 3.0, 4.0, 4.0, 2.0])
    one, other = roc_band(label, score, seed=5), roc_band(label, np.exp(score), seed=5)
    np.testing.assert_array_equal(one.ci_low, other.ci_low)


@pytest.mark.parametrize(
    ("label", "reason"), [([], "no patients"), ([0, 0], "no positives"), ([1, 1], "no negatives")]
)
def test_without_both_classes_there_is_a_reason(label, reason):
    band = roc_band(label, np.arange(len(label), dtype=float))
    assert band.reason == reason
    assert band.ci_low.size == 0


def test_resamples_are_counted_from_one():
    with pytest.raises(InputError, match="at least 1"):
        roc_band([0, 1], [0.0, 1.0], resamples=0)
