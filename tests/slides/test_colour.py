import numpy as np
import pytest
from PIL import Image

from crpnet_bench.slides.colour import stain_density
from crpnet_bench.slides.reader import open_slide


def density(path, pixels):
    Image.fromarray(pixels).save(path)
    with open_slide(path, mpp=0.5) as reader:
        return stain_density(reader)


def test_it_is_the_density_of_the_tissue_alone(tmp_path):
    pixels = np.full((400, 400, 3), 243, np.uint8)
    pixels[100:200, 100:300] = (200, 100, 150)
    found = density(tmp_path / "slide.tif", pixels)
    np.testing.assert_allclose(found, -np.log10(np.array([200, 100, 150]) / 255), atol=1e-6)


def test_glass_has_no_colour(tmp_path):
    assert density(tmp_path / "glass.tif", np.full((300, 300, 3), 243, np.uint8)) is None


def test_twice_the_dye_is_twice_the_density(tmp_path):
    light = np.array([0.8, 0.5, 0.6])
    once, twice = (
        density(
            tmp_path / f"{power}.tif",
            np.broadcast_to(np.round(255 * light**power).astype(np.uint8), (300, 300, 3)).copy(),
        )
        for power in (1, 2)
    )
    assert twice / once == pytest.approx(2, rel=0.02)
