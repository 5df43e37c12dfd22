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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from crpnet_bench.models.weighted_sum import weighted_sum

__all__ = [
    "AttentionPool",
    "BagNetwork",
    "Classifier",
    "NetworkShape",
    "Pool",
    "TileTeacher",
    "crpnet",
    "member_generators",
    "recomputed",
    "stacked_linear",
    "uniform",
]

# On a CPU the attention layer takes so many tiles at a time that what it computes stays in the
# cache.
_CPU_TILES = 2048


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
        context: how many times as wide the fields are whose features follow a tile's own along
            `dimension`.
    """

    dimension: int
    attention_dim: int = 128
    hidden_dim: int = 128
    outputs: int = 2
    dropout: float = 0.0
    tile_budget: int = 20_000
    context: tuple[int, ...] = ()


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


def uniform(shape: Sequence[int], fan_in: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Initial weights of a linear layer as in PyTorch, (members, *shape).

    Uniform within 1 / sqrt(fan_in), the number of inputs.
    """
    bound = 1 / math.sqrt(fan_in)
    drawn = [torch.rand(tuple(shape), generator=generator) for generator in generators]
    return torch.stack(drawn) * (2 * bound) - bound


def stacked_linear(tiles: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer of each member as one product: (tiles, d) to (tiles, members, width).

    In the tiles' own precision: with bfloat16 tiles this product, nearly all of the arithmetic,
    runs on the fast units.

    Args:
        tiles: (tiles, d), float32 or bfloat16.
        weight: (members, width, d), float32.
        bias: (members, width), float32.
    """
    members, width, dimension = weight.shape
    all_weights = weight.reshape(members * width, dimension).to(tiles.dtype)
    product = functional.linear(tiles, all_weights, bias.reshape(-1).to(tiles.dtype))
    return product.view(-1, members, width)


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """`function(*inputs)`, computed again on the way back instead of kept in memory."""
    result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
    return result


class Pool(Protocol):
    """From the tiles of each bag to one vector a bag and member.

    Attributes:
        dimension: of that vector.
    """

    dimension: int

    def embed(self, tiles: Tensor) -> Tensor:
        """What is pooled, in float32: the vector of a bag of one tile.

        (tiles, features) to (tiles, members or 1, dimension).
        """
        ...

    def weights(self, tiles: Tensor) -> Tensor:
        """Share of each tile in the vector of its bag, (tiles of one bag, members or 1)."""
        ...

    def __call__(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pooled features, (bags, members or 1, dimension)."""
        ...


@runtime_checkable
class TileTeacher(Protocol):
    """A pool that has a loss of its own, on tiles."""

    def tile_loss(self, tiles: Tensor, lengths: Sequence[int], targets: Tensor) -> Tensor:
        """Added to the loss of the bags; summed over them, (members,)."""
        ...


class AttentionPool(nn.Module):
    """Softmax attention over the tiles of a bag."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        width, dimension = shape.attention_dim, shape.dimension
        self.dimension = dimension
        self.tile_budget = shape.tile_budget
        self.weight = nn.Parameter(uniform((width, dimension), dimension, generators))
        self.bias = nn.Parameter(uniform((width,), dimension, generators))
        # The second linear layer has no bias: a constant added to all tiles of a bag
        # leaves the softmax as it is.
        self.score = nn.Parameter(uniform((width,), width, generators))

    def embed(self, tiles: Tensor) -> Tensor:
        """The tiles as they are, (tiles, 1, dimension)."""
        return tiles.float().unsqueeze(1)

    def hidden(self, tiles: Tensor) -> Tensor:
        """What the score is a weighted sum of, (tiles, members, width)."""
        return torch.tanh(stacked_linear(tiles, self.weight, self.bias)).float()

    def _score_part(self, tiles: Tensor) -> Tensor:
        return (self.hidden(tiles) * self.score).sum(-1)

    def scores(self, tiles: Tensor) -> Tensor:
        """Attention before the softmax, (tiles, members)."""
        rows = self.tile_budget
        if tiles.device.type == "cpu":
            rows = min(rows, _CPU_TILES)
        parts = torch.split(tiles, rows)
        if len(tiles) <= self.tile_budget:
            return torch.cat([self._score_part(part) for part in parts])
        # A pack longer than the budget: memory stays that of one part, for the price of
        # computing each part a second time on the way back.
        return torch.cat([recomputed(self._score_part, part) for part in parts])

    def weights(self, tiles: Tensor) -> Tensor:
        """Attention over the tiles of one bag, (tiles, members)."""
        return torch.softmax(self.scores(tiles), dim=0)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Weighted sum of each bag's tiles, (bags, members, dimension)."""
        scores = torch.split(self.scores(tiles), list(lengths))
        pooled = []
        for score, bag in zip(scores, torch.split(tiles, list(lengths)), strict=True):
            weights = torch.softmax(score, dim=0)  # (tiles of the bag, members)
            pooled.append(weighted_sum(weights, bag))  # (members, dimension)
        return torch.stack(pooled)


class Classifier(nn.Module):
    """A multilayer perceptron with one hidden layer, for every member its own."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        dimension, hidden, outputs = shape.dimension, shape.hidden_dim, shape.outputs
        self.weight = nn.Parameter(uniform((hidden, dimension), dimension, generators))
        self.bias = nn.Parameter(uniform((hidden,), dimension, generators))
        self.out_weight = nn.Parameter(uniform((outputs, hidden), hidden, generators))
        self.out_bias = nn.Parameter(uniform((outputs,), hidden, generators))

    @torch.no_grad()
    def begin_alike(self) -> None:
        """Give all outputs of a member the initial weights of its first."""
        for initial in (self.out_weight, self.out_bias):
            initial.copy_(initial[:, :1].clone().expand_as(initial))

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
        parts = torch.split(tiles, part)
        return torch.cat([self.classifier(self.pool.embed(some)) for some in parts])


def crpnet(shape: NetworkShape, generators: Sequence[torch.Generator]) -> BagNetwork:
    """CRPNet as the article describes it, one member a generator."""
    return BagNetwork(shape, AttentionPool(shape, generators), Classifier(shape, generators))
