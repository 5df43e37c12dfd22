"""Heads with two classes: recurrence at any time, or by a horizon.

The article's label, "event observed during follow-up", ignores how long a patient was followed.
By a horizon the question is a fair one, but a patient censored before it has no answer. Weighting
the others by the inverse probability of being still under observation makes up for those patients
(Vock et al. 2016, J Biomed Inform 61:119-131); to leave them out without weights overstates the
share of events, for an event before the horizon is always known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor
from torch.nn import functional

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, training_labels
from crpnet_bench.models.heads.base import Lesson, Outputs, follow_up
from crpnet_bench.stats.censoring import WeightsAtTime, censoring_distribution
from crpnet_bench.stats.inputs import Floats

__all__ = [
    "OBSERVED",
    "WEIGHTED",
    "EverRecurrence",
    "RecurrenceByHorizon",
    "learn_ever",
    "learn_observed",
    "learn_weighted",
]

WEIGHTED = "cross-entropy by horizon, censoring-weighted"
OBSERVED = "cross-entropy by horizon, observed only"


class _CrossEntropy:
    """Two outputs a bag; targets are label and weight, (patients, 2)."""

    outputs: ClassVar[int] = 2
    alike: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    relative: ClassVar[bool] = False

    @property
    def _start(self) -> float:
        """Log-odds that are added to what the outputs say."""
        return 0.0

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Weighted cross-entropy summed over the bags, (members,)."""
        bags, members, classes = outputs.shape
        if self._start:
            outputs = outputs + torch.tensor([0.0, self._start], device=outputs.device)
        each = functional.cross_entropy(
            outputs.reshape(bags * members, classes),
            targets[:, 0].long().repeat_interleave(members),
            reduction="none",
        )
        return (each.view(bags, members) * targets[:, 1:]).sum(0)

    def centred(self, outputs: Outputs) -> Self:
        """Itself: log-odds have a zero of their own."""
        return self

    def member_risks(self, outputs: Outputs) -> Floats:
        """Log-odds of the event, (bags, members)."""
        log_odds: Floats = (outputs[..., 1] - outputs[..., 0]).astype(np.float64)
        return log_odds + self._start

    def risk(self, outputs: Outputs) -> Floats:
        """Log-odds of the mean of the members' probabilities, (bags,).

        It orders patients as that mean does, and does not saturate.
        """
        log_odds = self.member_risks(outputs)
        # On the log scale, where probabilities of almost 0 and 1 keep their order.
        event = special.logsumexp(special.log_expit(log_odds), axis=1)
        no_event = special.logsumexp(special.log_expit(-log_odds), axis=1)
        return np.asarray(event - no_event, dtype=np.float64)

    def tile_logits(self, outputs: Outputs) -> Floats:
        """Log-odds of the event were the bag that tile alone, (tiles, members)."""
        return self.member_risks(outputs)


