"""Feature files: one HDF5 a slide, complete or absent.

Layout, documented for users in docs/slides.md:

- `features` (n, dim) float16 or float32, contiguous: one row a kept tile
- `coords` (n, 2) int64: top-left corners in level-0 pixels
- `entropy` (n,) float64: bits
- `grid_entropy` (rows, columns) float64: the audit; NaN where the thumbnail mask spared reading
- `context_2`, `context_4` (n, dim), where asked for: the fields 2 and 4 times as wide
- `views` (n, K, dim) float16, where asked for: features of K augmented views
- `quality` (n, 3) float32, where asked for: sharpness, ink, dark
- attributes: provenance, one JSON value each (`slide_sha256`, `mpp`, `tile_px`, ...)

Files are written to a temporary name and renamed. While a slide is in work its finished blocks
lie beside it in `<slide_id>.<mpp>.parts/`, so that an interrupted slide goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from crpnet_bench.errors import InputError
from crpnet_bench.slides.tiling import TileAudit

__all__ = [
    "FeatureFile",
    "FeatureParts",
    "feature_file",
    "is_complete",
    "read_attributes",
    "read_features",
    "write_features",
]

FORMAT = "crpnet-bench features 1"
_DATASETS = ("features", "coords", "entropy", "grid_entropy")
_CONTEXT = "context_"


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """What a feature file holds.

    Attributes:
        features: (n, dim) float16 or float32.
        coords: (n, 2) int64 top-left corners in level-0 pixels.
        entropy: (n,) bits.
        grid_entropy: (rows, columns) bits, NaN where a tile was not read.
        attrs: provenance.
        context: by factor, (n, dim) features of the wider field around each tile.
        views: (n, K, dim) features of augmented views, or None.
        quality: (n, 3) sharpness, ink, dark, or None.
    """

    features: NDArray[np.floating[Any]]
    coords: NDArray[np.int64]
    entropy: NDArray[np.float64]
    grid_entropy: NDArray[np.float64]
    attrs: Mapping[str, Any]
    context: Mapping[int, NDArray[np.floating[Any]]] = field(default_factory=dict)
    views: NDArray[np.float16] | None = None
    quality: NDArray[np.float32] | None = None

    @property
    def audit(self) -> TileAudit:
        """What became of each tile on the grid."""
        return TileAudit(self.grid_entropy, float(self.attrs["entropy_threshold"]))


def write_features(path: Path, content: FeatureFile) -> None:
    """Write a feature file by temporary name and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            for name, data in _arrays(content).items():
                file.create_dataset(name, data=data)
            for key, value in {"format": FORMAT, **content.attrs}.items():
                file.attrs[key] = json.dumps(value, sort_keys=True)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_features(path: Path) -> FeatureFile:
    """Read a feature file of this program.

    Raises:
        InputError: the file is missing, damaged or of another program
            (`crpnet-bench features import` reads those of CLAM, TRIDENT, STAMP and torchmil).
    """
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            return feature_file(
                {name: data[...] for name, data in file.items()}, _read_attributes(file)
            )
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such feature file; run `crpnet-bench extract`") from error
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not readable as a feature file ({error}); delete it and extract again"
        ) from error


def feature_file(arrays: Mapping[str, NDArray[Any]], attrs: Mapping[str, Any]) -> FeatureFile:
    """A feature file from its datasets by name.

    Raises:
        KeyError: one of the datasets that each file has is missing.
    """
    return FeatureFile(
        **{name: arrays[name] for name in _DATASETS},
        attrs=attrs,
        context={
            int(name.removeprefix(_CONTEXT)): data
            for name, data in arrays.items()
            if name.startswith(_CONTEXT)
        },
        views=arrays.get("views"),
        quality=arrays.get("quality"),
    )


def _arrays(content: FeatureFile) -> dict[str, NDArray[Any]]:
    always = {name: getattr(content, name) for name in _DATASETS}
    wider = {f"{_CONTEXT}{factor}": data for factor, data in content.context.items()}
    asked = {"views": content.views, "quality": content.quality}
    return always | wider | {name: data for name, data in asked.items() if data is not None}


def read_attributes(path: Path) -> Mapping[str, Any]:
    """Only the provenance of a feature file."""
    with h5py.File(path, "r") as file:
        _check_format(path, file)
        return _read_attributes(file)


def is_complete(path: Path) -> bool:
    """Whether a finished feature file of this program lies at `path`."""
    try:
        with h5py.File(path, "r") as file:
            _check_format(path, file)
            return all(name in file for name in _DATASETS)
    except (OSError, InputError):
        return False


def _check_format(path: Path, file: h5py.File) -> None:
    found = file.attrs.get("format")
    if found is None or json.loads(str(found)) != FORMAT:
        raise InputError(
            f"{path}: found format {found!r}, expected {FORMAT!r}; bring in features of other "
            "tools with `crpnet-bench features import`"
        )


def _read_attributes(file: h5py.File) -> dict[str, Any]:
    return {key: json.loads(str(value)) for key, value in file.attrs.items() if key != "format"}


class FeatureParts:
    """The finished blocks of a slide in work, one small file each.

    A part is written by temporary name and rename, so what is there is whole.
    """

    def __init__(self, target: Path, key: str = "") -> None:
        """Parts of the feature file `target`; parts of another `key` do not mix with them."""
        self._target = target
        self.folder = target.with_name(f"{target.stem}.{key}.parts")

    def append(self, block: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store what was computed for a block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{block:08d}.{os.getpid()}.tmp"
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        temporary.replace(self.folder / f"{block:08d}.npz")

    def finished(self) -> Sequence[int]:
        """Numbers of the stored blocks, ascending."""
        if not self.folder.is_dir():
            return ()
        return sorted(int(path.stem) for path in self.folder.glob("*.npz"))

    def read(self) -> list[dict[str, NDArray[Any]]]:
        """All stored blocks in order."""
        parts = []
        for block in self.finished():
            with np.load(self.folder / f"{block:08d}.npz", allow_pickle=False) as file:
                parts.append({name: file[name] for name in file.files})
        return parts

    def discard(self) -> None:
        """Remove all parts of this feature file, those of other keys and killed runs included."""
        for folder in self._target.parent.glob(f"{self._target.stem}.*.parts"):
            shutil.rmtree(folder, ignore_errors=True)
        for unfinished in self._target.parent.glob(f".{self._target.name}.*.tmp"):
            unfinished.unlink(missing_ok=True)
