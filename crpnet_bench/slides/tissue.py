"""Which tiles hold tissue: the entropy rule, and a mask that spares reading blank glass.

The rule: Shannon entropy, base 2, of the 256-bin histogram of 8-bit luma
(Pillow's "L": 0.299 R + 0.587 G + 0.114 B). Tiles below the threshold are dropped.
Float grey values would give another number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crpnet_bench.slides.base import Pixels, SlideReader
from crpnet_bench.slides.grid import Grid

__all__ = ["entropy", "thumbnail_mask"]

_THUMBNAIL_DOWNSAMPLES = (4.0, 64.0)
_THUMBNAIL_PIXELS = 16_000_000
_BLANK_RANGE = 10  # grey levels between the darkest and the brightest thumbnail pixel of a tile
_CHECKED = 8  # masked tiles that are read after all, the most suspicious and evenly spread ones


def entropy(image: Image.Image | Pixels) -> float:
    """Entropy of a tile in bits, 0 to 8.

    Args:
        image: a Pillow image of mode RGB or L, or RGB pixels (h, w, 3).
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return float((picture if picture.mode == "L" else picture.convert("L")).entropy())


def thumbnail_mask(
    reader: SlideReader,
    grid: Grid,
    threshold: float,
    entropies: Callable[[Iterable[tuple[int, int]]], NDArray[np.float64]],
) -> tuple[NDArray[np.bool_], str]:
    """Where a tile must be read, (rows, columns), and a warning or nothing.

    A tile is spared when its area of a coarse level is one flat colour. Because averaging
    hides fine texture, some of the spared tiles are read after all; when one of them would
    have been kept, nothing is spared.

    Args:
        reader: the slide.
        grid: its tiles.
        threshold: entropy from which a tile is kept.
        entropies: the true entropies of tiles given as (column, row).
    """
    everything = np.ones((grid.rows, grid.columns), bool)
    level = _thumbnail_level(reader)
    if level is None or grid.count == 0:
        return everything, ""
    spread = _spread(reader, level, grid)
    spared = np.argwhere(spread <= _BLANK_RANGE)
    if not len(spared):
        return everything, ""
    suspects = spared[np.argsort(spread[tuple(spared.T)], kind="stable")[-_CHECKED:]]
    evenly = spared[np.linspace(0, len(spared) - 1, _CHECKED).astype(int)]
    checked = {(int(column), int(row)) for row, column in (*suspects, *evenly)}
    if entropies(sorted(checked)).max() >= threshold:
        return everything, "tiles that look blank on a coarse level are not: every tile was read"
    return spread > _BLANK_RANGE, ""


def _thumbnail_level(reader: SlideReader) -> int | None:
    """The finest level that is cheap to read whole."""
    low, high = _THUMBNAIL_DOWNSAMPLES
    sizes = zip(reader.level_downsamples, reader.level_dimensions, strict=True)
    cheap = (
        level
        for level, (downsample, (width, height)) in enumerate(sizes)
        if low <= downsample <= high and width * height <= _THUMBNAIL_PIXELS
    )
    return next(cheap, None)


def _spread(reader: SlideReader, level: int, grid: Grid) -> NDArray[np.uint8]:
    """Brightest minus darkest thumbnail pixel under each tile, over the channels."""
    width, height = reader.level_dimensions[level]
    thumbnail = reader.read(level, 0, 0, width, height)
    downsample = reader.level_downsamples[level]
    columns = [(grid.origin(column, 0)[0] / downsample) for column in range(grid.columns)]
    rows = [(grid.origin(0, row)[1] / downsample) for row in range(grid.rows)]
    size_x, size_y = (span / downsample for span in grid.tile.span)
    high = _under(np.maximum, _under(np.maximum, thumbnail, rows, size_y, 0), columns, size_x, 1)
    low = _under(np.minimum, _under(np.minimum, thumbnail, rows, size_y, 0), columns, size_x, 1)
    spread: NDArray[np.uint8] = (high - low).max(axis=2)
    return spread


def _under(
    extreme: np.ufunc, values: Pixels, starts: list[float], size: float, axis: int
) -> Pixels:
    """The extreme over each [start - 1, start + size + 1) along an axis."""
    length = values.shape[axis]
    parts = []
    for start in starts:
        first = min(max(int(start) - 1, 0), length - 1)
        last = min(int(np.ceil(start + size)) + 1, length)
        part = values[first:last] if axis == 0 else values[:, first:last]
        parts.append(extreme.reduce(part, axis=axis))
    return np.stack(parts, axis=axis)
