"""The identity of a slide: the sha256 of its content.

Formats that spread one slide over several files are hashed file by file in the order of their
names; names themselves do not count, so that a moved or renamed slide keeps its identity.
"""

from __future__ import annotations

import configparser
import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

from crpnet_bench.errors import SlideError

__all__ = ["content_hash", "slide_parts"]

_BLOCK = 1 << 22
# (0020,000E) SeriesInstanceUID, explicit VR "UI", as it stands in a DICOM file's header.
_SERIES_TAG = b"\x20\x00\x0e\x00UI"
_DICOM_HEADER = 1 << 18


def content_hash(path: Path) -> str:
    """The sha256 (64 hex digits) of a slide's content, over all files of a multi-file format.

    A single file has the sha256 of its bytes, as `sha256sum` prints it.

    Raises:
        SlideError: the file is missing, empty or not readable.
    """
    parts = slide_parts(path)
    try:
        if parts == [path]:
            return _file_hash(path)
        digest = hashlib.sha256()
        for part in parts:
            digest.update(bytes.fromhex(_file_hash(part)))
        return digest.hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def slide_parts(path: Path) -> list[Path]:
    """All files that one slide consists of; the named file alone for most formats.

    MRXS has a folder of the same stem, VMS and VMU name their image files in a key file,
    a DICOM slide is every file of the same series in the folder.
    """
    try:
        check_readable(path)
        suffix = path.suffix.lower()
        if suffix == ".mrxs":
            folder = path.with_suffix("")
            return [path, *sorted(part for part in folder.rglob("*") if part.is_file())]
        if suffix in {".vms", ".vmu"}:
            return [path, *_named_parts(path)]
        if suffix == ".dcm":
            return _series_parts(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return [path]


def check_readable(path: Path) -> None:
    """Refuse what is no file, an empty file or one that may not be read.

    Raises:
        SlideError: with the reason.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait forever
            raise SlideError("not a file", f"{path} is a pipe or a device: name a slide file")
        with path.open("rb") as file:
            first = file.read(1)
    except OSError as error:
        raise unreadable(path, error) from error
    if not first:
        raise SlideError("empty file", f"{path.name} has 0 bytes: copy it again")


def unreadable(path: Path, error: OSError) -> SlideError:
    """An operating system's refusal as a slide's outcome."""
    if isinstance(error, FileNotFoundError):
        return SlideError("file not found", f"{path} does not exist: correct the slide's path")
    if isinstance(error, PermissionError):
        return SlideError("permission denied", f"allow reading of {path}")
    if isinstance(error, IsADirectoryError):
        return SlideError("not a file", f"{path} is a folder: name the slide file in it")
    detail = error.strerror or type(error).__name__
    return SlideError(f"not readable: {detail}", f"check the disk that holds {path.name}")


def _file_hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _named_parts(path: Path) -> list[Path]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="latin-1"))
    except configparser.Error:
        return []  # OpenSlide will say what is wrong with it
    names = [value for section in parser.sections() for _, value in parser.items(section)]
    return _existing(path.parent / name for name in names if name)


def _existing(paths: Iterable[Path]) -> list[Path]:
    return sorted({path for path in paths if path.is_file()})


def _series_parts(path: Path) -> list[Path]:
    series = _series_uid(path)
    if series is None:
        return [path]
    return sorted(part for part in path.parent.glob("*.dcm") if _series_uid(part) == series)


def _series_uid(path: Path) -> bytes | None:
    with path.open("rb") as file:
        header = file.read(_DICOM_HEADER)
    at = header.find(_SERIES_TAG)
    if at < 0:
        return None
    start = at + len(_SERIES_TAG)
    length = int.from_bytes(header[start : start + 2], "little")
    return header[start + 2 : start + 2 + length].rstrip(b"\0 ")