@dataclass(frozen=True, slots=True)
class EverRecurrence(_CrossEntropy):
    """Cross-entropy on "event observed during follow-up".

    The article's head. It ignores how long a patient was followed: a patient censored early
    counts as one without recurrence.
    """

    name: ClassVar[str] = "cross-entropy, ever recurrence"

    def member_probabilities(self, outputs: Outputs) -> Floats:
        """Probability of the class "recurrence", (bags, members)."""
        return np.asarray(special.expit(self.member_risks(outputs)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class RecurrenceByHorizon(_CrossEntropy):
    """Cross-entropy on "event by the horizon"; death without event before it is "no".

    Its probability would be that of the horizon, while a run's classes are judged by the event
    during follow-up; so it gives none, and the locked link from its risk does.

    The outputs are added to the log-odds of the training patients' weighted share of events, so
    that training begins at the average patient and is spent on the differences between patients.

    Attributes:
        name: says how patients censored before the horizon were treated.
        horizon: months.
        base: log-odds of an event by the horizon among the training patients.
    """

    name: str
    horizon: float
    base: float

    @property
    def _start(self) -> float:
        return self.base

    def member_probabilities(self, outputs: Outputs) -> Floats:
        """NaN, (bags, members)."""
        return np.full(outputs.shape[:2], np.nan)


def learn_ever(data: CohortData, patients: Sequence[str], name: str, config: RunConfig) -> Lesson:
    """Labels of all patients.

    Raises:
        ModelError: a label is missing, or there is one class only.
    """
    labels = training_labels(data, patients, name)
    targets = _targets(labels, np.ones(len(labels)), config)
    return Lesson(EverRecurrence(), patients, targets, notes=_weight_notes(targets, config))


def learn_weighted(
    data: CohortData, patients: Sequence[str], name: str, config: RunConfig
) -> Lesson:
    """Labels by the horizon, weights from these patients' own censoring distribution.

    Raises:
        ModelError: outcomes that cannot be used, follow-up that ends before the horizon, or one
            class only.
    """
    state = _at_horizon(data, patients, name, config)
    unknown = int(np.sum(state.weight == 0))
    targets = _targets(state.case, state.weight, config)
    head = RecurrenceByHorizon(WEIGHTED, config.model.horizon_months, _log_odds(targets))
    note = (
        f"recurrence by {head.horizon:g} months; {unknown} of {len(patients)} training patients "
        "were censored before and have weight 0, the others the inverse of their probability of "
        f"being uncensored (largest weight {state.weight.max():.2f})"
    )
    return Lesson(head, patients, targets, notes=(note, *_weight_notes(targets, config)))


def learn_observed(
    data: CohortData, patients: Sequence[str], name: str, config: RunConfig
) -> Lesson:
    """Labels by the horizon of those who have one; biased, for comparison only.

    Raises:
        ModelError: as `learn_weighted`.
    """
    state = _at_horizon(data, patients, name, config)
    known = state.weight > 0
    horizon = config.model.horizon_months
    time = state.distribution.patient_time
    beyond = f"not followed beyond the horizon of {horizon:g} months"
    left_out = {
        patient: f"censored at {own:g} months, {beyond}"
        for patient, own, seen in zip(patients, time, known, strict=True)
        if not seen
    }
    note = (
        f"recurrence by {horizon:g} months; {len(left_out)} of {len(patients)} training patients "
        "were censored before and left out, which overstates the share of events (biased)"
    )
    labels = state.case[known]
    targets = _targets(labels, np.ones(len(labels)), config)
    return Lesson(
        RecurrenceByHorizon(OBSERVED, horizon, _log_odds(targets)),
        [patient for patient, seen in zip(patients, known, strict=True) if seen],
        targets,
        left_out,
        (note, *_weight_notes(targets, config)),
    )


def _at_horizon(
    data: CohortData, patients: Sequence[str], name: str, config: RunConfig
) -> WeightsAtTime:
    time, status = follow_up(data, patients, name)
    horizon = config.model.horizon_months
    censoring = censoring_distribution(time, status)
    if not censoring.knows(horizon):
        raise ModelError(
            f"{name}: follow-up of the training patients ends at {censoring.end:g} months, before "
            f"model.horizon_months = {horizon:g}; choose an earlier horizon"
        )
    state = censoring.at(horizon)
    events, others = int(state.case.sum()), int((state.competing | state.survivor).sum())
    if not events or not others:
        raise ModelError(
            f"{name}: {events} patients with and {others} without an event by {horizon:g} months "
            f"among {len(patients)} usable training patients; expected some of both"
        )
    return state


def _log_odds(targets: Tensor) -> float:
    """Of the weighted share of events; both classes are there."""
    label, weight = targets.double().T
    return float(torch.log((label * weight).sum() / ((1 - label) * weight).sum()))


def _weight_notes(targets: Tensor, config: RunConfig) -> tuple[str, ...]:
    if config.train.class_weights == "none":
        return ()
    label, weight = targets.T
    most = [float(weight[label == kind].max()) for kind in (1, 0)]
    return (
        f"classes weighted equally: a patient with an event weighs up to {most[0]:.2f}, one "
        f"without up to {most[1]:.2f}; probabilities are of balanced classes, not of this cohort",
    )


def _targets(
    labels: NDArray[np.bool_] | NDArray[np.int64], weights: Floats, config: RunConfig
) -> Tensor:
    """Label and weight, (patients, 2); balanced classes have equal sums of weights."""
    if config.train.class_weights == "balanced":
        event = np.asarray(labels, dtype=np.bool_)
        of_class = np.where(event, weights[event].sum(), weights[~event].sum())
        weights = weights * weights.sum() / (2 * of_class)
    return torch.from_numpy(np.column_stack([labels, weights]).astype(np.float32))
