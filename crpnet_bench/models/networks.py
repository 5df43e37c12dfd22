"""Bag networks as risk models: from a cohort's bags to a fitted network that predicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import special

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import AttentionMap, Bag, CohortData, prediction_frame
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.crpnet import (
    AttentionPool,
    BagNetwork,
    Classifier,
    NetworkShape,
    Pool,
    member_generators,
)
from crpnet_bench.models.heads import EverRecurrence, Head
from crpnet_bench.models.pooling import MaxPool, MeanPool
from crpnet_bench.models.training import cpu_threads, standardize, train, training_dtype
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["HEADS", "NETWORK_KIND", "POOLS", "FittedNetwork", "NetworkModel", "load_network"]

NETWORK_KIND = "network"

PoolMaker = Callable[[NetworkShape, Sequence[torch.Generator]], Pool]
POOLS: Mapping[str, PoolMaker] = {"attention": AttentionPool, "mean": MeanPool, "max": MaxPool}
HEADS: Mapping[str, Head] = {head.name: head for head in (EverRecurrence(),)}


@dataclass(frozen=True)
class NetworkCard:
    """What has to be known of a fitted network beside its weights; written as JSON.

    Attributes:
        name, title: of the model.
        pool, head: keys of `POOLS` and `HEADS`.
        seed: of the fit.
        members: initialisations whose probabilities are averaged.
        threads: CPU threads of fit and prediction.
        precision: in which the attention layer was trained.
        standardized: whether features were standardised by the training tiles.
        cohort: where the training patients come from.
        feature_fingerprint: of tiling and encoder; bags made otherwise are refused.
        training_bags: how many bags the network was fitted on.
        final_loss: of each member, at the last iteration.
        notes, left_out: as in `FittedModel`.
    """

    name: str
    title: str
    pool: str
    head: str
    seed: int
    members: int
    threads: int
    precision: str
    standardized: bool
    cohort: str
    feature_fingerprint: str
    training_bags: int
    final_loss: tuple[float, ...]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)


def _build(
    pool: str, shape: NetworkShape, generators: Sequence[torch.Generator], device: torch.device
) -> BagNetwork:
    network = BagNetwork(shape, POOLS[pool](shape, generators), Classifier(shape, generators))
    return network.to(device)


@dataclass(frozen=True)
class NetworkModel:
    """A bag network to be fitted: pool, head and settings."""

    name: str
    title: str
    pool: str
    config: RunConfig
    device: str = "cpu"
    head: Head = EverRecurrence()
    needs_bags: bool = True

    def fit(
        self, data: CohortData, *, seed: int, progress: Progress | None = None
    ) -> FittedNetwork:
        """Train all members on the patients that have a bag.

        Raises:
            ModelError: no bags, bags of different dimension, one class only, or a loss that
                is not finite.
        """
        left_out = data.without_bag()
        patients = [patient for patient in data.patient_ids if patient not in left_out]
        if not patients:
            raise ModelError(f"{self.name}: none of {len(data)} training patients has tiles")
        bags = [data.bags[patient] for patient in patients]
        _check_bags(patients, bags, bags[0].dimension, self.name)
        targets = self.head.targets(data, patients, self.name)
        settings = self.config.train
        device = torch.device(self.device)
        with cpu_threads(settings.threads):
            generators = member_generators(seed, settings.inits)
            network = _build(self.pool, self._shape(bags[0].dimension), generators, device)
            if self.config.model.standardize:
                standardize(network, bags)
            losses = train(
                network,
                bags,
                targets,
                self.head,
                settings,
                seed=seed,
                generators=generators,
                description=f"training {self.name}",
                progress=progress or SilentProgress(),
            )
        dtype = training_dtype(settings.precision, device)
        card = NetworkCard(
            name=self.name,
            title=self.title,
            pool=self.pool,
            head=self.head.name,
            seed=seed,
            members=settings.inits,
            threads=settings.threads,
            precision=str(dtype).removeprefix("torch."),
            standardized=self.config.model.standardize,
            cohort=data.cohort,
            feature_fingerprint=data.feature_fingerprint,
            training_bags=len(bags),
            final_loss=tuple(float(loss) for loss in losses[-1]),
            notes=_fit_notes(len(left_out), bags, self.config.encoder.views),
            left_out=left_out,
        )
        return FittedNetwork(card, network.eval().requires_grad_(requires_grad=False))

    def _shape(self, dimension: int) -> NetworkShape:
        model = self.config.model
        return NetworkShape(
            dimension=dimension,
            attention_dim=model.attention_dim,
            hidden_dim=model.hidden_dim,
            outputs=self.head.outputs,
            dropout=model.dropout,
            tile_budget=self.config.train.tile_budget,
        )


def _fit_notes(left_out: int, bags: Sequence[Bag], views_asked: int) -> tuple[str, ...]:
    notes = []
    if left_out:
        noun = "patient" if left_out == 1 else "patients"
        notes.append(f"{left_out} training {noun} without tiles left out")
    views = max(bag.view_count for bag in bags)
    if views:
        notes.append(
            "trained with augmented views: each step drew, for each tile, its features or one of "
            f"{views} stored {'view' if views == 1 else 'views'}"
        )
    elif views_asked:
        notes.append(
            f"trained without augmented views: encoder.views is {views_asked}, but the feature "
            "files hold none"
        )
    return tuple(notes)


def _check_bags(patients: Sequence[str], bags: Sequence[Bag], dimension: int, name: str) -> None:
    for patient, bag in zip(patients, bags, strict=True):
        if bag.dimension != dimension:
            raise ModelError(
                f"{name}: the features of patient {patient!r} have {bag.dimension} dimensions; "
                f"expected {dimension}; extract all slides with one encoder"
            )
        if not np.isfinite(bag.features).all():
            raise ModelError(
                f"{name}: the features of patient {patient!r} hold NaN or infinity; "
                "expected finite numbers; extract that patient's slides again"
            )


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network with all its members, locked.

    Predictions are made one bag at a time in float32, so that a patient's risk does not depend
    on who else is in the data.
    """

    card: NetworkCard
    network: BagNetwork

    @property
    def name(self) -> str:
        """As in the run's settings."""
        return self.card.name

    @property
    def title(self) -> str:
        """As it is printed."""
        return self.card.title

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader has to know about the fit."""
        return self.card.notes

    @property
    def left_out(self) -> Mapping[str, str]:
        """Training patients without tiles, with the reason."""
        return self.card.left_out

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability, averaged over the members.

        The probability is the mean of the members' probabilities; the risk is its log-odds,
        which orders patients in the same way and does not saturate.

        Raises:
            ModelError: bags of another encoder or dimension.
        """
        log_odds = self._log_odds(data)
        # On the log scale, where probabilities of almost 0 and 1 keep their order.
        event = special.logsumexp(special.log_expit(log_odds), axis=1)
        no_event = special.logsumexp(special.log_expit(-log_odds), axis=1)
        return self._frame(data, event - no_event, special.expit(log_odds).mean(axis=1))

    def members(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability of each member; as `predict`, with the column `member`."""
        log_odds = self._log_odds(data)
        frames = [
            self._frame(data, log_odds[:, member], special.expit(log_odds[:, member])).assign(
                member=member
            )
            for member in range(self.network.members)
        ]
        return pd.concat(frames)

    def attention(self, bag: Bag) -> AttentionMap:
        """Where the network looks in this bag, and what it would say of each tile alone.

        Raises:
            ModelError: features of another dimension.
        """
        _check_bags(["(this bag)"], [bag], self.network.shape.dimension, self.name)
        with self._inference():
            tiles = self._tiles(bag)
            weights = self.network.pool.weights(tiles).expand(-1, self.network.members)
            logits = HEADS[self.card.head].log_odds(self.network.tile_outputs(tiles))
        member_weights = weights.T.cpu().numpy()
        member_logits = logits.T.cpu().numpy()
        return AttentionMap(
            weights=member_weights.mean(axis=0),
            tile_logit=member_logits.mean(axis=0),
            member_weights=member_weights,
            member_tile_logit=member_logits,
        )

    def save(self, folder: Path) -> None:
        """Write weights and card; `load_network` reads them."""
        tensors = {key: value.cpu().numpy() for key, value in self.network.state_dict().items()}
        state = {"card": asdict(self.card), "shape": asdict(self.network.shape)}
        write_checkpoint(Checkpoint(NETWORK_KIND, state, tensors), folder)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with cpu_threads(self.card.threads), torch.inference_mode():
            yield

    def _tiles(self, bag: Bag) -> torch.Tensor:
        features = torch.from_numpy(np.array(bag.features)).to(self.network.offset.device)
        return self.network.prepare(features)

    def _log_odds(self, data: CohortData) -> NDArray[np.float64]:
        """(patients, members); NaN for patients without a bag."""
        self._refuse_other_features(data)
        missing = data.without_bag()
        found = [patient for patient in data.patient_ids if patient not in missing]
        bags = [data.bags[patient] for patient in found]
        _check_bags(found, bags, self.network.shape.dimension, self.name)
        head = HEADS[self.card.head]
        result = np.full((len(data), self.network.members), np.nan)
        with self._inference():
            for row, patient in enumerate(data.patient_ids):
                if patient not in missing:
                    tiles = self._tiles(data.bags[patient])
                    outputs = self.network(tiles, [len(tiles)])
                    result[row] = head.log_odds(outputs)[0].double().cpu().numpy()
        return result

    def _refuse_other_features(self, data: CohortData) -> None:
        known, found = self.card.feature_fingerprint, data.feature_fingerprint
        if known and found and known != found:
            raise ModelError(
                f"{self.name}: features with fingerprint {found}; the network was fitted on "
                f"{known}; extract with the same encoder, magnification and tiling"
            )

    def _frame(
        self, data: CohortData, risk: NDArray[np.float64], probability: NDArray[np.float64]
    ) -> pd.DataFrame:
        return prediction_frame(data.patient_ids, risk, probability, data.without_bag())


def load_network(checkpoint: Checkpoint, device: str = "cpu") -> FittedNetwork:
    """A fitted network from what `read_checkpoint` gave.

    Raises:
        ModelError: the checkpoint's weights or settings do not make such a network.
    """
    card_state: dict[str, Any] = dict(checkpoint.state["card"])
    for key in ("final_loss", "notes"):
        card_state[key] = tuple(card_state[key])
    try:
        card = NetworkCard(**card_state)
        shape = NetworkShape(**checkpoint.state["shape"])
        if card.head not in HEADS:
            raise ModelError(f"checkpoint of {card.name}: unknown head {card.head!r}")
        network = _build(card.pool, shape, member_generators(0, card.members), torch.device(device))
        tensors = {key: torch.from_numpy(value) for key, value in checkpoint.tensors.items()}
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"checkpoint of {card_state.get('name')!r} does not fit this program: {error}"
        ) from error
    return FittedNetwork(card, network.eval().requires_grad_(requires_grad=False))
