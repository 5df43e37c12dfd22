import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import ndimage

from crpnet_bench.synthetic.layout import SlidePlan, Tissue, plan_tissue, regions, tile_shares


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tiles=st.integers(20, 49),
    spindled=st.integers(0, 6),
    granular=st.integers(0, 12),
    stroma=st.integers(0, 2),
)
def test_a_plan_holds_exactly_what_was_asked(seed, tiles, spindled, granular, stroma):
    rng = np.random.default_rng(seed)
    plan = SlidePlan(
        plan_tissue(rng, tiles=tiles, spindled=spindled, granular=granular, stroma=stroma), seed
    )
    assert plan.tissue_tiles == tiles
    assert plan.count(Tissue.SPINDLED) == spindled
    assert plan.count(Tissue.GRANULAR) == granular
    assert plan.count(Tissue.STROMA) == stroma


def test_more_nests_than_tiles_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        plan_tissue(np.random.default_rng(0), tiles=3, spindled=2, granular=1, stroma=1)


def plans(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        tissue = plan_tissue(rng, tiles=31, spindled=seed % 5, granular=8, stroma=1)
        yield SlidePlan(tissue, seed)


def test_the_drawing_follows_the_plan():
    """A nest fills most of its tile; what spills into other tiles is little."""
    inside, outside = [], []
    for plan in plans(25):
        share = tile_shares(plan)[Tissue.SPINDLED]
        nest = plan.grid() == Tissue.SPINDLED
        inside += share[nest].tolist()
        outside += share[~nest].tolist()
    assert min(inside) > 0.45
    assert np.median(inside) > 0.75
    assert max(outside) < 0.25
    assert np.quantile(outside, 0.99) < 0.12


def test_shares_of_all_tissues_fill_each_tile():
    plan = next(plans(1))
    np.testing.assert_allclose(sum(tile_shares(plan).values()), 1)


def test_tissue_is_mostly_one_piece():
    for plan in plans(10):
        pieces, count = ndimage.label(plan.grid() != Tissue.GLASS)
        largest = max(np.count_nonzero(pieces == number) for number in range(1, count + 1))
        assert largest >= 0.85 * plan.tissue_tiles


def test_a_coarse_map_agrees_with_the_fine_one():
    plan = next(plans(1))
    fine = regions(plan)[4::8, 4::8]
    assert (fine == regions(plan, fine.shape[0])).mean() > 0.97


def test_an_empty_slide_is_all_glass():
    rng = np.random.default_rng(0)
    plan = SlidePlan(plan_tissue(rng, tiles=0, spindled=0, granular=0, stroma=0), 1)
    assert plan.tissue_tiles == 0
    assert (regions(plan, 392) == Tissue.GLASS).all()
