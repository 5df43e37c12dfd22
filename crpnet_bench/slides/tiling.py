"""One pass over a slide: blocks of tiles are read, resampled, judged and handed on.

A block is up to 16 x 16 tiles, read as one region and cut where the file's own tiles end
(8 x 224 = 7 x 256), so that few are decoded twice and memory does not grow with the slide.
Blocks come row by row, tiles of a block row by row: the order of a slide's tiles depends on
nothing but the slide and the settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.config import TilingConfig
from crpnet_bench.slides.base import Pixels, SlideReader
from crpnet_bench.slides.cutting import Cut, cut
from crpnet_bench.slides.grid import Field, Grid, plan_field, plan_grid
from crpnet_bench.slides.quality import QUALITY_COLUMNS, tile_quality
from crpnet_bench.slides.tissue import entropy, thumbnail_mask

__all__ = ["SlideTiles", "TileAudit", "TileBlock", "tile_slide"]

_BLOCK_TILES = 8  # where the file stores no tiles
_FEWEST_TILES, _MOST_TILES = 4, 16
_BLOCK_PIXELS = 4096  # of the level that is read, a side
_HISTOGRAM_BINS = 32
_MAGNIFIED = 1.05
_SPARSE = 4  # tiles that fill less than one in four places of their region are read one by one

Cell = tuple[int, int]  # column, row


@dataclass(frozen=True, slots=True)
class TileBlock:
    """The tiles of one block.

    Attributes:
        index: of the block, counting from 0 along rows.
        cells: (m, 2) column and row of each tile that was read.
        cell_entropy: (m,) bits.
        kept: (m,) whether the tile passed the threshold; n of them did.
        coords: (n, 2) level-0 top-left corners of the kept tiles, int64.
        pixels: (n, tile_px, tile_px, 3) the kept tiles, RGB.
        context: by factor, (n, tile_px, tile_px, 3) fields that many times as wide around the
            same centres, white beyond the slide.
        quality: (n, 3) `QUALITY_COLUMNS` of the kept tiles; None unless asked for.
    """

    index: int
    cells: NDArray[np.int64]
    cell_entropy: NDArray[np.float64]
    kept: NDArray[np.bool_]
    coords: NDArray[np.int64]
    pixels: Pixels
    context: Mapping[int, Pixels] = field(default_factory=dict)
    quality: NDArray[np.float32] | None = None

    @property
    def entropy(self) -> NDArray[np.float64]:
        """(n,) bits of the kept tiles."""
        return self.cell_entropy[self.kept]


@dataclass(frozen=True, slots=True)
class TileAudit:
    """What became of each tile on the grid.

    Attributes:
        entropy: (rows, columns) bits; NaN where the thumbnail mask spared the reading.
        threshold: bits from which a tile is kept.
    """

    entropy: NDArray[np.float64]
    threshold: float

    @property
    def n_grid(self) -> int:
        """Tiles on the grid."""
        return self.entropy.size

    @property
    def n_masked(self) -> int:
        """Tiles that were not read because their thumbnail is blank."""
        return int(np.isnan(self.entropy).sum())

    @property
    def n_below(self) -> int:
        """Tiles that were read and fell below the threshold."""
        return int((self.entropy < self.threshold).sum())

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(rows, columns) tiles that are used."""
        return self.entropy >= self.threshold

    @property
    def n_kept(self) -> int:
        """Tiles that are used."""
        return int(self.kept.sum())

    def histogram(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Counts of tiles that were read by entropy, in bins of a quarter bit, and the edges."""
        read = self.entropy[~np.isnan(self.entropy)]
        counts, edges = np.histogram(read, bins=_HISTOGRAM_BINS, range=(0.0, 8.0))
        return counts.astype(np.int64), edges


@dataclass
class SlideTiles:
    """The tiles of an open slide; iterate over `blocks` to read them.

    Attributes:
        reader: the open slide.
        config: tile size, scale and threshold.
        grid: where tiles lie.
    """

    reader: SlideReader
    config: TilingConfig
    grid: Grid
    _mask: tuple[NDArray[np.bool_], str] | None = field(default=None, repr=False)

    @property
    def needed(self) -> NDArray[np.bool_]:
        """(rows, columns) True where a tile must be read; the mask is made on first use."""
        if self._mask is None:
            self._mask = self._make_mask()
        return self._mask[0]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the tiles; complete once `needed` was asked for."""
        found = [self._mask[1]] if self._mask is not None else []
        coarsest = max(self.reader.mpp)
        if coarsest > self.config.mpp * _MAGNIFIED:
            found.append(
                f"scanned at {coarsest:.3g} micrometres a pixel: tiles at {self.config.mpp:g} "
                "are magnified and hold no more detail"
            )
        return tuple(text for text in found if text)

    @property
    def block_shape(self) -> tuple[int, int]:
        """Tiles along x and y of a block."""
        file_tile = self.reader.file_tile or (None, None)
        x, y = map(_tiles_in_block, self.grid.tile.extent, file_tile)
        return x, y

    @property
    def n_blocks(self) -> int:
        """Blocks on the grid, empty ones included."""
        across, down = self._blocks()
        return across * down

    def blocks(self, start: int = 0) -> Iterator[TileBlock]:
        """Read the slide from block `start` on; blocks without a needed tile are skipped.

        Raises:
            SlideError: the file is damaged at some place.
        """
        for index in range(start, self.n_blocks):
            cells = self._block_cells(index)
            if cells:
                yield self._read_block(index, cells)

    def read(self, corners: NDArray[np.int64]) -> Pixels:
        """The tiles with these level-0 corners as `blocks` gives them, (n, size, size, 3).

        Tiles of a block that lie close together are cut from one region, so that few tiles of
        the file are decoded twice.

        Raises:
            SlideError: the file is damaged at some place.
        """
        size = self.config.tile_px
        pixels = np.empty((len(corners), size, size, 3), np.uint8)
        for group in self._neighbours(corners):
            tiles = self._cut(corners[group].tolist(), self.grid.tile)
            for number, place in enumerate(group):
                pixels[place] = tiles.pixels(number)
        return pixels

    def _neighbours(self, corners: NDArray[np.int64]) -> Iterator[list[int]]:
        """Positions of the corners, those together that are to be read as one region."""
        cells = np.rint(corners / np.array(self.grid.tile.span)).astype(np.int64)
        blocks: dict[Cell, list[int]] = {}
        for place, (column, row) in enumerate((cells // np.array(self.block_shape)).tolist()):
            blocks.setdefault((column, row), []).append(place)
        for group in blocks.values():
            region = np.prod(np.ptp(cells[group], axis=0) + 1)
            if len(group) * _SPARSE > region:
                yield group
            else:
                yield from ([place] for place in group)

    def _make_mask(self) -> tuple[NDArray[np.bool_], str]:
        if not self.config.thumbnail_mask:
            return np.ones((self.grid.rows, self.grid.columns), bool), ""
        threshold = self.config.entropy_threshold
        return thumbnail_mask(self.reader, self.grid, threshold, self._entropies)

    def _blocks(self) -> tuple[int, int]:
        wide, high = self.block_shape
        return math.ceil(self.grid.columns / wide), math.ceil(self.grid.rows / high)

    def _block_cells(self, index: int) -> list[Cell]:
        wide, high = self.block_shape
        down, across = divmod(index, self._blocks()[0])
        needed = self.needed[down * high : (down + 1) * high, across * wide : (across + 1) * wide]
        return [(across * wide + x, down * high + y) for y, x in np.argwhere(needed).tolist()]

    def _read_block(self, index: int, cells: list[Cell]) -> TileBlock:
        corners = [self.grid.origin(*cell) for cell in cells]
        tiles = self._cut(corners, self.grid.tile)
        bits = np.array([entropy(tiles.luma(number)) for number in range(len(cells))])
        kept = bits >= self.config.entropy_threshold
        pixels = self._stack(tiles, np.flatnonzero(kept).tolist())
        coords = np.array(corners, np.int64)[kept]
        return TileBlock(
            index=index,
            cells=np.array(cells, np.int64),
            cell_entropy=bits,
            kept=kept,
            coords=coords,
            pixels=pixels,
            context={factor: self._context(coords, wide) for factor, wide in self._wider.items()},
            quality=_quality_of(pixels) if self.config.quality else None,
        )

    @cached_property
    def _wider(self) -> dict[int, Field]:
        config = self.config
        return {
            factor: plan_field(self.reader, config.mpp * factor, config.tile_px)
            for factor in config.context_factors
        }

    def _context(self, coords: NDArray[np.int64], wide: Field) -> Pixels:
        """The fields around the same centres as the tiles at `coords`."""
        if not len(coords):
            return self._stack(None, [])
        shift = (np.array(wide.span) - self.grid.tile.span) / 2
        return self._stack(self._cut((coords - shift).tolist(), wide), range(len(coords)))

    def _stack(self, tiles: Cut | None, numbers: Sequence[int]) -> Pixels:
        size = self.config.tile_px
        pixels = np.empty((len(numbers), size, size, 3), np.uint8)
        for place, number in enumerate(numbers):
            if tiles is not None:
                pixels[place] = tiles.pixels(number)
        return pixels

    def _entropies(self, cells: Iterable[Cell]) -> NDArray[np.float64]:
        tile = self.grid.tile
        return np.array(
            [entropy(self._cut([self.grid.origin(*cell)], tile).luma(0)) for cell in cells]
        )

    def _cut(self, corners: Sequence[tuple[float, float]], shape: Field) -> Cut:
        """Fields with these level-0 corners, cut from one region around them."""
        # From a whole pixel of the level, so that OpenSlide does not interpolate.
        origin = np.floor(np.min(corners, axis=0) / shape.downsample)
        x, y = np.round(origin * shape.downsample).astype(int).tolist()
        offsets = (np.array(corners) - (x, y)) / shape.downsample
        width, height = np.ceil(offsets.max(axis=0) + shape.extent).astype(int).tolist()
        region = self.reader.read(shape.level, x, y, width, height)
        return cut(region, offsets.tolist(), shape)


def _quality_of(pixels: Pixels) -> NDArray[np.float32]:
    rows = [tile_quality(tile) for tile in pixels]
    return np.array(rows, np.float32).reshape(len(rows), len(QUALITY_COLUMNS))


def tile_slide(reader: SlideReader, config: TilingConfig) -> SlideTiles:
    """Plan the tiles of an open slide.

    Raises:
        SlideError: the slide is too coarse for `config.mpp`.
    """
    return SlideTiles(reader, config, plan_grid(reader, config.mpp, config.tile_px))


def _tiles_in_block(extent: float, file_tile: int | None) -> int:
    """As many tiles as need the least decoding.

    A block that ends inside a file tile decodes it, and the next block does so again.
    """
    most = max(1, min(_MOST_TILES, int(_BLOCK_PIXELS // max(extent, 1.0))))
    if not file_tile or most <= _FEWEST_TILES:
        return min(most, _BLOCK_TILES)

    def decoded(tiles: int) -> float:
        length = tiles * extent
        touched = length if length % file_tile == 0 else length + file_tile
        return touched / length

    return min(range(_FEWEST_TILES, most + 1), key=lambda tiles: (decoded(tiles), tiles))


def audit_of(grid: Grid, threshold: float, blocks: Iterable[TileBlock]) -> TileAudit:
    """The audit of a slide from all its blocks."""
    bits = np.full((grid.rows, grid.columns), np.nan)
    for block in blocks:
        bits[block.cells[:, 1], block.cells[:, 0]] = block.cell_entropy
    return TileAudit(bits, threshold)
