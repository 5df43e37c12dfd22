"""Draws synthetic slides that look like haematoxylin and eosin sections of clear cell carcinoma.

Nothing here is copied from a real slide: it is arithmetic on random numbers, and every picture of
it must be called synthetic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crpnet_bench.synthetic.layout import SIDE, TILE, SlidePlan, Tissue, regions
from crpnet_bench.synthetic.stains import GLASS, Stain
from crpnet_bench.synthetic.textures import Floats
from crpnet_bench.synthetic.tissues import Fields, painters

__all__ = ["ColourForecast", "draw_slide"]

_STRIPE = 60_000  # pixels drawn at a time: their arrays stay in the processor's cache
_NOISE = 1.2  # of the camera, in grey levels

# Independent streams of randomness of one slide; the region map has its own.
_FIELDS, _TUMOUR, _PEN, _FORECAST = 0, 2, 3, 4


def draw_slide(plan: SlidePlan) -> NDArray[np.uint8]:
    """Draw a slide at 0.5 micrometres a pixel.

    Args:
        plan: what to draw; the same plan gives the same pixels.

    Returns:
        RGB, (1568, 1568, 3).
    """
    fields = Fields.over_slide(np.random.default_rng([plan.seed, _FIELDS]))
    light = plan.stain.colour(*_dyes(plan, fields))
    light += (_NOISE * fields.fine)[:, None]
    np.clip(light, 0, 255, out=light)
    image = Image.fromarray(light.astype(np.uint8).reshape(SIDE, SIDE, 3))
    if plan.pen:
        image = _with_pen(np.random.default_rng([plan.seed, _PEN]), image)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(plan.blur)))


def _dyes(plan: SlidePlan, fields: Fields) -> tuple[Floats, Floats, Floats]:
    """Haematoxylin, eosin and blood of every pixel, flat."""
    haematoxylin, eosin, blood = (np.zeros(SIDE * SIDE, dtype=np.float32) for _ in range(3))
    label = regions(plan).ravel()
    for tissue, painter in painters(np.random.default_rng([plan.seed, _TUMOUR])).items():
        where = np.flatnonzero(label == tissue)
        for start in range(0, where.size, _STRIPE):
            pixels = where[start : start + _STRIPE]
            y, x = np.divmod(pixels, SIDE)
            dyes = painter.draw(x.astype(np.float32), y.astype(np.float32), fields.at(pixels))
            haematoxylin[pixels] = dyes.haematoxylin
            eosin[pixels] = dyes.eosin
            blood[pixels] = dyes.blood
    for dye in (haematoxylin, eosin, blood):
        np.maximum(dye, 0, out=dye)
    return haematoxylin, eosin, blood


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


class ColourForecast:
    """The mean colour that a slide will have in any stain, without drawing it.

    A few hundred scattered pixels of each tissue stand for all of them; a pen's ink is not
    counted.
    """

    _PIXELS = 500

    def __init__(self, plan: SlidePlan) -> None:
        """Look at the tissue of `plan`, which must hold some."""
        rng = np.random.default_rng([plan.seed, _FORECAST])
        x, y = rng.uniform(0, SIDE, (2, self._PIXELS)).astype(np.float32)
        dyes = [
            painter.draw(x, y, Fields.scattered(rng, self._PIXELS))
            for painter in painters(np.random.default_rng([plan.seed, _TUMOUR])).values()
        ]
        # Each (4 tissues, pixels).
        self._haematoxylin = np.stack([np.maximum(d.haematoxylin, 0) for d in dyes])
        self._eosin = np.stack([np.maximum(d.eosin, 0) for d in dyes])
        self._blood = np.stack([np.maximum(d.blood, 0) for d in dyes])
        tiles = np.array([plan.count(tissue) for tissue in Tissue])
        self._share = tiles[1:] / tiles[1:].sum()
        self._covered = tiles[1:].sum() / tiles.sum()

    def colour(self, stain: Stain) -> NDArray[np.float64]:
        """Red, green and blue over the whole slide and over its tissue, (2, 3)."""
        light = stain.colour(self._haematoxylin, self._eosin, self._blood)
        tissue = self._share @ light.mean(axis=1)
        return np.stack([self._covered * tissue + (1 - self._covered) * np.array(GLASS), tissue])
