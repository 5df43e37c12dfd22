"""Random fields and cell mosaics: what the synthetic tissue is made of.

Everything works on flat arrays of pixel positions, so that each kind of tissue is drawn only where
it lies, and in float32, which is plenty for 8-bit images and twice as fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Cells", "Mosaic", "ramp", "smooth_noise"]

Floats = NDArray[np.float32]

_PADDING = 2  # rings of cells around the drawn area, so that every neighbour exists


def smooth_noise(rng: np.random.Generator, side: int, grain: float) -> Floats:
    """A random field of mean 0 and standard deviation 1.

    Args:
        rng: source of randomness.
        side: height and width, in pixels.
        grain: distance over which the field changes, in pixels; 1 is white noise.

    Returns:
        (side, side).
    """
    coarse = max(4, round(side / grain) + 3)
    field = rng.standard_normal((coarse, coarse), dtype=np.float32)
    if grain > 1:
        # The outer ring is cut away: bicubic interpolation is flatter there.
        box = (1.5, 1.5, coarse - 1.5, coarse - 1.5)
        image = Image.fromarray(field)
        field = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC, box=box))
    else:
        field = field[:side, :side]
    sample = field[::7, ::7]
    return np.asarray((field - sample.mean()) / sample.std(), dtype=np.float32)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """Rise smoothly from 0 at `low` to 1 at `high` (or fall, when `high` is below `low`)."""
    t = (values - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Cells:
    """For each position, the cell it lies in.

    Args:
        index: number of the cell, (n,).
        dx: offset from the cell's centre, in pixels, (n,).
        dy: the same, vertically.
        edge: distance to the nearest other cell, in pixels, (n,); 0 on the border.
    """

    index: NDArray[np.intp]
    dx: Floats
    dy: Floats
    edge: Floats


class Mosaic:
    """Cells of about equal size that fill the plane: the Voronoi mosaic of a jittered grid.

    (Worley 1996, "A cellular texture basis function", SIGGRAPH.) The nearest and second nearest
    centre of a position are always among the nine grid cells around it when the jitter is small.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        extent: tuple[float, float],
        spacing: tuple[float, float],
        jitter: float = 0.38,
    ) -> None:
        """Scatter the centres.

        Args:
            rng: source of randomness.
            extent: width and height of the area in which positions lie, in pixels.
            spacing: distance of the centres in x and y, in pixels; unequal makes long cells.
            jitter: largest displacement of a centre, as a share of the spacing.
        """
        self.spacing = spacing
        self.columns = int(extent[0] / spacing[0]) + 2 * _PADDING
        self.rows = int(extent[1] / spacing[1]) + 2 * _PADDING
        self.count = self.columns * self.rows
        self._x = rng.uniform(0.5 - jitter, 0.5 + jitter, self.count).astype(np.float32)
        self._y = rng.uniform(0.5 - jitter, 0.5 + jitter, self.count).astype(np.float32)

    def cells(self, x: Floats, y: Floats) -> Cells:
        """Find the cell of each position.

        Args:
            x: (n,), in pixels; positions beyond the extent count to the outermost cells.
            y: (n,).
        """
        x = x * np.float32(1 / self.spacing[0]) + np.float32(_PADDING)
        y = y * np.float32(1 / self.spacing[1]) + np.float32(_PADDING)
        column = np.clip(x.astype(np.int32), 1, self.columns - 2)
        row = np.clip(y.astype(np.int32), 1, self.rows - 2)
        x = x - column
        y = y - row
        home = row * np.int32(self.columns) + column

        first = np.full(x.shape, np.inf, dtype=np.float32)
        second = first.copy()
        index = home.copy()
        for step_y in (-1, 0, 1):
            for step_x in (-1, 0, 1):
                candidate = home + np.int32(step_y * self.columns + step_x)
                across = self._x.take(candidate)
                across += np.float32(step_x)
                across -= x
                down = self._y.take(candidate)
                down += np.float32(step_y)
                down -= y
                across *= across
                down *= down
                across += down
                closer = across < first
                np.minimum(second, np.maximum(first, across), out=second)
                np.minimum(first, across, out=first)
                np.copyto(index, candidate, where=closer)
        offset_row = index // np.int32(self.columns) - row
        offset_column = index % np.int32(self.columns) - column
        dx = (x - offset_column - self._x.take(index)) * np.float32(self.spacing[0])
        dy = (y - offset_row - self._y.take(index)) * np.float32(self.spacing[1])
        # F2 - F1 is twice the distance to the border halfway between the two centres.
        edge = (np.sqrt(second) - np.sqrt(first)) * np.float32(0.5 * min(self.spacing))
        return Cells(index.astype(np.intp), dx, dy, edge)
