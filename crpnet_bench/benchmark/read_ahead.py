"""Slides read ahead of the encoder, in threads, through a bounded queue.

What happens to a slide comes out as events, in order for each slide: its blocks of tiles, then
that it was read to its end; or that it was finished before, failed, or equals another one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import SlideError
from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.features import FeatureParts, is_complete, read_attributes
from crpnet_bench.slides.identity import content_hash
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import SlideTiles, TileBlock, tile_slide

__all__ = [
    "BlockRead",
    "Event",
    "SameContent",
    "SlideFailed",
    "SlideJob",
    "SlideRead",
    "SlideReused",
    "SlideWork",
    "read_ahead",
]

_QUEUED_BLOCKS = 4  # of at most 64 tiles: 40 MB at 224 px
_VERSIONED = ("crpnet-bench", "torch", "openslide-python", "openslide-bin", "pillow", "numpy")


@dataclass(frozen=True, slots=True)
class SlideJob:
    """A slide to be encoded.

    Attributes:
        slide_id: sha256 of its content; None lets it be computed.
        patient_id: whose slide it is.
        path: the file.
        mpp: micrometres a pixel from the manifest, if it names one.
    """

    slide_id: str | None
    patient_id: str
    path: Path
    mpp: float | None = None


@dataclass(slots=True)
class SlideWork:
    """A slide between its reader and the encoder.

    Attributes:
        number: place in the list of jobs.
        job: what was asked.
        folder: where its feature file belongs.
        slide_id: sha256 of the content, once known.
        provenance: attributes of the feature file, once the slide was read.
        needed: (rows, columns) tiles that had to be read, once the slide was read.
    """

    number: int
    job: SlideJob
    folder: Path
    slide_id: str
    provenance: dict[str, Any] = field(default_factory=dict)
    needed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))

    @property
    def path(self) -> Path:
        """The slide's feature file."""
        return self.folder / f"{self.slide_id}.h5"

    @property
    def parts(self) -> FeatureParts:
        """The finished blocks of the slide."""
        return FeatureParts(self.path, "own" if self.job.mpp is None else f"{self.job.mpp:g}")

    def is_done(self) -> bool:
        """Whether its features are there, at the scale that the manifest gives now."""
        if not is_complete(self.path):
            return False
        attrs = read_attributes(self.path)
        return bool(attrs["mpp_source"] != "manifest" or attrs["mpp_level0"][0] == self.job.mpp)


@dataclass(frozen=True, slots=True)
class BlockRead:
    """Tiles that wait for the encoder."""

    work: SlideWork
    block: TileBlock


@dataclass(frozen=True, slots=True)
class SlideRead:
    """All blocks of a slide were handed out."""

    work: SlideWork


@dataclass(frozen=True, slots=True)
class SlideReused:
    """The feature file was there before."""

    work: SlideWork


@dataclass(frozen=True, slots=True)
class SlideFailed:
    """The slide cannot be used."""

    work: SlideWork
    error: SlideError


@dataclass(frozen=True, slots=True)
class SameContent:
    """The content is that of slide number `first` in the list."""

    work: SlideWork
    first: int


Event = BlockRead | SlideRead | SlideReused | SlideFailed | SameContent


def read_ahead(
    jobs: Sequence[SlideJob], folder: Path, tiling: TilingConfig, workers: int
) -> Generator[Event, None, None]:
    """Read slides in threads; close the iterator to stop them.

    Args:
        jobs: the slides.
        folder: where finished feature files and parts of unfinished ones lie.
        tiling: scale, tile size, threshold.
        workers: slides read at a time.
    """
    return _Readers(jobs, folder, tiling).events(max(1, workers))


class _Readers:
    """Threads that read slides, each the next one that nobody has taken."""

    def __init__(self, jobs: Sequence[SlideJob], folder: Path, tiling: TilingConfig) -> None:
        self._waiting = iter(list(enumerate(jobs)))
        self._folder, self._tiling = folder, tiling
        self._lock = threading.Lock()
        self._claimed: dict[tuple[str, float | None], int] = {}
        self._stop = threading.Event()
        self._events: queue.Queue[Event | BaseException] = queue.Queue(maxsize=_QUEUED_BLOCKS)
        self._unfinished = len(jobs)

    def events(self, workers: int) -> Generator[Event, None, None]:
        """What happens to the slides, as it happens; raises what a thread raised."""
        threads = [threading.Thread(target=self._read, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            while self._unfinished:
                event = self._events.get()
                if isinstance(event, BaseException):
                    raise event
                self._unfinished -= not isinstance(event, BlockRead)
                yield event
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _read(self) -> None:
        try:
            while (claim := self._next()) is not None:
                number, job = claim
                work = SlideWork(number, job, self._folder, job.slide_id or "")
                for event in _slide_events(work, self._tiling, self._first_with):
                    self._put(event)
        except BaseException as error:  # noqa: BLE001 raised again in the caller's thread
            self._put(error)

    def _next(self) -> tuple[int, SlideJob] | None:
        with self._lock:
            return None if self._stop.is_set() else next(self._waiting, None)

    def _first_with(self, work: SlideWork) -> int:
        """The number of the first slide of that content in this call."""
        with self._lock:
            return self._claimed.setdefault((work.slide_id, work.job.mpp), work.number)

    def _put(self, event: Event | BaseException) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._events.put(event, timeout=0.1)
                return


def _slide_events(
    work: SlideWork, tiling: TilingConfig, first_with: Callable[[SlideWork], int]
) -> Iterator[Event]:
    try:
        work.slide_id = work.slide_id or content_hash(work.job.path)
        first = first_with(work)
        if first != work.number:
            yield SameContent(work, first)
        elif work.is_done():
            yield SlideReused(work)
        else:
            with open_slide(work.job.path, mpp=work.job.mpp) as reader:
                yield from _tile_events(work, reader, tiling)
            yield SlideRead(work)
    except SlideError as error:
        yield SlideFailed(work, error)


def _tile_events(work: SlideWork, reader: SlideReader, tiling: TilingConfig) -> Iterator[BlockRead]:
    tiles = tile_slide(reader, tiling)
    done = work.parts.finished()
    for block in tiles.blocks(start=done[-1] + 1 if done else 0):
        yield BlockRead(work, block)
    work.needed = tiles.needed
    work.provenance = _provenance(work, reader, tiles)


def _provenance(work: SlideWork, reader: SlideReader, tiles: SlideTiles) -> dict[str, Any]:
    config = tiles.config
    return {
        "slide_sha256": work.slide_id,
        "slide_name": work.job.path.name,
        "backend": reader.backend,
        "vendor": reader.vendor,
        "objective_power": reader.objective_power,
        "dimensions": list(reader.dimensions),
        "mpp_level0": list(reader.mpp),
        "mpp_source": reader.magnification.source,
        "mpp": config.mpp,
        "tile_px": config.tile_px,
        "tile_px_level0": list(tiles.grid.tile.span),
        "level": tiles.grid.tile.level,
        "entropy_threshold": config.entropy_threshold,
        "context_factors": list(config.context_factors),
        "tiling_fingerprint": config.fingerprint(),
        "warnings": [*reader.warnings, *tiles.warnings],
        "versions": {name: metadata.version(name) for name in _VERSIONED},
    }
