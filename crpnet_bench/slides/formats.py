"""Features and coordinates of CLAM, TRIDENT, STAMP, AtlasPatch and torchmil.

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
    "feature_file_of",
    "find_foreign",
    "find_foreign_coords",
    "read_foreign",
    "read_foreign_coords",
]


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
    """The feature file of a slide below a folder of another tool, by the slide's name.

    Raises:
        InputError: there are several, as where two encoders' folders lie side by side.
    """
    names = (f"{slide_stem}.h5", f"{slide_stem}.npy")
    found = sorted(path for name in names for path in source.rglob(name) if _holds_features(path))
    if len(found) > 1:
        told = " and ".join(str(path.relative_to(source)) for path in found[:2])
        raise InputError(
            f"{source}: {len(found)} feature files of slide {slide_stem} ({told}); name the folder "
            "of one encoder"
        )
    return found[0] if found else None


def find_foreign_coords(source: Path, slide_stem: str) -> Path | None:
    """The file of a slide's coordinates in the `patches/` of CLAM or TRIDENT, if there is one."""
    names = (f"{slide_stem}.h5", f"{slide_stem}_patches.h5")
    found = sorted(path for name in names for path in source.rglob(f"patches/{name}"))
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
    foreign: ForeignFeatures,
    *,
    slide_id: str,
    slide_name: str,
    mpp: tuple[float, float],
    mpp_source: str,
    dimensions: tuple[int, int],
) -> FeatureFile:
    """Features of another tool as a feature file of this program.

    What the other tool does not store, entropies and the audit, is missing, not invented.

    Args:
        foreign: as read.
        slide_id: sha256 of the slide's content.
        slide_name: the slide's file name.
        mpp: micrometres a pixel of the slide's level 0, along x and y.
        mpp_source: where the slide's scale comes from, as in `Magnification`.
        dimensions: width and height of the slide's level 0.
    """
    coords = foreign.coords.astype(np.float64)
    if foreign.in_micrometres:
        coords = coords / np.array(mpp)
    small = foreign.features.dtype == np.float16
    count = len(coords)
    tile, warning = _tile_attrs(foreign, np.round(coords), mpp)
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
            "mpp_source": mpp_source,
            "dimensions": list(dimensions),
            **tile,
            "entropy_threshold": 0.0,
            "n_kept": count,
            "warnings": [warning] if warning else [],
        },
    )


def _tile_attrs(
    foreign: ForeignFeatures, coords: NDArray[np.float64], mpp: tuple[float, float]
) -> tuple[dict[str, Any], str]:
    """Size and scale of the tiles, and a warning where they had to be concluded."""
    told = _told_size(foreign.attrs, mpp)
    if told is not None:
        size, level0 = told
        scale = level0 * mpp[0] / size
        return {"tile_px": size, "tile_px_level0": [level0] * 2, "mpp": scale}, ""
    step = _step(coords)
    if step is None:
        return {}, f"{foreign.tool} does not tell the size of its tiles"
    found = {"tile_px": step, "tile_px_level0": [float(step)] * 2, "mpp": mpp[0]}
    return found, (
        f"{foreign.tool} does not tell the size of its tiles: {step} pixels, the distance between "
        "them, are taken for it"
    )


def _told_size(attrs: Mapping[str, Any], mpp: tuple[float, float]) -> tuple[int, float] | None:
    """Side of a tile in its own pixels and at level 0, where the other tool tells both."""
    size = attrs.get("patch_size", attrs.get("tile_size_px"))
    if size is None:
        return None
    if "patch_size_level0" in attrs:
        return int(size), float(attrs["patch_size_level0"])
    if "tile_size_um" in attrs:
        return int(size), float(attrs["tile_size_um"]) / mpp[0]
    if "downsample" in attrs:  # CLAM: of the level that its tiles were read from
        return int(size), float(size) * float(np.ravel(attrs["downsample"])[0])
    return None


def _step(coords: NDArray[np.float64]) -> int | None:
    """The smallest distance between tiles along x or y."""
    gaps = [np.diff(np.unique(coords[:, axis])) for axis in (0, 1)]
    found = np.concatenate(gaps)
    return round(float(found.min())) if len(found) else None


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
