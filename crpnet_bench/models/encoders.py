"""Encoders: what turns a tile into a feature vector, with its own preprocessing.

`resnet50-trunc` ships with the program. `resnet18`, `resnet34`, `resnet50` and `resnet101` take
torchvision's ImageNet weights, `timm:<name>` those of timm, and a path to a `.safetensors` file
a local checkpoint of one of these. Each encoder has a fingerprint of everything that decides
its output; features of different fingerprints never mix.

On a CPU the batch normalisation is folded into the convolutions, memory is channels-last and
the arithmetic bfloat16 where the processor multiplies it in hardware. Output is the same bit
for bit in each run and for each batch size on one machine.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import importlib
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.torch
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crpnet_bench.config import EncoderConfig
from crpnet_bench.errors import ConfigError, ModelError, did_you_mean
from crpnet_bench.models.augmentation import augment

__all__ = ["ENCODERS", "Encoder", "NetworkEncoder", "load_encoder", "resolve_precision"]

TRUNCATED = "resnet50-trunc"
TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101")
ENCODERS = (TRUNCATED, *TORCHVISION)
_SHIPPED = "resnet50_trunc_layer3_1024d.safetensors"
_TIMM = "timm:"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


FeaturesLater = Callable[[], NDArray[np.float32]]


class Encoder(Protocol):
    """Turns tiles into feature vectors."""

    name: str
    dim: int
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


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network without its head, and what it expects.

    Attributes:
        network: (B, 3, size, size) to (B, dim) or a feature map (B, dim, h, w).
        dim: length of the feature vector.
        source: what its weights are, for the fingerprint.
        size: side of the input in pixels; None takes tiles as they come.
        mean, std: of the input channels in 0..1.
    """

    network: nn.Module
    dim: int
    source: str
    size: int | None = None
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD


class NetworkEncoder:
    """An encoder around a torch network.

    Attributes:
        config: what was asked.
        name: as in the configuration.
        dim: length of a feature vector.
        precision: "float32" or "bfloat16", what the network computes in.
        fingerprint: 16 hex digits of everything that decides the output.
        batch_size: tiles in one pass; halved when memory runs out.
        views: augmented views of each tile that `encode_views` makes.
    """

    def __init__(self, config: EncoderConfig, backbone: Backbone, device: torch.device) -> None:
        self.config = config
        self.name = config.name
        self.dim = backbone.dim
        self.precision = resolve_precision(config.precision, device)
        self.batch_size = config.batch_size
        self.views = config.views
        self.fingerprint = _fingerprint(config, backbone, self.precision, device)
        self._device = device
        self._dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        self._size = backbone.size
        fold_batch_norms(backbone.network.eval().requires_grad_(False))
        network = backbone.network.to(device=device, dtype=self._dtype)
        self._network = network.to(memory_format=torch.channels_last)
        # Batches side by side, one thread each: threads inside a convolution wait for each other,
        # which on a busy machine costs several times the work. The bits are the same.
        self._workers = torch.get_num_threads() if device.type == "cpu" else 1
        self._pool = concurrent.futures.ThreadPoolExecutor(
            self._workers, initializer=_single_threaded if device.type == "cpu" else None
        )
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
        config: its name, precision and batch size.
        device: where it runs.

    Raises:
        ConfigError: the name is unknown.
        ModelError: the weights cannot be had.
    """
    return NetworkEncoder(config, _backbone(config.name), torch.device(device))


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


def fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch normalisation into the convolution before it, as torchvision names them."""
    for module in list(network.modules()):
        for number in ("1", "2", "3"):
            norm = getattr(module, f"bn{number}", None)
            if type(norm) is nn.BatchNorm2d:  # timm has subclasses with an activation inside
                convolution = getattr(module, f"conv{number}")
                setattr(module, f"conv{number}", fuse_conv_bn_eval(convolution, norm))
                setattr(module, f"bn{number}", nn.Identity())
        match getattr(module, "downsample", None):
            case nn.Sequential() as shortcut:
                convolution, norm = shortcut[0], shortcut[-1]
                if isinstance(convolution, nn.Conv2d) and type(norm) is nn.BatchNorm2d:
                    module.downsample = fuse_conv_bn_eval(convolution, norm)


