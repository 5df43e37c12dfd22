"""Gated attention: what the attention layer sees of a tile, times how much of it passes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crpnet_bench.models.crpnet import AttentionPool, NetworkShape, stacked_linear, uniform

__all__ = ["GatedAttentionPool"]


class GatedAttentionPool(AttentionPool):
    """CRPNet's attention with a gate: tanh(Vh) * sigmoid(Uh) in the place of tanh(Vh).

    From Ilse, Tomczak and Welling (2018), "Attention-based deep multiple instance learning". V, its
    bias and the scores start from the same weights as without the gate.
    """

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__(shape, generators)
        width, dimension = shape.attention_dim, shape.dimension
        self.gate_weight = nn.Parameter(uniform((width, dimension), dimension, generators))
        self.gate_bias = nn.Parameter(uniform((width,), dimension, generators))

    def hidden(self, tiles: Tensor) -> Tensor:
        """What the score is a weighted sum of, (tiles, members, width)."""
        weight = torch.cat([self.weight, self.gate_weight], dim=1)  # both layers, one product
        bias = torch.cat([self.bias, self.gate_bias], dim=1)
        content, gate = stacked_linear(tiles, weight, bias).chunk(2, dim=-1)
        return torch.tanh(content).float() * torch.sigmoid(gate).float()
