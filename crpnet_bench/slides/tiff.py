"""A look at the directories of a TIFF before a decoder is trusted with it.

A damaged header can ask OpenSlide for a tile of hundreds of gigabytes, which ends the process;
tifffile reads what comes before a cut without a word. Neither may happen to a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Literal

from crpnet_bench.slides.base import damaged

__all__ = ["directories_are_whole", "is_tiff", "refuse_monstrous_tiles"]

_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BIGTIFF = 43
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_INTEGERS = {3: 2, 4: 4, 16: 8}  # TIFF type: bytes
_LARGEST_TILE = 1 << 26  # pixels, 8192 x 8192
_CLASSIC_LIMIT = 1 << 32  # NDPI goes beyond it with offsets of its own


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF or BigTIFF does."""
    with path.open("rb") as file:
        return file.read(4) in _STARTS


def directories_are_whole(path: Path) -> bool:
    """Whether each image directory names a next one inside the file, or none."""
    try:
        return any(True for _ in list(_directories(path)))
    except EOFError:
        return False


def refuse_monstrous_tiles(path: Path) -> None:
    """Refuse a TIFF whose tiles no scanner writes.

    Raises:
        SlideError: a tile has more than 8192 x 8192 pixels.
    """
    if not is_tiff(path) or path.stat().st_size >= _CLASSIC_LIMIT:
        return
    try:
        for tags in _directories(path):
            width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
            if width * length > _LARGEST_TILE:
                raise damaged(ValueError(f"its header tells of tiles of {width} x {length} pixels"))
    except EOFError:
        return  # the decoder says what is wrong with it


def _directories(path: Path) -> Iterator[Mapping[int, int]]:
    """The whole-number tags of each directory, by tag; the first value where there are more.

    Raises:
        EOFError: a directory lies outside the file, or the chain runs in a circle.
    """
    size = path.stat().st_size
    seen: set[int] = set()
    with path.open("rb") as file:
        head = file.read(16)
        order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
        large = int.from_bytes(head[2:4], order) == _BIGTIFF
        word, counter, entry = (8, 8, 20) if large else (4, 2, 12)
        offset = int.from_bytes(head[8:16] if large else head[4:8], order)
        while offset:
            file.seek(offset)
            entries = int.from_bytes(file.read(counter), order)
            following = offset + counter + entries * entry
            if offset in seen or following + word > size:
                raise EOFError
            seen.add(offset)
            yield _tags(file, entries, entry, order)
            offset = int.from_bytes(file.read(word), order)


def _tags(
    file: BinaryIO, entries: int, entry: int, order: Literal["little", "big"]
) -> dict[int, int]:
    value_at = entry - (8 if entry == 20 else 4)
    tags = {}
    for _ in range(entries):
        raw = file.read(entry)
        length = _INTEGERS.get(int.from_bytes(raw[2:4], order))
        if length is not None:
            tags[int.from_bytes(raw[:2], order)] = int.from_bytes(
                raw[value_at : value_at + length], order
            )
    return tags
