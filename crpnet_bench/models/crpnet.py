"""CRPNet: attention over the tiles of a bag, then a small classifier; read top to bottom.

The network of Yang et al. (2026), "Construction and validation of deep learning-based pathomics
signature model for predicting postoperative recurrence of patients with clear cell renal cell
carcinoma": a linear layer to 128, tanh, a linear layer to one number a tile, softmax over the
tiles of the bag, the weighted sum of the tiles' features, a multilayer perceptron, two classes.
The attention is that of Ilse, Tomczak and Welling (2018), "Attention-based deep multiple
instance learning".

Two things here are not in the article, and neither changes the network:

* **Members.** Training from one initialisation sometimes ends with the attention on the wrong
  tiles, so several initialisations are trained and their probabilities averaged. Every parameter
  has a leading axis over these members: the costly product, features times the first attention
  layer, is then one matrix product for all of them. No operation mixes two members, so each is
  the network that it would be alone.
* **Packing.** Bags differ in length. They are laid end to end, not padded: the first attention
  layer sees one long matrix of tiles, softmax and weighted sum see one bag at a time.

Shapes are written as: tiles = all tiles of all bags in the pack, bags, members, dimension (of a
feature vector), width (of the attention), hidden (of the classifier), outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

__all__ = [
    "AttentionPool",
    "BagNetwork",
    "Classifier",
    "NetworkShape",
    "Pool",
    "crpnet",
    "member_generators",
]


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of the network; the defaults are the article's where it states one.

    Attributes:
        dimension: of a tile's feature vector; 1,024 for the truncated ResNet-50.
        attention_dim: width of the attention layer.
        hidden_dim: width of the classifier's hidden layer (not stated in the article).
        outputs: 2 classes; other heads want other numbers.
        dropout: share of the classifier's hidden units left out in training.
        tile_budget: attention activations are kept for at most so many tiles; the tiles of a
            longer pack go through the layer in parts that the backward pass computes again.
    """

    dimension: int
    attention_dim: int = 128
    hidden_dim: int = 128
    outputs: int = 2
    dropout: float = 0.0
    tile_budget: int = 20_000


def member_generators(seed: int, members: int) -> list[torch.Generator]:
    """One source of randomness a member; the first members do not depend on how many follow.

    Generators live on the CPU whatever the device, so that a seed names the same initial
    weights everywhere.
    """
    generators = []
    for member in range(members):
        # Seeds of neighbouring runs and members must not meet, as seed + member would.
        state = (seed * 0x9E3779B97F4A7C15 + (member + 1) * 0xD1B54A32D192ED03) % 2**63
        generators.append(torch.Generator().manual_seed(state))
    return generators


def _uniform(shape: Sequence[int], fan_in: int, generators: Sequence[torch.Generator]) -> Tensor:
    # The initialisation of a linear layer in PyTorch: uniform within 1 / sqrt(inputs).
    bound = 1 / math.sqrt(fan_in)
    drawn = [torch.rand(tuple(shape), generator=generator) for generator in generators]
    return torch.stack(drawn) * (2 * bound) - bound  # (members, *shape)


