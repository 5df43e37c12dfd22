"""Simulated bags in feature space, with the truth kept: for statistical tests, no slides.

Each patient has a bag of tiles of four kinds: clear-cell tissue in two variants, **planted**
tiles and **decoys**. Planted tiles and decoys share one direction in feature space ("strongly
eosinophilic"); a second direction belongs to the planted tiles alone ("spindled"), a third to the
decoys alone ("granular"). Every patient's tiles are shifted together, as a stain shifts a slide,
which is what makes averaging a bag a poor way of finding a few tiles in it. The log-hazard rises
with the log of the planted fraction and with nothing else, unless a clinical effect is asked for.

All of it is simulated and says nothing about any real tumour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SimulatedBags", "simulate_bags"]

Floats = NDArray[np.float64]

# Shape of the feature space: distances are in standard deviations of the tile noise, which is the
# same in every direction. A planted tile is easy to tell once one knows the direction; the
# difficulty is to find it from a few hundred labels of whole bags.
_COMMON_MEAN = 1.0  # ReLU features are positive: all tiles share a large common part
_EOSINOPHILIC = 15.0
_SPINDLED = 20.0
_GRANULAR = 20.0
_CLEAR_VARIANT = 15.0
_STAIN_DIRECTIONS = 4
_STAIN_SD = 5.0
_PATIENT_SD = 0.2

# Follow-up in months.
_BASELINE_HAZARD = 0.006
_DEATH_HAZARD = 0.001
_SHORTEST_FOLLOW_UP, _LONGEST_FOLLOW_UP = 24.0, 96.0


@dataclass(frozen=True)
class SimulatedBags:
    """Simulated patients: bags, follow-up, and the truth behind both.

    Attributes:
        patient_ids: "sim-0000" and so on.
        role: "train" or "validation", shape (patients,).
        features: a bag each, float32 of shape (tiles, dimension).
        planted, decoy: flags of each bag's tiles.
        planted_fraction: share of planted tiles, shape (patients,).
        clinical: a standard normal variable, unrelated to the bag, shape (patients,).
        histology: part of the log-hazard that the bag decides, shape (patients,): the oracle.
        linear_predictor: the log-hazard, histology plus clinical effect; mean 0 in training.
        time: months to the event, the death without event or the end of follow-up, whole and
            hence often tied.
        status: 0 censored, 1 event, 2 death without event.
    """

    patient_ids: tuple[str, ...]
    role: NDArray[np.str_]
    features: tuple[NDArray[np.float32], ...]
    planted: tuple[NDArray[np.bool_], ...]
    decoy: tuple[NDArray[np.bool_], ...]
    planted_fraction: Floats
    clinical: Floats
    histology: Floats
    linear_predictor: Floats
    time: Floats
    status: NDArray[np.int64]

    @property
    def label(self) -> NDArray[np.int64]:
        """1 where the event was observed, shape (patients,)."""
        return np.asarray(self.status == 1, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.patient_ids)

    def positions(self, role: str) -> list[int]:
        """Where the patients of a role stand."""
        return [i for i, own in enumerate(self.role) if own == role]


@dataclass(frozen=True)
class _Space:
    """The directions of one simulated feature space, each of unit length."""

    common: Floats
    eosinophilic: Floats
    spindled: Floats
    granular: Floats
    clear: Floats
    stain: Floats  # (directions, dimension)

    @classmethod
    def draw(cls, dim: int, generator: np.random.Generator) -> _Space:
        axes = np.linalg.qr(generator.normal(size=(dim, 4 + _STAIN_DIRECTIONS)))[0].T
        common = _COMMON_MEAN * generator.gamma(2.0, 0.5, size=dim)
        return cls(common, axes[0], axes[1], axes[2], axes[3], axes[4:])

    def bag(
        self,
        planted: NDArray[np.bool_],
        decoy: NDArray[np.bool_],
        generator: np.random.Generator,
    ) -> NDArray[np.float32]:
        tiles, dim = len(planted), len(self.common)
        clear_variant = generator.random(tiles) < generator.random()
        stain = _STAIN_SD * generator.normal(size=len(self.stain)) @ self.stain
        shift = self.common + stain + _PATIENT_SD * generator.normal(size=dim)
        features = shift + generator.normal(size=(tiles, dim))
        features += np.outer(planted | decoy, _EOSINOPHILIC * self.eosinophilic)
        features += np.outer(planted, _SPINDLED * self.spindled)
        features += np.outer(decoy, _GRANULAR * self.granular)
        features += np.outer(clear_variant & ~(planted | decoy), _CLEAR_VARIANT * self.clear)
        return features.astype(np.float32)


def simulate_bags(
    seed: int,
    n_train: int = 400,
    n_validation: int = 1000,
    dim: int = 128,
    *,
    median_tiles: int = 80,
    planted_range: tuple[float, float] = (0.01, 0.15),
    histology_effect: float = 2.5,
    clinical_effect: float = 0.0,
) -> SimulatedBags:
    """Draw patients, their bags and their follow-up.

    Args:
        seed: decides everything.
        n_train: patients in training.
        n_validation: patients in validation.
        dim: length of a tile's feature vector, at least 16.
        median_tiles: of the lognormal number of tiles of a bag (a quarter to four times that).
        planted_range: the planted fraction is log-uniform between these; at least one tile.
        histology_effect: log hazard ratio per unit of log planted fraction.
        clinical_effect: log hazard ratio per standard deviation of `clinical`.

    Raises:
        ValueError: too small a dimension, or an impossible range.
    """
    low, high = planted_range
    if dim < 16 or not 0 < low <= high < 0.5:
        raise ValueError(
            f"dim {dim}, planted_range {planted_range}: expected dim >= 16, 0 < a <= b < 0.5"
        )
    generator = np.random.default_rng([seed, 0x51B])
    space = _Space.draw(dim, generator)
    patients = n_train + n_validation
    sizes = median_tiles * np.exp(0.5 * generator.normal(size=patients))
    tiles = np.clip(sizes, median_tiles / 4, median_tiles * 4).astype(np.int64)
    wanted = np.exp(generator.uniform(np.log(low), np.log(high), size=patients))
    counts = np.maximum(1, np.round(wanted * tiles)).astype(np.int64)
    kinds = [_kinds(n, count, generator) for n, count in zip(tiles, counts, strict=True)]
    features = tuple(space.bag(planted, decoy, generator) for planted, decoy in kinds)
    fraction = counts / tiles
    histology = histology_effect * np.log(fraction)
    histology -= histology[:n_train].mean() if n_train else 0.0
    clinical = generator.normal(size=patients)
    linear_predictor = histology + clinical_effect * clinical
    time, status = _follow_up(linear_predictor, generator)
    return SimulatedBags(
        patient_ids=tuple(f"sim-{i:04d}" for i in range(patients)),
        role=np.array(["train"] * n_train + ["validation"] * n_validation),
        features=features,
        planted=tuple(planted for planted, _ in kinds),
        decoy=tuple(decoy for _, decoy in kinds),
        planted_fraction=fraction,
        clinical=clinical,
        histology=histology,
        linear_predictor=linear_predictor,
        time=time,
        status=status,
    )


def _kinds(
    tiles: int, planted_tiles: int, generator: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    order = generator.permutation(tiles)
    decoys = int(generator.uniform(0.0, 0.3) * tiles)
    planted = np.zeros(tiles, dtype=np.bool_)
    decoy = np.zeros(tiles, dtype=np.bool_)
    planted[order[:planted_tiles]] = True
    decoy[order[planted_tiles : planted_tiles + decoys]] = True
    return planted, decoy


def _follow_up(
    linear_predictor: Floats, generator: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    patients = len(linear_predictor)
    event = generator.exponential(size=patients) / (_BASELINE_HAZARD * np.exp(linear_predictor))
    death = generator.exponential(size=patients) / _DEATH_HAZARD
    end = generator.uniform(_SHORTEST_FOLLOW_UP, _LONGEST_FOLLOW_UP, size=patients)
    each = np.stack([end, event, death])
    status = np.argmin(each, axis=0).astype(np.int64)
    return np.ceil(each.min(axis=0)), status
