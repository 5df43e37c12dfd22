"""Networks of the encoders: which there are, where their weights come from, what they expect.

`resnet50-trunc` ships with the program. `resnet18`, `resnet34`, `resnet50` and `resnet101` take
torchvision's ImageNet weights, `timm:<name>` those of timm, and a path to a `.safetensors` file
a local checkpoint of one of these.
"""

from __future__ import annotations

import hashlib
import importlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crpnet_bench.errors import ConfigError, ModelError, did_you_mean

__all__ = ["ENCODERS", "Backbone", "fold_batch_norms", "load_backbone"]

TRUNCATED = "resnet50-trunc"
TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101")
ENCODERS = (TRUNCATED, *TORCHVISION)
_SHIPPED = "resnet50_trunc_layer3_1024d.safetensors"
_TIMM = "timm:"
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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


def load_backbone(name: str) -> Backbone:
    """The network of an encoder with its weights.

    Raises:
        ConfigError: the name is unknown.
        ModelError: the weights cannot be had.
    """
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