class Pool(Protocol):
    """From the tiles of each bag to one vector a bag and member."""

    def weights(self, tiles: Tensor) -> Tensor:
        """Share of each tile in the vector of its bag, (tiles of one bag, members or 1)."""
        ...

    def __call__(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled features, (bags, members or 1, dimension)."""
        ...


class AttentionPool(nn.Module):
    """Softmax attention over the tiles of a bag."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        width, dimension = shape.attention_dim, shape.dimension
        self.tile_budget = shape.tile_budget
        self.weight = nn.Parameter(_uniform((width, dimension), dimension, generators))
        self.bias = nn.Parameter(_uniform((width,), dimension, generators))
        # The second linear layer has no bias: a constant added to all tiles of a bag
        # leaves the softmax as it is.
        self.score = nn.Parameter(_uniform((width,), width, generators))

    def _score_part(self, tiles: Tensor) -> Tensor:
        members, width, dimension = self.weight.shape
        # In the tiles' own precision: with bfloat16 tiles this product, nearly all of the
        # arithmetic, runs on the fast units; everything after it is float32.
        weight = self.weight.reshape(members * width, dimension).to(tiles.dtype)
        bias = self.bias.reshape(members * width).to(tiles.dtype)
        hidden = torch.tanh(functional.linear(tiles, weight, bias))  # (tiles, members * width)
        hidden = hidden.float().view(-1, members, width)  # (tiles, members, width)
        return (hidden * self.score).sum(-1)  # (tiles, members)

    def scores(self, tiles: Tensor) -> Tensor:
        """Attention before the softmax, (tiles, members)."""
        if len(tiles) <= self.tile_budget:
            return self._score_part(tiles)
        # A pack longer than the budget: memory stays that of one part, for the price of
        # computing each part a second time on the way back.
        parts = [
            checkpoint(self._score_part, part, use_reentrant=False, preserve_rng_state=False)
            for part in torch.split(tiles, self.tile_budget)
        ]
        return torch.cat(parts)

    def weights(self, tiles: Tensor) -> Tensor:
        """Attention over the tiles of one bag, (tiles, members)."""
        return torch.softmax(self.scores(tiles), dim=0)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Weighted sum of each bag's tiles, (bags, members, dimension)."""
        scores = torch.split(self.scores(tiles), list(lengths))
        pooled = []
        for score, bag in zip(scores, torch.split(tiles, list(lengths)), strict=True):
            weights = torch.softmax(score, dim=0)  # (tiles of the bag, members)
            pooled.append(weights.T @ bag.float())  # (members, dimension)
        return torch.stack(pooled)


class Classifier(nn.Module):
    """A multilayer perceptron with one hidden layer, for every member its own."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        dimension, hidden, outputs = shape.dimension, shape.hidden_dim, shape.outputs
        self.weight = nn.Parameter(_uniform((hidden, dimension), dimension, generators))
        self.bias = nn.Parameter(_uniform((hidden,), dimension, generators))
        self.out_weight = nn.Parameter(_uniform((outputs, hidden), hidden, generators))
        self.out_bias = nn.Parameter(_uniform((outputs,), hidden, generators))

    def forward(self, pooled: Tensor, keep: Tensor | None = None) -> Tensor:
        """From (bags, members or 1, dimension) to (bags, members, outputs).

        Args:
            pooled: one vector a bag and member, or one for all members.
            keep: (bags, members, hidden), the dropout mask; None leaves nothing out.
        """
        pooled = pooled.expand(-1, len(self.weight), -1)  # (bags, members, dimension)
        hidden = torch.einsum("bmd,mhd->bmh", pooled, self.weight) + self.bias
        hidden = torch.relu(hidden)  # (bags, members, hidden)
        if keep is not None:
            hidden = hidden * keep
        return torch.einsum("bmh,moh->bmo", hidden, self.out_weight) + self.out_bias


class BagNetwork(nn.Module):
    """A pool and a classifier. CRPNet is the one whose pool is attention.

    Attributes:
        offset, scale: (dimension,), taken from each tile's features and divided by before
            anything else; 0 and 1 unless the features are standardised. They are buffers,
            statistics of the training bags, saved with the weights.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, shape: NetworkShape, pool: Pool, classifier: Classifier) -> None:
        super().__init__()
        self.shape = shape
        self.pool = pool
        self.classifier = classifier
        self.register_buffer("offset", torch.zeros(shape.dimension))
        self.register_buffer("scale", torch.ones(shape.dimension))

    @property
    def members(self) -> int:
        """How many networks are stacked."""
        return len(self.classifier.weight)

    def prepare(self, features: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Stored features (tiles, dimension) as the network reads them."""
        return ((features.float() - self.offset) / self.scale).to(dtype)

    def forward(self, tiles: Tensor, lengths: Sequence[int], keep: Tensor | None = None) -> Tensor:
        """Outputs before the softmax over classes, (bags, members, outputs).

        Args:
            tiles: (tiles, dimension), prepared; the bags end to end, float32 or bfloat16.
            lengths: tiles of each bag; none is 0.
            keep: the classifier's dropout mask.
        """
        logits: Tensor = self.classifier(self.pool(tiles, lengths), keep)
        return logits

    def tile_outputs(self, tiles: Tensor, part: int = 1024) -> Tensor:
        """What the classifier says of each tile as if it were a bag, (tiles, members, outputs)."""
        parts = [tile.float().unsqueeze(1) for tile in torch.split(tiles, part)]
        return torch.cat([self.classifier(tile) for tile in parts])


def crpnet(shape: NetworkShape, generators: Sequence[torch.Generator]) -> BagNetwork:
    """CRPNet as the article describes it, one member a generator."""
    return BagNetwork(shape, AttentionPool(shape, generators), Classifier(shape, generators))
