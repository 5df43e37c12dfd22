"""Whole-numbered risks with a given confusion matrix and a given AUC.

Patients fall into bands of risk, from low to high, each with so many events and others; the
class is decided by the band, so the confusion matrix is exact. Between bands all pairs are
decided; the AUC is adjusted by single steps of single patients within their band.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AreaNotReachedError", "Band", "assign_risks", "pair_area"]

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

_TOLERANCE = 0.003
_DETOUR = 0.02  # share of steps away from the goal: few levels leave dead ends
_MOST_STEPS = 20_000


class AreaNotReachedError(ValueError):
    """The bands do not allow the area, or the search was unlucky: draw again."""


@dataclass(frozen=True, slots=True)
class Band:
    """So many events and others with risks from `lowest` to `highest`."""

    events: int
    others: int
    lowest: int
    highest: int
    positive: bool


def assign_risks(
    event: Bools, bands: tuple[Band, ...], auc: float, tendency: Floats, rng: np.random.Generator
) -> tuple[Ints, Bools]:
    """Risks and classes of shape (patients,).

    Args:
        event: who recurred; as many as the bands hold events.
        bands: ascending and not overlapping.
        auc: the area to reach, to 0.003.
        tendency: order of risk among patients of one outcome; what models share of it is
            how far their risks agree.
        rng: source of randomness.

    Raises:
        AreaNotReachedError: the bands do not allow this AUC, or it was not found.
    """
    band_of = np.empty(len(event), dtype=np.int64)
    height = np.empty(len(event))
    for recurred in (True, False):
        members = np.flatnonzero(event == recurred)
        members = members[np.argsort(tendency[members], kind="stable")]
        sizes = [band.events if recurred else band.others for band in bands]
        band_of[members] = np.repeat(np.arange(len(bands)), sizes)
        # Within a band, too, the risk follows the tendency.
        height[members] = np.concatenate([np.sort(rng.beta(2.0, 2.0, size=n)) for n in sizes])
    lowest = np.array([band.lowest for band in bands])[band_of]
    highest = np.array([band.highest for band in bands])[band_of]
    risk = lowest + np.floor(height * (highest - lowest + 1)).astype(np.int64)
    risk = _reach(event, risk, lowest, highest, auc, rng)
    return risk, np.array([band.positive for band in bands])[band_of]


def pair_area(event: Bools, risk: Ints) -> float:
    """The area under the ROC curve: pairs ordered rightly, ties half."""
    above = risk[event][:, None] - risk[~event][None, :]
    return float(np.mean(0.5 * (np.sign(above) + 1)))


def _reach(
    event: Bools, start: Ints, lowest: Ints, highest: Ints, auc: float, rng: np.random.Generator
) -> Ints:
    risk = start.copy()
    area = pair_area(event, risk)
    longest = max(1, int((highest - lowest).max()) // 8)
    for _ in range(_MOST_STEPS):
        if abs(area - auc) <= _TOLERANCE:
            return risk
        patient = int(rng.integers(len(risk)))
        step = int(rng.integers(1, longest + 1)) * (1 if (area < auc) == event[patient] else -1)
        moved = int(np.clip(risk[patient] + step, lowest[patient], highest[patient]))
        change = _change(event, risk, patient, moved)
        # A step past nobody changes nothing yet, but the next one may.
        no_worse = change == 0 or abs(area + change - auc) < abs(area - auc)
        if no_worse or rng.random() < _DETOUR:
            risk[patient] = moved
            area += change
    raise AreaNotReachedError(
        f"no risks with an AUC of {auc} within these bands; reached {area:.4f}"
    )


def _change(event: Bools, risk: Ints, patient: int, moved: int) -> float:
    """How the area changes when one patient's risk moves."""
    rivals = risk[event != event[patient]]
    gain = np.sign(moved - rivals).sum() - np.sign(risk[patient] - rivals).sum()
    pairs = int(event.sum()) * int((~event).sum())
    return float(0.5 * gain / pairs) * (1.0 if event[patient] else -1.0)
