"""From a region of a level to tiles: copied, area-averaged or resampled with Lanczos.

Only pixels under a tile take part in it, so a tile does not depend on what is read beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from crpnet_bench.slides.base import Pixels
from crpnet_bench.slides.grid import Field

__all__ = ["Cut", "cut"]

Offset = tuple[float, float]  # left and top in pixels of the region


class Cut(Protocol):
    """Tiles of a region, by number."""

    def luma(self, number: int) -> Image.Image:
        """8-bit grey of a tile."""
        ...

    def pixels(self, number: int) -> Pixels:
        """RGB of a tile, (size, size, 3)."""
        ...


def cut(region: Pixels, offsets: Sequence[Offset], field: Field) -> Cut:
    """Cut fields out of a region of their level.

    Args:
        region: (height, width, 3).
        offsets: left and top of each field.
        field: their size, there and here.
    """
    if field.factor == (1, 1):
        return _Copied(region, offsets, field.size)
    return _Resampled(region, offsets, field)


class _Copied:
    """Tiles at the level's own scale; the whole region is turned grey at once."""

    def __init__(self, region: Pixels, offsets: Sequence[Offset], size: int) -> None:
        self._region = region
        self._luma = Image.fromarray(region).convert("L")
        self._corners = [(round(left), round(top)) for left, top in offsets]
        self._size = size

    def luma(self, number: int) -> Image.Image:
        left, top = self._corners[number]
        return self._luma.crop((left, top, left + self._size, top + self._size))

    def pixels(self, number: int) -> Pixels:
        left, top = self._corners[number]
        return self._region[top : top + self._size, left : left + self._size]


class _Resampled:
    """Tiles at another scale."""

    def __init__(self, region: Pixels, offsets: Sequence[Offset], field: Field) -> None:
        resample = _lanczos if field.factor is None else _averaged
        self._tiles = [resample(region, left, top, field) for left, top in offsets]

    def luma(self, number: int) -> Image.Image:
        return self._tiles[number].convert("L")

    def pixels(self, number: int) -> Pixels:
        return np.asarray(self._tiles[number])


def _averaged(region: Pixels, left: float, top: float, field: Field) -> Image.Image:
    x, y = round(left), round(top)
    width, height = (round(extent) for extent in field.extent)
    part = Image.fromarray(region[y : y + height, x : x + width])
    return part.reduce((width // field.size, height // field.size))


def _lanczos(region: Pixels, left: float, top: float, field: Field) -> Image.Image:
    x, y = math.floor(left), math.floor(top)
    width, height = field.extent
    part = Image.fromarray(region[y : math.ceil(top + height), x : math.ceil(left + width)])
    box = (left - x, top - y, left - x + width, top - y + height)
    return part.resize((field.size, field.size), Image.Resampling.LANCZOS, box=box)
