"""The pictures that `explain` makes of one slide: overview, overlays, single tiles, squares."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.colors
from numpy.typing import NDArray
from PIL import Image

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import SlideError
from crpnet_bench.results import write_atomically
from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.cutting import cut
from crpnet_bench.slides.grid import Grid, plan_grid
from crpnet_bench.slides.overview import thumbnail
from crpnet_bench.slides.reader import open_slide

__all__ = ["CutSlide", "draw_pictures"]

_SIDE = 800
_TILES_SHOWN = 6
_OPACITY = 0.5
_COLORS = 64

Floats = NDArray[np.float64]
Tint = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CutSlide:
    """A slide and how its tiles were cut.

    Attributes:
        path: of the slide.
        mpp: micrometres a pixel where the slide itself does not say; else None.
        tiling: size of the tiles; None where their features do not tell it.
    """

    path: Path
    mpp: float | None
    tiling: TilingConfig | None


def draw_pictures(slide: CutSlide | None, tiles: pd.DataFrame, place: Path) -> None:
    """Draw everything that `explain` shows of one slide.

    Args:
        slide: None where the run does not know it.
        tiles: `slide_id`, `x`, `y` (level 0), `attention`, `tile_logit`, a row a tile.
        place: folder that gets the pictures.

    Raises:
        SlideError: the slide is gone or cannot be read, or the size of its tiles is not known.
    """
    if slide is None or not slide.path.exists():
        named = "" if slide is None else f" {slide.path}"
        raise SlideError(f"the slide file{named} is gone; pictures need it")
    if slide.tiling is None:
        raise SlideError(
            f"the features of {slide.path.name} do not tell the size of their tiles",
            "import them again from a folder that holds the tool's patches/ too",
        )
    with open_slide(slide.path, mpp=slide.mpp) as reader:
        grid = plan_grid(reader, slide.tiling.mpp, slide.tiling.tile_px)
        small = thumbnail(reader, _SIDE)
        _save(small, place / "thumbnail.jpg")
        attention = tiles["attention"].to_numpy(float)
        evidence = attention * tiles["tile_logit"].to_numpy(float)
        for name, tint in (
            ("attention", _ranked_colors(attention)),
            ("evidence", _signed_colors(evidence)),
        ):
            _save(_overlay(small, reader, grid, tiles, tint), place / f"{name}.png")
        write_atomically(place / "tiles.geojson", _geojson(tiles, grid))
        _save_tiles(reader, grid, tiles, place)


def _save(pixels: Tint, path: Path) -> None:
    """As JPEG; a PNG gets 256 colours, or pictures of a cohort would fill gigabytes."""
    buffer = BytesIO()
    picture = Image.fromarray(pixels)
    if path.suffix == ".png":
        picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=88)
    write_atomically(path, buffer.getvalue())


def _ranked_colors(attention: Floats) -> Tint:
    """Rank within the slide, so that one very high weight does not hide the others."""
    order = np.argsort(np.argsort(attention, kind="stable"), kind="stable")
    return _colors("Inferno", order / max(len(attention) - 1, 1))


def _signed_colors(evidence: Floats) -> Tint:
    largest = float(np.abs(evidence).max()) or 1.0
    return _colors("RdBu_r", 0.5 + evidence / (2 * largest))


def _colors(scale: str, values: Floats) -> Tint:
    samples = plotly.colors.sample_colorscale(scale, list(np.linspace(0, 1, _COLORS)))
    table = [plotly.colors.unlabel_rgb(text) for text in samples]
    chosen = np.asarray(table, dtype=np.uint8)[np.round(values * (_COLORS - 1)).astype(int)]
    return np.asarray(chosen, dtype=np.uint8)


def _overlay(small: Tint, reader: SlideReader, grid: Grid, tiles: pd.DataFrame, tint: Tint) -> Tint:
    scale_x = small.shape[1] / reader.dimensions[0]
    scale_y = small.shape[0] / reader.dimensions[1]
    span_x, span_y = grid.tile.span
    shown = small.astype(np.float64)
    for (x, y), color in zip(_corners(tiles), tint, strict=True):
        rows = slice(round(y * scale_y), round((y + span_y) * scale_y))
        columns = slice(round(x * scale_x), round((x + span_x) * scale_x))
        shown[rows, columns] = shown[rows, columns] * (1 - _OPACITY) + color * _OPACITY
    return np.round(shown).astype(np.uint8)


def _corners(tiles: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in tiles[["x", "y"]].itertuples(index=False)]


def _geojson(tiles: pd.DataFrame, grid: Grid) -> bytes:
    """Squares in level-0 pixels with their numbers, as QuPath's tiles."""
    span_x, span_y = grid.tile.span
    slide = uuid.UUID(str(tiles["slide_id"].iloc[0])[:32].ljust(32, "0"))
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(slide, f"{x},{y}")),
            "geometry": {"type": "Polygon", "coordinates": [_square(x, y, span_x, span_y)]},
            "properties": {
                "objectType": "tile",
                "measurements": {
                    "attention": float(attention),
                    "tile logit": float(logit),
                    "evidence": float(attention) * float(logit),
                },
            },
        }
        for (x, y), attention, logit in zip(
            _corners(tiles), tiles["attention"], tiles["tile_logit"], strict=True
        )
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _square(x: float, y: float, width: float, height: float) -> list[list[float]]:
    corners = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    return [[x + right * width, y + down * height] for right, down in corners]


def _save_tiles(reader: SlideReader, grid: Grid, tiles: pd.DataFrame, place: Path) -> None:
    ranked = tiles.sort_values("attention", ascending=False, kind="stable")
    shown = min(_TILES_SHOWN, len(ranked) // 2 or 1)
    for name, part in (("high", ranked.head(shown)), ("low", ranked.tail(shown).iloc[::-1])):
        for number, corner in enumerate(_corners(part), start=1):
            _save(_tile(reader, grid, corner), place / f"{name}-{number}.jpg")
    _forget_further(place, shown)


def _forget_further(place: Path, shown: int) -> None:
    """Tiles of an earlier drawing that showed more of them."""
    for number in range(shown + 1, _TILES_SHOWN + 1):
        for name in ("high", "low"):
            (place / f"{name}-{number}.jpg").unlink(missing_ok=True)


def _tile(reader: SlideReader, grid: Grid, corner: Sequence[int]) -> Tint:
    field = grid.tile
    width, height = (int(np.ceil(extent)) for extent in field.extent)
    region = reader.read(field.level, corner[0], corner[1], width, height)
    return cut(region, [(0.0, 0.0)], field).pixels(0)
