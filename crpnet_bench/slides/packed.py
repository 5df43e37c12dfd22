"""The tiles of a large cohort in a few memory-mapped arrays, one bag after the other.

A cohort whose features do not fit beside what else is in memory is copied once from its feature
files into one plain array each for features, wider fields, views, coordinates and slide numbers,
in the types
of the feature files, so that numbers stay what they are. The system then keeps in memory what is
in use, and a handful of files is open whatever the number of slides. A pack is written under a
temporary name and renamed; its name follows from the files it was made of, so one that does not
fit them any more is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.errors import InputError, RunError
from crpnet_bench.slides.features import FeatureFile, read_features

__all__ = ["PackedBag", "pack_bags"]

_INDEX = "index.json"
_CONTEXT = "context_"


@dataclass(frozen=True, slots=True)
class PackedBag:
    """The tiles of one bag, memory-mapped and read-only.

    Attributes:
        features: (tiles, dim), as in the feature files.
        coords: (tiles, 2) int64.
        slide: (tiles,) int32, position of the tile's slide among the bag's files.
        views: (tiles, K, dim) float16, or None where the feature files hold none.
        context: by factor, (tiles, dim), features of the field so many times as wide.
    """

    features: NDArray[np.floating[Any]]
    coords: NDArray[np.int64]
    slide: NDArray[np.int32]
    views: NDArray[np.float16] | None = None
    context: Mapping[int, NDArray[np.floating[Any]]] = field(default_factory=dict)


def pack_bags(files: Mapping[str, Sequence[Path]], folder: Path) -> dict[str, PackedBag]:
    """Pack feature files, or open the pack when one of these very files is there.

    Args:
        files: feature files by bag, those of a bag in the order of its slides.
        folder: holds the pack, and nothing else; what lies there of other files is removed.

    Raises:
        InputError: a feature file is damaged, or two are not of one encoder.
        RunError: the pack cannot be written.
    """
    pack = folder / _key(files)
    if not (pack / _INDEX).is_file():
        _make(pack, files)
    return _open(pack)


def _key(files: Mapping[str, Sequence[Path]]) -> str:
    """Changes with each bag, file, its size and its time."""
    state = [
        [bag, [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]]
        for bag, paths in files.items()
    ]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def _make(pack: Path, files: Mapping[str, Sequence[Path]]) -> None:
    partial = pack.with_name(f".{pack.name}.{os.getpid()}.tmp")
    try:
        partial.mkdir(parents=True)
        index = _write(partial, files)
        (partial / _INDEX).write_text(json.dumps(index), encoding="utf-8")
        partial.replace(pack)
    except OSError as error:
        if not (pack / _INDEX).is_file():  # else another run was faster
            raise RunError(
                f"features cannot be packed in {pack.parent}: {error.strerror or error}; free "
                "space or change its permissions, then run again"
            ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for other in pack.parent.iterdir():  # packs of other files, left-overs of a killed run
        if other != pack:
            shutil.rmtree(other, ignore_errors=True)


def _write(folder: Path, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Copy slide by slide; returns what is needed to map the arrays."""
    rows = dict.fromkeys(files, 0)
    kinds: dict[str, list[Any]] = {}
    with ExitStack() as stack:
        targets: dict[str, BinaryIO] = {}
        for bag, number, path in _slides(files):
            arrays = _arrays(read_features(path), number)
            found = {name: [data.dtype.str, *data.shape[1:]] for name, data in arrays.items()}
            if not kinds:
                kinds = found
                targets = {name: stack.enter_context((folder / name).open("wb")) for name in kinds}
            if found != kinds:
                raise InputError(
                    f"{path}: holds {found}, expected {kinds} as in the slides before; "
                    "extract or import all slides with one encoder"
                )
            for name, data in arrays.items():
                targets[name].write(data.data)
            rows[bag] += len(arrays["slide"])
    return {"kinds": kinds, "rows": rows}


def _slides(files: Mapping[str, Sequence[Path]]) -> Iterator[tuple[str, int, Path]]:
    for bag, paths in files.items():
        for number, path in enumerate(paths):
            yield bag, number, path


def _arrays(content: FeatureFile, number: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "features": content.features,
        "coords": content.coords,
        "slide": np.full(len(content.coords), number, dtype=np.int32),
    }
    arrays |= {f"{_CONTEXT}{factor}": data for factor, data in content.context.items()}
    return arrays if content.views is None else arrays | {"views": content.views}


def _open(pack: Path) -> dict[str, PackedBag]:
    index = json.loads((pack / _INDEX).read_text(encoding="utf-8"))
    total = sum(index["rows"].values())
    arrays = {
        name: np.memmap(pack / name, dtype=dtype, mode="r", shape=(total, *shape))
        for name, (dtype, *shape) in index["kinds"].items()
    }
    bags, start = {}, 0
    for bag, length in index["rows"].items():
        part = slice(start, start + length)
        own = {name: data[part] for name, data in arrays.items()}
        wider = [name for name in own if name.startswith(_CONTEXT)]
        context = {int(name.removeprefix(_CONTEXT)): own.pop(name) for name in wider}
        bags[bag] = PackedBag(**own, context=context)
        start += length
    return bags
