"""The weighted sum of a bag's tiles, whatever their precision, in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["weighted_sum"]

# So many tiles are converted to float32 at a time: they stay in the processor's cache, while a
# float32 copy of a whole bag costs more than the products themselves.
_CPU_TILES = 512


def weighted_sum(weights: Tensor, tiles: Tensor) -> Tensor:
    """Sum of the tiles of a bag: (tiles, members) and (tiles, d) to (members, d), float32.

    Args:
        weights: float32.
        tiles: float32 or bfloat16; of bfloat16 no float32 copy is kept.
    """
    if tiles.dtype == torch.float32:
        return weights.T @ tiles
    total: Tensor = _WeightedSum.apply(weights, tiles)
    return total


class _WeightedSum(torch.autograd.Function):
    """`weights.T @ tiles.float()` and its gradient, some tiles at a time."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, tiles: Tensor) -> Tensor:  # noqa: ANN401 (torch's own)
        ctx.save_for_backward(weights, tiles)
        total = weights.new_zeros((weights.shape[1], tiles.shape[1]))
        rows = _rows(tiles)
        for share, part in zip(torch.split(weights, rows), torch.split(tiles, rows), strict=True):
            total.addmm_(share.T, part.float())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        weights, tiles = ctx.saved_tensors
        (gradient,) = gradients
        of_weights = torch.empty_like(weights)
        rows = _rows(tiles)
        for share, part in zip(
            torch.split(of_weights, rows), torch.split(tiles, rows), strict=True
        ):
            share.copy_(part.float() @ gradient.T)
        of_tiles = (weights @ gradient).to(tiles.dtype) if ctx.needs_input_grad[1] else None
        return of_weights, of_tiles


def _rows(tiles: Tensor) -> int:
    return _CPU_TILES if tiles.device.type == "cpu" else max(len(tiles), 1)
