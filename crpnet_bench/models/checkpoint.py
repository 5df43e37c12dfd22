"""A fitted model on disk: tensors as safetensors, everything else as JSON. No pickle.

A checkpoint is a folder with `model.json` and, where the model has arrays, `weights.safetensors`.
The weights are written first and the JSON, which holds their sha256, last: a folder without a
`model.json` is no checkpoint, and one whose weights do not fit it is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from crpnet_bench.errors import ModelError, shorten
from crpnet_bench.results import write_atomically

__all__ = ["FORMAT_VERSION", "Checkpoint", "read_checkpoint", "write_checkpoint"]

FORMAT_VERSION = 1
_DESCRIPTION = "model.json"
_WEIGHTS = "weights.safetensors"
_KEYS = {"format_version", "kind", "weights_sha256", "tensors", "state"}


@dataclass(frozen=True)
class Checkpoint:
    """What a fitted model consists of.

    Attributes:
        kind: which loader reads it.
        state: JSON values.
        tensors: arrays by name.
    """

    kind: str
    state: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def write_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the folder's two files, each to a temporary name and renamed."""
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": checkpoint.kind,
        "state": dict(checkpoint.state),
        "tensors": {name: _described(array) for name, array in checkpoint.tensors.items()},
        "weights_sha256": None,
    }
    if checkpoint.tensors:
        tensors = {key: np.asarray(array, order="C") for key, array in checkpoint.tensors.items()}
        content = save(tensors)
        description["weights_sha256"] = hashlib.sha256(content).hexdigest()
        write_atomically(folder / _WEIGHTS, content)
    text = json.dumps(description, indent=2, allow_nan=False)
    write_atomically(folder / _DESCRIPTION, text.encode())


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read and check a folder written by `write_checkpoint`.

    Raises:
        ModelError: no checkpoint, another format, or weights that are not those described.
    """
    path = folder / _DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{folder}: no {_DESCRIPTION}; expected a fitted model's folder"
        ) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); fit the model again") from error
    _check_description(description, path)
    tensors = _read_weights(description, folder / _WEIGHTS)
    return Checkpoint(description["kind"], description["state"], tensors)


def _described(array: NDArray[Any]) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": list(array.shape)}


def _check_description(description: object, path: Path) -> None:
    if not isinstance(description, dict):
        raise ModelError(f"{path}: found {shorten(description)}; expected an object")
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {shorten(version)}; this program reads {FORMAT_VERSION}; "
            "fit the model again or use the program that wrote it"
        )
    if set(description) != _KEYS:
        odd = sorted(set(description) ^ _KEYS)
        raise ModelError(f"{path}: keys {odd} are unknown or missing; expected {sorted(_KEYS)}")


def _read_weights(description: Mapping[str, Any], path: Path) -> dict[str, NDArray[Any]]:
    expected = description["weights_sha256"]
    if expected is None:
        return {}
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error}); fit the model again") from error
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ModelError(
            f"{path}: sha256 {found[:12]}..., but {_DESCRIPTION} was written with "
            f"{expected[:12]}...; the two files are not of one fit"
        )
    try:
        tensors: dict[str, NDArray[Any]] = load(content)
    except SafetensorError as error:
        raise ModelError(f"{path}: not readable as safetensors ({error})") from error
    shapes = {name: _described(array) for name, array in tensors.items()}
    if shapes != description["tensors"]:
        raise ModelError(
            f"{path}: tensors {shorten(shapes)}; {_DESCRIPTION} names "
            f"{shorten(description['tensors'])}"
        )
    return tensors
