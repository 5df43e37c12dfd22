"""A trained bag network: how it predicts, where it looks, how it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import AttentionMap, Bag, CohortData, prediction_frame
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.clam import ClamPool
from crpnet_bench.models.crpnet import (
    AttentionPool,
    BagNetwork,
    Classifier,
    NetworkShape,
    Pool,
    member_generators,
)
from crpnet_bench.models.gated import GatedAttentionPool
from crpnet_bench.models.heads import HEADS, Head
from crpnet_bench.models.multiscale import MultiScalePool
from crpnet_bench.models.pooling import MaxPool, MeanPool
from crpnet_bench.models.training import cpu_threads
from crpnet_bench.models.training_log import LossHistory

__all__ = [
    "NETWORK_KIND",
    "POOLS",
    "FittedNetwork",
    "NetworkCard",
    "bag_outputs",
    "build_network",
    "check_bags",
    "load_network",
    "pool_context",
]

NETWORK_KIND = "network"

PoolMaker = Callable[[NetworkShape, Sequence[torch.Generator]], Pool]
POOLS: Mapping[str, PoolMaker] = {
    "attention": AttentionPool,
    "gated attention": GatedAttentionPool,
    "one attention a scale": MultiScalePool,
    "clam": ClamPool,
    "mean": MeanPool,
    "max": MaxPool,
}


@dataclass(frozen=True)
class NetworkCard:
    """What has to be known of a fitted network beside its weights; written as JSON.

    Attributes:
        name, title: of the model.
        pool, head: keys of `POOLS` and `HEADS`.
        head_state: what the head learned of the training patients.
        seed: of the fit.
        members: initialisations whose probabilities are averaged.
        threads: CPU threads of fit and prediction.
        precision: in which the attention layer was trained.
        standardized: whether features were standardised by the training tiles.
        cohort: where the training patients come from.
        feature_fingerprint: of tiling and encoder; bags made otherwise are refused.
        training_bags: how many bags the network was fitted on.
        final_loss: of each member, at its last iteration.
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
    head_state: Mapping[str, Any] = field(default_factory=dict)


def build_network(
    pool: str, shape: NetworkShape, generators: Sequence[torch.Generator], device: torch.device
) -> BagNetwork:
    """The network of that pool with fresh weights, one member a generator."""
    made = POOLS[pool](shape, generators)
    classifier = Classifier(replace(shape, dimension=made.dimension), generators)
    return BagNetwork(shape, made, classifier).to(device)


def pool_context(pool: str) -> tuple[int, ...]:
    """How many times as wide the fields are that a pool reads beside each tile; mostly none."""
    context: tuple[int, ...] = getattr(POOLS[pool], "context", ())
    return context


def check_bags(
    patients: Sequence[str],
    bags: Sequence[Bag],
    dimension: int,
    name: str,
    context: Sequence[int] = (),
) -> None:
    """Refuse bags of another dimension or without the wider fields, and what is no number.

    Args:
        patients: whose bags they are.
        bags: one each.
        dimension: of a tile's own features.
        name: of the model.
        context: the wider fields that the network reads beside the tiles.

    Raises:
        ModelError: naming the patient.
    """
    for patient, bag in zip(patients, bags, strict=True):
        if bag.dimension != dimension:
            raise ModelError(
                f"{name}: the features of patient {patient!r} have {bag.dimension} dimensions; "
                f"expected {dimension}; extract all slides with one encoder"
            )
        if not set(context) <= set(bag.context):
            raise ModelError(
                f"{name}: the features of patient {patient!r} lack the fields {list(context)} "
                f"times as wide; extract with tiling.context_factors = {list(context)}"
            )
        if not np.isfinite(bag.fields(context)).all():
            raise ModelError(
                f"{name}: the features of patient {patient!r} hold NaN or infinity; "
                "expected finite numbers; extract that patient's slides again"
            )


def bag_outputs(network: BagNetwork, bags: Sequence[Bag]) -> NDArray[np.float32]:
    """What the network says of each bag, (bags, members, outputs).

    One bag at a time in float32, so that no bag's output depends on the others.
    """
    shape = (len(bags), network.members, network.shape.outputs)
    result = np.empty(shape, dtype=np.float32)
    with torch.inference_mode():
        for row, bag in enumerate(bags):
            tiles = _tiles(network, bag)
            result[row] = network(tiles, [len(tiles)])[0].cpu().numpy()
    return result


