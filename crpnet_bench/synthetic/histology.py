"""Draws synthetic slides that look like haematoxylin and eosin sections of clear cell carcinoma.

Four kinds of tissue, after figure 6 of the CRPNet article:

- clear-cell areas: round cells with empty cytoplasm, thin membranes and a delicate capillary net;
- nests of **spindled** eosinophilic cells in bundles: the planted sign of early recurrence;
- **granular** eosinophilic round cells of the same mean colour: the decoy, unrelated to outcome;
- fibrous stroma: wavy collagen with few slender nuclei.

Nothing here is copied from a real slide: it is arithmetic on random numbers, and every picture of
it must be called synthetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crpnet_bench.synthetic.layout import SIDE, TILE, SlidePlan, Tissue, regions
from crpnet_bench.synthetic.stains import GLASS
from crpnet_bench.synthetic.textures import Cells, Floats, Mosaic, ramp, smooth_noise

__all__ = ["draw_slide", "expected_colour"]

_STRIPE = 60_000  # pixels drawn at a time: their arrays stay in the processor's cache


@dataclass(frozen=True, slots=True)
class _Dyes:
    """Dye concentrations of some pixels, each (n,)."""

    haematoxylin: Floats
    eosin: Floats
    blood: Floats


@dataclass(frozen=True, slots=True)
class _Fields:
    """Random fields over the slide, flat, that all tissues share."""

    fine: Floats  # pixel by pixel
    grains: Floats  # about 2 pixels
    mottle: Floats  # about 8 pixels
    cloud: Floats  # about 70 pixels
    shift_x: Floats  # by how many pixels positions are displaced, so that no cell is a polygon
    shift_y: Floats

    def at(self, pixels: NDArray[np.intp]) -> _Fields:
        """The fields at some pixels."""
        return _Fields(
            *(
                field[pixels]
                for field in (
                    self.fine,
                    self.grains,
                    self.mottle,
                    self.cloud,
                    self.shift_x,
                    self.shift_y,
                )
            )
        )


def _fields(rng: np.random.Generator) -> _Fields:
    def displacement() -> Floats:
        near = smooth_noise(rng, SIDE, 18)
        far = smooth_noise(rng, SIDE, 120)
        return np.asarray(2.2 * near + 9 * far, dtype=np.float32)

    fields = (
        smooth_noise(rng, SIDE, 1),
        smooth_noise(rng, SIDE, 2),
        smooth_noise(rng, SIDE, 7),
        smooth_noise(rng, SIDE, 70),
        displacement(),
        displacement(),
    )
    return _Fields(*(field.ravel() for field in fields))


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
        self._dark = rng.uniform(0.75, 1.25, count).astype(np.float32)
        self._nucleolus = np.float32(nucleolus)

    def haematoxylin(self, cells: Cells, fields: _Fields) -> tuple[Floats, Floats]:
        """How much dye the nuclei hold at each pixel, and where they are (0..1), each (n,)."""
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
        return inside * chromatin * self._dark[index], inside


class _Capillaries:
    """The net of thin vessels and septa that divides a tumour into nests."""

    def __init__(self, rng: np.random.Generator, spacing: float, width: float) -> None:
        self._mosaic = Mosaic(rng, (SIDE, SIDE), (spacing, spacing))
        self._width = width

    def add(self, dyes: _Dyes, x: Floats, y: Floats, fields: _Fields) -> None:
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


class _RoundCells:
    """Clear or granular round cells in capillary-bound nests."""

    def __init__(self, rng: np.random.Generator, tissue: Tissue) -> None:
        self._granular = tissue is Tissue.GRANULAR
        spacing = rng.uniform(25, 28)
        self._mosaic = Mosaic(rng, (SIDE, SIDE), (spacing, spacing))
        count = self._mosaic.count
        if self._granular:
            self._fill = rng.uniform(0.52, 0.66, count).astype(np.float32)
            self._nuclei = _Nuclei(
                rng, count, radius=(4.6, 6.2), offset=1.6, present=0.93, nucleolus=0.6
            )
        else:
            self._fill = (0.06 + 0.34 * rng.beta(1.0, 2.6, count)).astype(np.float32)
            self._nuclei = _Nuclei(rng, count, radius=(3.8, 5.4), offset=3.2, present=0.8)
        self._capillaries = _Capillaries(rng, rng.uniform(120, 150), 2.6)

    def draw(self, x: Floats, y: Floats, fields: _Fields) -> _Dyes:
        """Dye concentrations at positions (n,)."""
        cells = self._mosaic.cells(x + fields.shift_x, y + fields.shift_y)
        membrane = ramp(cells.edge, 1.7, 0.3)
        fill = self._fill[cells.index]
        if self._granular:
            eosin = fill + 0.10 * fields.grains + 0.06 * fields.fine + 0.05 * fields.mottle
            haematoxylin = 0.07 + 0.04 * fields.grains + 0.16 * membrane
            eosin += 0.12 * membrane
        else:
            wisps = np.maximum(0, 0.6 + 0.75 * fields.mottle + 0.35 * fields.grains)
            eosin = fill * wisps + 0.42 * membrane
            haematoxylin = 0.02 + 0.35 * fill * wisps + 0.20 * membrane
        nuclear, inside = self._nuclei.haematoxylin(cells, fields)
        haematoxylin += nuclear
        eosin *= 1 - 0.6 * inside
        dyes = _Dyes(haematoxylin, eosin, np.zeros_like(eosin))
        self._capillaries.add(dyes, x, y, fields)
        return dyes


class _Bundles:
    """Long cells in bundles: spindled tumour cells, or the collagen of stroma."""

    _LANES = 3  # neighbouring bundles that differ in direction

    def __init__(self, rng: np.random.Generator, tissue: Tissue) -> None:
        self._spindled = tissue is Tissue.SPINDLED
        spacing = (52.0, 9.5) if self._spindled else (90.0, 15.0)
        self._bundles = Mosaic(rng, (SIDE, SIDE), (150.0, 150.0))
        general = rng.uniform(0, np.pi, self._bundles.count)
        self._angle = general.astype(np.float32)
        self._phase = rng.uniform(0, 2 * np.pi, self._bundles.count).astype(np.float32)
        # Positions are measured from the bundle's centre, each bundle in its own strip of cells.
        self._strip = 420.0
        self._mosaic = Mosaic(rng, (self._strip * 8, self._strip * 8), spacing, jitter=0.45)
        self._offset_x = (rng.integers(0, 8, self._bundles.count) + 0.5) * self._strip
        self._offset_y = (rng.integers(0, 8, self._bundles.count) + 0.5) * self._strip
        count = self._mosaic.count
        if self._spindled:
            self._nuclei = _Nuclei(
                rng,
                count,
                radius=(2.7, 3.7),
                length=(3.0, 4.4),
                offset=2.0,
                present=0.72,
                tilt=0.12,
            )
        else:
            self._nuclei = _Nuclei(
                rng,
                count,
                radius=(1.5, 2.2),
                length=(3.5, 6.0),
                offset=3.0,
                present=0.45,
                tilt=0.12,
            )
        self._fill = rng.uniform(-0.06, 0.06, count).astype(np.float32)

    def draw(self, x: Floats, y: Floats, fields: _Fields) -> _Dyes:
        """Dye concentrations at positions (n,)."""
        bundle = self._bundles.cells(x + 1.5 * fields.shift_x, y + 1.5 * fields.shift_y)
        angle = self._angle[bundle.index]
        cos, sin = np.cos(angle), np.sin(angle)
        along = bundle.dx * cos + bundle.dy * sin
        across = bundle.dy * cos - bundle.dx * sin
        across = across + 7 * np.sin(
            along * np.float32(2 * np.pi / 150) + self._phase[bundle.index]
        )
        across = across + 0.35 * fields.shift_y
        cells = self._mosaic.cells(
            along + self._offset_x[bundle.index].astype(np.float32),
            across + self._offset_y[bundle.index].astype(np.float32),
        )
        membrane = ramp(cells.edge, 1.6, 0.2)
        streak = np.sin(across * np.float32(2.1) + 2.5 * fields.mottle)
        if self._spindled:
            eosin = 0.68 + self._fill[cells.index] + 0.07 * streak - 0.20 * membrane
            eosin += 0.04 * fields.fine
            haematoxylin = 0.10 + 0.03 * fields.mottle
        else:
            eosin = 0.36 + self._fill[cells.index] + 0.07 * streak + 0.08 * fields.cloud
            eosin -= 0.18 * membrane
            haematoxylin = 0.05 + 0.02 * fields.mottle
        nuclear, inside = self._nuclei.haematoxylin(cells, fields)
        haematoxylin += nuclear
        eosin *= 1 - 0.5 * inside
        return _Dyes(haematoxylin, eosin, np.zeros_like(eosin))


def _painters(rng: np.random.Generator) -> dict[Tissue, _RoundCells | _Bundles]:
    return {
        Tissue.CLEAR: _RoundCells(rng, Tissue.CLEAR),
        Tissue.GRANULAR: _RoundCells(rng, Tissue.GRANULAR),
        Tissue.SPINDLED: _Bundles(rng, Tissue.SPINDLED),
        Tissue.STROMA: _Bundles(rng, Tissue.STROMA),
    }


def draw_slide(plan: SlidePlan) -> NDArray[np.uint8]:
    """Draw a slide at 0.5 micrometres a pixel.

    Args:
        plan: what to draw; the same plan gives the same pixels.

    Returns:
        RGB, (1568, 1568, 3).
    """
    rng = np.random.default_rng([plan.seed, 0])
    label = regions(plan)
    fields = _fields(rng)
    haematoxylin, eosin, blood = (np.zeros(SIDE * SIDE, dtype=np.float32) for _ in range(3))
    painters = _painters(rng)
    flat = label.ravel()
    for tissue, painter in painters.items():
        where = np.flatnonzero(flat == tissue)
        for start in range(0, where.size, _STRIPE):
            pixels = where[start : start + _STRIPE]
            y, x = np.divmod(pixels, SIDE)
            dyes = painter.draw(x.astype(np.float32), y.astype(np.float32), fields.at(pixels))
            haematoxylin[pixels] = dyes.haematoxylin
            eosin[pixels] = dyes.eosin
            blood[pixels] = dyes.blood
    for dye in (haematoxylin, eosin, blood):
        np.maximum(dye, 0, out=dye)
    light = plan.stain.colour(haematoxylin, eosin, blood)
    light += (1.2 * fields.fine)[:, None]
    np.clip(light, 0, 255, out=light)
    image = Image.fromarray(light.astype(np.uint8).reshape(SIDE, SIDE, 3))
    if plan.pen:
        image = _with_pen(rng, image)
    image = image.filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(image)


def _with_pen(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """A curved stroke of a green felt pen over the glass; tissue shows through a little."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.linspace(angle, angle + 2.2, 40)
    radius = rng.uniform(480, 560)
    points = [
        (SIDE / 2 + radius * float(np.cos(t)), SIDE / 2 + radius * float(np.sin(t))) for t in turn
    ]
    stroke = Image.new("L", image.size)
    ImageDraw.Draw(stroke).line(points, fill=255, width=TILE // 2, joint="curve")
    ink = np.asarray(stroke.filter(ImageFilter.GaussianBlur(5)), dtype=np.float32) / 255
    density = ink[..., None] * np.array([1.5, 0.35, 0.7], dtype=np.float32)
    light = np.asarray(image, dtype=np.float32) * np.exp(-density)
    return Image.fromarray(light.astype(np.uint8))


_SAMPLE = 300  # pixels of each tissue that stand for its mean colour


@lru_cache(maxsize=1)
def _samples() -> tuple[Floats, Floats, Floats]:
    """Dyes of some pixels of each tissue, always the same ones, each (4 tissues, pixels)."""
    rng = np.random.default_rng(20_240)
    fields = _fields(rng)
    pixels = np.sort(rng.choice(SIDE * SIDE, _SAMPLE, replace=False))
    y, x = (part.astype(np.float32) for part in np.divmod(pixels, SIDE))
    samples = [painter.draw(x, y, fields.at(pixels)) for painter in _painters(rng).values()]
    haematoxylin, eosin, blood = (
        np.stack([np.maximum(getattr(dyes, name), 0) for dyes in samples])
        for name in ("haematoxylin", "eosin", "blood")
    )
    return haematoxylin, eosin, blood


def expected_colour(plan: SlidePlan) -> NDArray[np.float64]:
    """The mean colour that a slide of this plan and stain will have, without drawing it.

    Args:
        plan: the slide, with some tissue on it; a pen's ink is not counted.

    Returns:
        Red, green and blue in grey levels over the whole slide and over its tissue, (2, 3).
    """
    colours = plan.stain.colour(*_samples()).mean(axis=1)  # (4 tissues, 3)
    grid = plan.grid()
    tiles = np.array([np.count_nonzero(grid == tissue) for tissue in list(Tissue)[1:]])
    tissue = tiles @ colours / tiles.sum()
    covered = tiles.sum() / grid.size
    return np.stack([covered * tissue + (1 - covered) * np.array(GLASS), tissue])
