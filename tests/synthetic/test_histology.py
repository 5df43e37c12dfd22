import dataclasses

import numpy as np
import pytest
from PIL import Image

from crpnet_bench.synthetic.histology import ColourForecast, draw_slide
from crpnet_bench.synthetic.layout import GRID, SIDE, TILE, SlidePlan, Tissue, plan_tissue
from crpnet_bench.synthetic.stains import Stain
from crpnet_bench.synthetic.tissues import Fields, painters


def plan(seed, **changes):
    counts = {"tiles": 30, "spindled": 4, "granular": 8, "stroma": 1} | changes
    return SlidePlan(plan_tissue(np.random.default_rng(seed), **counts), seed)


def tiles(pixels):
    """(7, 7, 224, 224, 3)"""
    return pixels.reshape(GRID, TILE, GRID, TILE, 3).swapaxes(1, 2)


def entropies(pixels):
    grey = [
        Image.fromarray(np.ascontiguousarray(tile)).convert("L").entropy()
        for row in tiles(pixels)
        for tile in row
    ]
    return np.reshape(grey, (GRID, GRID))


@pytest.fixture(scope="module")
def drawn():
    slide = plan(11)
    return slide, draw_slide(slide)


@pytest.fixture(scope="module")
def sheets():
    """A slide all of nests and one all of decoys: pure tissue to compare."""
    kinds = {
        "spindled": {"spindled": 49, "granular": 0},
        "granular": {"spindled": 0, "granular": 49},
    }
    return {
        kind: draw_slide(plan(5, tiles=49, stroma=0, **counts)).astype(float)
        for kind, counts in kinds.items()
    }


def test_a_slide_is_rgb_of_seven_tiles_a_side(drawn):
    _, pixels = drawn
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8


def test_the_same_plan_gives_the_same_pixels(drawn):
    slide, pixels = drawn
    assert np.array_equal(draw_slide(slide), pixels)
    other = draw_slide(dataclasses.replace(slide, seed=12))
    assert not np.array_equal(other, pixels)


def test_tissue_passes_the_entropy_rule_and_glass_does_not(drawn):
    slide, pixels = drawn
    grid, entropy = slide.grid(), entropies(pixels)
    assert (entropy[grid != Tissue.GLASS] >= 5).all()
    assert (entropy[grid == Tissue.GLASS] < 5).all()


def test_an_empty_slide_has_no_tile_to_keep():
    empty = plan(3, tiles=0, spindled=0, granular=0, stroma=0)
    assert entropies(draw_slide(empty)).max() < 5


def test_nests_and_decoys_have_the_same_mean_colour():
    """Over tumours; single ones differ, as their nuclei do."""
    means = {Tissue.SPINDLED: [], Tissue.GRANULAR: []}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(0, SIDE, (2, 3000)).astype(np.float32)
        kinds = painters(rng)
        for tissue, values in means.items():
            dyes = kinds[tissue].draw(x, y, Fields.scattered(rng, x.size))
            light = Stain().colour(dyes.haematoxylin, dyes.eosin, dyes.blood)
            values.append(light.mean(axis=0))
    difference = np.subtract(*(np.mean(values, axis=0) for values in means.values()))
    assert np.abs(difference).max() < 3


def test_nests_and_decoys_differ_in_texture(sheets):
    """Long cells make the picture change less along the bundle than across it."""

    def coherence(sheet):
        grey = sheet.mean(axis=2)
        down, across = np.gradient(grey)
        values = []
        for y in range(0, SIDE - 56, 56):
            for x in range(0, SIDE - 56, 56):
                gy, gx = down[y : y + 56, x : x + 56], across[y : y + 56, x : x + 56]
                difference = np.hypot((gx * gx - gy * gy).sum(), 2 * (gx * gy).sum())
                values.append(difference / (gx * gx + gy * gy).sum())
        return float(np.median(values))

    assert coherence(sheets["spindled"]) > 0.4
    assert coherence(sheets["granular"]) < 0.2


def test_clear_cell_tissue_is_paler_than_nests(sheets):
    clear = draw_slide(plan(5, tiles=49, spindled=0, granular=0, stroma=0))
    assert clear.mean() > sheets["granular"].mean() + 25


def test_the_forecast_colour_is_that_of_the_drawing(drawn):
    slide, pixels = drawn
    whole, tissue = ColourForecast(slide).colour(slide.stain)
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), whole, atol=6)
    inside = tiles(pixels)[slide.grid() != Tissue.GLASS]
    # Drawn tiles are paler, since the tissue's border lets glass into them.
    np.testing.assert_allclose(inside.mean(axis=(0, 1, 2)), tissue, atol=12)


def test_the_forecast_follows_the_stain():
    forecast = ColourForecast(plan(1))
    pale, strong = forecast.colour(Stain(eosin=0.8)), forecast.colour(Stain(eosin=1.2))
    assert (pale[:, 1] > strong[:, 1]).all()


def test_the_pen_is_green_ink_on_the_same_tissue(drawn):
    slide, pixels = drawn
    marked = draw_slide(dataclasses.replace(slide, pen=True)).astype(int)
    changed = np.abs(marked - pixels).max(axis=2) > 30
    assert 0.01 < changed.mean() < 0.15
    red, green, blue = marked[changed].mean(axis=0)
    assert green > red + 40
    assert green > blue
