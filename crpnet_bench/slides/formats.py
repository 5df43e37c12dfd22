"""Features and coordinates of CLAM, TRIDENT, STAMP, AtlasPatch and torchmil, in and out.

Formats only; the layouts were read off files that these tools write.

- CLAM: `h5_files/<slide>.h5` with `features`, `coords`; `pt_files/<slide>.pt` holds features only
  and `patches/<slide>.h5` the coordinates. Level-0 pixels.
- TRIDENT: `features_<encoder>/<slide>.h5`; attributes of `coords` tell scale and tile size.
- STAMP: `<slide>.h5` with `feats` and `coords` in micrometres.
- AtlasPatch: `coords` (n, 5) and a group `features/<encoder>`.
- torchmil: sibling folders `features/` and `coords/`, one `<slide>.npy` each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from crpnet_bench.errors import InputError
from crpnet_bench.slides.features import FeatureFile

__all__ = [
    "ForeignFeatures",
    "detect_format",
    "export_clam",
    "export_trident",
    "feature_file_of",
    "find_foreign",
    "read_foreign",
    "read_foreign_coords",
]

_MAGNIFICATION_TIMES_MPP = 10.0


@dataclass(frozen=True, slots=True)
class ForeignFeatures:
    """Features of another tool, as they lie in its file.

    Attributes:
        tool: "CLAM", "TRIDENT", "STAMP", "AtlasPatch" or "torchmil".
        features: (n, dim) float16 or float32.
        coords: (n, 2) top-left corners, in level-0 pixels or in micrometres.
        in_micrometres: whether `coords` are micrometres.
        attrs: what the file tells beside them.
    """

    tool: str
    features: NDArray[np.floating[Any]]
    coords: NDArray[Any]
    in_micrometres: bool = False
    attrs: Mapping[str, Any] = field(default_factory=dict)


def find_foreign(source: Path, slide_stem: str) -> Path | None:
    """The feature file of a slide below a folder of another tool, by the slide's name."""
    names = (f"{slide_stem}.h5", f"{slide_stem}.npy")
    found = sorted(path for name in names for path in source.rglob(name) if _holds_features(path))
    return found[0] if found else None


def detect_format(path: Path) -> str:
    """Which tool wrote a feature file.

    Raises:
        InputError: none that is known.
    """
    if path.suffix == ".npy":
        return "torchmil"
    with _open(path) as file:
        return _tool_of(path, file)


def read_foreign(path: Path) -> ForeignFeatures:
    """Read the features and coordinates that another tool wrote.

    Raises:
        InputError: the file is damaged, of no known layout, or its parts do not fit together.
    """
    found = _read_torchmil(path) if path.suffix == ".npy" else _read_h5(path)
    if found.features.ndim != 2 or found.coords.shape != (len(found.features), 2):
        raise InputError(
            f"{path}: features of shape {found.features.shape} and coordinates of shape "
            f"{found.coords.shape}; expected (n, dim) and (n, 2)"
        )
    if not np.isfinite(found.features).all():
        raise InputError(f"{path}: features hold NaN or infinity; extract this slide again")
    return found


