"""Tasks on the machines of a Ray cluster.

The driver, the process of the command, decides: which task may start, which one is tried again
because its worker or its machine was lost, and when that was tried often enough. Ray places tasks
and reports. What is told to be wrong (a `CRPNetBenchError`) comes back as that; a bug keeps its
traceback; neither is tried again.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from crpnet_bench.benchmark.engines import Job
from crpnet_bench.benchmark.environment import describe_environment
from crpnet_bench.errors import CRPNetBenchError, RunError
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["TRIES", "RayEngine", "connected"]

TRIES = 3
"""How often a task is begun before it is given up: once, and again for two lost workers."""

_LOOK_SECONDS = 10.0
_AT_RAY = 2  # tasks there for each one that can run, so that no worker waits for the driver

_LOG = logging.getLogger(__name__)

R = TypeVar("R")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Join a cluster, or start one on this machine; leave it at the end.

    A connection that this process has already is used and kept.

    Raises:
        RunError: no cluster answers.
    """
    if ray.is_initialized():
        yield
        return
    if address is None:
        # Ray reports its use to its makers unless told not to; hospitals have not agreed to that.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.WARNING,
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RunError(
            f"no Ray cluster at {address or 'this machine'} ({str(error).splitlines()[0]}); start "
            "one with `ray start --head`, then `ray start --address HEAD:6379` on each further "
            "machine, and run this command on one of them"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayEngine:
    """Tasks side by side on the cluster that this process is connected to.

    Attributes:
        num_cpus: processors of a task that names none.
        num_gpus: GPUs of a task that computes on one.
    """

    num_cpus: int = 1
    num_gpus: float = 0.0
    side_by_side: bool = True

    def run(
        self, jobs: Sequence[Job[R]], folder: Path, *, description: str, progress: Progress
    ) -> dict[str, R]:
        """The result of each task by its name, in the order given.

        Raises:
            RunError: what a task refused, a machine that does not see `folder` or has other
                versions, or no machine that is large enough for a task.
        """
        if not jobs:
            return {}
        token = folder / f".cluster-{uuid.uuid4().hex}"
        token.touch()
        try:
            board = _Board(self, jobs, token)
            with progress.task(description, len(jobs), "tasks") as task:
                for note in board.steps():
                    task.advance(1, note)
        finally:
            token.unlink(missing_ok=True)
        return {job.name: board.results[job.name] for job in jobs}

    def needs(self, job: Job[Any]) -> dict[str, float]:
        """What Ray sets aside for a task."""
        gpus = self.num_gpus if job.gpu else 0.0
        return {"CPU": float(job.cpus or self.num_cpus), "GPU": gpus}


class _Board(Generic[R]):
    """Which tasks wait for others, can be begun, run, and have ended."""

    def __init__(self, engine: RayEngine, jobs: Sequence[Job[R]], token: Path) -> None:
        self.results: dict[str, R] = {}
        self._engine = engine
        self._unmet = {job.name: set(job.after) for job in jobs}
        self._ready = deque(job for job in jobs if not job.after)
        self._followers: dict[str, list[Job[R]]] = {}
        for job in jobs:
            for name in job.after:
                self._followers.setdefault(name, []).append(job)
        self._running: dict[ray.ObjectRef, Job[R]] = {}
        self._tries: Counter[str] = Counter()
        self._smallest = min(engine.needs(job)["CPU"] for job in jobs)
        self._begin = ray.remote(max_retries=0)(_begin)  # the driver itself begins them again
        self._told_workers = (token, _versions())

    def steps(self) -> Iterator[str]:
        """Runs all tasks; yields words after each one that has ended."""
        try:
            while self._ready or self._running:
                self._fill()
                ended, _ = ray.wait(list(self._running), timeout=_LOOK_SECONDS)
                if not ended:
                    for job in self._running.values():
                        _check_size(job.name, self._engine.needs(job))
                for reference in ended:
                    job = self._running.pop(reference)
                    if self._has_ended(job, reference):
                        yield job.name
        finally:
            for reference in self._running:  # something went wrong: nobody waits for these
                ray.cancel(reference, force=True)

    def _fill(self) -> None:
        """Hand tasks to Ray while they have a worker soon; a million at once would burden it."""
        slots = max(1, int(ray.cluster_resources().get("CPU", 0) // self._smallest))
        while self._ready and len(self._running) < _AT_RAY * slots:
            self._start(self._ready.popleft())

    def _start(self, job: Job[R]) -> None:
        needs = self._engine.needs(job)
        _check_size(job.name, needs)
        self._tries[job.name] += 1
        asked = self._begin.options(name=job.name, num_cpus=needs["CPU"], num_gpus=needs["GPU"])
        self._running[asked.remote(job.work, *self._told_workers)] = job

    def _has_ended(self, job: Job[R], reference: ray.ObjectRef) -> bool:
        """Keep the result; False when the task was begun again."""
        try:
            result = ray.get(reference)
        except RayTaskError:  # an error in the program
            raise
        except RayError as error:
            why = f"{type(error).__name__}: {' '.join(str(error).split('.')[0].split())}"
            if self._tries[job.name] < TRIES:
                _LOG.warning("%s: its worker was lost (%s); begun again", job.name, why)
                self._start(job)
                return False
            result = job.lost(f"its worker was lost {TRIES} times (the last: {why})")
        if isinstance(result, _Refused):
            raise RunError(f"{job.name}, on {result.machine}: {result.message}")
        self.results[job.name] = result
        self._release(job)
        return True

    def _release(self, job: Job[R]) -> None:
        """Those that waited for nothing but this task can be begun."""
        for follower in self._followers.get(job.name, ()):
            unmet = self._unmet[follower.name]
            unmet.discard(job.name)
            if not unmet:
                self._ready.append(follower)


def _check_size(name: str, needs: dict[str, float]) -> None:
    """Refuse a task that would wait for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(has.get(kind, 0) >= n for kind, n in needs.items()) for has in machines):
        return
    found = "; ".join(f"{has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs" for has in machines)
    raise RunError(
        f"{name} needs {needs['CPU']:g} CPUs and {needs['GPU']:g} GPUs on one machine; the "
        f"cluster has {found or 'no machine'}; add a machine, or lower train.threads, --num-cpus "
        "or --num-gpus"
    )


# ---------------------------------------------------------------- in the worker


@dataclass(frozen=True)
class _Refused:
    """An error that a task raised on purpose, in words."""

    message: str
    machine: str


def _begin(work: Callable[[Progress], R], token: Path, versions: dict[str, str]) -> R | _Refused:
    """Do a task, on a machine that was found fit for it."""
    try:
        _check_here(token, versions)
        return work(SilentProgress())
    except CRPNetBenchError as error:
        return _Refused(str(error), socket.gethostname())


def _check_here(token: Path, versions: dict[str, str]) -> None:
    if not token.exists():
        raise RunError(
            f"{token.parent} is not the driver's folder; the home must be on a file system that "
            "all machines mount at the same path"
        )
    own = _versions()
    differing = [
        f"{name} {own.get(name)} instead of {wanted}"
        for name, wanted in versions.items()
        if own.get(name) != wanted
    ]
    if differing:
        raise RunError(
            f"other versions than the driver's, so other numbers: {', '.join(differing)}; install "
            "the same on all machines"
        )


@functools.cache
def _versions() -> dict[str, str]:
    return describe_environment("cpu")
