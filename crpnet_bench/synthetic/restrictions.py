"""What a draw of outcomes and split must fulfil, lest chance spoil a cohort of a hundred patients.

Drawn without care, an ordinary draw has two validation recurrences without a nest, or a decoy that
happens to predict. As in a planned experiment, draws are repeated until these rules hold. They are
the same for every seed and never look at any model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shares", "fits", "holds", "two_sample_auc"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_EVENT_SHARE = (0.25, 0.30)
# Least and greatest AUC for recurrence, of each share.
_ORACLE = (0.93, 0.98)
_ORACLE_TRAINING = (0.90, 1.0)
_DECOY = (0.40, 0.60)
_COVERAGE = (0.38, 0.62)
_EOSINOPHILIC = (0.32, 0.68)
_CLINICAL = (0.55, 0.85)


def two_sample_auc(score: Floats, event: Flags) -> float:
    """Probability that an event scores higher than a non-event, ties counted half."""
    difference = score[event][:, None] - score[~event][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


@dataclass(frozen=True, slots=True)
class Shares:
    """What is on the slides of each patient with tissue, (n,)."""

    planted: Floats
    decoy: Floats
    stroma: Floats
    coverage: Floats
    clinical: Floats


def fits(shares: Shares, event: Flags, validation: Flags) -> bool:
    """Whether a draw keeps the promises of the module's head."""
    training = ~validation
    return (
        holds(shares, event, validation)
        and _within(_ORACLE_TRAINING, shares.planted, event, training)
        and _within(_DECOY, shares.decoy, event, training)
        and _within(_CLINICAL, shares.clinical, event, validation)
        and _within(_COVERAGE, shares.coverage, event, validation)
        and _within(_EOSINOPHILIC, shares.planted + shares.decoy, event, validation)
    )


def holds(shares: Shares, event: Flags, judged: Flags) -> bool:
    """What holds for the patients on whom models are judged, in every cohort."""
    # The oracle's AUC is that of the planted fraction, of which it is a rising function.
    return (
        _EVENT_SHARE[0] <= event.mean() <= _EVENT_SHARE[1]
        and _within(_ORACLE, shares.planted, event, judged)
        and _within(_DECOY, shares.decoy, event, judged)
        and _within(_DECOY, shares.stroma, event, judged)
    )


def _within(limits: tuple[float, float], score: Floats, event: Flags, side: Flags) -> bool:
    return limits[0] <= two_sample_auc(score[side], event[side]) <= limits[1]
