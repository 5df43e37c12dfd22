"""A rival like CLAM-SB: attention over compressed tiles, which learn from pseudo labels too.

After Lu et al. (2021), "Data-efficient and weakly supervised computational pathology on
whole-slide images", Nat Biomed Eng 5:555-570: a linear layer with ReLU, gated attention in one
branch, and a loss that asks the tiles of most attention to be told from those of least. What
differs from the authors' program is listed in docs/models.md; only the pool is here, classifier
and training are those of all networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from crpnet_bench.models.crpnet import NetworkShape, recomputed, stacked_linear, uniform

__all__ = ["ClamPool"]

_WIDTH, _ATTENTION = 512, 256  # the authors' smaller network
_CLASSES = 2
_PSEUDO = 8  # tiles of most and of least attention that are given a label
# The authors weigh bag and tiles 0.7 to 0.3; Adam does not see a common factor.
_TILE_SHARE = 0.3 / 0.7


class ClamPool(nn.Module):
    """Gated attention over the tiles of a bag, each compressed by a linear layer and ReLU."""

    def __init__(self, shape: NetworkShape, generators: Sequence[torch.Generator]) -> None:
        super().__init__()

        def drawn(size: tuple[int, ...], fan_in: int) -> nn.Parameter:
            return nn.Parameter(uniform(size, fan_in, generators))

        self.dimension = _WIDTH
        self.tile_budget = shape.tile_budget
        self.weight = drawn((_WIDTH, shape.dimension), shape.dimension)
        self.bias = drawn((_WIDTH,), shape.dimension)
        self.attention = drawn((2 * _ATTENTION, _WIDTH), _WIDTH)  # content and gate
        self.attention_bias = drawn((2 * _ATTENTION,), _WIDTH)
        self.score = drawn((_ATTENTION,), _ATTENTION)
        self.tile_weight = drawn((_CLASSES, 2, _WIDTH), _WIDTH)
        self.tile_bias = drawn((_CLASSES, 2), _WIDTH)

    def embed(self, tiles: Tensor) -> Tensor:
        """The compressed tiles, (tiles, members, width)."""
        return self._compress(tiles).float()

    def _compress(self, tiles: Tensor) -> Tensor:
        return torch.relu(stacked_linear(tiles, self.weight, self.bias))

    def _score(self, compressed: Tensor) -> Tensor:
        dtype = compressed.dtype  # as in CRPNet, products in the precision of the tiles
        product = torch.bmm(compressed.transpose(0, 1), self.attention.mT.to(dtype))
        content, gate = product.transpose(0, 1).float().chunk(2, dim=-1)
        content_bias, gate_bias = self.attention_bias.chunk(2, dim=-1)
        hidden = torch.tanh(content + content_bias) * torch.sigmoid(gate + gate_bias)
        return (hidden * self.score).sum(-1)  # (tiles, members)

    def _score_tiles(self, tiles: Tensor) -> Tensor:
        return self._score(self._compress(tiles))

    def _sum(self, weights: Tensor, tiles: Tensor) -> Tensor:
        return torch.einsum("tm,tmw->mw", weights, self.embed(tiles))

    def weights(self, tiles: Tensor) -> Tensor:
        """Attention over the tiles of one bag, (tiles, members)."""
        return torch.softmax(self._scores_in_parts(tiles), dim=0)

    def forward(self, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Weighted sum of each bag's compressed tiles, (bags, members, width)."""
        bags = torch.split(tiles, list(lengths))
        if len(tiles) > self.tile_budget:
            return torch.stack([self._pool_in_parts(bag) for bag in bags])
        compressed = self._compress(tiles)
        scores = torch.split(self._score(compressed), list(lengths))
        pooled = [
            torch.einsum("tm,tmw->mw", torch.softmax(score, dim=0), part.float())
            for score, part in zip(scores, torch.split(compressed, list(lengths)), strict=True)
        ]
        return torch.stack(pooled)

    def _scores_in_parts(self, tiles: Tensor) -> Tensor:
        parts = torch.split(tiles, self.tile_budget)
        return torch.cat([recomputed(self._score_tiles, part) for part in parts])

    def _pool_in_parts(self, tiles: Tensor) -> Tensor:
        # Memory stays that of one part, for the price of compressing each tile again.
        weights = torch.softmax(self._scores_in_parts(tiles), dim=0)
        parts = zip(
            torch.split(weights, self.tile_budget),
            torch.split(tiles, self.tile_budget),
            strict=True,
        )
        return torch.stack([recomputed(self._sum, *part) for part in parts]).sum(0)

    def tile_loss(self, tiles: Tensor, lengths: Sequence[int], targets: Tensor) -> Tensor:
        """Cross-entropy of pseudo labels, summed over the bags, (members,).

        In each bag and member the tiles of most attention are told from those of least by a
        linear layer of the bag's own class. Which tiles these are is not learned from this loss.

        Args:
            tiles: (tiles, dimension), the bags end to end.
            lengths: tiles of each bag; a bag of one tile has no such loss.
            targets: (bags, 2): label 0 or 1, and weight.
        """
        with torch.no_grad():
            scores = torch.split(self._scores_in_parts(tiles), list(lengths))
        bags = torch.split(tiles, list(lengths))
        total = 0 * self.tile_bias.sum((1, 2))  # bags of one tile alone have a gradient of zero
        for bag, score, target in zip(bags, scores, targets, strict=True):
            if len(bag) > 1:
                label = int(target[0])
                total = total + target[1] * self._told_apart(bag, score, label)
        return _TILE_SHARE * total

    def _told_apart(self, bag: Tensor, score: Tensor, label: int) -> Tensor:
        count = min(_PSEUDO, len(bag) // 2)
        order = score.argsort(dim=0, descending=True)
        chosen = torch.cat([order[:count], order[-count:]]).T  # (members, 2 * count)
        compressed = torch.relu(
            torch.bmm(bag[chosen].float(), self.weight.mT) + self.bias.unsqueeze(1)
        )
        logits = torch.bmm(compressed, self.tile_weight[:, label].mT)
        logits = logits + self.tile_bias[:, label].unsqueeze(1)  # (members, 2 * count, 2)
        wanted = torch.arange(2 * count, device=bag.device) < count
        each = functional.cross_entropy(
            logits.flatten(0, 1), wanted.long().repeat(len(logits)), reduction="none"
        )
        return each.view(len(logits), -1).mean(1)
