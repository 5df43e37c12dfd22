"""Bag networks as risk models: from a cohort's bags to a fitted network that predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import Bag, CohortData, training_labels
from crpnet_bench.models.crpnet import NetworkShape, member_generators
from crpnet_bench.models.determinism import deterministic_algorithms
from crpnet_bench.models.early_stopping import set_aside
from crpnet_bench.models.fitted_networks import (
    FittedNetwork,
    NetworkCard,
    bag_outputs,
    build_network,
    check_bags,
    pool_context,
)
from crpnet_bench.models.heads import HEADS
from crpnet_bench.models.heads.cross_entropy import EverRecurrence
from crpnet_bench.models.training import cpu_threads, standardize, train, training_dtype
from crpnet_bench.models.training_log import LossHistory
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["NetworkModel", "network_shape"]


@dataclass(frozen=True)
class NetworkModel:
    """A bag network to be fitted: pool, head (keys of `POOLS` and `HEADS`) and settings."""

    name: str
    title: str
    pool: str
    config: RunConfig
    device: str = "cpu"
    head: str = EverRecurrence.name
    needs_bags: bool = True

    def fit(
        self, data: CohortData, *, seed: int, progress: Progress | None = None
    ) -> FittedNetwork:
        """Train all members on the patients that have a bag.

        Raises:
            ModelError: no bags, bags of different dimension, one class only, or a loss that
                is not finite.
        """
        without = data.without_bag()
        patients = [patient for patient in data.patient_ids if patient not in without]
        if not patients:
            raise ModelError(f"{self.name}: none of {len(data)} training patients has tiles")
        lesson = HEADS[self.head].learn(data, patients, self.name, self.config)
        bags = [data.bags[patient] for patient in lesson.patients]
        context = pool_context(self.pool)
        check_bags(lesson.patients, bags, bags[0].dimension, self.name, context)
        if context:  # wider fields have no views
            bags = [replace(bag, views=None) for bag in bags]
        settings = self.config.train
        device = torch.device(self.device)
        held_out = self._set_aside(data, lesson.patients, seed)
        deterministic = deterministic_algorithms(device, wanted=settings.deterministic)
        with cpu_threads(settings.threads), deterministic:
            generators = member_generators(seed, settings.inits)
            shape = network_shape(self.config, bags[0].dimension, lesson.head.outputs, context)
            network = build_network(self.pool, shape, generators, device)
            if lesson.head.alike:
                network.classifier.begin_alike()
            if self.config.model.standardize:
                standardize(network, bags)
            history = train(
                network,
                bags,
                lesson.targets,
                lesson.head,
                settings,
                seed=seed,
                generators=generators,
                held_out=held_out,
                description=f"training {self.name}",
                progress=progress or SilentProgress(),
            )
            network.eval().requires_grad_(requires_grad=False)
            head = lesson.head
            if head.relative:
                head = head.centred(bag_outputs(network, bags))
        dtype = training_dtype(settings.precision, device)
        card = NetworkCard(
            name=self.name,
            title=self.title,
            pool=self.pool,
            head=self.head,
            head_state=asdict(head),
            seed=seed,
            members=settings.inits,
            threads=settings.threads,
            precision=str(dtype).removeprefix("torch."),
            standardized=self.config.model.standardize,
            cohort=data.cohort,
            feature_fingerprint=data.feature_fingerprint,
            training_bags=len(bags),
            final_loss=history.final_loss,
            notes=_fit_notes(len(without), bags, self.config.encoder.views, context)
            + lesson.notes
            + _stopping_notes(history, len(held_out), len(bags)),
            left_out={**without, **lesson.left_out},
        )
        return FittedNetwork(card, network, history if settings.log else None)

    def _set_aside(self, data: CohortData, patients: Sequence[str], seed: int) -> Sequence[int]:
        """Positions of the training patients who decide when a member stops."""
        settings = self.config.train
        if not settings.patience:
            return []
        labels = training_labels(data, patients, self.name)
        return [int(place) for place in set_aside(labels, settings.inner_validation, seed)]


def network_shape(
    config: RunConfig, dimension: int, outputs: int, context: tuple[int, ...] = ()
) -> NetworkShape:
    """The sizes that the settings ask for, with fields of that dimension each."""
    model = config.model
    return NetworkShape(
        dimension=dimension * (1 + len(context)),
        attention_dim=model.attention_dim,
        hidden_dim=model.hidden_dim,
        outputs=outputs,
        dropout=model.dropout,
        tile_budget=config.train.tile_budget,
        context=context,
    )


def _stopping_notes(history: LossHistory, held_out: int, bags: int) -> tuple[str, ...]:
    if not held_out:
        return ()
    steps = ", ".join(str(step) for step in history.kept)
    return (
        f"early stopping by the loss on {held_out} of {bags} training patients, set aside: "
        f"weights of step {steps} kept (one a member) of {len(history.training)} steps",
    )


def _fit_notes(
    left_out: int, bags: Sequence[Bag], views_asked: int, context: Sequence[int]
) -> tuple[str, ...]:
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
        why = "wider fields have none" if context else "the feature files hold none"
        notes.append(f"trained without augmented views: encoder.views is {views_asked}, but {why}")
    return tuple(notes)
