"""Several scales: each tile beside the wider fields around it, one attention a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from crpnet_bench.models.crpnet import AttentionPool, NetworkShape

__all__ = ["MultiScalePool"]


class MultiScalePool(nn.Module):
    """CRPNet's attention at each scale; the classifier reads the pooled vectors side by side.

    The features of a tile are its own, then those of the fields 2 and 4 times as wide around it
    (at 20x: 20x, 10x, 5x), one after the other along the dimension.

    Attributes:
        context: how many times as wide the other fields are.
    """

    context: ClassVar[tuple[int, ...]] = (2, 4)

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        scales = 1 + len(self.context)
        own, rest = divmod(shape.dimension, scales)
        if rest:
            raise ValueError(f"dimension {shape.dimension}; expected a multiple of {scales}")
        self.dimension = shape.dimension
        one = replace(shape, dimension=own)
        self.scales = nn.ModuleList([AttentionPool(one, generators) for _ in range(scales)])

    def _of_each(self, tiles: Tensor) -> list[tuple[AttentionPool, Tensor]]:
        pools = [cast("AttentionPool", pool) for pool in self.scales]
        return list(zip(pools, tiles.chunk(len(pools), dim=1), strict=True))

    def embed(self, tiles: Tensor) -> Tensor:
        """The tiles at all scales as they are, (tiles, 1, dimension)."""
        return tiles.float().unsqueeze(1)

    def weights(self, tiles: Tensor) -> Tensor:
        """Attention over the tiles of one bag, mean of the scales, (tiles, members)."""
        return torch.stack([pool.weights(field) for pool, field in self._of_each(tiles)]).mean(0)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled features of all scales, (bags, members, dimension)."""
        pooled = [pool(field, lengths) for pool, field in self._of_each(tiles)]
        return torch.cat(pooled, dim=-1)
