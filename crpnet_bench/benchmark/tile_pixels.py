"""The pixels of a bag's tiles, read from its slides while a network trains on them.

A tile is read where its feature file says it lies, at the scale and size of that file, so it is
the tile whose features were extracted. Nothing is kept on disk: tiles of a training step are a
random few of each slide, and a copy of all tiles of a cohort would be several times the slides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import ModelError, SlideError
from crpnet_bench.models.base import Bag
from crpnet_bench.slides.base import Pixels, SlideReader
from crpnet_bench.slides.features import read_attributes
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide

__all__ = ["SlideFile", "SlidePixels", "with_pixels"]


@dataclass(frozen=True, slots=True)
class SlideFile:
    """A slide and the feature file that was made of it."""

    path: Path
    features: Path


@dataclass(frozen=True)
class SlidePixels:
    """Reads the tiles of one bag; each call opens the slides it needs, so threads share nothing.

    Attributes:
        files: the slides, in the order of the bag's `slide_ids`.
        slide, coords: as in the bag.
    """

    files: tuple[SlideFile, ...]
    slide: NDArray[np.int32]
    coords: NDArray[np.int64]

    def read(self, tiles: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See `TilePixels.read`."""
        parts = []
        order = []
        for number in np.unique(self.slide[tiles]).tolist():
            places = np.flatnonzero(self.slide[tiles] == number)
            parts.append(_read(self.files[number], np.asarray(self.coords[tiles[places]])))
            order.append(places)
        found = np.concatenate(parts)
        result = np.empty_like(found)
        result[np.concatenate(order)] = found
        return result


def with_pixels(
    bags: Mapping[str, Bag],
    features: Mapping[str, Sequence[tuple[str, Path]]],
    slides: Mapping[str, Path],
) -> dict[str, Bag]:
    """The bags, each able to read its tiles' pixels.

    Args:
        bags: by patient.
        features: identity and feature file of each slide of a bag, in the bag's order.
        slides: the slide files, by identity.
    """
    files = {
        patient: tuple(SlideFile(slides[slide_id], path) for slide_id, path in features[patient])
        for patient in bags
    }
    return {
        patient: replace(bag, pixels=SlidePixels(files[patient], bag.slide, bag.coords))
        for patient, bag in bags.items()
    }


def _read(file: SlideFile, corners: NDArray[np.int64]) -> Pixels:
    try:
        made = read_attributes(file.features)
        tiling = TilingConfig(mpp=made["mpp"], tile_px=made["tile_px"])
        told = made["mpp_level0"][0] if made["mpp_source"] == "manifest" else None
        with open_slide(file.path, mpp=told) as reader:
            _refuse_another(reader, made)
            return tile_slide(reader, tiling).read(corners)
    except SlideError as error:
        raise ModelError(f"{file.path}: its tiles cannot be read: {error}") from error
    except (KeyError, OSError) as error:
        raise ModelError(
            f"{file.features}: does not tell how the tiles of {file.path} were cut ({error}); "
            "extract that slide again"
        ) from error


def _refuse_another(reader: SlideReader, made: Mapping[str, Any]) -> None:
    expected = list(made["dimensions"])
    if list(reader.dimensions) != expected:
        raise SlideError(
            f"it has {list(reader.dimensions)} pixels, its features were made from {expected}",
            "another file took its place: bring the slide back, or extract again",
        )
