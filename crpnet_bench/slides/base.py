"""What every reader offers: levels of RGB pixels and the physical scale of level 0."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.magnification import Magnification

__all__ = ["Pixels", "SlideReader", "damaged", "over_white", "window"]

Pixels = NDArray[np.uint8]


class SlideReader(ABC):
    """An open slide: levels of RGB pixels and the physical scale of level 0.

    Attributes:
        path: the file.
        backend: what decodes the pixels: "openslide", "direct", "tifffile" or "pillow".
        vendor: the scanner's maker as the format tells it, or the image format.
        objective_power: as stated in the file, or None.
        level_dimensions: (width, height) of each level, the finest first.
        level_downsamples: level-0 pixels in a pixel of each level.
        magnification: micrometres a pixel at level 0 and where that comes from.
        file_tile: sides of the tiles that the file stores, as a hint where to cut; else None.
        notes: warnings about the way the file is read.
    """

    path: Path
    backend: str
    vendor: str
    objective_power: float | None
    level_dimensions: tuple[tuple[int, int], ...]
    level_downsamples: tuple[float, ...]
    magnification: Magnification
    file_tile: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.level_dimensions[0]

    @property
    def mpp(self) -> tuple[float, float]:
        """Micrometres a pixel at level 0, along x and y."""
        return self.magnification.mpp

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything about this slide that a user should know."""
        return (*self.magnification.warnings, *self.notes)

    @abstractmethod
    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """Pixels of one level, RGB over white, (height, width, 3).

        Args:
            level: 0 is the finest.
            x: left edge in level-0 pixels.
            y: top edge in level-0 pixels.
            width: in pixels of that level; outside the slide it is white.
            height: in pixels of that level.

        Raises:
            SlideError: the file is damaged at that place.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def damaged(error: BaseException) -> SlideError:
    """A decoder's complaint as a slide's outcome."""
    text = str(error).strip()
    if " " not in text:  # the bare key of a KeyError says nothing to a reader
        text = f"it cannot be decoded ({type(error).__name__}{': ' if text else ''}{text})"
    return SlideError(
        f"damaged file: {text.splitlines()[0][:200]}",
        "the file is truncated or damaged: copy it again from its source",
    )


def over_white(rgba: Pixels) -> Pixels:
    """RGB of a picture whose transparent parts are glass: (h, w, 4) to (h, w, 3).

    OpenSlide's colours are premultiplied only inside; what it returns is straight alpha.
    """
    alpha = rgba[..., 3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    share = alpha[..., None].astype(np.uint16)
    blended = (rgba[..., :3] * share + 255 * (255 - share) + 127) // 255
    return blended.astype(np.uint8)


def window(pixels: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
    """A rectangle of a picture, white where it reaches outside."""
    rows, columns = pixels.shape[:2]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, columns), min(y + height, rows)
    if (left, top, right, bottom) == (x, y, x + width, y + height):
        return pixels[y:bottom, x:right]
    result = np.full((height, width, 3), 255, np.uint8)
    if left < right and top < bottom:
        result[top - y : bottom - y, left - x : right - x] = pixels[top:bottom, left:right]
    return result
