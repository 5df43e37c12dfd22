"""Discrete-time hazards as a loss: in each interval the chance of an event for who reached it.

The intervals end at quantiles of the training patients' event times, so that each holds about as
many events. A patient who is censored within an interval counts as having survived it from its
middle on (Gensheimer and Narasimhan 2019); one censored after the last event survived them all.

References:
    Brown CC (1975). Biometrics 31:863-872. Gensheimer MF, Narasimhan B (2019). PeerJ 7:e6257.
    Ishwaran H et al. (2008). Ann Appl Stat 2:841-860.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn import functional

from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.heads.base import Lesson, Outputs, follow_up, without_classes
from crpnet_bench.stats.inputs import Bools, Floats, Ints

__all__ = ["HazardHead", "interval_ends", "intervals_survived", "learn_hazard"]

_SMALLEST_LOG = -700.0


def interval_ends(event_time: Floats, count: int) -> Floats:
    """Ends of up to `count` intervals, at quantiles of these times, each a time of an event.

    >>> interval_ends(np.array([2.0, 4.0, 4.0, 9.0]), 2)
    array([4., 9.])
    """
    shares = np.arange(1, count + 1) / count
    return np.unique(np.quantile(event_time, shares, method="inverted_cdf")).astype(np.float64)


def intervals_survived(time: Floats, event: Bools, ends: Floats) -> Ints:
    """How many intervals each patient survived; an event falls into the next one, (patients,).

    An interval holds its end, not its start.
    """
    middles = (np.concatenate(([0.0], ends[:-1])) + ends) / 2
    of_events = np.searchsorted(ends, time, side="left")
    of_censored = np.searchsorted(middles, time, side="right")
    return np.where(event, of_events, of_censored).astype(np.int64)


@dataclass(frozen=True, slots=True)
class HazardHead:
    """One output an interval, the log-odds of an event in it; deaths without event are censored.

    The outputs are added to the log-odds of the training patients' life table, so that training
    begins at the average patient and is spent on the differences between patients. All intervals
    begin with the same weights, hence with proportional hazards: what tells patients apart in one
    interval need not be found again in each, and training is free to leave it.

    The members' survival curves are averaged. The risk is the log of the cumulative hazard, summed
    over the ends of the intervals: the ensemble mortality of survival forests (Ishwaran et al.
    2008), on the log scale. Where hazards are proportional it is the log hazard ratio plus a
    constant, as cut-off, link, calibration and fusion take for granted.

    Attributes:
        ends: of the intervals, months.
        base: log-odds of an event in each interval in the life table of the training patients.
        reference: mean risk over the training bags, a number a member.
    """

    ends: tuple[float, ...]
    base: tuple[float, ...]
    reference: tuple[float, ...] = ()
    name: ClassVar[str] = "discrete-time hazard"
    alike: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    relative: ClassVar[bool] = True

    @property
    def outputs(self) -> int:
        """One an interval."""
        return len(self.ends)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Negative log-likelihood summed over the bags, (members,).

        Args:
            outputs: (bags, members, intervals).
            targets: intervals survived, and 1 where the next one holds an event, (bags, 2).
        """
        survived, event = targets[:, :1], targets[:, 1:] > 0
        interval = torch.arange(outputs.shape[2], device=outputs.device)
        passed = (interval < survived).unsqueeze(1)  # (bags, 1, intervals)
        struck = (event & (interval == survived)).unsqueeze(1)
        logits = outputs + torch.tensor(self.base, dtype=outputs.dtype, device=outputs.device)
        # -log(1 - hazard) is softplus(logit), -log(hazard) is softplus(-logit).
        each = functional.softplus(logits) * passed + functional.softplus(-logits) * struck
        return each.sum((0, 2))

    def centred(self, outputs: Outputs) -> Self:
        """The head with the members' mean risks."""
        mean = self.member_risks(outputs).mean(axis=0)
        return replace(self, reference=_plain(mean))

    def member_risks(self, outputs: Outputs) -> Floats:
        """Log of the summed cumulative hazard, by each member, (bags, members)."""
        return _log_mortality(-self._log_survival(outputs))

    def risk(self, outputs: Outputs) -> Floats:
        """Log of the summed cumulative hazard of the mean survival curve, (bags,)."""
        log_survival = self._log_survival(outputs)
        died = -np.expm1(log_survival).mean(axis=1)
        # Minus the log of the mean of the curves, exact where survival is almost 1 or almost 0.
        of_many = -np.log1p(-np.minimum(died, 0.5))
        of_few = np.log(outputs.shape[1]) - special.logsumexp(log_survival, axis=1)
        return _log_mortality(np.where(died < 0.5, of_many, of_few))  # noqa: PLR2004

    def member_probabilities(self, outputs: Outputs) -> Floats:
        """NaN: the curve ends at the last event, follow-up does not; (bags, members)."""
        return np.full(outputs.shape[:2], np.nan)

    def tile_logits(self, outputs: Outputs) -> Floats:
        """Risk, were the bag that tile alone, minus the mean risk of the training patients."""
        return np.asarray(self.member_risks(outputs) - np.array(self.reference))

    def _log_survival(self, outputs: Outputs) -> Floats:
        """Log survival at the end of each interval, (bags, members, intervals)."""
        steps = special.log_expit(-(outputs.astype(np.float64) + np.array(self.base)))
        # A chance of surviving below the smallest number would have no logarithm.
        return np.asarray(np.maximum(np.cumsum(steps, axis=2), _SMALLEST_LOG))


def _log_mortality(cumulative_hazard: Floats) -> Floats:
    """Log of the sum over the last axis, (..., intervals) to (...)."""
    total = cumulative_hazard.sum(axis=-1)
    return np.asarray(np.log(np.maximum(total, np.finfo(np.float64).tiny)))


def _life_table(survived: Ints, event: Bools, count: int) -> Floats:
    """Log-odds of an event in each interval among those who reached it, (intervals,)."""
    struck = np.bincount(survived[event], minlength=count)
    passed = np.array([np.sum(survived > interval) for interval in range(count)])
    # Half a patient on either side: nobody may have survived the last interval.
    return np.log((struck + 0.5) / (passed + 0.5))


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def learn_hazard(data: CohortData, patients: Sequence[str], name: str, config: RunConfig) -> Lesson:
    """Intervals survived and event of all patients, (patients, 2).

    Raises:
        ModelError: outcomes that cannot be used, or no event.
    """
    time, status = follow_up(data, patients, name)
    event = status == 1
    asked = config.model.hazard_bins
    ends = interval_ends(time[event], asked)
    survived = intervals_survived(time, event, ends)
    told = ", ".join(f"{end:g}" for end in ends)
    few = f", {asked} were asked for but event times are tied or few" if len(ends) < asked else ""
    return Lesson(
        HazardHead(_plain(ends), _plain(_life_table(survived, event, len(ends)))),
        patients,
        torch.from_numpy(np.column_stack([survived, event]).astype(np.int64)),
        notes=(
            f"hazard intervals end at {told} months{few}",
            *without_classes(config, "the hazard head"),
        ),
    )
