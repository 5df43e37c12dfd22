"""Slides to feature files: reading in threads, encoding in the caller's thread.

Each slide ends as an outcome: done, no tiles, or failed with its reason and remedy; one slide
never stops another. Readers tile slides and put blocks into a bounded queue; the encoder takes
them, so it never waits while a reader is ahead, and memory holds a few blocks whatever the
slides' size. Finished slides are skipped, an interrupted slide goes on at its next block.
On a cluster each slide is a task of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.benchmark.engines import Engine, Job, LocalEngine, Shared
from crpnet_bench.benchmark.read_ahead import (
    BlockRead,
    Event,
    SameContent,
    SlideFailed,
    SlideJob,
    SlideRead,
    SlideReused,
    SlideWork,
    read_ahead,
)
from crpnet_bench.config import EncoderConfig, TilingConfig
from crpnet_bench.errors import RunError, SlideError
from crpnet_bench.models.encoders import Encoder, FeaturesLater, load_encoder
from crpnet_bench.progress import Progress, SilentProgress, Task
from crpnet_bench.slides.features import (
    feature_file,
    is_complete,
    read_attributes,
    write_features,
)
from crpnet_bench.slides.identity import content_hash
from crpnet_bench.slides.tiling import TileAudit, TileBlock

__all__ = [
    "IMPORTED",
    "SlideJob",
    "SlideOutcome",
    "extract_features",
    "feature_folder",
    "imported_folder",
]

IMPORTED = "imported:"
"""Prefix of an encoder name that stands for features of another tool."""

Status = Literal["done", "no tiles", "failed"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SlideOutcome:
    """What became of a slide.

    Attributes:
        slide_id: sha256 of its content; empty when the file could not be read at all.
        patient_id: whose slide it is.
        path: the file.
        status: "done", "no tiles" or "failed".
        reason: why it is not done; empty when it is.
        remedy: what the user can do about it.
        n_grid, n_masked, n_below, n_kept: tiles on the grid, spared by the thumbnail mask,
            below the entropy threshold, kept; None when the slide failed before its end.
        feature_path: the feature file; None unless the status is "done".
        reused: the features were there before.
        warnings: contradicting fields and the like.
    """

    slide_id: str
    patient_id: str
    path: Path
    status: Status
    reason: str = ""
    remedy: str = ""
    n_grid: int | None = None
    n_masked: int | None = None
    n_below: int | None = None
    n_kept: int | None = None
    feature_path: Path | None = None
    reused: bool = False
    warnings: tuple[str, ...] = ()


def feature_folder(feature_root: Path, tiling: TilingConfig, encoder: Encoder) -> Path:
    """Where the features of one tiling and one encoder lie."""
    return feature_root / f"{tiling.fingerprint()}-{encoder.fingerprint}"


def extract_features(
    slides: Sequence[SlideJob],
    feature_root: Path,
    tiling: TilingConfig,
    encoder_config: EncoderConfig,
    *,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> list[SlideOutcome]:
    """Tile and encode slides; one outcome a slide, in the order given.

    Args:
        slides: what to encode; two jobs of identical content share one feature file.
        feature_root: `<tiling>-<encoder>/<slide_id>.h5` is written below it.
        tiling: scale, tile size, threshold.
        encoder_config: which encoder, how.
        device: where the encoder runs.
        workers: slides read at a time, in each task.
        progress: shows slides, tiles a second and the time left.
        engine: where slides are tiled and encoded; here if None.

    Raises:
        ModelError: the encoder cannot be loaded or one tile does not fit into memory.
        RunError: features cannot be written.
    """
    if encoder_config.name.startswith(IMPORTED):
        return [_imported(job, feature_root, encoder_config.name) for job in slides]
    engine = engine or LocalEngine()
    encoder: Shared[Encoder] = Shared(partial(load_encoder, encoder_config, device))
    encode = partial(_encode_slides, feature_root, tiling, encoder, workers)
    jobs = _one_each(slides, encode) if engine.side_by_side else [_together(slides, encode)]
    with _writing(feature_root):
        feature_root.mkdir(parents=True, exist_ok=True)
    done = engine.run(
        jobs, feature_root, description="features", progress=progress or SilentProgress()
    )
    return [outcome for job in jobs for outcome in done[job.name]]


_Encode = Callable[[Sequence[SlideJob], Progress], list[SlideOutcome]]


def _together(slides: Sequence[SlideJob], encode: _Encode) -> Job[list[SlideOutcome]]:
    """All slides as one task, the next ones read while one is encoded."""
    return Job("slides", partial(encode, slides), partial(_lost, slides), gpu=True)


def _one_each(slides: Sequence[SlideJob], encode: _Encode) -> list[Job[list[SlideOutcome]]]:
    """A task a slide. Of slides that may be copies, each waits for the one before it.

    Two tasks must not write one feature file; the second finds it finished.
    """
    jobs = []
    last: dict[Hashable, str] = {}
    for number, slide in enumerate(slides):
        name = f"slide {number + 1}, {slide.path.name}"
        content = slide.slide_id or _size(slide.path)
        after = (last[content],) if content in last else ()
        last[content] = name
        one = [slide]
        jobs.append(Job(name, partial(encode, one), partial(_lost, one), after, gpu=True))
    return jobs


def _size(path: Path) -> int:
    """Bytes of a file; files of different size are no copies."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _lost(slides: Sequence[SlideJob], reason: str) -> list[SlideOutcome]:
    """What stands for slides whose computation was lost."""
    remedy = "look into the machines' logs, then run again"
    return [
        SlideOutcome(slide.slide_id or "", slide.patient_id, slide.path, "failed", reason, remedy)
        for slide in slides
    ]


