"""How each kind of synthetic tissue takes up the dyes, pixel by pixel.

Four kinds, after figure 6 of the CRPNet article:

- clear-cell areas: round cells with empty cytoplasm, thin membranes and a delicate capillary net;
- nests of **spindled** eosinophilic cells in bundles: the planted sign of early recurrence;
- **granular** eosinophilic round cells of the same mean colour: a decoy, unrelated to outcome;
- fibrous stroma, as spindled as the nests but pale: the other decoy.

Only the first sign, eosinophilic *and* spindled in one place, means anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.synthetic.layout import SIDE, Tissue
from crpnet_bench.synthetic.textures import Cells, Floats, Mosaic, ramp, smooth_noise

__all__ = ["Dyes", "Fields", "Painter", "Traits", "painters"]


@dataclass(frozen=True, slots=True)
class Dyes:
    """Dye concentrations of some pixels, each (n,)."""

    haematoxylin: Floats
    eosin: Floats
    blood: Floats


@dataclass(frozen=True, slots=True)
class Fields:
    """Random fields over a slide that all its tissues share, each flat, (n,)."""

    fine: Floats  # changes from pixel to pixel
    grains: Floats  # over 2 pixels
    mottle: Floats  # over 7 pixels
    cloud: Floats  # over 70 pixels
    shift_x: Floats  # by how many pixels positions are displaced, so that no cell is a polygon
    shift_y: Floats

    @classmethod
    def over_slide(cls, rng: np.random.Generator) -> Fields:
        """The fields at every pixel of a slide."""
        fields = [smooth_noise(rng, SIDE, grain) for grain in (1, 2, 7, 70)]
        for _ in range(2):
            fields.append(2.2 * smooth_noise(rng, SIDE, 18) + 9 * smooth_noise(rng, SIDE, 120))
        return cls(*(np.ascontiguousarray(field, dtype=np.float32).ravel() for field in fields))

    @classmethod
    def scattered(cls, rng: np.random.Generator, count: int) -> Fields:
        """The fields at `count` places far from each other."""
        values = rng.standard_normal((6, count), dtype=np.float32)
        values[4:] *= np.float32(np.hypot(2.2, 9))
        return cls(*values)

    def at(self, pixels: NDArray[np.intp]) -> Fields:
        """The fields at some of the pixels."""
        return Fields(
            self.fine[pixels],
            self.grains[pixels],
            self.mottle[pixels],
            self.cloud[pixels],
            self.shift_x[pixels],
            self.shift_y[pixels],
        )


@dataclass(frozen=True, slots=True)
class Traits:
    """In what one tumour looks unlike another, whatever its outcome; 1 is average.

    Args:
        cell_size: diameter of round cells.
        nuclear_size: of all tumour cells.
        chromatin: how dark nuclei are.
        wisps: how much cytoplasm clear cells keep.
        grain: how coarsely granular cells are stippled.
        vessels: width of the capillary net.
    """

    cell_size: float = 1.0
    nuclear_size: float = 1.0
    chromatin: float = 1.0
    wisps: float = 1.0
    grain: float = 1.0
    vessels: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Traits:
        """Those of one tumour."""
        spread = (0.09, 0.08, 0.08, 0.30, 0.25, 0.25)
        return cls(*np.exp(rng.uniform(-1, 1, len(spread)) * spread).tolist())


class Painter(Protocol):
    """Something that draws one kind of tissue."""

    def draw(self, x: Floats, y: Floats, fields: Fields) -> Dyes:
        """Dye concentrations at positions in pixels, (n,); may be a little below 0."""
        ...


def painters(rng: np.random.Generator) -> Mapping[Tissue, Painter]:
    """One painter a tissue, for one slide."""
    traits = Traits.draw(rng)
    return {
        Tissue.CLEAR: _ClearCells(rng, traits),
        Tissue.GRANULAR: _GranularCells(rng, traits),
        Tissue.SPINDLED: _SpindledCells(rng, traits),
        Tissue.STROMA: _Stroma(rng, traits),
    }


class _Nuclei:
    """One nucleus a cell: place, size, shape, darkness."""

    def __init__(
        self,
        rng: np.random.Generator,
        count: int,
        *,
        radius: tuple[float, float],
        length: tuple[float, float] = (1.0, 1.35),
        offset: float = 0.0,
        present: float = 1.0,
        tilt: float = np.pi,
        nucleolus: float = 0.0,
        chromatin: float = 1.0,
    ) -> None:
        """Draw the lots.

        Args:
            rng: source of randomness.
            count: how many cells.
            radius: least and greatest half width, in pixels.
            length: least and greatest ratio of length to width.
            offset: standard deviation of the distance from the cell's centre, in pixels.
            present: share of cells whose nucleus lies in the section.
            tilt: greatest angle to the x axis, in radians.
            nucleolus: darkness of a nucleolus; 0 is none.
            chromatin: mean darkness.
        """
        angle = rng.uniform(-tilt, tilt, count)
        width = rng.uniform(*radius, count)
        width = np.where(rng.random(count) < present, width, 1e-3)
        self._cos = np.cos(angle).astype(np.float32)
        self._sin = np.sin(angle).astype(np.float32)
        self._across = (1 / width).astype(np.float32)
        self._along = (1 / (width * rng.uniform(*length, count))).astype(np.float32)
        self._x = (rng.standard_normal(count) * offset).astype(np.float32)
        self._y = (rng.standard_normal(count) * offset).astype(np.float32)
        self._dark = (chromatin * rng.uniform(0.75, 1.25, count)).astype(np.float32)
        self._nucleolus = np.float32(nucleolus)

    def add(self, dyes: Dyes, cells: Cells, fields: Fields) -> None:
        """Draw the nuclei over the cytoplasm, in place."""
        index = cells.index
        x = cells.dx - self._x[index]
        y = cells.dy - self._y[index]
        cos, sin = self._cos[index], self._sin[index]
        along = (x * cos + y * sin) * self._along[index]
        across = (y * cos - x * sin) * self._across[index]
        distance = np.sqrt(along * along + across * across)
        inside = ramp(distance, 1.12, 0.88)
        # Chromatin is clumped, and densest under the nuclear membrane.
        chromatin = 1.05 + 0.17 * fields.grains + 0.30 * ramp(distance, 0.55, 0.95)
        if self._nucleolus:
            chromatin += self._nucleolus * ramp(distance, 0.38, 0.2)
        dyes.haematoxylin[:] += inside * chromatin * self._dark[index]
        dyes.eosin[:] *= 1 - 0.6 * inside


class _Capillaries:
    """The net of thin vessels and septa that divides a tumour into nests."""

    def __init__(self, rng: np.random.Generator, width: float) -> None:
        spacing = rng.uniform(120, 150)
        self._mosaic = Mosaic(rng, (SIDE, SIDE), (spacing, spacing))
        self._width = width

    def add(self, dyes: Dyes, x: Floats, y: Floats, fields: Fields) -> None:
        """Lay the net over what is drawn, in place."""
        wall = self._mosaic.cells(x + 2 * fields.shift_y, y - 2 * fields.shift_x)
        width = self._width * (1 + 0.35 * fields.cloud)
        septum = ramp(wall.edge / np.maximum(width, 0.4), 1.5, 0.6)
        lumen = ramp(fields.cloud + 0.25 * fields.mottle, 0.95, 1.25) * ramp(wall.edge, 3.4, 1.8)
        endothelium = septum * ramp(fields.mottle, 1.15, 1.5)
        dyes.eosin[:] += septum * (0.55 + 0.10 * fields.grains - dyes.eosin)
        dyes.haematoxylin[:] += septum * (0.18 + 0.85 * endothelium - dyes.haematoxylin)
        dyes.blood[:] = lumen * (0.62 + 0.08 * fields.fine)
        dyes.eosin[:] *= 1 - 0.7 * lumen
        dyes.haematoxylin[:] *= 1 - 0.8 * lumen


class _ClearCells:
    """Round cells whose cytoplasm was dissolved: membranes, wisps, small nuclei."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        spacing = 26.5 * traits.cell_size
        self._mosaic = Mosaic(rng, (SIDE, SIDE), (spacing, spacing))
        count = self._mosaic.count
        fill = 0.06 + 0.34 * rng.beta(1.0, 2.6, count)
        self._fill = (traits.wisps * fill).astype(np.float32)
        radius = (3.8 * traits.nuclear_size, 5.4 * traits.nuclear_size)
        self._nuclei = _Nuclei(
            rng, count, radius=radius, offset=3.2, present=0.8, chromatin=traits.chromatin
        )
        self._capillaries = _Capillaries(rng, 2.6 * traits.vessels)

    def draw(self, x: Floats, y: Floats, fields: Fields) -> Dyes:
        """Dye concentrations at positions (n,)."""
        cells = self._mosaic.cells(x + fields.shift_x, y + fields.shift_y)
        membrane = ramp(cells.edge, 1.7, 0.3)
        wisps = np.maximum(0, 0.6 + 0.75 * fields.mottle + 0.35 * fields.grains)
        wisps *= self._fill[cells.index]
        dyes = Dyes(
            0.02 + 0.35 * wisps + 0.20 * membrane, wisps + 0.42 * membrane, np.zeros_like(wisps)
        )
        self._nuclei.add(dyes, cells, fields)
        self._capillaries.add(dyes, x, y, fields)
        return dyes


