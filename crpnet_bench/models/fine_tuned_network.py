"""A fitted CRPNet with an encoder of its own: how it predicts, where it looks, how it is stored.

A prediction takes all tiles of a bag, as they are. Once they are encoded, everything else is that
of a network on stored features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.backbones import load_backbone
from crpnet_bench.models.base import AttentionMap, Bag, CohortData
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.fine_tuning_steps import ahead, pixels_of, reproducible_convolutions
from crpnet_bench.models.fitted_networks import NETWORK_KIND, FittedNetwork, load_network
from crpnet_bench.models.tile_encoder import TileEncoder
from crpnet_bench.models.training import cpu_threads
from crpnet_bench.models.training_log import LossHistory

__all__ = ["FINE_TUNED_KIND", "FineTunedNetwork", "load_fine_tuned"]

FINE_TUNED_KIND = "fine-tuned network"
_NETWORK, _ENCODER = "network.", "encoder."  # of the tensors' names
_READ_TILES = 64  # neighbours, read as few regions of the slide
_ONE = "the bag"


@dataclass(frozen=True)
class _Look:
    """What the network says of one bag; small, unlike the bag's features.

    Attributes:
        prediction, members: rows of `predict` and `members`.
        attention: of its tiles.
    """

    prediction: pd.DataFrame
    members: pd.DataFrame
    attention: AttentionMap


@dataclass(frozen=True)
class FineTunedNetwork:
    """A fitted network and its own encoder, locked.

    A bag is read and encoded once, when it is first asked for; what was said of it is kept.

    Attributes:
        network: reads features that `encoder` made.
        encoder: with the trained weights.
        encoder_name: the architecture, as in the configuration.
    """

    network: FittedNetwork
    encoder: TileEncoder
    encoder_name: str
    _looks: dict[int, tuple[Bag, _Look]] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        """As in the run's settings."""
        return self.network.name

    @property
    def title(self) -> str:
        """As it is printed."""
        return self.network.title

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader has to know about the fit."""
        return self.network.notes

    @property
    def left_out(self) -> Mapping[str, str]:
        """Training patients without tiles, with the reason."""
        return self.network.left_out

    @property
    def history(self) -> LossHistory | None:
        """Losses of the fit, where they are kept."""
        return self.network.history

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability from all tiles, unaugmented.

        A patient whose slides cannot be read is missing, with the reason.

        Raises:
            ModelError: bags of another encoder, magnification or tiling.
        """
        looks, others = self._looked_at(data)
        missing = self.network.predict(others)
        said = [look.prediction.set_axis([patient]) for patient, look in looks.items()]
        return _stacked([missing, *said]).loc[data.patient_ids].rename_axis("patient_id")

    def members(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability of each member; as `predict`, with the column `member`."""
        looks, others = self._looked_at(data)
        missing = self.network.members(others)
        said = [look.members.rename(index={_ONE: patient}) for patient, look in looks.items()]
        return _stacked([missing, *said]).sort_values("member", kind="stable")

    def attention(self, bag: Bag) -> AttentionMap:
        """Where the network looks in this bag, and what it would say of each tile alone.

        Raises:
            ModelError: a slide of the bag cannot be read.
        """
        return self._look(bag).attention

    def save(self, folder: Path) -> None:
        """Write the weights of both; `load_fine_tuned` reads them."""
        network = self.network.checkpoint()
        weights = self.encoder.network.state_dict()
        tensors = {f"{_NETWORK}{key}": value for key, value in network.tensors.items()} | {
            f"{_ENCODER}{key}": value.cpu().numpy() for key, value in weights.items()
        }
        state = {
            "network": network.state,
            "encoder": self.encoder_name,
            "chunk_tiles": self.encoder.chunk_tiles,
        }
        write_checkpoint(Checkpoint(FINE_TUNED_KIND, state, tensors), folder)

    def _looked_at(self, data: CohortData) -> tuple[dict[str, _Look], CohortData]:
        """What is said of each patient whose tiles can be read, and the other patients."""
        reasons = data.without_bag()
        looks = {}
        for patient in data.patient_ids:
            if patient not in reasons:
                try:
                    looks[patient] = self._look(data.bags[patient])
                except ModelError as error:
                    reasons[patient] = str(error)
        others = data.take([patient for patient in data.patient_ids if patient in reasons])
        return looks, replace(others, bags={}, bag_reasons=reasons)

    def _look(self, bag: Bag) -> _Look:
        known = self._looks.get(id(bag))
        if known is None:
            encoded = replace(bag, features=self._encode(bag), views=None, pixels=None)
            alone = CohortData(pd.DataFrame(index=pd.Index([_ONE])), bags={_ONE: encoded})
            look = _Look(
                self.network.predict(alone),
                self.network.members(alone),
                self.network.attention(encoded),
            )
            known = self._looks[id(bag)] = (bag, look)
        return known[1]

    def _encode(self, bag: Bag) -> NDArray[np.float32]:
        """Features of all tiles of the bag, (tiles, dimension)."""
        reader = pixels_of(bag, self.name)
        parts = np.split(np.arange(len(bag)), range(_READ_TILES, len(bag), _READ_TILES))
        with (
            cpu_threads(self.network.card.threads),
            torch.inference_mode(),
            reproducible_convolutions(),
            closing(ahead(reader.read, parts)) as pixels,
        ):
            features = [self._features(torch.from_numpy(tiles)) for tiles in pixels]
        return np.concatenate(features)

    def _features(self, tiles: torch.Tensor) -> NDArray[np.float32]:
        while True:
            try:
                features: NDArray[np.float32] = self.encoder(tiles).cpu().numpy()
            except torch.OutOfMemoryError as error:
                self.encoder.halve_chunks(error)
            else:
                return features


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    return pd.concat(filled) if filled else frames[0]


def load_fine_tuned(checkpoint: Checkpoint, device: str = "cpu") -> FineTunedNetwork:
    """A fitted network and its encoder from what `read_checkpoint` gave.

    Raises:
        ModelError: the checkpoint's weights or settings do not make such a network.
    """

    def part(prefix: str) -> dict[str, NDArray[Any]]:
        return {
            key.removeprefix(prefix): value
            for key, value in checkpoint.tensors.items()
            if key.startswith(prefix)
        }

    try:
        state = checkpoint.state["network"]
        name, chunk_tiles = checkpoint.state["encoder"], checkpoint.state["chunk_tiles"]
    except KeyError as error:
        raise ModelError(f"checkpoint of a {checkpoint.kind}: {error} is missing") from error
    network = load_network(Checkpoint(NETWORK_KIND, state, part(_NETWORK)), device)
    weights = {key: torch.from_numpy(value) for key, value in part(_ENCODER).items()}
    encoder = TileEncoder(
        load_backbone(name, weights),
        torch.device(device),
        chunk_tiles=chunk_tiles,
        precision=getattr(torch, network.card.precision),
    )
    return FineTunedNetwork(network, encoder, name)
