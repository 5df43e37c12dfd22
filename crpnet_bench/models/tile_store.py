"""The training tiles as the network reads them: resident where they fit, a view of each drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crpnet_bench.models.base import Bag
from crpnet_bench.models.crpnet import BagNetwork

__all__ = ["TileStore", "ViewDraws"]

# Prepared tiles are kept in memory up to this size on a CPU, and up to this share of what is
# free on a CUDA device; beyond, each chunk is read from the bags' own arrays.
_RESIDENT_BYTES = 2 * 1024**3
_RESIDENT_SHARE = 0.6
_VIEW_STREAM = 0x71E3


class ViewDraws:
    """Which version of each tile a step sees, anew in each step.

    Version 0 is the plain features, which predictions read; version k the k-th augmented view.
    All are equally likely. The draws follow from the seed and the bags alone: not from packing,
    nor from the number of members, who share them because they share one matrix of tiles.
    """

    def __init__(self, bags: Sequence[Bag], seed: int) -> None:
        self._tiles = [len(bag) for bag in bags]
        self._versions = [1 + bag.view_count for bag in bags]
        self._generator = np.random.default_rng([seed, _VIEW_STREAM])

    def draw(self, batch: Sequence[int]) -> list[NDArray[np.int64]] | None:
        """For each bag of the batch the version of each tile; None where no bag has views."""
        if max(self._versions) == 1:
            return None
        return [
            self._generator.integers(self._versions[bag], size=self._tiles[bag]) for bag in batch
        ]


class TileStore:
    """The tiles of the training bags as the network reads them, resident where they fit.

    Of a bag with augmented views all versions of a tile lie one below the other.

    Args:
        bags: the training bags.
        network: decides device and standardisation.
        dtype: float32 or bfloat16.
        resident_bytes: keep them in memory up to this size; None takes what the device has room
            for. Beyond, each chunk is read from the bags' own, perhaps memory-mapped, arrays.
    """

    def __init__(
        self,
        bags: Sequence[Bag],
        network: BagNetwork,
        dtype: torch.dtype,
        resident_bytes: float | None = None,
    ) -> None:
        self._bags = bags
        self._network = network
        self._dtype = dtype
        self._device = network.offset.device
        self.lengths = [len(bag) for bag in bags]
        self._rows = [len(bag) * (1 + bag.view_count) for bag in bags]
        self._resident: list[Tensor] | None = None
        self._everything: Tensor | None = None
        self._buffer: Tensor | None = None
        item = torch.empty((), dtype=dtype).element_size()
        room = self._room() if resident_bytes is None else resident_bytes
        if sum(self._rows) * network.shape.dimension * item <= room:
            self._load()

    def _room(self) -> float:
        if self._device.type == "cuda":
            return _RESIDENT_SHARE * torch.cuda.mem_get_info(self._device)[0]
        return _RESIDENT_BYTES

    def _read(self, features: NDArray[Any]) -> Tensor:
        # A copy: torch does not take read-only, memory-mapped arrays.
        tiles = torch.from_numpy(np.array(features)).to(self._device)
        return self._network.prepare(tiles, self._dtype)

    def _load(self) -> None:
        shape = (sum(self._rows), self._network.shape.dimension)
        self._everything = torch.empty(shape, dtype=self._dtype, device=self._device)
        self._resident = list(torch.split(self._everything, self._rows))
        for place, bag in zip(self._resident, self._bags, strict=True):
            place.copy_(self._read(_all_versions(bag, self._network.shape.context)))

    def _drawn(self, bag: int, version: NDArray[np.int64]) -> Tensor:
        if self._resident is None:
            return self._read(_one_version(self._bags[bag], version, self._network.shape.context))
        rows = np.arange(len(version)) * (1 + self._bags[bag].view_count) + version
        return self._resident[bag][torch.from_numpy(rows).to(self._device)]

    def pack(
        self, chosen: Sequence[int], drawn: Sequence[NDArray[np.int64]] | None = None
    ) -> Tensor:
        """The tiles of these bags end to end, (tiles, dimension); valid until the next call.

        Args:
            chosen: the bags.
            drawn: for each of them the version of each tile, as `ViewDraws.draw` gives it.
        """
        if drawn is not None:
            return self._join([self._drawn(*one) for one in zip(chosen, drawn, strict=True)])
        if self._resident is None or self._everything is None:
            fields = [self._bags[bag].fields(self._network.shape.context) for bag in chosen]
            return self._join([self._read(own) for own in fields])
        first, last = chosen[0], chosen[-1]
        if list(chosen) == list(range(first, last + 1)):
            return self._everything[sum(self._rows[:first]) : sum(self._rows[: last + 1])]
        return self._join([self._resident[bag] for bag in chosen])

    def _join(self, parts: list[Tensor]) -> Tensor:
        # Into the same memory each time: fresh pages for each chunk cost more than the copy.
        rows = sum(len(part) for part in parts)
        if self._buffer is None or len(self._buffer) < rows:
            self._buffer = parts[0].new_empty((rows, parts[0].shape[1]))
        return torch.cat(parts, out=self._buffer[:rows])


def _all_versions(bag: Bag, context: Sequence[int]) -> NDArray[Any]:
    """(tiles * versions, dimension): each tile followed by its views."""
    if bag.views is None:
        return bag.fields(context)
    versions = np.concatenate([bag.features[:, None], bag.views], axis=1)
    return versions.reshape(-1, bag.dimension)


def _one_version(bag: Bag, version: NDArray[np.int64], context: Sequence[int]) -> NDArray[Any]:
    """(tiles, dimension): of each tile its features (0) or one of its views."""
    features = np.array(bag.fields(context))
    if bag.views is not None:
        augmented = np.flatnonzero(version)
        features[augmented] = bag.views[augmented, version[augmented] - 1]
    return features
