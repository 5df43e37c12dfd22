"""Nested tuning of a small grid: the best point is chosen anew wherever a network is fitted.

The choice is part of the fit. The inner folds that give out-of-fold risks fit the tuned model, and
with it choose again, on folds inside themselves; no patient is judged by settings that were chosen
with that patient's outcome. The price is the number of points times the folds of the choice.

What a point reaches is kept in the run's folder: a run that goes on finds it there, and on a
cluster each point is a task of its own, done before the fold that chooses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from crpnet_bench.benchmark.locking import assign_inner_folds, derived_seed, out_of_fold
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.base import CohortData, FittedModel, RiskModel
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.fine_tuned_network import FineTunedNetwork
from crpnet_bench.models.fitted_networks import FittedNetwork
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.results import write_atomically
from crpnet_bench.stats.concordance import concordance_index

__all__ = ["TunedModel", "grid_points", "tune"]

# Derived seeds of the choice; those of the fit are 0 to 2 (`fold`).
_CHOICE_FOLDS, _CHOICE_FITS = 3, 4

Point = Mapping[str, Any]
Fitted = TypeVar("Fitted", bound=FittedModel)


def grid_points(config: RunConfig) -> list[Point]:
    """Every combination of the grid's values, by key such as `train.learning_rate`."""
    names = list(config.tune)
    return [dict(zip(names, values, strict=True)) for values in product(*config.tune.values())]


def at_point(config: RunConfig, point: Point) -> RunConfig:
    """The configuration with the values of one point, and no grid.

    Raises:
        ConfigError: a key of another section than `model`, `train` and `fine_tuning`, or an
            impossible value.
    """
    values = config.model_dump(mode="json") | {"tune": {}}
    for key, value in point.items():
        section, _, name = key.partition(".")
        if section not in {"model", "train", "fine_tuning"} or not name:
            raise ConfigError(f"tune: {key!r}; expected a key of [model], [train] or "
                              "[fine_tuning], such as 'train.learning_rate'")  # fmt: skip
        values[section] = values[section] | {name: value}
    return RunConfig.from_mapping(values, "tune")


def tune(name: str, config: RunConfig, device: str, choices: Path | None = None) -> RiskModel:
    """The network of that name, tuned over the grid; a model without tiles as it is.

    Args:
        name: a model of the catalogue.
        config: the settings with the grid.
        device: where the network computes.
        choices: folder that keeps what the points reached.

    Raises:
        ConfigError: no such model, or the grid cannot be read.
    """
    points = grid_points(config)
    if not points:
        raise ConfigError(f"tune: {dict(config.tune)}; expected at least one value a key")
    models = tuple(build_model(name, at_point(config, point), device) for point in points)
    if not models[0].needs_bags:
        return build_model(name, config, device)
    return TunedModel(models, tuple(points), config.train.inner_folds, choices)


@dataclass(frozen=True)
class TunedModel:
    """A network and the settings to choose from.

    Attributes:
        models: one a point of the grid.
        points: their settings.
        folds: of the choice, inside the training patients.
        choices: folder that keeps what the points reached, a file each; None keeps nothing.
    """

    models: tuple[RiskModel, ...]
    points: tuple[Point, ...]
    folds: int
    choices: Path | None = None

    @property
    def name(self) -> str:
        """As in the run's settings."""
        return self.models[0].name

    @property
    def title(self) -> str:
        """Says that it was tuned."""
        return f"{self.models[0].title}, tuned"

    @property
    def needs_bags(self) -> bool:
        """Whether it reads tiles."""
        return self.models[0].needs_bags

    def fit(self, data: CohortData, *, seed: int, progress: Progress) -> FittedModel:
        """Choose by the out-of-fold C of these patients, then fit on all of them.

        Raises:
            ModelError: no point can be judged, or the fit is impossible.
        """
        indices = [self.index(point, data, seed) for point in range(len(self.points))]
        best = _best(indices, self.name)
        fitted = self.models[best].fit(data, seed=seed, progress=progress)
        return _with_note(fitted, self._told(best, indices))

    def index(self, point: int, data: CohortData, seed: int) -> float:
        """Out-of-fold C of a point, pairs within a fold; NaN where it cannot be estimated.

        Args:
            point: its place in the grid.
            data: the training patients of a fit.
            seed: of that fit.

        Raises:
            ModelError: the data hold no outcomes.
        """
        if self.choices is None:
            return self._index(self.models[point], data, seed)
        kept = self.choices / f"{self._key(point, data, seed)}.json"
        if not kept.exists():
            index = self._index(self.models[point], data, seed)
            told = {
                "model": self.name,
                "point": dict(self.points[point]),
                "seed": seed,
                "patients": len(data),
                "c_index": index if np.isfinite(index) else None,
            }
            write_atomically(kept, json.dumps(told, indent=2).encode())
        index = json.loads(kept.read_text(encoding="utf-8"))["c_index"]
        return float("nan") if index is None else float(index)

    def _key(self, point: int, data: CohortData, seed: int) -> str:
        parts = [self.name, dict(self.points[point]), seed, data.patient_ids]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _index(self, model: RiskModel, data: CohortData, seed: int) -> float:
        if data.outcomes is None:
            raise ModelError(f"{self.name}: the data hold no outcomes")
        folds = assign_inner_folds(
            data.outcomes["label"], self.folds, derived_seed(seed, _CHOICE_FOLDS)
        )
        seed_of_fits = derived_seed(seed, _CHOICE_FITS)
        rows = out_of_fold(model, data, folds, seed=seed_of_fits, progress=SilentProgress())
        rows = rows[rows["status"] == "ok"]
        known = data.outcomes.loc[rows.index]
        found = concordance_index(
            known["time"].to_numpy(np.float64),
            (known["status"] == 1).to_numpy(np.bool_),
            rows["risk"].to_numpy(np.float64),
            fold=rows["inner_fold"].to_numpy(),
        )
        return float("nan") if found.value is None else found.value

    def _told(self, best: int, indices: Sequence[float]) -> str:
        tried = "; ".join(
            f"{_words(point)}: C {index:.3f}"
            for point, index in zip(self.points, indices, strict=True)
        )
        return (
            f"{self.name}: chosen {_words(self.points[best])} by out-of-fold C of the training "
            f"patients ({tried})"
        )


def _words(point: Point) -> str:
    return ", ".join(f"{key} = {value}" for key, value in point.items())


def _best(indices: Sequence[float], name: str) -> int:
    """The first of the highest; points that cannot be judged are out."""
    known = [(index, -place) for place, index in enumerate(indices) if np.isfinite(index)]
    if not known:
        raise ModelError(f"{name}: no point of the grid can be judged by an out-of-fold C")
    return -max(known)[1]


def _with_note(fitted: Fitted, note: str) -> Fitted:
    if isinstance(fitted, FittedNetwork):
        return replace(fitted, card=replace(fitted.card, notes=(*fitted.card.notes, note)))
    if isinstance(fitted, FineTunedNetwork):
        return replace(fitted, network=_with_note(fitted.network, note))
    return fitted