class _GranularCells:
    """Round cells full of stippled pink cytoplasm, with nucleoli."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        spacing = 26.5 * traits.cell_size
        self._mosaic = Mosaic(rng, (SIDE, SIDE), (spacing, spacing))
        count = self._mosaic.count
        self._fill = rng.uniform(0.52, 0.66, count).astype(np.float32)
        self._grain = np.float32(0.10 * traits.grain)
        self._nuclei = _Nuclei(
            rng,
            count,
            radius=(4.6 * traits.nuclear_size, 6.2 * traits.nuclear_size),
            offset=1.6,
            present=0.93,
            nucleolus=0.6,
            chromatin=traits.chromatin,
        )
        self._capillaries = _Capillaries(rng, 2.6 * traits.vessels)

    def draw(self, x: Floats, y: Floats, fields: Fields) -> Dyes:
        """Dye concentrations at positions (n,)."""
        cells = self._mosaic.cells(x + fields.shift_x, y + fields.shift_y)
        membrane = ramp(cells.edge, 1.7, 0.3)
        stipple = self._grain * fields.grains + 0.06 * fields.fine + 0.05 * fields.mottle
        dyes = Dyes(
            0.07 + 0.04 * fields.grains + 0.16 * membrane,
            self._fill[cells.index] + stipple + 0.12 * membrane,
            np.zeros_like(stipple),
        )
        self._nuclei.add(dyes, cells, fields)
        self._capillaries.add(dyes, x, y, fields)
        return dyes


class _Bundles:
    """Long cells or fibres that lie side by side, in bundles of different direction."""

    _WAVE = 150.0  # length of a bundle's waves, in pixels
    _STRIP = 420.0  # each bundle takes its cells from another place of one large mosaic
    _STRIPS = 8

    def __init__(self, rng: np.random.Generator, spacing: tuple[float, float]) -> None:
        self._bundles = Mosaic(rng, (SIDE, SIDE), (150.0, 150.0))
        count = self._bundles.count
        angle = rng.uniform(0, np.pi, count)
        self._cos, self._sin = (f(angle).astype(np.float32) for f in (np.cos, np.sin))
        self._phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
        extent = self._STRIP * self._STRIPS
        self._mosaic = Mosaic(rng, (extent, extent), spacing, jitter=0.45)
        place = (rng.integers(0, self._STRIPS, (2, count)) + 0.5) * self._STRIP
        self._place_x, self._place_y = place.astype(np.float32)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return self._mosaic.count

    def cells(self, x: Floats, y: Floats, fields: Fields) -> tuple[Cells, Floats]:
        """The long cell of each position, x along it, and the position across the bundle."""
        bundle = self._bundles.cells(x + 1.5 * fields.shift_x, y + 1.5 * fields.shift_y)
        cos, sin = self._cos[bundle.index], self._sin[bundle.index]
        along = bundle.dx * cos + bundle.dy * sin
        wave = np.sin(along * np.float32(2 * np.pi / self._WAVE) + self._phase[bundle.index])
        across = bundle.dy * cos - bundle.dx * sin + 7 * wave + 0.35 * fields.shift_y
        cells = self._mosaic.cells(
            along + self._place_x[bundle.index], across + self._place_y[bundle.index]
        )
        return cells, across


class _SpindledCells:
    """Strongly eosinophilic long cells with long nuclei: the planted sign."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        self._bundles = _Bundles(rng, (52.0 * traits.cell_size, 9.5 * traits.cell_size))
        count = self._bundles.count
        self._fill = rng.uniform(0.62, 0.74, count).astype(np.float32)
        self._nuclei = _Nuclei(
            rng,
            count,
            radius=(2.7 * traits.nuclear_size, 3.7 * traits.nuclear_size),
            length=(3.0, 4.4),
            offset=2.0,
            present=0.72,
            tilt=0.12,
            chromatin=traits.chromatin,
        )

    def draw(self, x: Floats, y: Floats, fields: Fields) -> Dyes:
        """Dye concentrations at positions (n,)."""
        cells, across = self._bundles.cells(x, y, fields)
        streak = np.sin(across * np.float32(2.1) + 2.5 * fields.mottle)
        dyes = Dyes(
            0.10 + 0.03 * fields.mottle,
            self._fill[cells.index]
            + 0.07 * streak
            + 0.04 * fields.fine
            - 0.20 * ramp(cells.edge, 1.6, 0.2),
            np.zeros_like(across),
        )
        self._nuclei.add(dyes, cells, fields)
        return dyes


class _Stroma:
    """Pale wavy collagen with fibroblasts."""

    def __init__(self, rng: np.random.Generator, traits: Traits) -> None:
        self._bundles = _Bundles(rng, (70.0, 11.5))
        count = self._bundles.count
        self._fill = rng.uniform(0.26, 0.38, count).astype(np.float32)
        self._nuclei = _Nuclei(
            rng,
            count,
            radius=(1.7, 2.6),
            length=(3.5, 6.0),
            offset=3.0,
            present=0.6,
            tilt=0.12,
            chromatin=traits.chromatin,
        )

    def draw(self, x: Floats, y: Floats, fields: Fields) -> Dyes:
        """Dye concentrations at positions (n,)."""
        cells, across = self._bundles.cells(x, y, fields)
        streak = np.sin(across * np.float32(2.1) + 2.5 * fields.mottle)
        dyes = Dyes(
            0.05 + 0.02 * fields.mottle,
            self._fill[cells.index]
            + 0.07 * streak
            + 0.06 * fields.cloud
            - 0.16 * ramp(cells.edge, 1.6, 0.2),
            np.zeros_like(across),
        )
        self._nuclei.add(dyes, cells, fields)
        return dyes
