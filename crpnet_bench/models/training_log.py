"""The course of a fit: the loss of each member at each step, in a form that TensorBoard reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

__all__ = ["LOG_FOLDER", "HasHistory", "LossHistory", "write_training_log"]

LOG_FOLDER = "log"
_LOG_FILE = "events.out.tfevents.training"  # TensorBoard reads files with "tfevents" in the name
_FILE_VERSION = "brain.Event:2"


def _nothing() -> NDArray[np.float32]:
    return np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class LossHistory:
    """Losses of a fit.

    Attributes:
        training: mean over the bags of each step, before the step, (steps, members).
        set_aside: mean over the training patients set aside for early stopping, (looks, members).
        looks: optimizer steps behind the weights at each look, (looks,).
        kept: optimizer steps behind each member's weights, (members,).
    """

    training: NDArray[np.float32]
    kept: tuple[int, ...]
    set_aside: NDArray[np.float32] = field(default_factory=_nothing)
    looks: tuple[int, ...] = ()

    @property
    def final_loss(self) -> tuple[float, ...]:
        """Training loss of each member at its last step."""
        last = [max(step, 1) - 1 for step in self.kept]
        return tuple(float(self.training[step, i]) for i, step in enumerate(last))


@runtime_checkable
class HasHistory(Protocol):
    """A model that was fitted step by step."""

    @property
    def history(self) -> LossHistory | None:
        """Its losses; None where they are not kept."""
        ...


def write_training_log(history: LossHistory, folder: Path) -> None:
    """Write the losses as scalars, a series a member.

    The file's name and content hold neither clock nor machine: the same fit gives the same bytes.

    Args:
        history: of the fit.
        folder: made if it is not there; a log in it is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _LOG_FILE
    path.unlink(missing_ok=True)
    writer = RecordWriter(str(path))
    writer.write(Event(file_version=_FILE_VERSION).SerializeToString())
    series = (
        ("training_loss", range(len(history.training)), history.training),
        ("set_aside_loss", history.looks, history.set_aside),
    )
    for name, steps, losses in series:
        for step, values in zip(steps, losses, strict=True):
            scalars = [
                Summary.Value(tag=f"{name}/member_{member}", simple_value=float(value))
                for member, value in enumerate(values)
            ]
            writer.write(Event(step=step, summary=Summary(value=scalars)).SerializeToString())
    writer.close()
