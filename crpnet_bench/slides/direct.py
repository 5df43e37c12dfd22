"""Tiled JPEG decoded straight from the file, where that equals OpenSlide.

OpenSlide composes what it decodes on a canvas, which costs several times the decoding. Here the
file's own JPEG tiles go from disk to the block that is wanted. OpenSlide stays the reference: a
few tiles of the level are compared with it, and on any difference the slide is read by it. A tile
of which the decoder as much as warns goes to OpenSlide too, which says what is wrong.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
import tifffile

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.base import Pixels, SlideReader

__all__ = ["DirectReader", "directly"]

_LOG = logging.getLogger(__name__)
_CHECKED = 3  # tiles compared with OpenSlide: those that hold most, and the last
_TOLERANCE = 0.5  # grey levels on average; equal decoders differ by nothing
_START, _END = b"\xff\xd8", b"\xff\xd9"
# Adobe's marker with transform 0: the stream holds RGB. Aperio's do without saying so.
_HOLDS_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
_UNREADABLE = (tifffile.TiffFileError, OSError, ValueError, KeyError, IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class _Level:
    """One pyramid level as JPEG tiles in the file."""

    width: int
    height: int
    tile: tuple[int, int]  # width, height
    offsets: Sequence[int]
    counts: Sequence[int]
    head: bytes  # what each tile's stream begins with, shared tables included

    @property
    def across(self) -> int:
        """File tiles in a row."""
        return -(-self.width // self.tile[0])

    @property
    def is_whole(self) -> bool:
        """Whether the file names every tile."""
        count = self.across * -(-self.height // self.tile[1])
        return len(self.offsets) == len(self.counts) == count

    def corner(self, index: int) -> tuple[int, int]:
        """Top-left pixel of a file tile."""
        row, column = divmod(index, self.across)
        return column * self.tile[0], row * self.tile[1]


class DirectReader(SlideReader):
    """Decodes JPEG tiles itself; levels and places that it cannot read go to OpenSlide.

    Not for several threads at a time: tiles are decoded into one buffer.
    """

    backend = "direct"

    def __init__(self, reference: SlideReader, levels: dict[int, _Level]) -> None:
        self._reference = reference
        self._levels = levels
        self._file = os.open(reference.path, os.O_RDONLY)
        # A fresh array for each tile would cost as much as its decoding.
        self._buffers = {
            layout.tile: np.empty((layout.tile[1], layout.tile[0], 3), np.uint8)
            for layout in levels.values()
        }
        for name in (
            "path", "vendor", "objective_power", "level_dimensions", "level_downsamples",
            "magnification", "file_tile",
        ):  # fmt: skip
            setattr(self, name, getattr(reference, name))

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `SlideReader.read`."""
        layout = self._levels.get(level)
        if layout is None:
            return self._reference.read(level, x, y, width, height)
        downsample = self.level_downsamples[level]
        left, top = round(x / downsample), round(y / downsample)
        wanted = list(_covering(layout, left, top, width, height))
        region = np.empty((height, width, 3), np.uint8)
        inside = 0 <= left <= layout.width - width and 0 <= top <= layout.height - height
        if not inside:
            region[:] = 255
        try:
            for index in wanted:
                self._place(region, layout, index, left, top)
        except _DoubtfulTileError:  # OpenSlide knows what to show, or what is wrong
            return self._reference.read(level, x, y, width, height)
        return region

    def differs(self, level: int) -> str:
        """How the level differs from OpenSlide's, in words; empty when it does not."""
        layout = self._levels[level]
        downsample = self.level_downsamples[level]
        for index in _telling(layout):
            corner_x, corner_y = layout.corner(index)
            x, y = round(corner_x * downsample), round(corner_y * downsample)
            width = min(layout.tile[0], layout.width - corner_x)
            height = min(layout.tile[1], layout.height - corner_y)
            own = self.read(level, x, y, width, height)
            reference = self._reference.read(level, x, y, width, height)
            difference = float(np.abs(own.astype(np.int16) - reference).mean())
            if difference > _TOLERANCE:
                return f"{difference:.1f} grey levels at ({x}, {y}) of level {level}"
        return ""

    def close(self) -> None:
        """Release the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._reference.close()

    def _place(self, region: Pixels, layout: _Level, index: int, left: int, top: int) -> None:
        """Decode a file tile and copy what of it lies in the region."""
        tile = self._decode(layout, index)
        x, y = layout.corner(index)
        first_x, first_y = max(left, x), max(top, y)
        last_x = min(left + region.shape[1], x + layout.tile[0], layout.width)
        last_y = min(top + region.shape[0], y + layout.tile[1], layout.height)
        region[first_y - top : last_y - top, first_x - left : last_x - left] = tile[
            first_y - y : last_y - y, first_x - x : last_x - x
        ]

    def _decode(self, layout: _Level, index: int) -> Pixels:
        count = layout.counts[index]
        data = os.pread(self._file, count, layout.offsets[index])
        if len(data) < count or not data.startswith(_START):
            raise _DoubtfulTileError
        buffer = self._buffers[layout.tile]
        try:
            tile: Pixels = simplejpeg.decode_jpeg(
                layout.head + data[len(_START) :], "RGB", buffer=buffer
            )
        except ValueError as error:  # warnings of the decoder included
            raise _DoubtfulTileError from error
        if tile.shape != buffer.shape:
            raise _DoubtfulTileError
        return tile


class _DoubtfulTileError(Exception):
    """A tile that is absent or may be damaged."""


def directly(reference: SlideReader) -> SlideReader:
    """The same slide read directly where that is possible and equal, else as it was."""
    levels = _jpeg_levels(reference)
    if not levels:
        return reference
    reader = DirectReader(reference, levels)
    try:
        difference = next(filter(None, map(reader.differs, levels)), "")
    except SlideError as error:  # damaged at that place; OpenSlide says so when it is read
        difference = error.reason
    if not difference:
        return reader
    note = f"decoding its tiles directly differs from OpenSlide ({difference}): OpenSlide reads it"
    _LOG.warning("%s: %s", reference.path, note)
    os.close(reader._file)  # noqa: SLF001
    reference.notes = (*reference.notes, note)
    return reference


def _jpeg_levels(reference: SlideReader) -> dict[int, _Level]:
    """The levels that are plain JPEG tiles in a TIFF.

    Where an odd size makes a downsample fractional, OpenSlide interpolates; such a level,
    needed for thumbnails at most, is left to it.
    """
    try:
        with tifffile.TiffFile(reference.path) as file:
            if file.is_ndpi:
                return {}
            pages = {
                (page.imagewidth, page.imagelength): page
                for page in reversed(list(file.pages))
                if isinstance(page, tifffile.TiffPage) and _is_plain_jpeg(page)
            }
            levels = {
                number: _level(pages[size])
                for number, size in enumerate(reference.level_dimensions)
                if size in pages and reference.level_downsamples[number].is_integer()
            }
            return {number: level for number, level in levels.items() if level.is_whole}
    except _UNREADABLE:
        return {}


def _is_plain_jpeg(page: tifffile.TiffPage) -> bool:
    return (
        page.is_tiled
        and page.compression == tifffile.COMPRESSION.JPEG
        and page.planarconfig == tifffile.PLANARCONFIG.CONTIG
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and page.photometric in {tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR}
    )


def _level(page: tifffile.TiffPage) -> _Level:
    rgb = page.photometric == tifffile.PHOTOMETRIC.RGB and not page.is_jfif
    tables = (page.jpegtables or b"").removeprefix(_START).removesuffix(_END)
    return _Level(
        page.imagewidth,
        page.imagelength,
        (page.tilewidth, page.tilelength),
        page.dataoffsets,
        page.databytecounts,
        _START + (_HOLDS_RGB if rgb else b"") + tables,
    )


def _covering(layout: _Level, left: int, top: int, width: int, height: int) -> Iterator[int]:
    """Numbers of the file tiles under a region, row by row."""
    tile_x, tile_y = layout.tile
    right, bottom = min(left + width, layout.width), min(top + height, layout.height)
    if right <= 0 or bottom <= 0:
        return
    for row in range(max(top, 0) // tile_y, -(-bottom // tile_y)):
        for column in range(max(left, 0) // tile_x, -(-right // tile_x)):
            yield row * layout.across + column


def _telling(layout: _Level) -> list[int]:
    """The file tiles with most bytes, which hold tissue, and the last one, cut by the edge."""
    filled = np.argsort(np.asarray(layout.counts), kind="stable")[-_CHECKED:]
    last = len(layout.counts) - 1
    chosen = {*filled.tolist(), last}
    return sorted(index for index in chosen if layout.counts[index])
