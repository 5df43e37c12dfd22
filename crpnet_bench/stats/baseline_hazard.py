"""Cumulative baseline hazard of a Cox model, as R's `survfit.coxph`: a step function."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from crpnet_bench.stats.inputs import Bools, Floats, Ints
from crpnet_bench.stats.partial_likelihood import Stratum

__all__ = ["BaselineHazard", "baseline_hazards"]


@dataclass(frozen=True, slots=True, eq=False)
class BaselineHazard:
    """Cumulative hazard at linear predictor 0.

    Attributes:
        time: event times, ascending, shape (k,).
        cumulative_hazard: at and after each of them, shape (k,).
    """

    time: Floats
    cumulative_hazard: Floats

    def at(self, times: Floats) -> Floats:
        """Cumulative hazard at the times asked; 0 before the first event."""
        steps = np.concatenate(([0.0], self.cumulative_hazard))
        return np.asarray(steps[np.searchsorted(self.time, times, side="right")])


def baseline_hazards(
    time: Floats,
    event: Bools,
    linear_predictor: Floats,
    stratum: Ints,
    labels: Sequence[Hashable],
    *,
    efron: bool,
) -> Mapping[Hashable, BaselineHazard]:
    """Baseline hazard of each stratum; with `efron`, tied deaths leave one after the other."""
    hazards = {}
    for code, label in enumerate(labels):
        rows = stratum == code
        risk_sets = Stratum(time[rows], event[rows], linear_predictor[rows, None], efron=efron)
        if not risk_sets.starts.size:
            hazards[label] = BaselineHazard(np.zeros(0), np.zeros(0))
            continue
        terms = risk_sets.terms(np.ones(1))
        steps = np.bincount(risk_sets.at, weights=np.exp(-terms.shift) / terms.total)
        hazards[label] = BaselineHazard(risk_sets.event_times, np.cumsum(steps))
    return MappingProxyType(hazards)
