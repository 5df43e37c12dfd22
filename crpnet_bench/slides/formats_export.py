"""Features and coordinates as CLAM and TRIDENT keep them; `formats` tells the layouts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from crpnet_bench.errors import InputError
from crpnet_bench.slides.features import FeatureFile

__all__ = ["export_clam", "export_trident"]

_MAGNIFICATION_TIMES_MPP = 10.0


def export_clam(content: FeatureFile, folder: Path) -> Path:
    """Write a slide's features and coordinates as CLAM keeps them; returns the feature file.

    Raises:
        InputError: the size of its tiles is not known.
    """
    _require_tile_size(content)
    stem = _stem(content)
    path = folder / "h5_files" / f"{stem}.h5"
    _write_h5(path, content, np.int32, {})
    patches = folder / "patches" / f"{stem}.h5"
    side = round(float(content.attrs["tile_px_level0"][0]))
    _write_coords(
        patches,
        content.coords,
        {
            "patch_size": side,
            "patch_level": 0,
            "downsample": np.array([1.0, 1.0]),
            "downsampled_level_dim": np.array(content.attrs.get("dimensions", (0, 0))),
            "level_dim": np.array(content.attrs.get("dimensions", (0, 0))),
            "name": stem,
            "save_path": str(patches.parent),
        },
    )
    return path


def export_trident(content: FeatureFile, folder: Path) -> Path:
    """Write a slide's features and coordinates as TRIDENT keeps them; returns the feature file.

    Raises:
        InputError: the size of its tiles is not known.
    """
    _require_tile_size(content)
    stem = _stem(content)
    attrs = content.attrs
    target = round(_MAGNIFICATION_TIMES_MPP / float(attrs["mpp"]))
    size = int(attrs["tile_px"])
    encoder = str(attrs.get("encoder", "unknown")).replace(":", "_").replace("/", "_")
    width, height = attrs.get("dimensions", (0, 0))
    described = {
        "patch_size": size,
        "patch_size_level0": round(float(attrs["tile_px_level0"][0])),
        "level0_magnification": round(_MAGNIFICATION_TIMES_MPP / float(attrs["mpp_level0"][0])),
        "target_magnification": target,
        "overlap": 0,
        "name": stem,
        "savetodir": str(folder),
        "level0_width": width,
        "level0_height": height,
    }
    root = folder / f"{target}x_{size}px_0px_overlap"
    _write_coords(root / "patches" / f"{stem}_patches.h5", content.coords, described)
    path = root / f"features_{encoder}" / f"{stem}.h5"
    _write_h5(path, content, np.int64, described)
    with h5py.File(path, "r+") as file:
        told = {"name": stem, "savetodir": str(path.parent), "encoder": encoder}
        file["features"].attrs.update(told)
    return path


def _stem(content: FeatureFile) -> str:
    return Path(str(content.attrs["slide_name"])).stem


def _require_tile_size(content: FeatureFile) -> None:
    if "tile_px_level0" not in content.attrs:
        raise InputError(
            f"{_stem(content)}: the size of its tiles is not known, since "
            f"{content.attrs.get('imported_from', 'its file')} did not tell; export from that tool"
        )


def _write_h5(
    path: Path, content: FeatureFile, dtype: type[np.integer[Any]], attrs: Mapping[str, Any]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=content.features.astype(np.float32))
        file.create_dataset("coords", data=content.coords.astype(dtype)).attrs.update(attrs)


def _write_coords(path: Path, coords: NDArray[np.int64], attrs: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("coords", data=coords).attrs.update(attrs)
