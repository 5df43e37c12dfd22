"""What a kept tile may suffer from, as columns beside it; no tile is dropped for it.

Thresholds were set on tiles of TCGA-KIRC and TCGA-KIRP and on a red pen mark: tissue has at most
3 % of pixels in ink colours, the mark 20 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crpnet_bench.slides.base import Pixels

__all__ = ["QUALITY_COLUMNS", "tile_quality"]

QUALITY_COLUMNS = ("sharpness", "ink", "dark")


def tile_quality(tile: Pixels) -> NDArray[np.float32]:
    """Sharpness, share of ink and share of dark pixels of an RGB tile (h, w, 3).

    Sharpness is the variance of the Laplacian of 8-bit luma: tissue in focus 300 and more,
    a blurred tile a tenth. Ink is red, blue or green marker, in colours that haematoxylin and
    eosin do not give. Dark is black and grey: folds, dirt, air bubbles' rims, black ink.
    """
    luma = np.asarray(Image.fromarray(tile).convert("L")).astype(np.int16)
    laplacian = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    )
    red, green, blue = np.moveaxis(tile.astype(np.int16), 2, 0)
    ink = (
        ((red - green > 90) & (np.abs(green - blue) < 30) & (red > 150))
        | (blue - red > 50)
        | ((green - red > 15) & (green - blue > -15))
    )
    brightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    dark = (brightest < 70) & (brightest - darkest < 25)
    return np.array([laplacian.var(), ink.mean(), dark.mean()], np.float32)
