"""Where tiles lie: from the slide's scale to level-0 coordinates, and from a region to a tile.

A tile is `tile_px` pixels square at `mpp` micrometres a pixel, so at level 0 it spans
`tile_px * mpp / level-0 mpp` pixels, along x and y by themselves. Tiles do not overlap, start at
the slide's corner and lie inside the slide entirely; the top-left corner is rounded down to a
whole level-0 pixel.

Pixels come from the nearest level that is at least as fine as `mpp`. Where a tile is a whole
number of level pixels for each of its own, to within half a pixel over the tile, they are
averaged over that area (a ratio of one is a plain copy); else Lanczos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.base import SlideReader

__all__ = ["Field", "Grid", "plan_field", "plan_grid"]

_ROUNDING = 1e-9  # 1,568 px at 0.5 is seven tiles although the quotient may be 6.999...
_COARSEST = 4.0  # a slide may be magnified this much to reach `mpp`


@dataclass(frozen=True, slots=True)
class Field:
    """A square field of view: its size on the slide and the level that it is read from.

    Attributes:
        size: pixels of the resampled field, a side.
        span: level-0 pixels of the field along x and y.
        level: the level read.
        downsample: level-0 pixels in a pixel of that level.
    """

    size: int
    span: tuple[float, float]
    level: int
    downsample: float

    @property
    def factor(self) -> tuple[int, int] | None:
        """Level pixels averaged into one along x and y; None where they are no whole numbers."""
        width, height = self.extent
        if width % self.size or height % self.size or not width or not height:
            return None
        return round(width) // self.size, round(height) // self.size

    @property
    def extent(self) -> tuple[float, float]:
        """Pixels of `level` that the field covers along x and y; whole where they nearly are."""
        x, y = (self._extent(span) for span in self.span)
        return x, y

    def _extent(self, span: float) -> float:
        extent = span / self.downsample
        ratio = round(extent / self.size)
        return float(ratio * self.size) if abs(extent - ratio * self.size) < 0.5 else extent


@dataclass(frozen=True, slots=True)
class Grid:
    """All tile positions of a slide.

    Attributes:
        columns: tiles along x.
        rows: tiles along y.
        tile: the field of one tile.
    """

    columns: int
    rows: int
    tile: Field

    @property
    def count(self) -> int:
        """Tiles on the grid."""
        return self.columns * self.rows

    def origin(self, column: int, row: int) -> tuple[int, int]:
        """The top-left corner of a tile in level-0 pixels."""
        x, y = (
            math.floor(index * span + _ROUNDING * max(1, index))
            for index, span in zip((column, row), self.tile.span, strict=True)
        )
        return x, y


def plan_grid(reader: SlideReader, mpp: float, tile_px: int) -> Grid:
    """The grid that geometry gives for a slide.

    Raises:
        SlideError: the slide is so coarse that `mpp` would be an invention.
    """
    tile = plan_field(reader, mpp, tile_px)
    columns, rows = (
        math.floor(length / span + _ROUNDING)
        for length, span in zip(reader.dimensions, tile.span, strict=True)
    )
    return Grid(columns, rows, tile)


def plan_field(reader: SlideReader, mpp: float, size: int) -> Field:
    """A field of `size` pixels at `mpp` micrometres a pixel.

    Raises:
        SlideError: level 0 has more than four times that pixel size.
    """
    coarsest = max(reader.mpp)
    if coarsest > _COARSEST * mpp:
        raise SlideError(
            f"resolution too low: {coarsest:.3g} micrometres a pixel, {mpp:g} wanted",
            "use a scan of higher magnification, or correct the slide's mpp if it is wrong",
        )
    scale_x, scale_y = mpp / reader.mpp[0], mpp / reader.mpp[1]
    level = _nearest_finer(reader.level_downsamples, min(scale_x, scale_y))
    return Field(size, (size * scale_x, size * scale_y), level, reader.level_downsamples[level])


def _nearest_finer(downsamples: Sequence[float], scale: float) -> int:
    finer = [level for level, value in enumerate(downsamples) if value <= scale * (1 + _ROUNDING)]
    return max(finer, key=lambda level: downsamples[level], default=0)