def _encode_slides(
    feature_root: Path,
    tiling: TilingConfig,
    shared: Shared[Encoder],
    workers: int,
    slides: Sequence[SlideJob],
    progress: Progress,
) -> list[SlideOutcome]:
    """Tile and encode slides here."""
    encoder = shared.get()
    folder = feature_folder(feature_root, tiling, encoder)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            progress.task("features", len(slides), "slides") as task,
            closing(read_ahead(slides, folder, tiling, workers)) as events,
        ):
            return _collect(events, encoder, _Speed(task))


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"features cannot be written to {folder}: {error.strerror or error}; free space or "
            "change its permissions, then run again: finished slides are kept"
        ) from error


def imported_folder(feature_root: Path, name: str) -> Path:
    """Where features of another tool lie, imported under a name."""
    return feature_root / f"imported-{name.removeprefix(IMPORTED)}"


def _imported(job: SlideJob, feature_root: Path, name: str) -> SlideOutcome:
    """The outcome of a slide whose features were imported, or were not."""
    work = SlideWork(0, job, imported_folder(feature_root, name), job.slide_id or "")
    try:
        work.slide_id = work.slide_id or content_hash(job.path)
        if not is_complete(work.path):
            raise SlideError(
                f"no features imported under {name.removeprefix(IMPORTED)!r}",
                "bring them in with `crpnet-bench features import`",
            )
        return _finished(work, reused=True)
    except SlideError as error:
        return SlideOutcome(
            work.slide_id, job.patient_id, job.path, "failed", error.reason, error.remedy
        )


def _collect(events: Iterable[Event], encoder: Encoder, speed: _Speed) -> list[SlideOutcome]:
    """Encode what was read; one outcome a slide, in the order of the jobs."""
    outcomes: dict[int, SlideOutcome] = {}
    copies: list[SameContent] = []
    for event in _encoded(events, encoder):
        match event:
            case _BlockEncoded():
                _store(event, encoder)
                speed.tiles_done(len(event.block.coords))
            case SameContent():
                copies.append(event)
            case _:
                outcomes[event.work.number] = outcome = _outcome(event, encoder)
                speed.slide_done(outcome)
    for copy in copies:
        job = copy.work.job
        outcomes[copy.work.number] = replace(
            outcomes[copy.first], patient_id=job.patient_id, path=job.path
        )
        speed.slide_done(outcomes[copy.work.number])
    return [outcomes[number] for number in sorted(outcomes)]


@dataclass(frozen=True, slots=True)
class _BlockEncoded:
    """A block whose encoding has begun."""

    work: SlideWork
    block: TileBlock
    features: FeaturesLater
    context: Mapping[int, FeaturesLater]


_SlideEvent = SlideRead | SlideReused | SlideFailed | SameContent


def _encoded(events: Iterable[Event], encoder: Encoder) -> Iterator[_BlockEncoded | _SlideEvent]:
    """The same events; a block comes out when the next one is in the encoder's hands.

    So the encoder has work while the features of the block before are stored.
    """
    waiting: list[_BlockEncoded | _SlideEvent] = []
    for event in events:
        if isinstance(event, BlockRead):
            begun = _BlockEncoded(
                event.work,
                event.block,
                encoder.encode_later(event.block.pixels),
                {
                    factor: encoder.encode_later(pixels)
                    for factor, pixels in event.block.context.items()
                },
            )
            yield from waiting
            waiting = [begun]
        elif waiting:
            waiting.append(event)
        else:
            yield event
    yield from waiting


def _outcome(event: SlideRead | SlideReused | SlideFailed, encoder: Encoder) -> SlideOutcome:
    try:
        match event:
            case SlideRead():
                return _finish(event.work, encoder)
            case SlideReused():
                return _finished(event.work, reused=True)
            case SlideFailed():
                raise event.error
    except SlideError as error:
        return _failed(event.work, error)


def _failed(work: SlideWork, error: SlideError) -> SlideOutcome:
    """Nothing partial stays behind."""
    if work.slide_id:
        work.parts.discard()
    _LOG.info("%s: %s", work.job.path, error)
    job = work.job
    return SlideOutcome(
        work.slide_id, job.patient_id, job.path, "failed", error.reason, error.remedy
    )


