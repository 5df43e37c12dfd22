"""Simulated bags: the truth they carry is the truth they were made with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.synthetic.sim_bags import SimulatedBags, simulate_bags


@pytest.fixture(scope="module")
def simulated() -> SimulatedBags:
    return simulate_bags(0, 200, 200, dim=32, median_tiles=60)


def test_same_seed_same_bags_another_seed_others():
    first, again, other = (simulate_bags(seed, 6, 4, dim=16) for seed in (3, 3, 4))
    for one, two in zip(first.features, again.features, strict=True):
        assert one.tobytes() == two.tobytes()
    assert first.time.tolist() == again.time.tolist()
    assert first.features[0].tobytes() != other.features[0].tobytes()


def test_arrays_fit_together(simulated):
    assert len(simulated) == 400
    assert (len(simulated.positions("train")), len(simulated.positions("validation"))) == (200, 200)
    for bag, planted, decoy in zip(
        simulated.features, simulated.planted, simulated.decoy, strict=True
    ):
        assert bag.dtype == np.float32
        assert bag.shape == (len(planted), 32)
        assert planted.any()
        assert not (planted & decoy).any()


def test_fraction_and_log_hazard_are_those_of_the_planted_tiles(simulated):
    fraction = np.array([planted.mean() for planted in simulated.planted])
    np.testing.assert_allclose(simulated.planted_fraction, fraction)
    slope, intercept = np.polyfit(np.log(fraction), simulated.linear_predictor, 1)
    assert slope == pytest.approx(2.5)
    residual = simulated.linear_predictor - intercept - slope * np.log(fraction)
    assert np.abs(residual).max() < 1e-9
    assert simulated.linear_predictor[simulated.positions("train")].mean() == pytest.approx(0)
    # With 15 to 240 tiles and 1 to 15 % planted.
    assert fraction.min() >= 0.004
    assert fraction.max() <= 0.16


def test_follow_up_has_events_deaths_and_ties(simulated):
    counts = np.bincount(simulated.status, minlength=3) / len(simulated)
    assert 0.25 < counts[1] < 0.5
    assert 0.01 < counts[2] < 0.12
    assert (simulated.label == (simulated.status == 1)).all()
    assert (simulated.time >= 1).all()
    assert (simulated.time == np.round(simulated.time)).all()
    assert len(np.unique(simulated.time)) < len(simulated)


def test_the_oracle_is_strong_and_finite(simulated):
    oracle = concordance_index(simulated.time, simulated.status == 1, simulated.histology)
    assert 0.8 < oracle.value < 0.9


def test_decoys_share_the_planted_tiles_main_direction_but_no_outcome(simulated):
    tiles = np.concatenate([b - b.mean(axis=0) for b in simulated.features])
    planted, decoy = np.concatenate(simulated.planted), np.concatenate(simulated.decoy)
    rest = ~(planted | decoy)
    towards = [tiles[flags].mean(axis=0) - tiles[rest].mean(axis=0) for flags in (planted, decoy)]
    cosine = towards[0] @ towards[1] / np.prod([np.linalg.norm(t) for t in towards])
    assert 0.2 < cosine < 0.8
    share = [flags.mean() for flags in simulated.decoy]
    assert stats.spearmanr(share, simulated.linear_predictor).pvalue > 0.001


def test_a_clinical_effect_is_added_and_independent_of_the_bag():
    simulated = simulate_bags(1, 300, 0, dim=16, median_tiles=8, clinical_effect=0.7)
    np.testing.assert_allclose(
        simulated.linear_predictor, simulated.histology + 0.7 * simulated.clinical
    )
    assert abs(np.corrcoef(simulated.histology, simulated.clinical)[0, 1]) < 0.2


@pytest.mark.parametrize("bad", [{"dim": 8}, {"planted_range": (0.2, 0.1)}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="expected dim >= 16"):
        simulate_bags(0, 2, 2, **bad)
