"""Nested tuning of a small grid: the best point is chosen anew wherever a network is fitted.

The choice is part of the fit. The inner folds that give out-of-fold risks fit the tuned model, and
with it choose again, on folds inside themselves; no patient is judged by settings that were chosen
with that patient's outcome. The price is the number of points times the folds of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from crpnet_bench.benchmark.locking import assign_inner_folds, derived_seed, out_of_fold
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.base import CohortData, FittedModel, RiskModel
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.fitted_networks import FittedNetwork
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.stats.concordance import concordance_index

__all__ = ["TunedModel", "grid_points", "tune"]

# Derived seeds of the choice; those of the fit are 0 to 2 (`fold`).
_CHOICE_FOLDS, _CHOICE_FITS = 3, 4

Point = Mapping[str, Any]


def grid_points(config: RunConfig) -> list[Point]:
    """Every combination of the grid's values, by key such as `train.learning_rate`."""
    names = list(config.tune)
    return [dict(zip(names, values, strict=True)) for values in product(*config.tune.values())]


def at_point(config: RunConfig, point: Point) -> RunConfig:
    """The configuration with the values of one point, and no grid.

    Raises:
        ConfigError: a key that is not of `model` or `train`, or an impossible value.
    """
    values = config.model_dump(mode="json") | {"tune": {}}
    for key, value in point.items():
        section, _, name = key.partition(".")
        if section not in {"model", "train"} or not name:
            raise ConfigError(f"tune: {key!r}; expected a key of [model] or [train], such as "
                              "'train.learning_rate'")  # fmt: skip
        values[section] = values[section] | {name: value}
    return RunConfig.from_mapping(values, "tune")


def tune(name: str, config: RunConfig, device: str) -> RiskModel:
    """The network of that name, tuned over the grid; a model without tiles as it is.

    Raises:
        ConfigError: no such model, or the grid cannot be read.
    """
    points = grid_points(config)
    if not points:
        raise ConfigError(f"tune: {dict(config.tune)}; expected at least one value a key")
    models = tuple(build_model(name, at_point(config, point), device) for point in points)
    if not models[0].needs_bags:
        return build_model(name, config, device)
    return TunedModel(models, tuple(points), config.train.inner_folds)


@dataclass(frozen=True)
class TunedModel:
    """A network and the settings to choose from.

    Attributes:
        models: one a point of the grid.
        points: their settings.
        folds: of the choice, inside the training patients.
    """

    models: tuple[RiskModel, ...]
    points: tuple[Point, ...]
    folds: int

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
        indices = [self._index(model, data, seed) for model in self.models]
        best = _best(indices, self.name)
        fitted = self.models[best].fit(data, seed=seed, progress=progress)
        return _with_note(fitted, self._told(best, indices))

    def _index(self, model: RiskModel, data: CohortData, seed: int) -> float:
        """Out-of-fold C, pairs within a fold; NaN where it cannot be estimated."""
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


def _with_note(fitted: FittedModel, note: str) -> FittedModel:
    if isinstance(fitted, FittedNetwork):
        return replace(fitted, card=replace(fitted.card, notes=(*fitted.card.notes, note)))
    return fitted
