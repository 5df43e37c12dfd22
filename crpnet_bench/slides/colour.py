"""How strongly a slide is stained, as one figure a colour channel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.overview import thumbnail

__all__ = ["stain_density"]

_SIDE = 512
_TISSUE = 0.15  # optical density summed over the channels; glass has a third of it


def stain_density(reader: SlideReader) -> NDArray[np.float64] | None:
    """Mean optical density of the tissue in red, green and blue, (3,); None without tissue.

    Density is -log10 of the transmitted light (white 255): it adds up over dyes and grows with
    their strength. Pixels of a thumbnail below a total density of 0.15 are glass.
    """
    light = thumbnail(reader, _SIDE).reshape(-1, 3).astype(np.float64)
    density = -np.log10(np.maximum(light, 1) / 255)
    tissue = density[density.sum(axis=1) > _TISSUE]
    return tissue.mean(axis=0) if len(tissue) else None
