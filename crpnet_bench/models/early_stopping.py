"""Early stopping, each member on its own, by patients set aside among the training patients.

The patients whose results are reported play no part: those set aside belong to the training
patients of the fit, and inside the folds that give out-of-fold risks to those of the inner fit.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from crpnet_bench.errors import ModelError
from crpnet_bench.models.crpnet import BagNetwork

__all__ = ["CHECK_EVERY", "EarlyStopping", "set_aside"]

CHECK_EVERY = 10  # optimizer steps between two looks at the patients set aside
_SPLIT_STREAM = 0x5E7A


def set_aside(labels: ArrayLike, share: float, seed: int) -> NDArray[np.int64]:
    """Positions of the patients set aside: that share of those with and of those without an event.

    Args:
        labels: 1 for an event, shape (patients,).
        share: rounded to whole patients, at least one of either kind.
        seed: decides who.

    Raises:
        ModelError: fewer than two patients of a kind, so that none would be left to train on.
    """
    values = np.asarray(labels, dtype=np.int64)
    generator = np.random.default_rng([seed, _SPLIT_STREAM])
    chosen = []
    for label, name in ((1, "with"), (0, "without")):
        members = generator.permutation(np.flatnonzero(values == label))
        if len(members) < 2:  # noqa: PLR2004 - one to learn from, one to set aside
            raise ModelError(
                f"early stopping: {len(members)} usable training patients {name} an event; "
                "expected at least two, or train.patience = 0"
            )
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen.append(members[:count])
    return np.sort(np.concatenate(chosen)).astype(np.int64)


class EarlyStopping:
    """Keeps each member's weights of the step at which its loss was lowest.

    Members share the optimizer's steps and nothing else: one that has stopped is computed along
    with the others, but its kept weights stay.

    Attributes:
        best_step: optimizer steps behind the kept weights, (members,).
        steps, losses: of each look.
    """

    def __init__(self, network: BagNetwork, patience: int) -> None:
        self._network = network
        self._patience = patience
        self._kept = {name: value.detach().clone() for name, value in network.named_parameters()}
        self._lowest = np.full(network.members, np.inf)
        self._stopped = np.zeros(network.members, dtype=np.bool_)
        self.best_step = np.zeros(network.members, dtype=np.int64)
        self.steps: list[int] = []
        self.losses: list[NDArray[np.float32]] = []

    def look(self, step: int, loss: Tensor) -> bool:
        """Take note of the loss after so many steps; True once every member has stopped.

        Args:
            step: optimizer steps behind the present weights.
            loss: of the patients set aside, (members,).
        """
        found = loss.cpu().numpy().astype(np.float32)
        self.steps.append(step)
        self.losses.append(found)
        better = ~self._stopped & (found < self._lowest)
        self._lowest[better] = found[better]
        self.best_step[better] = step
        chosen = torch.from_numpy(better)
        for name, value in self._network.named_parameters():
            self._kept[name][chosen] = value.detach()[chosen]
        self._stopped |= step - self.best_step >= self._patience
        return bool(self._stopped.all())

    def restore(self) -> None:
        """Give every member its kept weights."""
        with torch.no_grad():
            for name, value in self._network.named_parameters():
                value.copy_(self._kept[name])
