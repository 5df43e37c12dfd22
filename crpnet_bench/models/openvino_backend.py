"""OpenVINO for encoders on a CPU: the same network, converted when it is first used.

An optional package. What it computes equals torch to about 1e-6 in float32; in bfloat16 the two
round at other places and differ as much as bfloat16 differs from float32 (docs/slides.md).
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from crpnet_bench.errors import ModelError

__all__ = ["OpenVINONetwork"]

_HINTS = {"float32": "f32", "bfloat16": "bf16"}
_TELEMETRY = "openvino_telemetry"


class OpenVINONetwork:
    """A torch network that OpenVINO computes; call it from as many threads as it was made for."""

    def __init__(self, network: nn.Module, precision: str, threads: int) -> None:
        """Prepare a network in evaluation mode.

        Args:
            network: one image batch in, one tensor out.
            precision: "float32" or "bfloat16". OpenVINO would choose by itself otherwise.
            threads: batches computed side by side.

        Raises:
            ModelError: the package is missing.
        """
        self._openvino = _import_openvino()
        self._core = self._openvino.Core()
        self._network = network
        self._precision = precision
        self._options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # other processes would sit on the same cores
        }
        self._lock = threading.Lock()
        self._compiled: dict[tuple[int, ...], Any] = {}
        self._own = threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) float32 to the network's output, float32.

        Raises:
            ModelError: the network cannot be converted, or not computed in that precision.
            torch.OutOfMemoryError: the batch does not fit into memory.
        """
        shape = tuple(images.shape[1:])
        requests = self._own.__dict__.setdefault("requests", {})
        if shape not in requests:
            requests[shape] = self._model(images).create_infer_request()
        try:
            output = requests[shape].infer([images.contiguous().numpy()])[0]
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "alloc" not in str(error):
                raise
            raise torch.OutOfMemoryError(str(error)) from error
        if len(output) != len(images):  # what it leaves, without a word, where memory ran out
            raise torch.OutOfMemoryError(f"{len(output)} rows for {len(images)} images")
        return torch.from_numpy(output)

    def _model(self, images: Tensor) -> Any:  # noqa: ANN401
        """Compiled for images of this size, in batches of any."""
        shape = tuple(images.shape[1:])
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._compile(images[:1])
        return self._compiled[shape]

    def _compile(self, example: Tensor) -> Any:  # noqa: ANN401
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch, about the way OpenVINO traces
                model = self._openvino.convert_model(
                    self._network, example_input=example, input=[-1, *example.shape[1:]]
                )
            compiled = self._core.compile_model(model, "CPU", self._options)
        except Exception as error:
            told = str(error).strip().splitlines()[-1:]
            raise ModelError(
                f"OpenVINO cannot compute this network ({' '.join(told)}); "
                "use encoder.backend = 'torch'"
            ) from error
        found = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if found != _HINTS[self._precision]:
            raise ModelError(
                f"OpenVINO computes in {found} on this machine, encoder.precision is "
                f"{self._precision!r}; use encoder.precision = 'float32'"
            )
        return compiled


def _import_openvino() -> Any:  # noqa: ANN401
    """The package, with its reports over the network switched off.

    It tells its maker of each import and conversion where `openvino_telemetry` can be imported.
    Nothing here may leave the machine unasked.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # makes its import fail
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ModelError(
            "encoder.backend = 'openvino': the package openvino is not installed; "
            "pip install 'crpnet-bench[openvino]', or use encoder.backend = 'torch'"
        ) from error
