"""The heads by name: what a network can be trained on.

A new head is a file here and a row in `HEADS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from crpnet_bench.models.heads.base import Head, HeadKind, Lesson
from crpnet_bench.models.heads.cox import CoxHead, learn_cox
from crpnet_bench.models.heads.cross_entropy import (
    OBSERVED,
    WEIGHTED,
    EverRecurrence,
    RecurrenceByHorizon,
    learn_ever,
    learn_observed,
    learn_weighted,
)
from crpnet_bench.models.heads.hazard import HazardHead, learn_hazard

__all__ = ["HEADS", "Head", "HeadKind", "Lesson"]

HEADS: Mapping[str, HeadKind] = {
    EverRecurrence.name: HeadKind("", lambda _: "", learn_ever, EverRecurrence),
    CoxHead.name: HeadKind("-cox", lambda _: ", Cox head", learn_cox, CoxHead),
    HazardHead.name: HeadKind("-hazard", lambda _: ", hazard head", learn_hazard, HazardHead),
    WEIGHTED: HeadKind(
        "-ipcw",
        lambda model: f", recurrence by {model.horizon_months:g} months, censoring-weighted",
        learn_weighted,
        RecurrenceByHorizon,
    ),
    OBSERVED: HeadKind(
        "-observed",
        lambda model: (
            f", recurrence by {model.horizon_months:g} months "
            "(biased: patients censored before are left out)"
        ),
        learn_observed,
        RecurrenceByHorizon,
    ),
}
