"""One fold of one model: fit, lock, predict, write. The unit that is never computed twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.benchmark.locking import (
    Locked,
    assign_inner_folds,
    derived_seed,
    lock,
    out_of_fold,
)
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import BagModel, CohortData, FittedModel, RiskModel
from crpnet_bench.progress import Progress
from crpnet_bench.results import (
    PREDICTION_COLUMNS,
    conform,
    read_table,
    write_atomically,
    write_table,
)

__all__ = ["Fold", "FoldResult", "fit_fold", "read_fold"]

_FIRST_INNER_SEED = 1  # derived seeds: 0 is the final fit, 1 the inner folds


@dataclass(frozen=True)
class Fold:
    """Patients of one fold of a split, by role.

    Attributes:
        repeat, fold: as in the split file.
        roles: patient_id -> "train" | "validation" | "test".
    """

    repeat: int
    fold: int
    roles: pd.Series[Any]

    @property
    def name(self) -> str:
        """Folder name of the fold."""
        return f"repeat{self.repeat}-fold{self.fold}"

    def patients(self, role: str) -> list[str]:
        """Patients of that role, sorted, so that file order decides nothing."""
        return sorted(self.roles.index[self.roles == role])


@dataclass(frozen=True)
class FoldResult:
    """What a fold of a model ended as.

    Attributes:
        predictions: rows of the `predictions` table, without the run's own columns.
        title, notes: the fitted model's words about itself.
        failure: why there is no fit; None when there is one.
    """

    predictions: pd.DataFrame
    title: str
    notes: tuple[str, ...] = ()
    failure: str | None = None


def fit_fold(
    model: RiskModel,
    data: CohortData,
    fold: Fold,
    folder: Path,
    *,
    seed: int,
    inner_folds: int,
    progress: Progress,
) -> FoldResult:
    """Fit on the fold's training patients, predict everybody, write everything into `folder`.

    A model that cannot be fitted is a result with `failure`, its patients "missing" with the
    reason. `done.json` is written last: a folder without it is computed anew.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    train = data.take(fold.patients("train"))
    try:
        result = _fit(model, data, train, fold, folder, seed, inner_folds, progress)
    except ModelError as error:
        result = _failed(model, data, fold, str(error))
    write_table(result.predictions, folder / "predictions.parquet")
    done = {"title": result.title, "notes": list(result.notes), "failure": result.failure}
    write_atomically(folder / "done.json", json.dumps(done, indent=2).encode())
    return result


def read_fold(folder: Path) -> FoldResult | None:
    """A finished fold from its folder, or None when it was not finished."""
    marker = folder / "done.json"
    if not marker.exists():
        return None
    done = json.loads(marker.read_text(encoding="utf-8"))
    return FoldResult(
        predictions=read_table(folder / "predictions.parquet", PREDICTION_COLUMNS),
        title=done["title"],
        notes=tuple(done["notes"]),
        failure=done["failure"],
    )


def _fit(
    model: RiskModel,
    data: CohortData,
    train: CohortData,
    fold: Fold,
    folder: Path,
    seed: int,
    inner_folds: int,
    progress: Progress,
) -> FoldResult:
    if train.outcomes is None:
        raise ModelError(f"{model.name}: the training patients have no outcomes")
    inner = assign_inner_folds(train.outcomes["label"], inner_folds, derived_seed(seed, 2))
    held_out = out_of_fold(
        model, train, inner, seed=derived_seed(seed, _FIRST_INNER_SEED), progress=progress
    )
    locked = lock(held_out)
    fitted = model.fit(train, seed=derived_seed(seed, 0), progress=progress)
    fitted.save(folder / "model")
    _write_locked(locked, folder)
    if isinstance(fitted, BagModel):
        write_table(_attention(fitted, data, fold), folder / "attention.parquet")
    parts = [_label(locked.apply(held_out), "train", in_sample=False)]
    for role in ("train", "validation", "test"):
        patients = fold.patients(role)
        if patients:
            some = data.take(patients)
            parts.extend(_predict(fitted, some, locked, role, in_sample=role == "train"))
    table = pd.concat(parts, ignore_index=True).assign(
        model=model.name, repeat=fold.repeat, fold=fold.fold, seed=seed
    )
    return FoldResult(conform(table, PREDICTION_COLUMNS), fitted.title, fitted.notes)


def _predict(
    fitted: FittedModel, data: CohortData, locked: Locked, role: str, *, in_sample: bool
) -> list[pd.DataFrame]:
    parts = [_label(locked.apply(fitted.predict(data)), role, in_sample=in_sample)]
    if isinstance(fitted, BagModel):
        # Cut-off and scale were learned for the averaged model; a member has none of its own.
        members = Locked(cutoff=float("nan"), risk_sd=float("nan")).apply(fitted.members(data))
        parts.append(_label(members, role, in_sample=in_sample))
    return parts


def _attention(fitted: BagModel, data: CohortData, fold: Fold) -> pd.DataFrame:
    """One row a tile: where the network looked, in level-0 pixels of the tile's slide."""
    parts = []
    for patient in sorted(set(fold.roles.index) & set(data.bags)):
        bag = data.bags[patient]
        looked = fitted.attention(bag)
        parts.append(
            pd.DataFrame(
                {
                    "patient_id": patient,
                    "slide_id": np.asarray(bag.slide_ids, dtype=object)[bag.slide],
                    "role": fold.roles[patient],
                    "x": bag.coords[:, 0],
                    "y": bag.coords[:, 1],
                    "attention": looked.weights,
                    "tile_logit": looked.tile_logit,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _label(predicted: pd.DataFrame, role: str, *, in_sample: bool) -> pd.DataFrame:
    table = predicted.rename_axis("patient_id").reset_index()
    return table.assign(role=role, in_sample=in_sample)


def _write_locked(locked: Locked, folder: Path) -> None:
    values = {
        "cutoff": locked.cutoff,
        "risk_sd": locked.risk_sd,
        "threshold": locked.threshold,
        "learned_on": "out-of-fold risks of the training patients",
    }
    write_atomically(folder / "locked.json", json.dumps(values, indent=2).encode())


def _failed(model: RiskModel, data: CohortData, fold: Fold, reason: str) -> FoldResult:
    rows = [
        {"patient_id": patient, "role": role, "in_sample": role == "train"}
        for role in ("train", "validation", "test")
        for patient in fold.patients(role)
        if patient in data.patients.index
    ]
    table = pd.DataFrame(rows).assign(
        model=model.name,
        repeat=fold.repeat,
        fold=fold.fold,
        status="missing",
        reason=f"not fitted: {reason}",
    )
    return FoldResult(conform(table, PREDICTION_COLUMNS), model.title, failure=reason)
