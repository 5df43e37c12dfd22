from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import openslide
import pytest
from PIL import Image
from skimage.measure import shannon_entropy

from crpnet_bench.config import TilingConfig
from crpnet_bench.slides.base import SlideReader, window
from crpnet_bench.slides.cutting import cut
from crpnet_bench.slides.magnification import Magnification
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import audit_of, tile_slide
from crpnet_bench.slides.tissue import entropy
from crpnet_bench.slides.writer import SlideLayout, write_slide


def read_tiles(path, config=None, **options):
    """Coordinates, pixels, entropies of all read tiles and the audit."""
    config = config or TilingConfig()
    with open_slide(path, **options) as reader:
        tiles = tile_slide(reader, config)
        blocks = list(tiles.blocks())
        return {
            "backend": reader.backend,
            "grid": tiles.grid,
            "coords": np.concatenate([block.coords for block in blocks]),
            "pixels": np.concatenate([block.pixels for block in blocks]),
            "entropy": np.concatenate([block.cell_entropy for block in blocks]),
            "audit": audit_of(tiles.grid, config.entropy_threshold, blocks),
            "warnings": (*reader.warnings, *tiles.warnings),
        }


def plain_reference(path, x, y, mpp, size=224):
    """A tile read on its own with OpenSlide and Pillow, as the definition says."""
    with openslide.OpenSlide(path) as slide:
        scale = 0.5 / mpp
        level = max(
            (number for number, value in enumerate(slide.level_downsamples) if value <= scale),
            key=lambda number: slide.level_downsamples[number],
            default=0,
        )
        side = size * scale / slide.level_downsamples[level]
        region = slide.read_region((int(x), int(y)), level, (math.ceil(side), math.ceil(side)))
    region = region.convert("RGB")
    if side % size == 0:
        return np.asarray(region.reduce(round(side) // size))
    return np.asarray(region.resize((size, size), Image.Resampling.LANCZOS, box=(0, 0, side, side)))


LAYOUTS = {
    f"{compression}-{colour}-{tile}-{levels}-{mpp}": SlideLayout(
        mpp=mpp, power=round(10 / mpp), levels=levels, tile=tile,
        compression=compression, colour=colour,
    )
    for compression, colour, tile, levels, mpp in [
        ("jpeg", "ycbcr", 256, 1, 0.5),
        ("jpeg", "ycbcr", 240, 7, 0.25),
        ("jpeg", "rgb", 512, 3, 0.25),
        ("jpeg", "rgb", 240, 1, 0.2282),
        ("jpeg", "ycbcr", 256, 7, 0.2282),
        ("jpeg", "ycbcr", 512, 2, 0.499),
        ("jpeg", "rgb", 256, 2, 1.0),
        ("jpeg2000", "rgb", 256, 3, 0.25),
        ("jpeg2000", "rgb", 240, 1, 0.5),
    ]
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_grid_pixels_and_kept_tiles_on_both_paths(name, tmp_path, tissue_pixels):
    layout = LAYOUTS[name]
    pixels = tissue_pixels[:1333, :1271] if layout.mpp < 0.5 else tissue_pixels[:901, :777]
    path = write_slide(tmp_path / "slide.svs", pixels, layout)
    fast = read_tiles(path)
    reference = read_tiles(path, backend="reference")

    span = 224 * 0.5 / layout.mpp
    expected = [
        (math.floor(column * span), math.floor(row * span))
        for row in range(int(pixels.shape[0] / span))
        for column in range(int(pixels.shape[1] / span))
    ]
    assert sorted(map(tuple, fast["coords"].tolist())) == sorted(expected)
    assert np.array_equal(fast["coords"], reference["coords"])
    assert fast["backend"] == ("openslide" if layout.compression == "jpeg2000" else "direct")
    assert np.abs(fast["entropy"] - reference["entropy"]).max() < 0.02
    difference = np.abs(fast["pixels"].astype(int) - reference["pixels"])
    assert difference.mean(axis=(1, 2, 3)).max() <= 3
    for (x, y), tile in list(zip(fast["coords"], fast["pixels"], strict=True))[::3]:
        plain = plain_reference(path, x, y, layout.mpp)
        assert np.abs(tile.astype(int) - plain).mean() <= 3


def test_a_tile_does_not_depend_on_the_block_it_is_read_in(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels, SlideLayout(mpp=0.2282, power=40))
    with open_slide(path) as reader:
        tiles = tile_slide(reader, TilingConfig())
        block = next(tiles.blocks())
        for number in (0, 1, len(block.cells) - 1):
            x, y = block.coords[number].tolist()
            alone = cut(reader.read(0, x, y, 491, 491), [(0.0, 0.0)], tiles.grid.tile)
            assert np.array_equal(alone.pixels(0), block.pixels[number])


def test_the_entropy_rule_is_8_bit_luma_base_2():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    grey = np.asarray(Image.fromarray(image).convert("L"))
    assert entropy(image) == pytest.approx(shannon_entropy(grey, base=2), abs=1e-12)
    two_values = np.zeros((224, 224, 3), np.uint8)
    two_values[:112] = 255
    assert entropy(two_values) == 1.0
    assert entropy(np.full((224, 224, 3), 200, np.uint8)) == 0.0


def test_the_audit_adds_up_and_keeps_what_reaches_the_threshold(tmp_path, half_tissue_pixels):
    layout = SlideLayout(levels=4)
    path = write_slide(tmp_path / "slide.svs", half_tissue_pixels, layout)
    result = read_tiles(path)
    audit = result["audit"]
    assert audit.n_grid == 11 * 12 == audit.n_masked + audit.n_below + audit.n_kept
    assert audit.n_masked > 20
    assert audit.n_kept == len(result["coords"]) > 20
    counts, edges = audit.histogram()
    assert counts.sum() == audit.n_grid - audit.n_masked
    assert counts[edges[:-1] >= 5].sum() == audit.n_kept
    kept = {tuple(corner) for corner in result["coords"].tolist()}
    for row, column in itertools.product(range(12), range(11)):
        corner = result["grid"].origin(column, row)
        assert (corner in kept) == bool(audit.kept[row, column])
        assert np.isnan(audit.entropy[row, column]) or (
            (corner in kept) == (audit.entropy[row, column] >= 5)
        )


@pytest.mark.parametrize("levels", [3, 4, 6])
def test_the_thumbnail_mask_loses_no_kept_tile(tmp_path, half_tissue_pixels, levels):
    path = write_slide(tmp_path / "slide.svs", half_tissue_pixels, SlideLayout(levels=levels))
    with_mask = read_tiles(path)
    without = read_tiles(path, TilingConfig(thumbnail_mask=False))
    assert np.array_equal(with_mask["coords"], without["coords"])
    assert np.array_equal(with_mask["pixels"], without["pixels"])
    assert with_mask["audit"].n_masked > 0 == without["audit"].n_masked


class ArrayReader(SlideReader):
    """A slide in memory: level 0 and one level that is sixteen times coarser."""

    backend, vendor, objective_power, path = "array", "none", None, Path("array")

    def __init__(self, pixels):
        self.levels = [pixels, np.asarray(Image.fromarray(pixels).reduce(16))]
        self.level_dimensions = tuple(level.shape[1::-1] for level in self.levels)
        self.level_downsamples = (1.0, 16.0)
        self.magnification = Magnification((0.5, 0.5), "mpp")

    def read(self, level, x, y, width, height):
        scale = int(self.level_downsamples[level])
        return window(self.levels[level], x // scale, y // scale, width, height)

    def close(self):
        """Nothing is open."""


def test_texture_that_averages_to_nothing_is_not_masked():
    """Fine noise looks blank on a coarse level and yet has a high entropy."""
    noise = np.random.default_rng(0).integers(200, 241, (1792, 1792, 1), dtype=np.uint8)
    pixels = np.repeat(noise, 3, axis=2)
    pixels[:, 896:] = 240
    tiles = tile_slide(ArrayReader(pixels), TilingConfig())
    audit = audit_of(tiles.grid, 5.0, tiles.blocks())
    assert (audit.n_masked, audit.n_below, audit.n_kept) == (0, 32, 32)
    assert any("blank" in text for text in tiles.warnings)
    pixels[:] = 240
    blank = tile_slide(ArrayReader(pixels), TilingConfig())
    assert audit_of(blank.grid, 5.0, blank.blocks()).n_masked == 64


def test_a_slide_of_pixels_that_are_not_square(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.tif", tissue_pixels, SlideLayout(vendor="generic"))
    with open_slide(path, mpp=0.25) as reader:
        object.__setattr__(reader.magnification, "mpp", (0.25, 0.5))
        grid = tile_slide(reader, TilingConfig()).grid
        block = next(tile_slide(reader, TilingConfig()).blocks())
    assert (grid.columns, grid.rows) == (1400 // 448, 1500 // 224)
    x, y = block.coords[1]
    source = Image.fromarray(tissue_pixels[y : y + 224, x : x + 448]).reduce((2, 1))
    assert np.abs(block.pixels[1].astype(int) - np.asarray(source)).mean() < 4


def test_blocks_can_be_taken_up_in_the_middle(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.svs", np.tile(tissue_pixels, (2, 2, 1)), SlideLayout())
    with open_slide(path) as reader:
        tiles = tile_slide(reader, TilingConfig())
        every = [block.index for block in tiles.blocks()]
        assert every == [0, 1, 2, 3]
        assert [block.index for block in tiles.blocks(start=2)] == [2, 3]


@pytest.mark.parametrize("name", ["jpeg-ycbcr-256-1-0.5", "jpeg-rgb-240-1-0.2282"])
def test_any_tiles_can_be_read_again(name, tmp_path, tissue_pixels):
    """In any order, close together or far apart, they are those of the pass over the slide."""
    path = write_slide(tmp_path / "slide.svs", tissue_pixels, LAYOUTS[name])
    known = read_tiles(path)
    drawn = np.random.default_rng(0)
    with open_slide(path) as reader:
        tiles = tile_slide(reader, TilingConfig())
        for count in (1, 3, len(known["coords"])):
            chosen = drawn.permutation(len(known["coords"]))[:count]
            found = tiles.read(known["coords"][chosen])
            assert np.array_equal(found, known["pixels"][chosen])
