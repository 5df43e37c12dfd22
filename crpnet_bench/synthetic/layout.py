"""Which tissue lies where on a synthetic slide, tile by tile.

A slide is a grid of 7 x 7 tiles of 224 pixels at 0.5 micrometres a pixel. The plan says the tissue
of each tile; the drawn regions follow it with rounded, irregular borders, so that a tile planned as
a nest is mostly nest and its neighbours hold at most a sliver of it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from crpnet_bench.synthetic.stains import Stain
from crpnet_bench.synthetic.textures import smooth_noise

__all__ = ["GRID", "SIDE", "TILE", "SlidePlan", "Tissue", "plan_tissue", "regions", "tile_shares"]

TILE = 224
GRID = 7
SIDE = TILE * GRID

_COARSE = 8  # the region map is planned at an eighth of the resolution


class Tissue(enum.IntEnum):
    """What a tile is planned to hold."""

    GLASS = 0
    CLEAR = 1
    GRANULAR = 2
    SPINDLED = 3
    STROMA = 4


# Nests of spindled cells keep a little inside their tiles, so that no neighbour holds much of one.
_SHRINK = {Tissue.SPINDLED: 0.08}


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """Everything that decides a slide's pixels.

    Args:
        tissue: the planned tissue of each tile, row by row, 7 x 7.
        seed: of the drawing.
        stain: the laboratory's stain.
        pen: whether a pathologist's felt pen crossed the glass.
        blur: of the scanner's optics on that day, in pixels.
    """

    tissue: tuple[tuple[Tissue, ...], ...]
    seed: int
    stain: Stain = Stain()
    pen: bool = False
    blur: float = 0.6

    def grid(self) -> NDArray[np.int8]:
        """The planned tissue as an array, (7, 7)."""
        return np.array(self.tissue, dtype=np.int8)

    def count(self, tissue: Tissue) -> int:
        """How many tiles are planned to hold `tissue`."""
        return int((self.grid() == tissue).sum())

    @property
    def tissue_tiles(self) -> int:
        """How many tiles are not glass."""
        return GRID * GRID - self.count(Tissue.GLASS)


def plan_tissue(
    rng: np.random.Generator, *, tiles: int, spindled: int, granular: int, stroma: int
) -> tuple[tuple[Tissue, ...], ...]:
    """Lay out one section: an oval piece of clear-cell tumour with nests in it.

    Args:
        rng: source of randomness.
        tiles: how many tiles hold tissue.
        spindled: how many of them hold nests of spindled eosinophilic cells.
        granular: how many hold granular eosinophilic round cells.
        stroma: how many hold fibrous stroma.

    Raises:
        ValueError: more nests than tiles.
    """
    if not 0 <= spindled + granular + stroma <= tiles <= GRID * GRID:
        message = f"{spindled} + {granular} + {stroma} nests do not fit into {tiles} tiles"
        raise ValueError(message)
    grid = np.zeros((GRID, GRID), dtype=np.int8)
    grid.flat[np.argsort(_distance_from_middle(rng))[:tiles]] = Tissue.CLEAR
    _grow(rng, grid, Tissue.SPINDLED, spindled, together=0.4)
    _grow(rng, grid, Tissue.STROMA, stroma, together=0.9)
    _grow(rng, grid, Tissue.GRANULAR, granular, together=0.75)
    return tuple(tuple(Tissue(int(tile)) for tile in row) for row in grid)


def _distance_from_middle(rng: np.random.Generator) -> NDArray[np.float64]:
    """A tilted oval, a little ragged: the tiles of smallest distance are tissue, (49,)."""
    y, x = np.mgrid[:GRID, :GRID] - (GRID - 1) / 2 + rng.uniform(-0.7, 0.7, (2, 1, 1))
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    stretch = rng.uniform(1.0, 1.35)
    distance = np.hypot(along / stretch, across * stretch) + rng.uniform(0, 0.35, (GRID, GRID))
    return np.asarray(distance.ravel(), dtype=np.float64)


def _grow(
    rng: np.random.Generator, grid: NDArray[np.int8], tissue: Tissue, count: int, together: float
) -> None:
    """Turn `count` clear-cell tiles into `tissue`, mostly inside, partly side by side."""
    cross = ndimage.generate_binary_structure(2, 1)
    for _ in range(count):
        clear = grid == Tissue.CLEAR
        inside = ndimage.binary_erosion(grid != Tissue.GLASS, cross, border_value=1)
        beside = ndimage.binary_dilation(grid == tissue, cross)
        weight = clear * (1.0 + 20.0 * inside)
        if rng.random() < together and (clear & beside).any():
            weight *= beside
        grid.flat[rng.choice(GRID * GRID, p=(weight / weight.sum()).ravel())] = tissue


def regions(plan: SlidePlan, side: int = SIDE) -> NDArray[np.uint8]:
    """The tissue of each pixel.

    Args:
        plan: the slide's plan.
        side: height and width of the map, in pixels; 1568 is full resolution.

    Returns:
        Values of `Tissue`, (side, side).
    """
    rng = np.random.default_rng([plan.seed, 1])
    coarse = SIDE // _COARSE
    grid = plan.grid()
    bend = 2.2 * np.stack([smooth_noise(rng, coarse, 26), smooth_noise(rng, coarse, 26)])
    bent = np.mgrid[:coarse, :coarse] + bend
    label = np.zeros((side, side), dtype=np.uint8)
    best = np.full((side, side), -np.inf, dtype=np.float32)
    for tissue in Tissue:
        # Noise is drawn for every tissue, present or not, so that one nest more or less
        # leaves the other borders where they were.
        ragged = 0.12 * smooth_noise(rng, coarse, 14) + 0.07 * smooth_noise(rng, coarse, 4)
        ragged -= _SHRINK.get(tissue, 0.0)
        planned = grid == tissue
        if not planned.any():
            continue
        block = np.kron(planned, np.ones((TILE // _COARSE, TILE // _COARSE))).astype(np.float32)
        block = ndimage.gaussian_filter(block, 5.0, mode="nearest")
        lead = ndimage.map_coordinates(block, bent, order=1, mode="nearest") + ragged
        score = np.asarray(
            Image.fromarray(lead.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        )
        label[score > best] = tissue
        np.maximum(best, score, out=best)
    return label


def tile_shares(plan: SlidePlan) -> dict[Tissue, NDArray[np.float64]]:
    """The share of each tile's area that each tissue takes in the drawing, (7, 7) each."""
    label = regions(plan, SIDE // _COARSE)
    tiles = label.reshape(GRID, TILE // _COARSE, GRID, TILE // _COARSE)
    return {tissue: (tiles == tissue).mean(axis=(1, 3)) for tissue in Tissue}
