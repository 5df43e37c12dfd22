"""CRPNet trained on the tiles themselves: encoder, attention and classifier together.

The article augments tiles before each training iteration and sends them through an ImageNet
ResNet. With stored features a network sees the same few views of a tile again and again, and the
ResNet stays as it is; here each iteration reads tiles from the slides, augments them anew, and may
train the ResNet (`fine_tuning.trainable`). What the article states and what it leaves open is
listed in docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np
import torch

from crpnet_bench.config import IMPORTED, RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.augmentation import Strength
from crpnet_bench.models.backbones import load_backbone
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.crpnet import member_generators
from crpnet_bench.models.determinism import deterministic_algorithms
from crpnet_bench.models.fine_tuned_network import FineTunedNetwork
from crpnet_bench.models.fine_tuning_steps import ahead, fine_tune, pixels_of
from crpnet_bench.models.fitted_networks import (
    FittedNetwork,
    NetworkCard,
    build_network,
    check_bags,
)
from crpnet_bench.models.heads import HEADS, Lesson
from crpnet_bench.models.heads.cross_entropy import EverRecurrence
from crpnet_bench.models.networks import network_shape
from crpnet_bench.models.tile_encoder import TileEncoder
from crpnet_bench.models.training import cpu_threads, standardize, training_dtype
from crpnet_bench.models.training_log import LossHistory
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["FINE_TUNED", "FineTuningModel", "tile_encoder"]

FINE_TUNED = "crpnet-finetuned"


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
        deterministic = deterministic_algorithms(
            torch.device(self.device), wanted=settings.deterministic
        )
        with cpu_threads(settings.threads), deterministic:
            encoder = tile_encoder(self.config, self.device)
            check_bags(lesson.patients, bags, encoder.dim, self.name)
            _try_slides(bags, self.name)
            generators = member_generators(seed, settings.inits)
            shape = network_shape(self.config, encoder.dim, lesson.head.outputs)
            network = build_network(self.pool, shape, generators, torch.device(self.device))
            if self.config.model.standardize:
                standardize(network, bags)
            history = fine_tune(
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
        card = self._card(data, lesson, seed, history, encoder, without)
        network.eval().requires_grad_(requires_grad=False)
        encoder.requires_grad_(requires_grad=False)
        fitted = FittedNetwork(card, network, history if settings.log else None)
        return FineTunedNetwork(fitted, encoder, self.config.encoder.name)

    def _card(
        self,
        data: CohortData,
        lesson: Lesson,
        seed: int,
        history: LossHistory,
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
            final_loss=history.final_loss,
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
        if self.config.train.patience:
            notes.append(
                f"{self.name}: train.patience = {self.config.train.patience} ignored: all "
                "fine_tuning.iterations are made"
            )
        if chunk_tiles != settings.chunk_tiles:
            notes.append(
                f"{self.name}: memory ran out, so tiles were encoded {chunk_tiles} at a time, "
                f"not {settings.chunk_tiles} (fine_tuning.chunk_tiles)"
            )
        return tuple(notes)


def tile_encoder(config: RunConfig, device: str) -> TileEncoder:
    """The run's encoder, to be trained as its settings say."""
    settings, where = config.fine_tuning, torch.device(device)
    return TileEncoder(
        load_backbone(config.encoder.name),
        where,
        trainable=settings.trainable,
        chunk_tiles=settings.chunk_tiles,
        precision=training_dtype(config.train.precision, where),
        strength=Strength().times(settings.strength),
    )


def _try_slides(bags: Sequence[Bag], name: str) -> None:
    """Read a tile of each bag, so that a slide that is gone is told now and not hours later."""
    readers = [pixels_of(bag, name) for bag in bags]
    first = np.zeros(1, dtype=np.int64)
    with closing(ahead(lambda reader: reader.read(first), readers)) as tiles:
        for _ in tiles:
            pass
