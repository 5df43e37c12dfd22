"""An encoder whose weights can be trained: tiles in, features with gradients out.

Tiles go through in chunks. A bag of more than one chunk is encoded under gradient checkpointing:
activations of one chunk are in memory at a time, for the price of encoding it a second time on
the way back. Augmentation is part of what is computed again, from the same seed.

Batch normalisation keeps the statistics of the pre-training in all stages: a step sees a few tiles
of a few patients, whose own statistics would be those of their stains.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crpnet_bench.errors import ModelError
from crpnet_bench.models.augmentation import Strength, augment
from crpnet_bench.models.backbones import Backbone

__all__ = ["TileEncoder", "Trainable"]

Trainable = Literal["all", "last-stage", "none"]

_STAGES = ("layer4", "layer3")  # the last one that a network has


class TileEncoder(nn.Module):
    """A backbone with its preprocessing, on one device.

    Args:
        backbone: the network and what it expects.
        device: where it computes.
        trainable: which of its weights get gradients.
        chunk_tiles: tiles encoded at a time; with the seed it decides the augmentation.
        precision: of the network's arithmetic; bfloat16 is autocast, weights stay float32.
        strength: how far augmented views go from their tile.

    Raises:
        ModelError: "last-stage" is asked of a network that has no ResNet stages.
    """

    def __init__(
        self,
        backbone: Backbone,
        device: torch.device,
        *,
        trainable: Trainable = "none",
        chunk_tiles: int = 64,
        precision: torch.dtype = torch.float32,
        strength: Strength | None = None,
    ) -> None:
        super().__init__()
        self.dim = backbone.dim
        self.chunk_tiles = chunk_tiles
        self._size = backbone.size
        self._device = device
        self.precision = precision
        self._strength = strength
        network = backbone.network.to(device).eval().requires_grad_(requires_grad=False)
        self.network = network.to(memory_format=torch.channels_last)
        for part in _trained_parts(self.network, trainable):
            part.requires_grad_(requires_grad=True)
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(backbone.mean, device=device).view(shape)
        self._std = torch.tensor(backbone.std, device=device).view(shape)

    @property
    def trained(self) -> list[nn.Parameter]:
        """The weights that get gradients."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def forward(self, tiles: Tensor, seed: int | None = None) -> Tensor:
        """Features of tiles, (n, size, size, 3) uint8 on any device to (n, dim) float32.

        Args:
            tiles: RGB.
            seed: of one augmented view of each tile; None takes the tiles as they are.
        """
        chunks = torch.split(tiles, self.chunk_tiles)
        seeds = [None if seed is None else seed + number for number in range(len(chunks))]
        if len(chunks) == 1 or not torch.is_grad_enabled():
            parts = [self._encode(*one) for one in zip(chunks, seeds, strict=True)]
        else:
            parts = [
                checkpoint(self._encode, *one, use_reentrant=False, preserve_rng_state=False)
                for one in zip(chunks, seeds, strict=True)
            ]
        return torch.cat(parts)

    def halve_chunks(self, error: BaseException) -> None:
        """Go on with chunks of half the size.

        Raises:
            ModelError: a chunk was one tile already.
        """
        if self.chunk_tiles == 1:
            raise ModelError(
                f"one tile does not fit into the memory of {self._device}; free memory, or train "
                "less of the encoder (fine_tuning.trainable)"
            ) from error
        self.chunk_tiles //= 2
        torch.cuda.empty_cache()

    def _encode(self, tiles: Tensor, seed: int | None) -> Tensor:
        images = tiles.to(self._device).permute(0, 3, 1, 2).float() / 255  # (n, 3, h, w)
        if seed is not None:
            generator = torch.Generator(self._device).manual_seed(seed)
            images = augment(images, generator, self._strength)
        images = (images - self._mean) / self._std
        if self._size is not None and images.shape[-1] != self._size:
            size = (self._size, self._size)
            images = nn.functional.interpolate(images, size, mode="bicubic", antialias=True)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            self._device.type, torch.bfloat16, enabled=self.precision is torch.bfloat16
        ):
            output: Tensor = self.network(images)  # (n, dim) or (n, dim, h, w)
        output = output.float()
        return output.mean((2, 3)) if output.ndim == 4 else output


def _trained_parts(network: nn.Module, trainable: Trainable) -> list[nn.Module]:
    if trainable == "none":
        return []
    if trainable == "all":
        return [network]
    for stage in _STAGES:
        last = getattr(network, stage, None)
        if isinstance(last, nn.Module):
            return [last]
    raise ModelError(
        "fine_tuning.trainable = 'last-stage': the encoder has no stages of a ResNet; "
        "expected 'all' or 'none' for it"
    )