def _store(event: _BlockEncoded, encoder: Encoder) -> None:
    """Store the features of a block beside what is known of its tiles."""
    block = event.block
    dtype = _stored_dtype(encoder)
    arrays: dict[str, NDArray[Any]] = {
        "features": event.features().astype(dtype),
        "coords": block.coords,
        "entropy": block.entropy,
        "cells": block.cells,
        "cell_entropy": block.cell_entropy,
    }
    for factor, features in event.context.items():
        arrays[f"context_{factor}"] = features().astype(dtype)
    if block.quality is not None:
        arrays["quality"] = block.quality
    if encoder.views:
        arrays["views"] = encoder.encode_views(
            block.pixels, block.coords, event.work.slide_id
        ).astype(np.float16)
    event.work.parts.append(block.index, arrays)


def _stored_dtype(encoder: Encoder) -> type[np.floating[Any]]:
    """float16 holds more digits than bfloat16 arithmetic gives."""
    return np.float16 if encoder.precision == "bfloat16" else np.float32


def _finish(work: SlideWork, encoder: Encoder) -> SlideOutcome:
    """Gather the blocks of a slide into its feature file."""
    parts = work.parts
    content = _gather(work, parts.read(), encoder)
    audit = TileAudit(content["grid_entropy"], work.provenance["entropy_threshold"])
    attrs = work.provenance | {
        "encoder": encoder.name,
        "encoder_fingerprint": encoder.fingerprint,
        "encoder_backend": encoder.backend,
        "precision": encoder.precision,
        "batch_size": encoder.batch_size,
        "views": encoder.views,
        **_counts(audit, work.provenance),
    }
    write_features(work.path, feature_file(content, attrs))
    parts.discard()
    return _finished(work, reused=False)


def _gather(
    work: SlideWork, parts: Sequence[dict[str, NDArray[Any]]], encoder: Encoder
) -> dict[str, NDArray[Any]]:
    """All blocks of a slide joined, after a look that none is missing."""
    grid_entropy = np.full(work.needed.shape, np.nan)
    for part in parts:
        grid_entropy[part["cells"][:, 1], part["cells"][:, 0]] = part["cell_entropy"]
    if not np.array_equal(np.isnan(grid_entropy), ~work.needed):
        raise SlideError(
            "its finished blocks vanished while it was in work",
            "another extraction into the same folder is running: wait for it, then run again",
        )
    names = [name for name in parts[0] if not name.startswith("cell")] if parts else []
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    nothing = {
        "features": np.empty((0, encoder.dim), _stored_dtype(encoder)),
        "coords": np.empty((0, 2), np.int64),
        "entropy": np.empty(0, np.float64),
    }
    return nothing | joined | {"grid_entropy": grid_entropy}


def _finished(work: SlideWork, *, reused: bool) -> SlideOutcome:
    """The outcome that a feature file tells."""
    attrs = read_attributes(work.path)
    kept = int(attrs["n_kept"])
    return SlideOutcome(
        slide_id=work.slide_id,
        patient_id=work.job.patient_id,
        path=work.job.path,
        status="done" if kept else "no tiles",
        reason=attrs.get("reason", ""),
        remedy=attrs.get("remedy", ""),
        n_grid=attrs.get("n_grid"),
        n_masked=attrs.get("n_masked"),
        n_below=attrs.get("n_below"),
        n_kept=kept,
        feature_path=work.path if kept else None,
        reused=reused,
        warnings=tuple(attrs["warnings"]),
    )


def _counts(audit: TileAudit, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Tile counts and, where none is kept, why."""
    counts = {
        "n_grid": audit.n_grid,
        "n_masked": audit.n_masked,
        "n_below": audit.n_below,
        "n_kept": audit.n_kept,
    }
    if audit.n_kept:
        return counts
    reason, remedy = _why_empty(audit, provenance)
    return counts | {"reason": reason, "remedy": remedy}


def _why_empty(audit: TileAudit, provenance: Mapping[str, Any]) -> tuple[str, str]:
    if audit.n_grid == 0:
        width, height = provenance["dimensions"]
        side = provenance["tile_px_level0"][0]
        return (
            f"smaller than one tile: {width} x {height} pixels, a tile has {side:.0f}",
            "check the slide's mpp, or use a smaller tiling.tile_px",
        )
    highest = np.nanmax(audit.entropy, initial=0.0)
    return (
        f"no tissue: none of {audit.n_grid} tiles reaches entropy {audit.threshold:g} "
        f"(highest {highest:.2f})",
        "look at it with `crpnet-bench slide overview`; exclude the slide, or lower "
        "tiling.entropy_threshold",
    )


class _Speed:
    """Tiles a second, told beside the bar."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._tiles = 0
        self._started = time.monotonic()

    def tiles_done(self, count: int) -> None:
        """Count encoded tiles."""
        self._tiles += count
        self._task.advance(0, self._note())

    def slide_done(self, outcome: SlideOutcome) -> None:
        """Count a slide that is over."""
        failed = f"; {outcome.path.name}: {outcome.reason}" if outcome.status != "done" else ""
        self._task.advance(1, self._note() + failed)

    def _note(self) -> str:
        elapsed = max(time.monotonic() - self._started, 1e-6)
        return f"{self._tiles} tiles, {self._tiles / elapsed:.0f} tiles/s"
