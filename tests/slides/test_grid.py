from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.grid import plan_grid
from crpnet_bench.slides.magnification import Magnification


class Outline(SlideReader):
    """A slide of which only the measures matter."""

    def __init__(self, width, height, mpp, downsamples=(1.0,)):
        self.path = Path("outline")
        self.level_dimensions = tuple(
            (math.floor(width / value), math.floor(height / value)) for value in downsamples
        )
        self.level_downsamples = tuple(downsamples)
        self.magnification = Magnification(mpp, "mpp")

    def read(self, level, x, y, width, height):
        raise NotImplementedError

    def close(self):
        """Nothing is open."""


sizes = st.integers(1, 20_000)
scales = st.sampled_from([0.1, 0.25, 0.2282, 0.25199707683390871, 0.499, 0.5, 0.5022, 1.0, 2.0])
tile_sizes = st.sampled_from([64, 224, 256, 299])


@given(sizes, sizes, scales, scales, tile_sizes)
def test_the_grid_is_what_geometry_predicts(width, height, mpp_x, mpp_y, tile_px):
    grid = plan_grid(Outline(width, height, (mpp_x, mpp_y)), 0.5, tile_px)
    for length, mpp, count in ((width, mpp_x, grid.columns), (height, mpp_y, grid.rows)):
        exact = Fraction(length) * Fraction(str(mpp)) / (tile_px * Fraction(1, 2))
        assert count == math.floor(exact) or abs(exact - count) < Fraction(1, 10**6)


@given(sizes, sizes, scales, tile_sizes, st.data())
def test_every_tile_lies_inside_the_slide_and_beside_its_neighbours(
    width, height, mpp, tile_px, data
):
    grid = plan_grid(Outline(width, height, (mpp, mpp)), 0.5, tile_px)
    if not grid.count:
        return
    column = data.draw(st.integers(0, grid.columns - 1))
    row = data.draw(st.integers(0, grid.rows - 1))
    x, y = grid.origin(column, row)
    span_x, span_y = grid.tile.span
    assert 0 <= x <= width - span_x + 1e-6
    assert 0 <= y <= height - span_y + 1e-6
    assert abs(x - column * span_x) < 1
    assert grid.origin(column + 1, row)[0] - x in {math.floor(span_x), math.ceil(span_x)}


@given(scales, st.integers(1, 7), tile_sizes)
def test_the_level_read_is_the_coarsest_that_is_fine_enough(mpp, levels, tile_px):
    downsamples = [float(2**level) for level in range(levels)]
    grid = plan_grid(Outline(20_000, 20_000, (mpp, mpp), downsamples), 0.5, tile_px)
    level_mpp = [mpp * value for value in downsamples]
    fine = [value for value in level_mpp if value <= 0.5 + 1e-9]
    assert level_mpp[grid.tile.level] == (max(fine) if fine else mpp)


@pytest.mark.parametrize(
    ("mpp", "factor"),
    [(0.5, (1, 1)), (0.25, (2, 2)), (0.499, (1, 1)), (0.125, (4, 4)), (0.2282, None), (1.0, None)],
)
def test_whole_ratios_are_averaged_and_others_are_not(mpp, factor):
    assert plan_grid(Outline(9000, 9000, (mpp, mpp)), 0.5, 224).tile.factor == factor


def test_pixels_that_are_not_square_give_tiles_of_square_micrometres():
    grid = plan_grid(Outline(4480, 4480, (0.5, 0.25)), 0.5, 224)
    assert (grid.columns, grid.rows) == (20, 10)
    assert grid.tile.factor == (1, 2)


def test_a_scan_four_times_too_coarse_is_refused():
    with pytest.raises(SlideError, match="resolution too low"):
        plan_grid(Outline(4480, 4480, (2.1, 2.1)), 0.5, 224)


def test_seven_tiles_are_seven_although_the_quotient_is_not_exact():
    assert plan_grid(Outline(1568, 1568, (0.5, 0.5)), 0.5, 224).columns == 7
    assert plan_grid(Outline(3136, 1568, (0.1 * 2.5, 0.5)), 0.5, 224).columns == 7
