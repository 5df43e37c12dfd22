"""Plain images that are no slides: TIFF through tifffile, PNG and JPEG through Pillow.

They have one level and no scale of their own; the manifest must give the micrometres a pixel.
The picture is held in memory, so its size is bounded.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import simplejpeg
import tifffile
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.base import Pixels, SlideReader, damaged, over_white, window
from crpnet_bench.slides.magnification import resolve_magnification
from crpnet_bench.slides.tiff import directories_are_whole, is_tiff

__all__ = ["ImageReader", "open_image"]

_LARGEST = 1_000_000_000  # pixels; 3 GB of RGB
_IMAGE_FORMATS = ("PNG", "JPEG", "BMP")
# What the decoders raise on bytes that make no sense.
_DECODE_ERRORS = (
    OSError, ValueError, SyntaxError, RuntimeError, EOFError, KeyError, IndexError, TypeError,
    struct.error,
)  # fmt: skip


class ImageReader(SlideReader):
    """One picture in memory, (height, width, 3)."""

    objective_power = None
    level_downsamples = (1.0,)

    def __init__(
        self, path: Path, pixels: Pixels, backend: str, vendor: str, mpp: float | None
    ) -> None:
        self.path = path
        self.backend = backend
        self.vendor = vendor
        self._pixels = pixels
        self.level_dimensions = ((pixels.shape[1], pixels.shape[0]),)
        self.magnification = resolve_magnification(None, None, mpp)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> Pixels:
        """See `SlideReader.read`."""
        if level != 0:
            raise IndexError(f"a plain image has level 0 only, not {level}")
        return window(self._pixels, x, y, width, height)

    def close(self) -> None:
        """Release the picture."""
        self._pixels = np.empty((0, 0, 3), np.uint8)


def open_image(path: Path, mpp: float | None) -> ImageReader:
    """Read a plain TIFF, PNG, JPEG or BMP image.

    Raises:
        SlideError: the file is none of these, damaged, too large, or its scale is unknown.
    """
    if is_tiff(path):
        pixels = _read_tiff(path)
        return ImageReader(path, pixels, "tifffile", "plain TIFF", mpp)
    pixels, image_format = _read_picture(path)
    return ImageReader(path, pixels, "pillow", f"plain {image_format}", mpp)


def _read_tiff(path: Path) -> Pixels:
    size = path.stat().st_size
    if not directories_are_whole(path):
        raise damaged(EOFError("the file ends before its last image directory"))
    try:
        with tifffile.TiffFile(path) as file:
            _refuse_slide(file)
            page = file.pages.first
            if max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))) > size:
                raise damaged(EOFError("the file ends inside its pixels"))
            if page.imagewidth * page.imagelength > _LARGEST:
                raise _too_large(path)
            if not _is_plain_colour(page):
                return _read_picture(path, "TIFF")[0]
            data = page.asarray()
            if data.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
                data = np.moveaxis(data, 0, 2)
            inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    except SlideError:
        raise
    except (*_DECODE_ERRORS, tifffile.TiffFileError) as error:
        raise damaged(error) from error
    return _as_rgb(255 - data if inverted and data.dtype == np.uint8 else data)


def _is_plain_colour(page: tifffile.TiffPage) -> bool:
    """Whether tifffile gives grey or RGB; palettes, CMYK and others are Pillow's to convert."""
    kinds = tifffile.PHOTOMETRIC
    if page.photometric == kinds.YCBCR:
        return bool(page.compression == tifffile.COMPRESSION.JPEG)  # its decoder converts
    return page.photometric in {kinds.RGB, kinds.MINISBLACK, kinds.MINISWHITE}


def _refuse_slide(file: tifffile.TiffFile) -> None:
    """What a scanner wrote is OpenSlide's; it refused it, so it is not whole."""
    for name in ("svs", "ndpi", "bif", "scn", "philips"):
        if getattr(file, f"is_{name}"):
            raise SlideError(
                f"damaged or unsupported {name.upper()} file",
                "OpenSlide does not open it: copy it again from its source",
            )


def _as_rgb(data: NDArray[np.generic]) -> Pixels:
    if data.dtype != np.uint8:
        raise _too_deep(str(data.dtype))
    pixels = data.view(np.uint8)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return over_white(pixels)
    raise SlideError(f"unsupported image shape {data.shape}", "convert the image to RGB")


def _read_picture(path: Path, *formats: str) -> tuple[Pixels, str]:
    try:
        with _quiet_about_size(), Image.open(path, formats=formats or _IMAGE_FORMATS) as image:
            image_format = image.format or "image"
            if image.mode[0] in "IF":  # Pillow would cut off what is above 255
                raise _too_deep(image.mode)
            if image_format == "JPEG" and image.mode in {"RGB", "L"}:  # Pillow overlooks damage
                return simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), image_format
            if "A" in image.getbands() or "transparency" in image.info:
                return over_white(np.asarray(image.convert("RGBA"))), image_format
            return np.asarray(image.convert("RGB")), image_format
    except UnidentifiedImageError as error:
        raise SlideError(
            "not a slide or image",
            f"{path.name} is no format of OpenSlide and no TIFF, PNG, JPEG or BMP, whatever its "
            "suffix says, or its header is damaged",
        ) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path) from error
    except _DECODE_ERRORS as error:
        raise damaged(error) from error


@contextmanager
def _quiet_about_size() -> Iterator[None]:
    """Pillow warns at 89 megapixels and refuses at 179; a large picture is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _too_deep(kind: str) -> SlideError:
    return SlideError(f"unsupported pixel type {kind}", "convert the image to 8 bits a channel")


def _too_large(path: Path) -> SlideError:
    return SlideError(
        "image too large to be held in memory",
        f"convert {path.name} to a pyramidal TIFF of JPEG tiles, which is read piece by piece",
    )
