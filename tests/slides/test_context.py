from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from crpnet_bench.config import TilingConfig
from crpnet_bench.slides.quality import tile_quality
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide
from crpnet_bench.slides.writer import SlideLayout, write_slide


@pytest.mark.parametrize(("levels", "mpp"), [(1, 0.5), (3, 0.5), (3, 0.25)])
def test_wider_fields_share_the_centre_and_are_white_beyond_the_slide(
    tmp_path, tissue_pixels, levels, mpp
):
    pixels = tissue_pixels[:1344, :1344]
    layout = SlideLayout(levels=levels, mpp=mpp, power=round(10 / mpp), quality=95)
    path = write_slide(tmp_path / "slide.svs", pixels, layout)
    config = TilingConfig(context_factors=(2, 4))
    with open_slide(path) as reader:
        blocks = list(tile_slide(reader, config).blocks())
    scale = round(0.5 / mpp)
    padded = np.pad(pixels, ((1500, 1500), (1500, 1500), (0, 0)), constant_values=255)
    for block in blocks:
        for number in range(0, len(block.coords), 4):
            x, y = block.coords[number]
            centre_x, centre_y = x + 112 * scale + 1500, y + 112 * scale + 1500
            for factor in (2, 4):
                half = 112 * scale * factor
                field = padded[centre_y - half : centre_y + half, centre_x - half : centre_x + half]
                expected = np.asarray(Image.fromarray(field).reduce(factor * scale))
                difference = np.abs(block.context[factor][number].astype(int) - expected)
                assert difference.mean() < 3


def test_quality_tells_focus_ink_and_dirt(tissue_pixels):
    noise = np.random.default_rng(0).normal(0, 6, (224, 224, 1))
    tile = (tissue_pixels[:224, :224] + noise).clip(0, 255).astype(np.uint8)
    sharp, ink, dark = tile_quality(tile)
    assert ink < 0.01
    assert dark == 0
    blurred = np.asarray(Image.fromarray(tile).reduce(4).resize((224, 224)))
    assert tile_quality(blurred)[0] < sharp / 3
    marked = tile.copy()
    marked[:112] = (30, 60, 160)
    assert tile_quality(marked)[1] == pytest.approx(0.5, abs=0.01)
    marked[:56] = (20, 20, 25)
    assert tile_quality(marked)[2] == pytest.approx(0.25, abs=0.01)


@pytest.mark.slide
def test_a_real_pen_mark_stands_out_from_real_tissue(shared_data):
    def ink(name):
        return tile_quality(np.asarray(Image.open(shared_data / "tiles" / name).convert("RGB")))[1]

    tissue = [path.name for path in (shared_data / "tiles").glob("TCGA-*.png")]
    assert ink("tcga-red-pen.png") > 0.15 > 2 * max(map(ink, tissue))


def test_quality_is_a_column_and_drops_nothing(tmp_path, tissue_pixels):
    pixels = tissue_pixels[:448, :448].copy()
    pixels[:224, :224, 2] = 255  # a blue that passes the entropy filter
    path = write_slide(tmp_path / "slide.svs", pixels, SlideLayout())
    with open_slide(path) as reader:
        [block] = tile_slide(reader, TilingConfig(quality=True)).blocks()
    assert len(block.coords) == 4
    assert block.quality.shape == (4, 3)
    assert block.quality[0, 1] > 0.5 > block.quality[1:, 1].max()
