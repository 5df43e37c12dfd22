"""Features of other tools for the slides of a cohort, and ours for other tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from crpnet_bench.benchmark.extract import (
    IMPORTED,
    SlideJob,
    SlideOutcome,
    imported_folder,
)
from crpnet_bench.errors import InputError, SlideError
from crpnet_bench.home import Home
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.slides.features import FeatureFile, read_features, write_features
from crpnet_bench.slides.formats import (
    ForeignFeatures,
    feature_file_of,
    find_foreign,
    find_foreign_coords,
    read_foreign,
    read_foreign_coords,
)
from crpnet_bench.slides.formats_export import export_clam, export_trident
from crpnet_bench.slides.identity import content_hash
from crpnet_bench.slides.reader import open_slide

__all__ = ["Layout", "cohort_feature_files", "export_features", "import_features"]

Layout = Literal["clam", "trident"]


def import_features(
    jobs: Sequence[SlideJob],
    source: Path,
    feature_root: Path,
    name: str,
    *,
    progress: Progress | None = None,
) -> list[SlideOutcome]:
    """Bring in the features that another tool made for these slides.

    Files are found by the slide's file name, without its suffix, below `source`. Use them with
    `encoder.name = "imported:<name>"`.

    Args:
        jobs: the slides.
        source: a folder of CLAM, TRIDENT, STAMP, AtlasPatch or torchmil.
        feature_root: `imported-<name>/<slide_id>.h5` is written below it.
        name: what to call this set of features.
        progress: shows slides.

    Raises:
        InputError: `source` is no folder.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; expected one with features of another tool")
    folder = imported_folder(feature_root, IMPORTED + name)
    outcomes = []
    dims: set[int] = set()
    with (progress or SilentProgress()).task("import", len(jobs), "slides") as task:
        for job in jobs:
            outcome = _import_one(job, source, folder, dims)
            outcomes.append(outcome)
            task.advance(1, outcome.reason and f"{job.path.name}: {outcome.reason}")
    return outcomes


def _import_one(job: SlideJob, source: Path, folder: Path, dims: set[int]) -> SlideOutcome:
    slide_id = job.slide_id or ""
    try:
        slide_id = slide_id or content_hash(job.path)
        foreign = _read(job, source)
        with open_slide(job.path, mpp=job.mpp) as reader:
            content = feature_file_of(
                foreign,
                slide_id=slide_id,
                slide_name=job.path.name,
                mpp=reader.mpp,
                mpp_source=reader.magnification.source,
                dimensions=reader.dimensions,
            )
            _check_inside(content, reader.dimensions)
        _check_length(content, dims)
    except SlideError as error:
        return SlideOutcome(
            slide_id, job.patient_id, job.path, "failed", error.reason, error.remedy
        )
    except InputError as error:
        return SlideOutcome(slide_id, job.patient_id, job.path, "failed", str(error))
    path = folder / f"{slide_id}.h5"
    write_features(path, content)
    kept = len(content.coords)
    warnings = tuple(content.attrs["warnings"])
    return SlideOutcome(
        slide_id,
        job.patient_id,
        job.path,
        "done" if kept else "no tiles",
        reason="" if kept else f"the {foreign.tool} file holds no tile",
        n_kept=kept,
        feature_path=path if kept else None,
        warnings=warnings,
    )


def _read(job: SlideJob, source: Path) -> ForeignFeatures:
    stem = job.path.stem
    path = find_foreign(source, stem)
    if path is not None:
        return _with_tile_size(read_foreign(path), source, stem)
    tensors = sorted(source.rglob(f"{stem}.pt"))
    if not tensors:
        raise SlideError(
            f"no features of this slide below {source.name}",
            f"expected a file {stem}.h5, .npy or .pt",
        )
    return _read_tensor(tensors[0], source, stem)


def _with_tile_size(foreign: ForeignFeatures, source: Path, stem: str) -> ForeignFeatures:
    """CLAM tells the size of its tiles in `patches/` only."""
    patches = find_foreign_coords(source, stem)
    if patches is None or foreign.tool not in {"CLAM", "TRIDENT"}:
        return foreign
    _, attrs = read_foreign_coords(patches)
    return replace(foreign, attrs={**attrs, **foreign.attrs})


def _read_tensor(path: Path, source: Path, stem: str) -> ForeignFeatures:
    """CLAM's `.pt`: features only; the coordinates lie in `patches/`."""
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
        features = tensor.float().numpy()
    except Exception as error:
        raise InputError(
            f"{path}: expected one tensor and nothing else; save its features alone"
        ) from error
    patches = find_foreign_coords(source, stem)
    if patches is None:
        raise InputError(f"{path}: its coordinates are missing; expected patches/{stem}.h5")
    coords, attrs = read_foreign_coords(patches)
    if features.ndim != 2 or len(coords) != len(features):
        raise InputError(
            f"{path}: features of shape {features.shape}, {len(coords)} coordinates; expected "
            "one row for each"
        )
    return ForeignFeatures("CLAM", features, coords, attrs=attrs)


def _check_length(content: FeatureFile, dims: set[int]) -> None:
    """All slides of one import come from one encoder."""
    dims.add(content.features.shape[1])
    if len(dims) > 1:
        told = " and ".join(map(str, sorted(dims)))
        raise SlideError(
            f"features of {told} columns in one folder",
            "features of several encoders do not mix: import one encoder's folder at a time",
        )


def _check_inside(content: FeatureFile, dimensions: tuple[int, int]) -> None:
    """Coordinates in another unit or of another slide lie outside of it."""
    if not len(content.coords):
        return
    low, high = content.coords.min(axis=0), content.coords.max(axis=0)
    if (low < 0).any() or (high >= np.array(dimensions)).any():
        raise SlideError(
            f"coordinates reach to {high.tolist()}, the slide has {list(dimensions)} pixels",
            "the features belong to another slide or level, or the slide's mpp is wrong",
        )


def cohort_feature_files(home: Home, cohort: str) -> list[Path]:
    """The feature files of a cohort's slides at its last extraction.

    Raises:
        InputError: none of its slides has features.
    """
    outcomes = views.slide_outcomes(home, cohort)
    paths = [Path(str(path)) for path in outcomes["feature_path"].dropna().unique()]
    if not paths:
        raise InputError(
            f"cohort {cohort!r} has no features; run `crpnet-bench extract {cohort}` first"
        )
    return paths


def export_features(files: Sequence[Path], folder: Path, layout: Layout) -> list[Path]:
    """Write feature files as CLAM or TRIDENT keep them.

    Args:
        files: feature files of this program.
        folder: where the other tool's folders begin.
        layout: "clam" (with `pt_files/`) or "trident".

    Raises:
        InputError: two slides have the same name, or a file is damaged.
    """
    write: Callable[[FeatureFile, Path], Path] = {"clam": export_clam, "trident": export_trident}[
        layout
    ]
    written: list[Path] = []
    for path in files:
        content = read_features(path)
        target = write(content, folder)
        if target in written:
            raise InputError(
                f"{target.name}: two slides of this name; rename one, other tools know slides by "
                "their file name only"
            )
        written.append(target)
        if layout == "clam":
            tensors = folder / "pt_files"
            tensors.mkdir(parents=True, exist_ok=True)
            tensor = torch.from_numpy(content.features.astype(np.float32))
            torch.save(tensor, tensors / f"{target.stem}.pt")
    return written
