"""Pools without attention: the rivals that share CRPNet's classifier and training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crpnet_bench.models.crpnet import NetworkShape

__all__ = ["MaxPool", "MeanPool"]


class MeanPool(nn.Module):
    """The mean of a bag's features: every tile counts the same."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        """Takes what `AttentionPool` takes, and needs none of it."""
        super().__init__()

    def weights(self, tiles: Tensor) -> Tensor:
        """Equal shares, (tiles of one bag, 1)."""
        return torch.full((len(tiles), 1), 1 / len(tiles), device=tiles.device)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Mean of each bag's tiles, (bags, 1, dimension)."""
        bags = torch.split(tiles, list(lengths))
        return torch.stack([bag.float().mean(dim=0, keepdim=True) for bag in bags])


class MaxPool(nn.Module):
    """The largest value of each feature over the tiles of a bag."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        """Takes what `AttentionPool` takes, and needs none of it."""
        super().__init__()

    def weights(self, tiles: Tensor) -> Tensor:
        """Share of the features in which a tile is the largest, (tiles of one bag, 1)."""
        largest = torch.bincount(tiles.argmax(dim=0), minlength=len(tiles))
        return largest.unsqueeze(1) / tiles.shape[1]

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Largest value of each feature, (bags, 1, dimension)."""
        bags = torch.split(tiles, list(lengths))
        return torch.stack([bag.float().amax(dim=0, keepdim=True) for bag in bags])
