"""Encoders: what turns a tile into a feature vector, with its own preprocessing.

`backbones` holds the networks by name. Each encoder has a fingerprint of everything that decides
its output; features of different fingerprints never mix.

Batch normalisation of ResNets is folded into the convolutions, memory is channels-last and the
arithmetic bfloat16 where the processor multiplies it in hardware. On a CPU output is the same bit
for bit in each run on one machine, with any number of threads and batches of up to 8.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import json
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crpnet_bench.config import EncoderConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.augmentation import augment
from crpnet_bench.models.backbones import Backbone, Trunk, fold_batch_norms, load_backbone
from crpnet_bench.models.openvino_backend import OpenVINONetwork

__all__ = [
    "Encoder",
    "FeaturesLater",
    "NetworkEncoder",
    "fingerprints_by_arithmetic",
    "load_encoder",
    "resolve_precision",
]

FeaturesLater = Callable[[], NDArray[np.float32]]


class Encoder(Protocol):
    """Turns tiles into feature vectors."""

    name: str
    dim: int
    backend: str
    precision: str
    fingerprint: str
    batch_size: int
    views: int

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of RGB tiles: (B, height, width, 3) uint8 to (B, dim) float32."""
        ...

    def encode_later(self, tiles: NDArray[np.uint8]) -> FeaturesLater:
        """Start encoding; calling the result waits for what `encode` would return."""
        ...

    def encode_views(
        self, tiles: NDArray[np.uint8], coords: NDArray[np.int64], slide_id: str
    ) -> NDArray[np.float32]:
        """Features of `views` augmented views of each tile: (B, views, dim) float32."""
        ...


