"""What a network learns from: the outcome it is shown, the loss, and how its outputs are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from crpnet_bench.models.base import CohortData, training_labels

__all__ = ["EverRecurrence", "Head"]


class Head(Protocol):
    """One way of learning from outcomes.

    Attributes:
        name: as in the checkpoint.
        outputs: how many numbers the network gives a bag.
        joint: whether the loss of one bag depends on the others of its batch; the trainer then
            shows the whole batch at once instead of adding up the gradients of its chunks.
    """

    @property
    def name(self) -> str:
        """As in the checkpoint."""
        ...

    @property
    def outputs(self) -> int:
        """How many numbers the network gives a bag."""
        ...

    @property
    def joint(self) -> bool:
        """Whether the loss of one bag depends on the others of its batch."""
        ...

    def targets(self, data: CohortData, patient_ids: Sequence[str], name: str) -> Tensor:
        """What the loss wants to know of each training patient, (patients, ...)."""
        ...

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Sum over the bags, a number a member: (bags, members, outputs) to (members,)."""
        ...

    def log_odds(self, outputs: Tensor) -> Tensor:
        """(..., outputs) to (...): the log-odds of the event."""
        ...


@dataclass(frozen=True, slots=True)
class EverRecurrence:
    """Two classes, cross-entropy, on "event observed during follow-up".

    The article's head. It ignores how long a patient was followed: a patient censored early
    counts as one without recurrence.
    """

    name: str = "cross-entropy, ever recurrence"
    outputs: int = 2
    joint: bool = False

    def targets(self, data: CohortData, patient_ids: Sequence[str], name: str) -> Tensor:
        """Labels, (patients,), 0 or 1."""
        return torch.from_numpy(training_labels(data, patient_ids, name))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy summed over the bags, (members,)."""
        bags, members, classes = outputs.shape
        each = functional.cross_entropy(
            outputs.reshape(bags * members, classes),
            targets.repeat_interleave(members),
            reduction="none",
        )
        return each.view(bags, members).sum(0)

    def log_odds(self, outputs: Tensor) -> Tensor:
        """Log-odds of the class "recurrence"."""
        return outputs[..., 1] - outputs[..., 0]
