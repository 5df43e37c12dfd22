"""Tiled pyramidal slides that OpenSlide opens, for tests, demonstrations and conversion.

Tiles are compressed here and handed to tifffile as bytes, so that the colours in the JPEG stream
are known: asked to compress RGB as YCbCr itself, tifffile can write wrong colours that OpenSlide
shows without complaint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from crpnet_bench.slides.base import Pixels

__all__ = ["SlideLayout", "halved", "write_repeated_slide", "write_slide"]

_APERIO_JPEG2000 = tifffile.COMPRESSION.APERIO_JP2000_RGB


@dataclass(frozen=True, slots=True)
class SlideLayout:
    """How a slide file is made.

    Attributes:
        mpp: micrometres a pixel written into the description; None leaves it out.
        power: objective power written into the description; None leaves it out.
        levels: of the pyramid, each half of the one before.
        tile: side of a file tile in pixels.
        compression: "jpeg" or "jpeg2000".
        colour: what the JPEG stream holds; "ycbcr" halves the chroma resolution.
        quality: of the JPEG.
        vendor: "aperio", or "generic" for a plain pyramidal TIFF without description.
    """

    mpp: float | None = 0.5
    power: float | None = 20
    levels: int = 1
    tile: int = 256
    compression: Literal["jpeg", "jpeg2000"] = "jpeg"
    colour: Literal["rgb", "ycbcr"] = "ycbcr"
    quality: int = 85
    vendor: Literal["aperio", "generic"] = "aperio"


def write_slide(path: Path, pixels: Pixels, layout: SlideLayout) -> Path:
    """Write RGB pixels (height, width, 3) as a tiled slide."""
    with tifffile.TiffWriter(path) as file:
        for number in range(layout.levels):
            _write_level(file, pixels, layout, _tiles(pixels, layout), first=number == 0)
            pixels = halved(pixels)
    return path


def write_repeated_slide(
    path: Path, patch: Pixels, width: int, height: int, layout: SlideLayout
) -> Path:
    """Write a one-level slide that repeats a patch, each of its tiles stored once.

    Size on disk does not grow with the slide; for measurements on large ones.

    Args:
        path: the file to write.
        patch: (h, w, 3) whose sides are multiples of the file tile.
        width: of the slide in pixels.
        height: of the slide in pixels.
        layout: how it is stored; `levels` must be 1.
    """
    encode = _encoder(layout)
    side = layout.tile
    across, down = -(-width // side), -(-height // side)
    stored = [encode(tile) for tile in _cut(patch, side)]
    first = iter([*stored, *([b""] * (across * down - len(stored)))])
    blank = np.broadcast_to(np.uint8(0), (height, width, 3))
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        _write_level(file, blank, layout, first, first=True)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages.first
        columns = patch.shape[1] // side
        rows = patch.shape[0] // side
        source = [(y % rows) * columns + x % columns for y in range(down) for x in range(across)]
        for tag, values in (
            ("TileOffsets", page.dataoffsets),
            ("TileByteCounts", page.databytecounts),
        ):
            page.tags[tag].overwrite([values[index] for index in source])
    return path


def halved(pixels: Pixels) -> Pixels:
    """The next level of a pyramid: each 2 x 2 pixels averaged, an odd edge cut off."""
    height, width = (length // 2 * 2 for length in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels[:height, :width]).reduce(2))


def _write_level(
    file: tifffile.TiffWriter,
    pixels: Pixels,
    layout: SlideLayout,
    tiles: Iterator[bytes],
    *,
    first: bool,
) -> None:
    height, width = pixels.shape[:2]
    options: dict[str, Any] = {"compression": _APERIO_JPEG2000}
    if layout.compression == "jpeg":
        # What tifffile then writes into the photometric tag; the bytes are not touched.
        options = {
            "compression": tifffile.COMPRESSION.JPEG,
            "compressionargs": {"outcolorspace": layout.colour},
            "subsampling": (2, 2) if layout.colour == "ycbcr" else (1, 1),
        }
    if layout.vendor == "aperio":
        options["description"] = _aperio_description(width, height, layout)
    file.write(
        tiles,
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(layout.tile, layout.tile),
        photometric="rgb",
        planarconfig="contig",
        subfiletype=0 if first else 1,
        metadata=None,
        software=False,
        **options,
    )


def _aperio_description(width: int, height: int, layout: SlideLayout) -> str:
    kind = "JPEG/RGB" if layout.compression == "jpeg" else "J2K/KDU"
    fields = [
        f"Aperio Image\r\n{width}x{height} ({layout.tile}x{layout.tile}) {kind} Q={layout.quality}"
    ]
    if layout.power is not None:
        fields.append(f"AppMag = {layout.power:g}")
    if layout.mpp is not None:
        fields.append(f"MPP = {layout.mpp:.6g}")
    return "|".join(fields)


def _tiles(pixels: Pixels, layout: SlideLayout) -> Iterator[bytes]:
    encode = _encoder(layout)
    for tile in _cut(pixels, layout.tile):
        yield encode(tile)


def _cut(pixels: Pixels, side: int) -> Iterator[Pixels]:
    """Tiles row by row, the edge repeated to fill the last ones."""
    height, width = pixels.shape[:2]
    padding = ((0, -height % side), (0, -width % side), (0, 0))
    padded = np.pad(pixels, padding, mode="edge")
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield np.ascontiguousarray(padded[y : y + side, x : x + side])


def _encoder(layout: SlideLayout) -> Callable[[Pixels], bytes]:
    def encode(tile: Pixels) -> bytes:
        if layout.compression == "jpeg2000":
            data = imagecodecs.jpeg2k_encode(tile, level=80, codecformat="j2k", mct=False)
        elif layout.colour == "ycbcr":
            data = imagecodecs.jpeg8_encode(
                tile, level=layout.quality, colorspace="RGB", outcolorspace="YCBCR",
                subsampling="420",
            )  # fmt: skip
        else:
            data = imagecodecs.jpeg8_encode(
                tile, level=layout.quality, colorspace="RGB", outcolorspace="RGB",
                subsampling="444",
            )  # fmt: skip
        return bytes(data)

    return encode