def read_foreign_coords(path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    """Coordinates without features, as CLAM and TRIDENT keep them in `patches/`.

    Raises:
        InputError: the file is damaged or holds no coordinates.
    """
    with _open(path) as file:
        if "coords" not in file:
            raise InputError(f"{path}: holds no coordinates")
        return file["coords"][...][:, :2], _plain(file["coords"].attrs)


def feature_file_of(
    foreign: ForeignFeatures, *, slide_id: str, slide_name: str, mpp: tuple[float, float]
) -> FeatureFile:
    """Features of another tool as a feature file of this program.

    What the other tool does not store, entropies and the audit, is missing, not invented.

    Args:
        foreign: as read.
        slide_id: sha256 of the slide's content.
        slide_name: the slide's file name.
        mpp: micrometres a pixel of the slide's level 0, along x and y.
    """
    coords = foreign.coords.astype(np.float64)
    if foreign.in_micrometres:
        coords = coords / np.array(mpp)
    small = foreign.features.dtype == np.float16
    count = len(coords)
    return FeatureFile(
        features=foreign.features if small else foreign.features.astype(np.float32),
        coords=np.round(coords).astype(np.int64),
        entropy=np.full(count, np.nan),
        grid_entropy=np.empty((0, 0)),
        attrs={
            "slide_sha256": slide_id,
            "slide_name": slide_name,
            "imported_from": foreign.tool,
            "mpp_level0": list(mpp),
            "mpp_source": "slide",
            **_tile_attrs(foreign, mpp),
            "entropy_threshold": 0.0,
            "n_kept": count,
            "warnings": [],
        },
    )


def export_clam(content: FeatureFile, folder: Path) -> Path:
    """Write a slide's features and coordinates as CLAM keeps them; returns the feature file."""
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
    """Write a slide's features and coordinates as TRIDENT keeps them; returns the feature file."""
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


def _tile_attrs(foreign: ForeignFeatures, mpp: tuple[float, float]) -> dict[str, Any]:
    """Tile size and scale where the other tool tells them."""
    attrs = foreign.attrs
    level0 = attrs.get("patch_size_level0")
    size = attrs.get("patch_size", attrs.get("tile_size_px"))
    if level0 is None and "tile_size_um" in attrs:
        level0 = float(attrs["tile_size_um"]) / mpp[0]
    if level0 is None or size is None:
        return {}
    scale = float(level0) * mpp[0] / float(size)
    return {"tile_px": int(size), "tile_px_level0": [float(level0)] * 2, "mpp": scale}


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not readable as HDF5 ({error})") from error


def _holds_features(path: Path) -> bool:
    if path.suffix == ".npy":
        return path.parent.name == "features"
    try:
        with h5py.File(path, "r") as file:
            return "features" in file or "feats" in file
    except OSError:
        return True  # named for this slide: reading it will say what is wrong


def _tool_of(path: Path, file: h5py.File) -> str:
    if "feats" in file:
        return "STAMP"
    if isinstance(file.get("features"), h5py.Group):
        return "AtlasPatch"
    if "features" in file and "coords" in file:
        return "TRIDENT" if "level0_magnification" in file["coords"].attrs else "CLAM"
    raise InputError(
        f"{path}: found {', '.join(sorted(file)) or 'nothing'}; expected `features` and `coords` "
        "(CLAM, TRIDENT, AtlasPatch) or `feats` and `coords` (STAMP)"
    )


def _read_h5(path: Path) -> ForeignFeatures:
    with _open(path) as file:
        tool = _tool_of(path, file)
        try:
            features = file[{"STAMP": "feats"}.get(tool, "features")]
            if tool == "AtlasPatch":
                features = _only_encoder(path, features)
            coords = file["coords"]
            attrs = {**_plain(file.attrs), **_plain(coords.attrs)}
            return ForeignFeatures(
                tool,
                _two_dimensional(features[...]),
                coords[...].reshape(-1, coords.shape[-1])[:, :2],
                in_micrometres=tool == "STAMP" and attrs.get("unit", "um") == "um",
                attrs=attrs,
            )
        except (KeyError, OSError, AttributeError, IndexError) as error:
            raise InputError(f"{path}: damaged {tool} file ({error})") from error


def _two_dimensional(features: NDArray[Any]) -> NDArray[Any]:
    """Some files hold a leading axis of one slide."""
    return features[0] if features.ndim == 3 and len(features) == 1 else features


def _only_encoder(path: Path, group: h5py.Group) -> h5py.Dataset:
    names = sorted(group)
    if len(names) != 1:
        raise InputError(
            f"{path}: features of {len(names)} encoders ({', '.join(names)}); expected one: keep "
            "the one to import"
        )
    return group[names[0]]


def _plain(attrs: h5py.AttributeManager) -> dict[str, Any]:
    """Attributes as plain values; TRIDENT writes None as the text 'None'."""
    return {key: value for key, value in attrs.items() if not _is_none(value)}


def _is_none(value: object) -> bool:
    return isinstance(value, str) and value == "None"


def _read_torchmil(path: Path) -> ForeignFeatures:
    coords = path.parent.parent / "coords" / path.name
    try:
        return ForeignFeatures(
            "torchmil",
            np.load(path, allow_pickle=False),
            np.load(coords, allow_pickle=False)[:, :2],
        )
    except FileNotFoundError as error:
        raise InputError(f"{path}: its coordinates are missing; expected {coords}") from error
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path}: not readable as arrays ({error})") from error


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