def _backbone(name: str) -> Backbone:
    if name == TRUNCATED:
        return _truncated()
    if name in TORCHVISION:
        return _torchvision(name)
    if name.startswith(_TIMM):
        return _timm(name.removeprefix(_TIMM))
    if name.endswith(".safetensors"):
        return _checkpoint(Path(name))
    known = [*ENCODERS, "timm:<name>", "<path>.safetensors"]
    raise ConfigError(f"encoder.name = {name!r}: no such encoder; {did_you_mean(name, known)}")


def _truncated() -> Backbone:
    content = resources.files("crpnet_bench.models").joinpath("weights", _SHIPPED).read_bytes()
    state = safetensors.torch.load(content)
    return Backbone(_truncated_network(state), 1024, hashlib.sha256(content).hexdigest())


def _truncated_network(state: dict[str, Tensor]) -> nn.Module:
    """ResNet-50 v1 to its third stage: the stride sits in the first 1 x 1 convolution."""
    with torch.device("meta"):
        network = torchvision.models.resnet50(weights=None)
    for stage in (network.layer2, network.layer3):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    trunk = _without_head(network, last="layer3")
    trunk.load_state_dict(_with_counters(trunk, state), strict=True, assign=True)
    return trunk


def _with_counters(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights in float32, and the step counters of batch norm that inference ignores."""
    counters = {
        name: torch.zeros((), dtype=torch.long)
        for name in network.state_dict()
        if name.endswith("num_batches_tracked")
    }
    return counters | {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


class _Trunk(nn.Module):
    """The stages of a torchvision ResNet up to `last`, with its key names."""

    def __init__(self, network: nn.Module, last: str) -> None:
        super().__init__()
        stages = ("layer1", "layer2", "layer3", "layer4")
        self._order = ("conv1", "bn1", "relu", "maxpool", *stages[: stages.index(last) + 1])
        for name in self._order:
            self.add_module(name, getattr(network, name))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, h, w) to the last stage's feature map."""
        for name in self._order:
            images = getattr(self, name)(images)
        return images


def _without_head(network: nn.Module, last: str = "layer4") -> nn.Module:
    return _Trunk(network, last)


def _torchvision(name: str) -> Backbone:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        network = torchvision.models.get_model(name, weights=weights)
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"encoder {name}: its ImageNet weights are not here and could not be fetched from "
            f"{weights.url} ({error}); put the file into {torch.hub.get_dir()}/checkpoints, or "
            f"use encoder.name = {TRUNCATED!r}, which is part of the program"
        ) from error
    return Backbone(_without_head(network), network.fc.in_features, str(weights))


def _timm(name: str) -> Backbone:
    try:
        timm = importlib.import_module("timm")  # an optional package
    except ImportError as error:
        raise ModelError(
            f"encoder timm:{name}: the package timm is not installed; pip install timm"
        ) from error
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:
        raise ModelError(f"encoder timm:{name}: could not be made ({error})") from error
    data = timm.data.resolve_model_data_config(network)
    size = None if name.startswith("resnet") else int(data["input_size"][-1])
    return Backbone(
        network, int(network.num_features), f"timm {timm.__version__} {network.pretrained_cfg}",
        size, tuple(data["mean"]), tuple(data["std"]),
    )  # fmt: skip


def _checkpoint(path: Path) -> Backbone:
    """A local file of torchvision keys; its depth tells the architecture."""
    try:
        content = path.read_bytes()
        state = safetensors.torch.load(content)
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"encoder {path}: not readable as safetensors ({error})") from error
    source = hashlib.sha256(content).hexdigest()
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if not any(name.startswith("layer4.") for name in state):
        try:
            return Backbone(_truncated_network(state), 1024, source)
        except RuntimeError as error:
            raise _unknown_architecture(path) from error
    for name in TORCHVISION:
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None)
        trunk = _without_head(network)
        try:
            trunk.load_state_dict(_with_counters(trunk, state), strict=True, assign=True)
        except RuntimeError:
            continue
        return Backbone(trunk, network.fc.in_features, source)
    raise _unknown_architecture(path)


def _unknown_architecture(path: Path) -> ModelError:
    return ModelError(
        f"encoder {path}: its tensors fit none of {', '.join(ENCODERS)} with torchvision's names"
    )


def _fingerprint(
    config: EncoderConfig, backbone: Backbone, precision: str, device: torch.device
) -> str:
    parts = {
        "settings": config.model_dump(mode="json") | {"precision": precision},
        "weights": backbone.source,
        "size": backbone.size,
        "mean": backbone.mean,
        "std": backbone.std,
        "device": device.type,
    }
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
