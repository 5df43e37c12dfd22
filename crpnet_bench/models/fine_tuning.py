"""CRPNet trained on the tiles themselves: encoder, attention and classifier together.

The article augments tiles before each training iteration and sends them through an ImageNet
ResNet. With stored features a network sees the same few views of a tile again and again, and the
ResNet stays as it is; here each iteration reads tiles from the slides, augments them anew, and may
train the ResNet (`fine_tuning.trainable`). What the article states and what it leaves open is
listed in docs/models.md.

A prediction takes all tiles of a bag, as they are. Once they are encoded, everything else is that
of a network on stored features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crpnet_bench.config import IMPORTED, RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.augmentation import Strength
from crpnet_bench.models.backbones import load_backbone
from crpnet_bench.models.base import AttentionMap, Bag, CohortData
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.crpnet import member_generators
from crpnet_bench.models.fine_tuning_steps import (
    ahead,
    fine_tune,
    pixels_of,
    reproducible_convolutions,
)
from crpnet_bench.models.fitted_networks import (
    NETWORK_KIND,
    FittedNetwork,
    NetworkCard,
    build_network,
    check_bags,
    load_network,
)
from crpnet_bench.models.heads import HEADS, Lesson
from crpnet_bench.models.heads.cross_entropy import EverRecurrence
from crpnet_bench.models.networks import network_shape
from crpnet_bench.models.tile_encoder import TileEncoder
from crpnet_bench.models.training import cpu_threads, standardize, training_dtype
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["FINE_TUNED_KIND", "FineTunedNetwork", "FineTuningModel", "load_fine_tuned"]

FINE_TUNED_KIND = "fine-tuned network"
_NETWORK, _ENCODER = "network.", "encoder."  # of the tensors' names
_READ_TILES = 64  # neighbours, read as few regions of the slide
_ONE = "the bag"


@dataclass(frozen=True)
class FineTuningModel:
    """An encoder and a bag network to be fitted together; the members share the encoder.

    Raises:
        ConfigError: the run's features are another tool's, so there is no encoder.
    """

    name: str
    title: str
    config: RunConfig
    device: str = "cpu"
    pool: str = "attention"
    head: str = EverRecurrence.name
    needs_bags: bool = True

    def __post_init__(self) -> None:
        """Refuse features that cannot be made here."""
        encoder = self.config.encoder.name
        if encoder.startswith(IMPORTED):
            raise ConfigError(
                f"models: {self.name!r} trains an encoder, but encoder.name = {encoder!r} stands "
                "for features of another tool; name an encoder of this program"
            )

    def fit(
        self, data: CohortData, *, seed: int, progress: Progress | None = None
    ) -> FineTunedNetwork:
        """Train on the patients that have a bag.

        Raises:
            ModelError: no bags, slides that cannot be read, one class only, or a loss that is
                not finite.
        """
        without = data.without_bag()
        patients = [patient for patient in data.patient_ids if patient not in without]
        if not patients:
            raise ModelError(f"{self.name}: none of {len(data)} training patients has tiles")
        lesson = HEADS[self.head].learn(data, patients, self.name, self.config)
        bags = [data.bags[patient] for patient in lesson.patients]
        settings = self.config.train
        with cpu_threads(settings.threads):
            encoder = self._encoder()
            check_bags(lesson.patients, bags, encoder.dim, self.name)
            _try_slides(bags, self.name)
            generators = member_generators(seed, settings.inits)
            shape = network_shape(self.config, encoder.dim, lesson.head.outputs)
            network = build_network(self.pool, shape, generators, torch.device(self.device))
            if self.config.model.standardize:
                standardize(network, bags)
            losses = fine_tune(
                network,
                encoder,
                bags,
                lesson.targets,
                lesson.head,
                self.config,
                seed=seed,
                generators=generators,
                description=f"training {self.name}",
                progress=progress or SilentProgress(),
            )
        card = self._card(data, lesson, seed, losses[-1], encoder, without)
        network.eval().requires_grad_(requires_grad=False)
        encoder.requires_grad_(requires_grad=False)
        return FineTunedNetwork(FittedNetwork(card, network), encoder, self.config.encoder.name)

    def _encoder(self) -> TileEncoder:
        settings, device = self.config.fine_tuning, torch.device(self.device)
        return TileEncoder(
            load_backbone(self.config.encoder.name),
            device,
            trainable=settings.trainable,
            chunk_tiles=settings.chunk_tiles,
            precision=training_dtype(self.config.train.precision, device),
            strength=Strength().times(settings.strength),
        )

    def _card(
        self,
        data: CohortData,
        lesson: Lesson,
        seed: int,
        last_loss: NDArray[np.float32],
        encoder: TileEncoder,
        without: Mapping[str, str],
    ) -> NetworkCard:
        return NetworkCard(
            name=self.name,
            title=self.title,
            pool=self.pool,
            head=self.head,
            head_state=asdict(lesson.head),
            seed=seed,
            members=self.config.train.inits,
            threads=self.config.train.threads,
            precision=str(encoder.precision).removeprefix("torch."),
            standardized=self.config.model.standardize,
            cohort=data.cohort,
            feature_fingerprint=data.feature_fingerprint,
            training_bags=len(lesson.patients),
            final_loss=tuple(float(loss) for loss in last_loss),
            notes=self._notes(len(without), encoder.chunk_tiles) + lesson.notes,
            left_out={**without, **lesson.left_out},
        )

    def _notes(self, left_out: int, chunk_tiles: int) -> tuple[str, ...]:
        settings = self.config.fine_tuning
        trained = {"all": "all of", "last-stage": "the last stage of", "none": "nothing of"}
        notes = [
            f"{self.name}: {settings.iterations} steps on up to {settings.tiles_per_bag} tiles a "
            f"bag, augmented anew in each; trained {trained[settings.trainable]} "
            f"{self.config.encoder.name}, which the members share"
        ]
        if left_out:
            noun = "patient" if left_out == 1 else "patients"
            notes.append(f"{left_out} training {noun} without tiles left out")
        if chunk_tiles != settings.chunk_tiles:
            notes.append(
                f"{self.name}: memory ran out, so tiles were encoded {chunk_tiles} at a time, "
                f"not {settings.chunk_tiles} (fine_tuning.chunk_tiles)"
            )
        return tuple(notes)


def _try_slides(bags: Sequence[Bag], name: str) -> None:
    """Read a tile of each bag, so that a slide that is gone is told now and not hours later."""
    readers = [pixels_of(bag, name) for bag in bags]
    first = np.zeros(1, dtype=np.int64)
    with closing(ahead(lambda reader: reader.read(first), readers)) as tiles:
        for _ in tiles:
            pass


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
