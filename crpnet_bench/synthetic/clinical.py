"""Clinical variables and outcomes of synthetic patients, from a stated hazard.

The log-hazard of recurrence is the sum of two parts that are kept as truth:

- histology: rises with the log fraction of tiles with spindled eosinophilic nests, 0 without any;
- clinical: a weaker part from size, stage, grade and necrosis. These are drawn from a latent
  severity that is only partly the histology's, so they carry some of its signal and some of
  their own.

Margins are near those of the article's supplementary tables 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Clinical",
    "Outcomes",
    "clinical_predictor",
    "draw_clinical",
    "draw_outcomes",
    "histology_predictor",
]

Floats = NDArray[np.float64]
Words = NDArray[np.str_]

SLOPE = 2.4
"""Log-hazard per unit of log((fraction + OFFSET) / OFFSET)."""
OFFSET = 0.01
"""Keeps the logarithm finite for patients without a single nest."""
BASELINE = 0.008
"""Cumulative hazard of recurrence at 60 months when both predictors are 0."""

_SHARED = 0.45  # correlation of clinical severity with the histology
_DEATH_PER_MONTH = 1 / 750


def histology_predictor(fraction: Floats) -> Floats:
    """True log-hazard from the fraction of tiles with spindled nests, (n,); 0 without any."""
    return SLOPE * np.log((fraction + OFFSET) / OFFSET)


@dataclass(frozen=True, slots=True)
class Clinical:
    """Baseline variables, one entry a patient in each array; nothing missing yet."""

    age: NDArray[np.int64]
    sex: Words
    pT: Words  # noqa: N815
    pN: Words  # noqa: N815
    grade: NDArray[np.int64]
    tumor_size_mm: NDArray[np.int64]
    necrosis: NDArray[np.bool_]
    sarcomatoid: NDArray[np.bool_]
    ecog: NDArray[np.int64]
    symptoms: Words


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How follow-up ended: whole months, and 0 censored, 1 recurrence, 2 death without one."""

    months: NDArray[np.int64]
    status: NDArray[np.int64]


def draw_clinical(rng: np.random.Generator, histology: Floats) -> Clinical:
    """Baseline variables of patients.

    Args:
        rng: source of randomness.
        histology: the true histology predictor, (n,).
    """
    count = len(histology)
    shared = (histology - histology.mean()) / histology.std()
    severity = _SHARED * shared + np.sqrt(1 - _SHARED**2) * rng.standard_normal(count)
    size = np.exp(np.log(38) + 0.42 * severity + 0.28 * rng.standard_normal(count))
    size = np.clip(np.round(size), 9, 190).astype(np.int64)
    grade_scale = 0.6 * severity + 0.8 * rng.standard_normal(count)
    grade = 1 + np.digitize(grade_scale, (-1.6, 0.72, 1.55))
    ecog_scale = 0.35 * severity + rng.standard_normal(count)
    return Clinical(
        age=np.clip(np.round(rng.normal(61, 11.5, count)), 24, 88).astype(np.int64),
        sex=np.where(rng.random(count) < 0.74, "male", "female"),
        pT=_stage(rng, severity, size),
        pN=_nodes(rng, severity),
        grade=grade.astype(np.int64),
        tumor_size_mm=size,
        necrosis=rng.random(count) < _logistic(-1.7 + 0.9 * severity),
        sarcomatoid=(grade == 4) & (rng.random(count) < 0.35),
        ecog=np.digitize(ecog_scale, (0.75, 1.9)).astype(np.int64),
        symptoms=_symptoms(rng, severity),
    )


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)


def _stage(rng: np.random.Generator, severity: Floats, size: NDArray[np.int64]) -> Words:
    """T stage by the 8th edition: by size while confined to the kidney, else by where it grows."""
    confined = np.select([size <= 40, size <= 70, size <= 100], ["T1a", "T1b", "T2a"], "T2b")
    grows = rng.random(len(size)) < _logistic(-2.6 + 1.1 * severity)
    where = rng.choice(["T3a", "T3b", "T3c", "T4"], len(size), p=[0.76, 0.12, 0.05, 0.07])
    return np.where(grows, where, confined)


def _nodes(rng: np.random.Generator, severity: Floats) -> Words:
    positive = rng.random(len(severity)) < _logistic(-4.2 + 1.2 * severity)
    unknown = rng.random(len(severity)) < 0.25  # no node was taken out
    return np.where(positive, "N1", np.where(unknown, "NX", "N0"))


def _symptoms(rng: np.random.Generator, severity: Floats) -> Words:
    scale = 0.4 * severity + rng.standard_normal(len(severity))
    kinds = np.array(["none", "local", "systemic"])
    return kinds[np.digitize(scale, (0.7, 1.8))]


def clinical_predictor(clinical: Clinical) -> Floats:
    """True log-hazard from the clinical variables, (n,); 0 for a small, low-grade, T1-2 tumour."""
    advanced = np.char.startswith(clinical.pT, ("T3")) | np.char.startswith(clinical.pT, "T4")
    return np.asarray(
        0.30 * np.log2(clinical.tumor_size_mm / 40)
        + 0.45 * advanced
        + 0.40 * (clinical.grade >= 3)
        + 0.35 * clinical.necrosis
        + 0.50 * (clinical.pN == "N1"),
        dtype=np.float64,
    )


def draw_outcomes(rng: np.random.Generator, predictor: Floats) -> Outcomes:
    """Follow every patient until recurrence, death or the end of follow-up.

    Recurrence has a constant hazard, death another; follow-up ends between 30 and 100 months
    after surgery, whatever happens. Months are whole, so times are tied.

    Args:
        rng: source of randomness.
        predictor: true log-hazard of recurrence, (n,).
    """
    count = len(predictor)
    recurrence = 60 / BASELINE * rng.exponential(size=count) * np.exp(-predictor)
    death = rng.exponential(1 / _DEATH_PER_MONTH, count)
    end = rng.uniform(30, 100, count)
    last = np.minimum(end, np.minimum(recurrence, death))
    status = np.select([recurrence == last, death == last], [1, 2], 0)
    return Outcomes(np.ceil(last).astype(np.int64), status.astype(np.int64))