def _tiles(network: BagNetwork, bag: Bag) -> torch.Tensor:
    # A copy: torch does not take read-only, memory-mapped arrays.
    features = np.array(bag.fields(network.shape.context))
    return network.prepare(torch.from_numpy(features).to(network.offset.device))


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network with all its members, locked."""

    card: NetworkCard
    network: BagNetwork
    history: LossHistory | None = None  # of the fit; not stored with the weights

    @cached_property
    def head(self) -> Head:
        """How the outputs are read."""
        return HEADS[self.card.head].restore(**self.card.head_state)

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
        """Risk and probability, averaged over the members as the head says.

        The probability is the mean of the members' probabilities; NaN where the head gives none.

        Raises:
            ModelError: bags of another encoder or dimension.
        """
        outputs = self._outputs(data)
        probability = self.head.member_probabilities(outputs).mean(axis=1)
        return self._frame(data, self.head.risk(outputs), probability)

    def members(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability of each member; as `predict`, with the column `member`."""
        outputs = self._outputs(data)
        risk = self.head.member_risks(outputs)
        probability = self.head.member_probabilities(outputs)
        frames = [
            self._frame(data, risk[:, member], probability[:, member]).assign(member=member)
            for member in range(self.network.members)
        ]
        return pd.concat(frames)

    def attention(self, bag: Bag) -> AttentionMap:
        """Where the network looks in this bag, and what it would say of each tile alone.

        Raises:
            ModelError: features of another dimension.
        """
        self._check(["(this bag)"], [bag])
        with self._inference():
            tiles = _tiles(self.network, bag)
            weights = self.network.pool.weights(tiles).expand(-1, self.network.members)
            outputs = self.network.tile_outputs(tiles).cpu().numpy()
        member_weights = weights.T.cpu().numpy()
        member_logits = self.head.tile_logits(outputs).T.astype(np.float32)
        return AttentionMap(
            weights=member_weights.mean(axis=0),
            tile_logit=member_logits.mean(axis=0),
            member_weights=member_weights,
            member_tile_logit=member_logits,
        )

    def checkpoint(self) -> Checkpoint:
        """Weights and card; `load_network` reads them."""
        tensors = {key: value.cpu().numpy() for key, value in self.network.state_dict().items()}
        state = {"card": asdict(self.card), "shape": asdict(self.network.shape)}
        return Checkpoint(NETWORK_KIND, state, tensors)

    def save(self, folder: Path) -> None:
        """Write the checkpoint."""
        write_checkpoint(self.checkpoint(), folder)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        with cpu_threads(self.card.threads), torch.inference_mode():
            yield

    def _outputs(self, data: CohortData) -> NDArray[np.float32]:
        """(patients, members, outputs); NaN for patients without a bag."""
        self._refuse_other_features(data)
        missing = data.without_bag()
        found = [patient for patient in data.patient_ids if patient not in missing]
        bags = [data.bags[patient] for patient in found]
        self._check(found, bags)
        shape = (len(data), self.network.members, self.network.shape.outputs)
        result = np.full(shape, np.nan, dtype=np.float32)
        rows = [row for row, patient in enumerate(data.patient_ids) if patient not in missing]
        with self._inference():
            result[rows] = bag_outputs(self.network, bags)
        return result

    def _check(self, patients: Sequence[str], bags: Sequence[Bag]) -> None:
        shape = self.network.shape
        own = shape.dimension // (1 + len(shape.context))
        check_bags(patients, bags, own, self.name, shape.context)

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


def _read_shape(state: Mapping[str, Any]) -> NetworkShape:
    context = tuple(state.get("context", ()))  # an older checkpoint has none
    return NetworkShape(**{**state, "context": context})


def load_network(checkpoint: Checkpoint, device: str = "cpu") -> FittedNetwork:
    """A fitted network from what `read_checkpoint` gave.

    Raises:
        ModelError: the checkpoint's weights or settings do not make such a network.
    """
    card_state: dict[str, Any] = dict(checkpoint.state["card"])
    for key in ("final_loss", "notes"):
        card_state[key] = tuple(card_state[key])
    state = card_state.get("head_state", {})  # an older checkpoint has none
    card_state["head_state"] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in state.items()
    }
    try:
        card = NetworkCard(**card_state)
        shape = _read_shape(checkpoint.state["shape"])
        if card.head not in HEADS:
            raise ModelError(f"checkpoint of {card.name}: unknown head {card.head!r}")
        HEADS[card.head].restore(**card.head_state)
        network = build_network(
            card.pool, shape, member_generators(0, card.members), torch.device(device)
        )
        tensors = {key: torch.from_numpy(value) for key, value in checkpoint.tensors.items()}
        network.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(
            f"checkpoint of {card_state.get('name')!r} does not fit this program: {error}"
        ) from error
    return FittedNetwork(card, network.eval().requires_grad_(requires_grad=False))
