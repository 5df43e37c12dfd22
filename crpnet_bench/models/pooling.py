"""Pools without attention: the rivals that share CRPNet's classifier and training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crpnet_bench.models.crpnet import NetworkShape

__all__ = ["MaxPool", "MeanPool"]


class _PlainPool(nn.Module):
    """Nothing to learn: the tiles are pooled as they are."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        """Takes what `AttentionPool` takes, and needs little of it."""
        super().__init__()
        self.dimension = shape.dimension

    def embed(self, tiles: Tensor) -> Tensor:
        """The tiles as they are, (tiles, 1, dimension)."""
        return tiles.float().unsqueeze(1)


class MeanPool(_PlainPool):
    """The mean of a bag's features: every tile counts the same."""

    def weights(self, tiles: Tensor) -> Tensor:
        """Equal shares, (tiles of one bag, 1)."""
        return torch.full((len(tiles), 1), 1 / len(tiles), device=tiles.device)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Mean of each bag's tiles, (bags, 1, dimension)."""
        bags = torch.split(tiles, list(lengths))
        return torch.stack([bag.float().mean(dim=0, keepdim=True) for bag in bags])


class MaxPool(_PlainPool):
    """The largest value of each feature over the tiles of a bag."""

    def weights(self, tiles: Tensor) -> Tensor:
        """Share of the features in which a tile is the largest, (tiles of one bag, 1)."""
        largest = torch.bincount(tiles.argmax(dim=0), minlength=len(tiles))
        return largest.unsqueeze(1) / tiles.shape[1]

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Largest value of each feature, (bags, 1, dimension)."""
        bags = torch.split(tiles, list(lengths))
        return torch.stack([bag.float().amax(dim=0, keepdim=True) for bag in bags])
