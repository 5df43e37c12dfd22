"""What a model could learn from the tissue source site alone.

Sites differ in who is referred, treated and followed, and slides show the site (stain, scanner).
A model that reads it has learned nothing about the tumour, yet beats chance wherever a site
stands on both sides of a split. This baseline says by how much.

A site's risk is the logarithm of its rate ratio: events observed over events expected from its
patients' follow-up at the hazard of all training patients together, drawn towards 1 where a site
has few. The ratios are taken as gamma distributed with mean 1 and the shape that is most likely
given the counts (empirical Bayes; Clayton and Kaldor, Biometrics 43:671, 1987).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame, training_times
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.saved_words import restored, said_by
from crpnet_bench.progress import Progress
from crpnet_bench.stats.baseline_hazard import baseline_hazards

__all__ = ["SITE_KIND", "FittedSite", "SiteModel", "load_site"]

SITE_KIND = "site"
_LOG_SHAPES = np.linspace(-5.0, 10.0, 151)
_NO_DIFFERENCE = "events differ between sites no more than by chance: every site has the same risk"


@dataclass(frozen=True, slots=True)
class SiteModel:
    """Risk by tissue source site, from nothing else."""

    name: str
    title: str
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedSite:
        """Learn a risk a site; `seed` plays no part.

        Raises:
            ModelError: no outcomes, no event, or fewer than two sites.
        """
        site = _sites(data)
        left_out = _without_site(site)
        known = site.dropna().sort_index()
        sites = sorted(set(known))
        if len(sites) < 2:
            found = f"all training patients are of site {sites[0]}" if sites else "no site is known"
            raise ModelError(f"{self.name}: {found}; expected two or more sites")
        time, event = training_times(data, list(known.index), self.name)
        codes = np.searchsorted(np.array(sites, dtype=object), known.to_numpy(object))
        counts = (event, _expected(time, event))
        observed, expected = (np.bincount(codes, weights=each).astype(np.float64)
                              for each in counts)  # by site  # fmt: skip
        shape = _shape(observed, expected)
        risk = _shrunk(observed, expected, shape)
        return FittedSite(
            name=self.name,
            title=self.title,
            risks=dict(zip(sites, map(float, risk), strict=True)),
            notes=(f"{self.name}: {_NO_DIFFERENCE}",) if shape is None else (),
            left_out=left_out,
        )


def _sites(data: CohortData) -> pd.Series[str]:
    absent = pd.Series(pd.NA, index=data.patients.index)
    site = data.patients.get("site", absent).astype(object)
    return site.where(site.notna(), np.nan)


def _without_site(site: pd.Series[str]) -> dict[str, str]:
    return dict.fromkeys((str(patient) for patient in site.index[site.isna()]), "missing: site")


def _expected(time: NDArray[np.float64], event: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Events expected of each patient at the common hazard (Nelson-Aalen), shape (patients,)."""
    nobody = np.zeros(time.size)
    hazard = baseline_hazards(
        time, event, nobody, np.zeros(time.size, dtype=np.int64), ["all"], efron=False
    )["all"]
    return hazard.at(time)


def _shape(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> float | None:
    """Most likely shape of the rate ratios' gamma distribution; None where they do not differ."""
    # The likelihood rises from "no difference" only where counts spread more than Poisson's.
    if np.sum((observed - expected) ** 2 - observed) <= 0:
        return None

    def loss(log_shape: float) -> float:
        shape = np.exp(log_shape)
        return -float(
            np.sum(
                special.gammaln(observed + shape)
                - special.gammaln(shape)
                + shape * np.log(shape / (expected + shape))
                - observed * np.log(expected + shape)
            )
        )

    start = int(np.argmin([loss(value) for value in _LOG_SHAPES]))
    low, high = _LOG_SHAPES[max(start - 1, 0)], _LOG_SHAPES[min(start + 1, _LOG_SHAPES.size - 1)]
    found = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def _shrunk(
    observed: NDArray[np.float64], expected: NDArray[np.float64], shape: float | None
) -> NDArray[np.float64]:
    if shape is None:
        return np.zeros(observed.size)
    return np.asarray(np.log((observed + shape) / (expected + shape)))


@dataclass(frozen=True, slots=True)
class FittedSite:
    """A risk a site, locked.

    Attributes:
        name, title, notes, left_out: as in `FittedModel`.
        risks: site -> log rate ratio.
    """

    name: str
    title: str
    risks: Mapping[str, float]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk of the patient's site; nothing is known of a site without a training patient.

        There is no probability: it is learned on out-of-fold risks.
        """
        site = _sites(data)
        reasons = _without_site(site)
        for patient, name in site.dropna().items():
            if name not in self.risks:
                reasons[str(patient)] = f"site {name} had no patient in training"
        risk = site.map(dict(self.risks)).to_numpy(np.float64)
        return prediction_frame(data.patient_ids, risk, np.full(len(data), np.nan), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_site` reads it."""
        write_checkpoint(
            Checkpoint(SITE_KIND, {**said_by(self), "risks": dict(self.risks)}), folder
        )


def load_site(checkpoint: Checkpoint, device: str = "cpu") -> FittedSite:
    """A fitted model from what `read_checkpoint` gave; the device plays no part.

    Raises:
        ModelError: the state is of another program.
    """
    try:
        return FittedSite(**restored(checkpoint.state))
    except TypeError as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
