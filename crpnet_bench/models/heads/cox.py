"""Cox's partial likelihood as a loss, Efron's ties.

Risk sets are those of the batch, so a step on some of the bags is a step on some of the
comparisons (Kvamme, Borgan and Scheel 2019, JMLR 20(129)). A batch without events has nothing to
say: its loss and gradient are zero.

References:
    Cox DR (1972). JRSS B 34:187-220. Efron B (1977). JASA 72:557-565. Faraggi D, Simon R (1995).
    Stat Med 14:73-82 (a network in place of the linear predictor).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.heads.base import Lesson, Outputs, follow_up, without_classes
from crpnet_bench.stats.inputs import Floats

__all__ = ["CoxHead", "learn_cox", "partial_likelihood_loss"]


def partial_likelihood_loss(log_hazard: Tensor, time: Tensor, event: Tensor) -> Tensor:
    """Negative log partial likelihood, (members,); 0 without events.

    With d tied events the l-th of them (l = 0..d-1) sees the risk set less l/d of the tied ones.

    Args:
        log_hazard: (bags, members).
        time: (bags,); patients tied with an event are still at risk.
        event: (bags,), true or false.
    """
    dead = torch.nonzero(event).squeeze(1)
    at_risk = time.unsqueeze(0) >= time[dead].unsqueeze(1)  # (events, bags)
    tied = event.unsqueeze(0) & (time.unsqueeze(0) == time[dead].unsqueeze(1))
    own_turn = tied[:, dead].tril(-1).sum(1)  # how many of its tied events came before
    unseen = (own_turn.to(log_hazard) / tied.sum(1)).unsqueeze(1)  # (events, 1)
    whole = _log_sum_over(at_risk, log_hazard)
    part = _log_sum_over(tied, log_hazard)
    seen = whole + torch.log1p(-unseen * torch.exp(part - whole))  # (events, members)
    return (seen - log_hazard[dead]).sum(0)


def _log_sum_over(chosen: Tensor, log_hazard: Tensor) -> Tensor:
    """Log of the summed hazards of the chosen bags, (events, bags) to (events, members)."""
    masked = log_hazard.unsqueeze(0).masked_fill(~chosen.unsqueeze(2), -torch.inf)
    return torch.logsumexp(masked, dim=1)


@dataclass(frozen=True, slots=True)
class CoxHead:
    """One output a bag, the log hazard ratio; deaths without event are censored.

    The partial likelihood does not fix the level of a log hazard: each member, and each fit, has
    its own. So a member's risk is its output minus its mean over the training bags: 0 is the
    average training patient, and members, inner folds and folds can be compared and averaged. The
    mean over members is taken of log hazards, whose unit, a hazard ratio, is the same for all.

    Attributes:
        reference: mean output over the training bags, a number a member.
    """

    reference: tuple[float, ...] = ()
    name: ClassVar[str] = "Cox partial likelihood"
    outputs: ClassVar[int] = 1
    alike: ClassVar[bool] = False
    joint: ClassVar[bool] = True
    relative: ClassVar[bool] = True

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log partial likelihood of the batch, (members,)."""
        time, event = targets[:, 0], targets[:, 1] > 0
        return partial_likelihood_loss(outputs[..., 0].double(), time, event)

    def centred(self, outputs: Outputs) -> Self:
        """The head with the members' mean outputs."""
        mean = outputs[..., 0].astype(np.float64).mean(axis=0)
        return type(self)(tuple(float(value) for value in mean))

    def member_risks(self, outputs: Outputs) -> Floats:
        """Log hazard ratio to the average training patient, (bags, members)."""
        log_hazard: Floats = outputs[..., 0].astype(np.float64)
        return np.asarray(log_hazard - np.array(self.reference))

    def risk(self, outputs: Outputs) -> Floats:
        """Mean of the members' log hazard ratios, (bags,)."""
        return np.asarray(self.member_risks(outputs).mean(axis=1))

    def member_probabilities(self, outputs: Outputs) -> Floats:
        """NaN: a hazard ratio is no probability; (bags, members)."""
        return np.full(outputs.shape[:2], np.nan)

    def tile_logits(self, outputs: Outputs) -> Floats:
        """Log hazard ratio, were the bag that tile alone, to the average training patient."""
        return self.member_risks(outputs)


def learn_cox(data: CohortData, patients: Sequence[str], name: str, config: RunConfig) -> Lesson:
    """Time and event of all patients, (patients, 2) in double precision, so that ties stay ties.

    Raises:
        ModelError: outcomes that cannot be used, or no event.
    """
    time, status = follow_up(data, patients, name)
    targets = torch.from_numpy(np.column_stack([time, (status == 1).astype(np.float64)]))
    return Lesson(
        CoxHead(), patients, targets, notes=without_classes(config, "the partial likelihood")
    )
