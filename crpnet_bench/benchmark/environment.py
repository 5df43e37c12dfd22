"""The versions and the machine that a run's numbers depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

import threadpoolctl
import torch

from crpnet_bench import __version__
from crpnet_bench.errors import ConfigError
from crpnet_bench.models.training import cpu_threads

__all__ = ["choose_device", "describe_environment", "task_threads"]

_PACKAGES = (
    "duckdb", "lifelines", "numpy", "openslide-bin", "pandas", "scikit-learn", "scikit-survival",
    "scipy", "torch", "torchvision",
)  # fmt: skip


def choose_device(wanted: str, *, elsewhere: bool = False) -> str:
    """The device to compute on: "auto" takes CUDA when it is there, else the CPU.

    Args:
        wanted: "auto", "cpu" or "cuda".
        elsewhere: other machines compute, so that this one need not have CUDA.

    Raises:
        ConfigError: CUDA was asked for and is not there, or the name is unknown.
    """
    if wanted not in {"auto", "cpu", "cuda"}:
        raise ConfigError(f"device {wanted!r}: expected auto, cpu or cuda")
    available = torch.cuda.is_available()
    if wanted == "cuda" and elsewhere:
        return wanted
    if wanted == "cuda" and not available:
        raise ConfigError("device 'cuda': no CUDA device was found; use --device cpu or auto")
    return "cuda" if wanted != "cpu" and available else "cpu"


def describe_environment(device: str) -> dict[str, str]:
    """Versions of everything that can change a number, and the processor or GPU."""
    found = {"crpnet-bench": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["machine"] = platform.machine()
    found["system"] = platform.system()
    if device == "cuda":
        # The driver of a cluster may have none itself.
        available = torch.cuda.is_available()
        found["gpu"] = torch.cuda.get_device_name() if available else "of the cluster"
    return found


@contextmanager
def task_threads(threads: int) -> Iterator[None]:
    """Use this many threads in torch and in linear algebra, wherever the task runs.

    How a sum is split among threads decides its last bits, so the number must not come from the
    machine.
    """
    with cpu_threads(threads), threadpoolctl.threadpool_limits(threads):
        yield
