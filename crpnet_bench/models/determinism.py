"""The same bytes again on a CUDA device; CPUs give them anyway."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from crpnet_bench.errors import ModelError

__all__ = ["deterministic_algorithms"]

_VARIABLE = "CUBLAS_WORKSPACE_CONFIG"
_SETTINGS = (":4096:8", ":16:8")


@contextmanager
def deterministic_algorithms(device: torch.device, *, wanted: bool) -> Iterator[None]:
    """Allow only algorithms that always add in the same order; as before afterwards.

    An operation that has no such algorithm is then an error of PyTorch's, which names it.

    Args:
        device: on a CPU nothing changes.
        wanted: whether to do anything.

    Raises:
        ModelError: cuBLAS would not be deterministic; it reads an environment variable when the
            process first uses the device, too early for this program to set it.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    if os.environ.get(_VARIABLE) not in _SETTINGS:
        raise ModelError(
            f"train.deterministic on {device}: the environment variable {_VARIABLE} is "
            f"{os.environ.get(_VARIABLE, 'not set')}; expected {_SETTINGS[0]}; set it before the "
            "program starts"
        )
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)  # noqa: FBT003 - the signature is PyTorch's
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
