"""A small picture of a slide: kept tiles in colour, dropped ones shaded, and the histogram."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from crpnet_bench.slides.base import Pixels, SlideReader
from crpnet_bench.slides.grid import Grid
from crpnet_bench.slides.tiling import TileAudit

__all__ = ["histogram_picture", "overview", "thumbnail"]

_STRIP = 4096  # pixels of the level that is read, a side
_SHADE = 0.35


def overview(reader: SlideReader, grid: Grid, audit: TileAudit, side: int = 1024) -> Image.Image:
    """The slide at most `side` pixels wide and high; what is not kept is grey and dim."""
    pixels = thumbnail(reader, side)
    kept = np.zeros(pixels.shape[:2], bool)
    scale_y = pixels.shape[0] / reader.dimensions[1]
    scale_x = pixels.shape[1] / reader.dimensions[0]
    span_x, span_y = grid.tile.span
    for row, column in np.argwhere(audit.kept).tolist():
        x, y = grid.origin(column, row)
        top, bottom = round(y * scale_y), round((y + span_y) * scale_y)
        kept[top:bottom, round(x * scale_x) : round((x + span_x) * scale_x)] = True
    grey = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    shaded = (grey * _SHADE + 128 * (1 - _SHADE)).astype(np.uint8)
    return Image.fromarray(np.where(kept[..., None], pixels, shaded))


def histogram_picture(audit: TileAudit, width: int = 512, height: int = 256) -> Image.Image:
    """Tiles by entropy in quarter bits; the threshold is the vertical line."""
    counts, edges = audit.histogram()
    image = Image.new("RGB", (width, height + 16), "white")
    draw = ImageDraw.Draw(image)
    step = width / len(counts)
    highest = max(int(counts.max()), 1)
    for number, count in enumerate(counts.tolist()):
        colour = "#3b6ea5" if edges[number] >= audit.threshold else "#b0b0b0"
        top = height - count / highest * (height - 12)
        if count:
            draw.rectangle((number * step, top, (number + 1) * step - 1, height), fill=colour)
    line = audit.threshold / 8 * width
    draw.line((line, 0, line, height), fill="#c03030")
    for bits in range(0, 9, 2):
        draw.text((min(bits / 8 * width, width - 8), height + 2), str(bits), fill="black")
    return image


def thumbnail(reader: SlideReader, side: int) -> Pixels:
    """The whole slide at most `side` pixels wide and high, read strip by strip."""
    width, height = reader.dimensions
    scale = max(width, height) / min(side, max(width, height))
    finer = [
        level for level, value in enumerate(reader.level_downsamples) if value <= max(scale, 1.0)
    ]
    level = max(finer, key=lambda number: reader.level_downsamples[number])
    level_width, level_height = reader.level_dimensions[level]
    small = (max(1, round(width / scale)), max(1, round(height / scale)))
    result = Image.new("RGB", small, "white")
    downsample = reader.level_downsamples[level]
    for top in range(0, level_height, _STRIP):
        for left in range(0, level_width, _STRIP):
            right, bottom = min(left + _STRIP, level_width), min(top + _STRIP, level_height)
            box = _scaled((left, top, right, bottom), small, level_width, level_height)
            if box[2] > box[0] and box[3] > box[1]:
                x, y = round(left * downsample), round(top * downsample)
                part = Image.fromarray(reader.read(level, x, y, right - left, bottom - top))
                size = (box[2] - box[0], box[3] - box[1])
                result.paste(part.resize(size, Image.Resampling.BOX), box)
    return np.asarray(result)


def _scaled(
    box: tuple[int, int, int, int], small: tuple[int, int], width: int, height: int
) -> tuple[int, int, int, int]:
    x, y = small[0] / width, small[1] / height
    return round(box[0] * x), round(box[1] * y), round(box[2] * x), round(box[3] * y)
