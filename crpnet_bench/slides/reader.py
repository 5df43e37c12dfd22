"""The seam between a slide file and everything that needs its pixels.

OpenSlide is the reference for the formats it knows. A plain image that it refuses is read by
Pillow or tifffile. Tiled JPEG files can be read directly, which is faster; that reader checks
itself against OpenSlide (`crpnet_bench.slides.direct`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import openslide

from crpnet_bench.slides.base import Pixels, SlideReader, damaged, over_white
from crpnet_bench.slides.direct import directly
from crpnet_bench.slides.identity import check_readable
from crpnet_bench.slides.images import open_image
from crpnet_bench.slides.magnification import resolve_magnification
from crpnet_bench.slides.tiff import refuse_monstrous_tiles

__all__ = ["OpenSlideReader", "Pixels", "SlideReader", "open_slide"]

Backend = Literal["auto", "reference"]

_LOG = logging.getLogger(__name__)
_PROBE = 32
# What libtiff, and so OpenSlide, lacks a decoder for; tifffile may have one.
_FOREIGN_CODING = ("Unsupported TIFF compression", "can not handle images")
_SIDES = ("width", "height")


class OpenSlideReader(SlideReader):
    """Any format that OpenSlide opens."""

    backend = "openslide"

    def __init__(self, path: Path, manifest_mpp: float | None) -> None:
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError:
            raise
        except openslide.OpenSlideError as error:
            raise _refusal(error) from error
        try:
            self._describe(path, manifest_mpp)
            self._probe()
        except BaseException:
            self._slide.close()
            raise

    def _describe(self, path: Path, manifest_mpp: float | None) -> None:
        properties = self._slide.properties
        self.path = path
        self.vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown")
        self.objective_power = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
        self.level_dimensions = tuple(self._slide.level_dimensions)
        self.level_downsamples = tuple(self._slide.level_downsamples)
        tile = [_number(properties.get(f"openslide.level[0].tile-{side}")) for side in _SIDES]
        self.file_tile = (int(tile[0]), int(tile[1])) if tile[0] and tile[1] else None
        x = _number(properties.get(openslide.PROPERTY_NAME_MPP_X))
        y = _number(properties.get(openslide.PROPERTY_NAME_MPP_Y))
        own = None if x is None and y is None else (x or y or 0.0, y or x or 0.0)
        self.magnification = resolve_magnification(
            own, self.objective_power, manifest_mpp, _further_scales(properties)
        )

    def _probe(self) -> None:
        """Read a few pixels, so that a file that opens but cannot be decoded fails here."""
        width, height = self.dimensions
        size = (min(_PROBE, width), min(_PROBE, height))
        try:
            self._slide.read_region((width // 2, height // 2), 0, size)
        except openslide.OpenSlideError as error:
            raise _refusal(error) from error

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `SlideReader.read`."""
        try:
            image = self._slide.read_region((x, y), level, (width, height))
        except openslide.OpenSlideError as error:
            raise damaged(error) from error
        return over_white(np.asarray(image))

    def close(self) -> None:
        """Release the file."""
        self._slide.close()


def open_slide(
    path: Path | str, *, mpp: float | None = None, backend: Backend = "auto"
) -> SlideReader:
    """Open a slide or a plain image.

    Args:
        path: any file that OpenSlide opens, or a TIFF, PNG or JPEG image.
        mpp: micrometres a pixel at level 0 as the manifest gives it; used when the file itself
            names neither mpp nor objective power.
        backend: "auto" decodes tiled JPEG directly where that equals OpenSlide; "reference"
            uses OpenSlide alone.

    Raises:
        SlideError: with reason and remedy; the reason is exactly "mpp unknown" when nothing
            tells the scale.
    """
    path = Path(path)
    check_readable(path)
    refuse_monstrous_tiles(path)
    try:
        reader = OpenSlideReader(path, mpp)
    except openslide.OpenSlideUnsupportedFormatError:
        return open_image(path, mpp)
    return reader if backend == "reference" else directly(reader)


def _refusal(error: openslide.OpenSlideError) -> Exception:
    """Whether a file that OpenSlide does not read is another one's, or damaged."""
    if any(text in str(error) for text in _FOREIGN_CODING):
        return openslide.OpenSlideUnsupportedFormatError(str(error))
    return damaged(error)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is None or np.isfinite(value) else None


def _further_scales(properties: Mapping[str, str]) -> dict[str, float]:
    """Scales implied by fields that OpenSlide does not use for its own mpp."""
    scales = {}
    unit = {"inch": 25_400.0, "centimeter": 10_000.0}.get(properties.get("tiff.ResolutionUnit", ""))
    resolution = _number(properties.get("tiff.XResolution"))
    if unit is not None and resolution:
        scales["tiff.XResolution"] = unit / resolution
    apparent = _number(properties.get("aperio.AppMag"))
    power = _number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER))
    if apparent and power and apparent != power:
        scales["aperio.AppMag"] = 10.0 / apparent
    return scales
