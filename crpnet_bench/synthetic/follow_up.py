"""Follow-up times under which given risks have given concordance indices, and a given order.

Times are drawn first, one set for patients with the event and one for the others; then two
patients of one set exchange their times wherever that brings the indices nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ConcordanceTarget", "draw_times", "search_times"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_EVENT_MONTHS = (2.0, 96.0)
_CENSORED_MONTHS = (24.0, 132.0)
_STEPS_A_MONTH = 10


@dataclass(frozen=True)
class ConcordanceTarget:
    """What the times have to bring about.

    Attributes:
        risks: one row a model, shape (models, patients); NaN where a patient has none.
        event: shape (patients,).
        first: the index that the first model has to reach, and how closely.
        margin: by how much each model has to exceed the next.
    """

    risks: Floats
    event: Bools
    first: float
    tolerance: float
    margin: float


def draw_times(event: Bools, rng: np.random.Generator) -> Floats:
    """Distinct times in months, to a tenth, shape (patients,)."""
    times = np.empty(len(event))
    for recurred, (low, high), shape in (
        (True, _EVENT_MONTHS, (1.2, 2.4)),
        (False, _CENSORED_MONTHS, (1.6, 1.6)),
    ):
        members = np.flatnonzero(event == recurred)
        # Even tenths for events, odd ones for the others: no two patients share a time.
        grid = np.arange(round(low * _STEPS_A_MONTH), round(high * _STEPS_A_MONTH), 2)
        grid = grid - grid % 2 + (0 if recurred else 1)
        share = (np.arange(len(grid)) + 0.5) / len(grid)
        weight = share ** (shape[0] - 1) * (1 - share) ** (shape[1] - 1)
        chosen = rng.choice(grid, size=len(members), replace=False, p=weight / weight.sum())
        times[members] = chosen / _STEPS_A_MONTH
    return times


def search_times(
    target: ConcordanceTarget, start: Floats, rng: np.random.Generator, steps: int = 6_000
) -> Floats | None:
    """Times with the wanted indices, or None when `steps` exchanges did not reach them."""
    indices = _Indices(target.risks, target.event)
    times = start.copy()
    loss = _loss(target, indices.of(times))
    groups = [np.flatnonzero(target.event), np.flatnonzero(~target.event)]
    for _ in range(steps):
        if loss == 0:
            return times
        group = groups[int(rng.random() < 0.25)]
        one, other = rng.choice(group, size=2, replace=False)
        times[[one, other]] = times[[other, one]]
        changed = _loss(target, indices.of(times))
        if changed <= loss:
            loss = changed
        else:
            times[[one, other]] = times[[other, one]]
    return times if loss == 0 else None


def _loss(target: ConcordanceTarget, indices: Floats) -> float:
    off = max(0.0, abs(indices[0] - target.first) - target.tolerance)
    short = np.maximum(0.0, target.margin - (indices[:-1] - indices[1:]))
    return float(off + short.sum())


class _Indices:
    """Harrell's index of several models at once, for distinct times."""

    def __init__(self, risks: Floats, event: Bools) -> None:
        self.cases = np.flatnonzero(event)
        difference = risks[:, self.cases, None] - risks[:, None, :]
        known = np.isfinite(difference)
        agreement = np.where(known, 0.5 * (np.sign(np.nan_to_num(difference)) + 1), 0.0)
        self.agreement = agreement.reshape(len(risks), -1).astype(np.float32)
        self.known = known.reshape(len(risks), -1).astype(np.float32)

    def of(self, times: Floats) -> Floats:
        """The index of each model, shape (models,)."""
        comparable = (times[self.cases, None] < times[None, :]).astype(np.float32).ravel()
        agreeing, known = self.agreement @ comparable, self.known @ comparable
        return np.asarray(agreeing / known, dtype=np.float64)