class NetworkEncoder:
    """An encoder around a torch network.

    Attributes:
        config: what was asked.
        name: as in the configuration.
        dim: length of a feature vector.
        backend: "torch" or "openvino", what computes the network.
        precision: "float32" or "bfloat16", what the network computes in.
        fingerprint: 16 hex digits of everything that decides the output.
        batch_size: tiles in one pass; halved when memory runs out.
        views: augmented views of each tile that `encode_views` makes.
    """

    def __init__(self, config: EncoderConfig, backbone: Backbone, device: torch.device) -> None:
        self.config = config
        self.name = config.name
        self.dim = backbone.dim
        self.backend: str = config.backend
        self.precision = resolve_precision(config.precision, device)
        self.batch_size = config.batch_size
        self.views = config.views
        self.fingerprint = _fingerprint(config, backbone, self.precision, device)
        self._device = device
        self._size = backbone.size
        # Batches side by side, one thread each: threads inside a convolution wait for each other,
        # which on a busy machine costs several times the work. The bits are the same.
        self._workers = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = concurrent.futures.ThreadPoolExecutor(
            self._workers, initializer=_single_threaded if device.type == "cpu" else None
        )
        network = backbone.network.eval().requires_grad_(False)
        if isinstance(network, Trunk):
            fold_batch_norms(network)
        self._network: Callable[[Tensor], Tensor]
        if config.backend == "openvino":
            self._dtype = torch.float32  # of its input; it rounds by itself
            self._network = OpenVINONetwork(network, self.precision, self._workers)
        else:
            self._dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
            moved = network.to(device=device, dtype=self._dtype)
            self._network = moved.to(memory_format=torch.channels_last)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(backbone.mean, device=device).view(shape)
        self._std = torch.tensor(backbone.std, device=device).view(shape)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of RGB tiles: (B, height, width, 3) uint8 to (B, dim) float32.

        Raises:
            ModelError: one tile alone does not fit into memory.
        """
        return self.encode_later(tiles)()

    def encode_later(self, tiles: NDArray[np.uint8]) -> FeaturesLater:
        """Start encoding; calling the result waits for what `encode` would return."""
        return self._batched(len(tiles), lambda part: self._unit(tiles[part]))

    def encode_views(
        self, tiles: NDArray[np.uint8], coords: NDArray[np.int64], slide_id: str
    ) -> NDArray[np.float32]:
        """Features of augmented views: (B, size, size, 3) uint8 to (B, views, dim) float32.

        A view depends on the seed, the slide, the tile's place and the view's number only.
        """
        result = np.empty((len(tiles), self.views, self.dim), np.float32)
        for number, (tile, (x, y)) in enumerate(zip(tiles, coords.tolist(), strict=True)):
            key = f"{self.config.view_seed} {slide_id} {x} {y}".encode()
            seed = int.from_bytes(hashlib.sha256(key).digest()[:7], "little")
            generator = torch.Generator(self._device).manual_seed(seed)
            image = self._unit(tile[None]).expand(self.views, -1, -1, -1)
            views = augment(image, generator)
            result[number] = self._batched(self.views, views.__getitem__)()
        return result

    def _batched(self, count: int, images: Callable[[slice], Tensor]) -> FeaturesLater:
        """Start on `count` images in 0..1; what it returns waits for their features."""

        def features(part: slice) -> NDArray[np.float32]:
            return self._features(images(part))

        if count == 0:
            return lambda: np.empty((0, self.dim), np.float32)
        begun = [self._pool.submit(features, part) for part in self._parts(count)]

        def wait() -> NDArray[np.float32]:
            try:
                return np.concatenate([part.result() for part in begun])
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                concurrent.futures.wait(begun)  # so that their memory is free again
                self._halve(error)
                return self._batched(count, images)()

        return wait

    def _parts(self, count: int) -> list[slice]:
        """At most `batch_size` images each, and equally much for each worker."""
        batches = -(-count // self.batch_size)
        even = min(count, -(-batches // self._workers) * self._workers)
        bounds = [count * number // even for number in range(even + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

    def _unit(self, tiles: NDArray[np.uint8]) -> Tensor:
        """(B, h, w, 3) uint8 to (B, 3, h, w) in 0..1, channels last in memory."""
        pixels = torch.from_numpy(np.ascontiguousarray(tiles)).to(self._device)
        return pixels.permute(0, 3, 1, 2).float() / 255

    @torch.inference_mode()
    def _features(self, images: Tensor) -> NDArray[np.float32]:
        """(B, 3, h, w) in 0..1 to (B, dim)."""
        images = ((images - self._mean) / self._std).to(self._dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        if self._size is not None and images.shape[-1] != self._size:
            images = nn.functional.interpolate(
                images, (self._size, self._size), mode="bicubic", antialias=True
            )
        output = self._network(images).float()  # (B, dim) or (B, dim, h, w)
        pooled: Tensor = output.mean((2, 3)) if output.ndim == 4 else output
        features: NDArray[np.float32] = pooled.cpu().numpy()
        return features

    def _halve(self, error: BaseException) -> None:
        if self.batch_size == 1:
            raise ModelError(
                f"encoder {self.name}: one tile does not fit into the memory of {self._device}; "
                "free memory or run with --device cpu"
            ) from error
        self.batch_size //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _single_threaded() -> None:
    torch.set_num_threads(1)


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def load_encoder(config: EncoderConfig, device: torch.device | str = "cpu") -> NetworkEncoder:
    """Load an encoder.

    Args:
        config: its name, backend, precision and batch size.
        device: where it runs.

    Raises:
        ConfigError: the name is unknown, or the backend does not run on the device.
        ModelError: the weights or the backend's package cannot be had.
    """
    device = torch.device(device)
    if config.backend == "openvino" and device.type != "cpu":
        raise ConfigError(
            f"encoder.backend = 'openvino' runs on a CPU, the device is {device}; "
            "use --device cpu or encoder.backend = 'torch'"
        )
    return NetworkEncoder(config, load_backbone(config.name), device)


def resolve_precision(precision: str, device: torch.device | str) -> str:
    """What "auto" means on a device.

    bfloat16 where it is multiplied in hardware: AVX512-BF16 or AMX on a CPU (measured twice as
    fast with AVX512-BF16), compute capability 8 on CUDA; else float32.
    """
    if precision != "auto":
        return precision
    device = torch.device(device)
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    capabilities: Callable[[], dict[str, Any]] = getattr(torch.cpu, "get_capabilities", dict)
    known = capabilities()
    hardware = known.get("avx512_bf16") or known.get("amx_bf16")
    return "bfloat16" if device.type == "cpu" and hardware else "float32"


def fingerprints_by_arithmetic(config: EncoderConfig) -> dict[str, str]:
    """An encoder's fingerprint on every kind of device, in words such as "bfloat16 on cpu".

    Features under any of these are of the same network, weights and preprocessing; only how the
    numbers were computed differs.

    Raises:
        ConfigError: the name is unknown.
        ModelError: the weights cannot be had.
    """
    backbone = load_backbone(config.name)
    return {
        _fingerprint(
            config.model_copy(update={"backend": backend}),
            backbone,
            precision,
            torch.device(device),
        ): f"{precision} on {device}" + (" by openvino" if backend == "openvino" else "")
        for backend, devices in (("torch", ("cpu", "cuda")), ("openvino", ("cpu",)))
        for device in devices
        for precision in ("float32", "bfloat16")
    }


def _fingerprint(
    config: EncoderConfig, backbone: Backbone, precision: str, device: torch.device
) -> str:
    settings = config.model_dump(mode="json") | {"precision": precision}
    if config.backend == "torch":
        del settings["backend"]  # features from before there was a choice stay valid
    parts = {
        "settings": settings,
        "weights": backbone.source,
        "size": backbone.size,
        "mean": backbone.mean,
        "std": backbone.std,
        "device": device.type,
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
