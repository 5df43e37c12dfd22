"""Networks of the encoders: which there are, where their weights come from, what they expect.

`resnet50-trunc` ships with the program. `resnet18`, `resnet34`, `resnet50` and `resnet101` take
torchvision's ImageNet weights, `timm:<name>` those of timm. A path to a `.safetensors` file is a
local checkpoint of one of the ResNets, `timm:<name>=<path>` one of timm's network of that name.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crpnet_bench.errors import ConfigError, ModelError, did_you_mean

__all__ = ["ENCODERS", "Backbone", "Trunk", "fold_batch_norms", "load_backbone"]

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


def load_backbone(name: str, weights: Mapping[str, Tensor] | None = None) -> Backbone:
    """The network of an encoder.

    Args:
        name: as in the configuration.
        weights: to be used instead of the encoder's own, as `network.state_dict()` names them;
            nothing is read or fetched then.

    Raises:
        ConfigError: the name is unknown.
        ModelError: the weights cannot be had, or do not fit.
    """
    if name.startswith(_TIMM):
        return _timm(name.removeprefix(_TIMM), weights)
    if weights is not None:
        return _of_tensors(weights, _content(weights), name)
    if name == TRUNCATED:
        return _truncated()
    if name in TORCHVISION:
        return _torchvision(name)
    if name.endswith(".safetensors"):
        state, source = _read(Path(name))
        return _of_tensors(state, source, name)
    known = [*ENCODERS, "timm:<name>", "<path>.safetensors"]
    raise ConfigError(f"encoder.name = {name!r}: no such encoder; {did_you_mean(name, known)}")


def _content(state: Mapping[str, Tensor]) -> str:
    """sha256 of tensors and their names: a file put into a cache may hold other weights."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


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


class Trunk(nn.Module):
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
    return Trunk(network, last)


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
    trunk = _without_head(network)
    return Backbone(trunk, network.fc.in_features, _content(trunk.state_dict()))


def _timm(name: str, weights: Mapping[str, Tensor] | None) -> Backbone:
    name, _, file = name.partition("=")
    try:
        timm = importlib.import_module("timm")  # an optional package
    except ImportError as error:
        raise ModelError(
            f"encoder timm:{name}: the package timm is not installed; "
            "pip install 'crpnet-bench[timm]'"
        ) from error
    if weights is None and file:
        weights, _ = _read(Path(file))
    try:
        network = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:
        told = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"encoder timm:{name}: could not be made ({told}); expected a name of "
            "timm.list_models(pretrained=True); without a network connection give a local file, "
            f"encoder.name = 'timm:{name}=FILE.safetensors'"
        ) from error
    if weights is not None:
        _load_timm(network, weights, f"timm:{name}" + (f" from {file}" if file else ""))
    data = timm.data.resolve_model_data_config(network)
    side = int(data["input_size"][-1])
    with torch.inference_mode():  # not every network gives as many numbers as num_features says
        dim = network.eval()(torch.zeros(1, 3, side, side)).shape[1]
    return Backbone(
        network, int(dim), f"timm {timm.__version__} {_content(network.state_dict())}",
        None if name.startswith("resnet") else side, tuple(data["mean"]), tuple(data["std"]),
    )  # fmt: skip


def _load_timm(network: Any, weights: Mapping[str, Tensor], told: str) -> None:  # noqa: ANN401
    """Load all weights but those of the classifier, which the network does not have."""
    heads = network.pretrained_cfg.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    prefixes = tuple(f"{head}." for head in heads)
    state = {key: value for key, value in weights.items() if not key.startswith(prefixes)}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"encoder {told}: its tensors are not those of that network; "
            "expected a checkpoint with timm's names"
        ) from error


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file and its sha256."""
    try:
        content = path.read_bytes()
        return safetensors.torch.load(content), hashlib.sha256(content).hexdigest()
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"encoder {path}: not readable as safetensors ({error})") from error


def _of_tensors(weights: Mapping[str, Tensor], source: str, told: str) -> Backbone:
    """A ResNet with torchvision's keys; they tell its depth."""
    state = {name: value for name, value in weights.items() if not name.startswith("fc.")}
    if not any(name.startswith("layer4.") for name in state):
        try:
            return Backbone(_truncated_network(state), 1024, source)
        except RuntimeError as error:
            raise _unknown_architecture(told) from error
    for name in TORCHVISION:
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None)
        trunk = _without_head(network)
        try:
            trunk.load_state_dict(_with_counters(trunk, state), strict=True, assign=True)
        except RuntimeError:
            continue
        return Backbone(trunk, network.fc.in_features, source)
    raise _unknown_architecture(told)


def _unknown_architecture(told: str) -> ModelError:
    return ModelError(
        f"encoder {told}: its tensors fit none of {', '.join(ENCODERS)} with torchvision's names"
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
