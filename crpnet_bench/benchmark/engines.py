"""Where the tasks of a run or an extraction are computed.

A task is a function with its arguments bound, and files in the home are its result; what it
returns is a small record. The local engine calls one task after the other. `engines_ray` sends the
same tasks to the machines of a Ray cluster; that package is imported only when it is asked for.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from crpnet_bench.errors import ConfigError, did_you_mean
from crpnet_bench.progress import Progress

__all__ = ["ENGINES", "ClusterOptions", "Engine", "Job", "LocalEngine", "Shared", "open_engine"]

ENGINES = ("local", "ray")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Job(Generic[R]):
    """One task.

    Attributes:
        name: unique among the tasks that are run together.
        work: the task. It can be sent to another process, and called a second time after that
            process died, so it keeps what it finds finished.
        lost: what stands for the result, given a reason, when the task's processes died again
            and again.
        after: names of the tasks that must have ended before.
        cpus: processors that the task keeps busy; None leaves it to the engine.
        gpu: whether it computes on a GPU where the engine has some.
    """

    name: str
    work: Callable[[Progress], R]
    lost: Callable[[str], R]
    after: tuple[str, ...] = ()
    cpus: int | None = None
    gpu: bool = False


class Engine(Protocol):
    """Computes tasks."""

    @property
    def side_by_side(self) -> bool:
        """Whether tasks run at the same time; work is worth cutting up only then."""
        ...

    def run(
        self, jobs: Sequence[Job[R]], folder: Path, *, description: str, progress: Progress
    ) -> dict[str, R]:
        """The result of each task by its name, in the order given.

        Args:
            jobs: the tasks; each comes after those it waits for.
            folder: an existing folder of the home that all tasks read and write.
            description: words beside the progress bar.
            progress: told of the tasks.
        """
        ...


class LocalEngine:
    """One task after the other, in this process."""

    side_by_side = False

    def run(
        self,
        jobs: Sequence[Job[R]],
        folder: Path,  # noqa: ARG002 this process has just made it
        *,
        description: str,  # noqa: ARG002 each task shows a bar of its own
        progress: Progress,
    ) -> dict[str, R]:
        """The result of each task by its name, in the order given."""
        return {job.name: job.work(progress) for job in jobs}


class Shared(Generic[T]):
    """Something large that tasks share: never sent, each process reads it once for itself.

    Args:
        read: makes the value from what lies in the home; can be sent to another process.
        value: the value, where it is at hand.
    """

    def __init__(self, read: Callable[[], T], value: T | None = None) -> None:
        self._read = read
        self._value = value
        self._key = uuid.uuid4().hex

    def get(self) -> T:
        """The value."""
        if self._value is None:
            self._value = self._read()
        return self._value

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return _arrived, (self._key, self._read)


_HERE: dict[str, Shared[object]] = {}
"""What this process was sent last; one thing at a time, so that memory holds one."""


def _arrived(key: str, read: Callable[[], object]) -> Shared[object]:
    if key not in _HERE:
        _HERE.clear()
        _HERE[key] = Shared(read)
    return _HERE[key]


@dataclass(frozen=True)
class ClusterOptions:
    """What the command line says about a cluster.

    Attributes:
        address: of a running cluster; None starts one on this machine.
        num_cpus: processors of a slide's task; None is 1.
        num_gpus: GPUs of a task that computes on one, such as 0.5 for two tasks a GPU; None is 1
            on the device "cuda" and 0 else.
    """

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: float | None = None


@contextmanager
def open_engine(name: str, options: ClusterOptions, device: str) -> Iterator[Engine]:
    """The engine of that name, for the length of the with-block.

    Args:
        name: "local" or "ray".
        options: of a cluster.
        device: where tasks compute, "cpu" or "cuda".

    Raises:
        ConfigError: no such engine, options that do not fit it, or Ray is not installed.
        RunError: the cluster cannot be reached.
    """
    if name == "ray":
        with _ray(options, device) as engine:
            yield engine
        return
    if name != "local":
        raise ConfigError(f"engine {name!r}: {did_you_mean(name, ENGINES)}")
    if options != ClusterOptions():
        raise ConfigError("--ray-address, --num-cpus and --num-gpus need --engine ray")
    yield LocalEngine()


@contextmanager
def _ray(options: ClusterOptions, device: str) -> Iterator[Engine]:
    try:
        from crpnet_bench.benchmark import engines_ray  # noqa: PLC0415 an optional package
    except ImportError as error:
        raise ConfigError(
            "engine 'ray': the package ray is not installed; pip install 'crpnet-bench[ray]'"
        ) from error
    gpus = options.num_gpus if options.num_gpus is not None else float(device == "cuda")
    if (device == "cuda") != (gpus > 0):
        raise ConfigError(
            f"--num-gpus {gpus:g} does not fit --device {device}; leave one of them out"
        )
    with engines_ray.connected(options.address):
        yield engines_ray.RayEngine(num_cpus=options.num_cpus or 1, num_gpus=gpus)
