"""Writes a pyramid of tiled JPEG that OpenSlide opens as an Aperio slide at 20x."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["MPP", "write_slide"]

MPP = 0.5
"""Micrometres a pixel of the finest level."""

_TILE = 224  # the side of a stored tile; a multiple of 16, as TIFF and 4:2:0 JPEG ask
_LEVELS = 3  # each half as wide as the one before
_QUALITY = 85


def write_slide(path: Path, pixels: NDArray[np.uint8], about: str) -> None:
    """Write a slide, first under a temporary name beside `path`, then renamed.

    Args:
        path: the file, `*.svs`; replaced if there.
        pixels: RGB at 0.5 micrometres a pixel, (height, width, 3); both sides divide by 4.
        about: a few words for the image description; no `|` and no line break.

    Raises:
        ValueError: the array is no RGB image of such a size, or `about` breaks the description.
    """
    height, width, channels = pixels.shape
    if channels != 3 or height % 4 or width % 4 or {"|", "\n", "\r"} & set(about):
        raise ValueError(f"not a slide to write: {pixels.shape}, {about!r}")
    description = (
        f"Aperio Image Library, synthetic\r\n{width}x{height} ({_TILE}x{_TILE}) JPEG/RGB "
        f"Q={_QUALITY};{about}|AppMag = 20|MPP = {MPP}"
    )
    partial = path.with_name(f".{path.name}.partial")
    with tifffile.TiffWriter(partial) as tiff:
        level = pixels
        for number in range(_LEVELS):
            tiff.write(
                _tiles(level),
                shape=level.shape,
                dtype=level.dtype,
                photometric="rgb",
                tile=(_TILE, _TILE),
                compression="jpeg",
                compressionargs={"level": _QUALITY},
                subfiletype=0 if number == 0 else 1,
                description=description,
                metadata=None,
                software="crpnet-bench",
                datetime=False,
            )
            level = _half(level)
    partial.replace(path)


def _tiles(pixels: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Tiles row by row; the last ones repeat the border, lest the JPEG bleeds into the picture."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, -height % _TILE), (0, -width % _TILE), (0, 0)), mode="edge")
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            yield padded[y : y + _TILE, x : x + _TILE]


def _half(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, each pixel the mean of four."""
    height, width, channels = pixels.shape
    blocks = pixels.reshape(height // 2, 2, width // 2, 2, channels)
    mean = (blocks.sum(axis=(1, 3), dtype=np.uint16) + 2) // 4
    return np.asarray(mean, dtype=np.uint8)
