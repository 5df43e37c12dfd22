"""What a network learns from: the outcome it is shown, the loss, and how its outputs are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from crpnet_bench.config import ModelConfig, RunConfig
from crpnet_bench.errors import InputError, ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.stats.inputs import Floats, Ints, event_status, same_length, survival_times

__all__ = ["Head", "HeadKind", "Lesson", "Outputs", "follow_up", "without_classes"]

Outputs = NDArray[np.floating[Any]]  # of a network, (bags, members, outputs)


class Head(Protocol):
    """One way of learning from outcomes and of reading what was learned.

    A head is a frozen dataclass whose fields are what it learned of the training patients; they
    are stored with the network. Outputs are of shape (bags, members, outputs).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def name(self) -> str:
        """As in the checkpoint."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers the network gives a bag."""
        ...

    @property
    def alike(self) -> bool:
        """Whether the outputs are one question asked again, and begin with the same weights."""
        ...

    @property
    def joint(self) -> bool:
        """Whether the loss of one bag depends on the others of its batch."""
        ...

    @property
    def relative(self) -> bool:
        """Whether it wants `centred` with the outputs of the training bags after training."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum over the bags, a number a member, (members,)."""
        ...

    def centred(self, outputs: Outputs) -> Self:
        """The head that knows what the trained members say of the training bags."""
        ...

    def member_risks(self, outputs: Outputs) -> Floats:
        """Risk by each member, (bags, members); higher means an earlier event."""
        ...

    def risk(self, outputs: Outputs) -> Floats:
        """One risk a bag of all members, (bags,)."""
        ...

    def member_probabilities(self, outputs: Outputs) -> Floats:
        """Probability of an event during follow-up, (bags, members); NaN where it gives none."""
        ...

    def tile_logits(self, outputs: Outputs) -> Floats:
        """Of bags of one tile, (tiles, members): positive speaks for the event."""
        ...


@dataclass(frozen=True)
class Lesson:
    """What a head makes of the training patients.

    Attributes:
        head: with what it learned of their outcomes.
        patients: who is shown to the network.
        targets: what the loss wants of each of them, (patients, ...).
        left_out: patients who cannot be shown, with the reason.
        notes: what the reader has to know, one sentence each.
    """

    head: Head
    patients: Sequence[str]
    targets: Tensor
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeadKind:
    """A head before it has seen outcomes.

    Attributes:
        suffix: what it adds to a network's name.
        title: what it adds to a network's title.
        learn: from the data, the patients with tiles, the model's name and the settings.
        restore: the head from its stored fields.
    """

    suffix: str
    title: Callable[[ModelConfig], str]
    learn: Callable[[CohortData, Sequence[str], str, RunConfig], Lesson]
    restore: Callable[..., Head]


def without_classes(config: RunConfig, what: str) -> tuple[str, ...]:
    """A note where class weights were asked for and there are no classes to weigh."""
    if config.train.class_weights == "none":
        return ()
    return (f'train.class_weights = "{config.train.class_weights}" ignored: {what} has no classes',)


def follow_up(data: CohortData, patients: Sequence[str], name: str) -> tuple[Floats, Ints]:
    """Months and status (0 censored, 1 event, 2 competing death) of these patients.

    Raises:
        ModelError: no outcomes, a value that cannot be used, or no event.
    """
    if data.outcomes is None:
        raise ModelError(f"{name}: the data hold no outcomes; a fit needs time and status")
    rows = data.outcomes.reindex(list(patients))
    try:
        time = survival_times(_numbers(rows["time"]))
        status = event_status(_numbers(rows["status"]))
        same_length(time=time, status=status)
    except InputError as error:
        raise ModelError(f"{name}: outcomes of the training patients: {error}") from error
    if not np.any(status == 1):
        raise ModelError(f"{name}: no event among {len(rows)} usable training patients")
    return time, status


def _numbers(column: pd.Series[float]) -> Floats:
    return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
