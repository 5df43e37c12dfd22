"""One fold of one model: fit, lock, predict, write. The unit that is never computed twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.attention import ATTENTION_FILE, attention_table
from crpnet_bench.benchmark.fusion import FittedFusion, fuse_out_of_fold, learn_fusion
from crpnet_bench.benchmark.line_up import Fusion, load_model, model_folder
from crpnet_bench.benchmark.locking import (
    Locked,
    assign_inner_folds,
    derived_seed,
    inner_fits,
    lock,
    out_of_fold,
)
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import BagModel, CohortData, FittedModel, RiskModel
from crpnet_bench.models.training_log import LOG_FOLDER, HasHistory, write_training_log
from crpnet_bench.progress import Progress
from crpnet_bench.results import (
    PREDICTION_COLUMNS,
    conform,
    read_table,
    write_atomically,
    write_table,
)

__all__ = [
    "Fold",
    "FoldResult",
    "fit_fold",
    "fits_of_fold",
    "lose_fold",
    "read_fold",
    "read_locked",
]

_MODEL = "model"
# Derived seeds: 0 the final fit, 1 the fits of the inner folds, 2 who is in which inner fold.
_FIT, _INNER_FITS, _INNER_FOLDS = 0, 1, 2


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

    def among(self, patients: Collection[str]) -> Fold:
        """The fold without patients who are not among these."""
        return replace(self, roles=self.roles[self.roles.index.isin(list(patients))])

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
        lost: the failure is the machines', not the model's: going on with the run tries again.
    """

    predictions: pd.DataFrame
    title: str
    notes: tuple[str, ...] = ()
    failure: str | None = None
    lost: bool = False


def fit_fold(
    model: RiskModel | Fusion,
    data: CohortData,
    fold: Fold,
    folder: Path,
    *,
    seed: int,
    inner_folds: int,
    progress: Progress,
    device: str = "cpu",
) -> FoldResult:
    """Fit on the fold's training patients, predict everybody, write everything into `folder`.

    A model that cannot be fitted is a result with `failure`, its patients "missing" with the
    reason. `done.json` is written last: a folder without it is computed anew.

    Args:
        model: what to fit; the parts of a fusion lie in the folders beside `folder`.
        data: all patients of the cohort.
        fold: who is trained on, who is predicted.
        folder: `<fold>/<model>`.
        seed: of the run or of its repetition; everything here derives from it and the fold.
        inner_folds: inside the training patients.
        progress: told of the fits.
        device: where the parts of a fusion predict.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    train = data.take(fold.patients("train"))
    own_seed = derived_seed(seed, fold.repeat, fold.fold)
    try:
        if isinstance(model, Fusion):
            fitted, held_out = _fuse(model, train, folder, device)
        else:
            fitted, held_out = _fit(model, train, own_seed, inner_folds, progress)
        result = _finish(fitted, held_out, data, fold, folder, seed)
    except ModelError as error:
        result = _failed(model, data, fold, seed, str(error))
    _write(result, folder)
    return result


def lose_fold(
    model: RiskModel | Fusion, data: CohortData, fold: Fold, folder: Path, *, seed: int, reason: str
) -> FoldResult:
    """Record a fold whose computation was lost, as one that failed; arguments as in `fit_fold`."""
    folder.mkdir(parents=True, exist_ok=True)
    result = replace(_failed(model, data, fold, seed, reason), lost=True)
    _write(result, folder)
    return result


def _write(result: FoldResult, folder: Path) -> None:
    write_table(result.predictions, folder / "predictions.parquet")
    done = {
        "title": result.title,
        "notes": list(result.notes),
        "failure": result.failure,
        "lost": result.lost,
    }
    write_atomically(folder / "done.json", json.dumps(done, indent=2).encode())


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
        lost=done.get("lost", False),  # runs of an older version do not say
    )


def fits_of_fold(
    data: CohortData, fold: Fold, *, seed: int, inner_folds: int
) -> list[tuple[list[str], int]]:
    """Training patients and seed of each fit that `fit_fold` makes of a model.

    Args:
        data: all patients of the cohort, with outcomes.
        fold: who is trained on.
        seed: of the run or of its repetition.
        inner_folds: inside the training patients.

    Raises:
        ModelError: the data hold no outcomes.
    """
    train = fold.patients("train")
    own_seed = derived_seed(seed, fold.repeat, fold.fold)
    inner = _inner_folds(data.take(train), own_seed, inner_folds)
    fits = inner_fits(inner, derived_seed(own_seed, _INNER_FITS))
    return [(train, derived_seed(own_seed, _FIT)), *((used, own) for _, used, own in fits)]


def _inner_folds(train: CohortData, seed: int, inner_folds: int) -> pd.Series[Any]:
    if train.outcomes is None:
        raise ModelError("the training patients have no outcomes")
    labels = train.outcomes["label"]
    return assign_inner_folds(labels, inner_folds, derived_seed(seed, _INNER_FOLDS))


def _fit(
    model: RiskModel, train: CohortData, seed: int, inner_folds: int, progress: Progress
) -> tuple[FittedModel, pd.DataFrame]:
    """The model fitted on all training patients, and their out-of-fold risks."""
    inner = _inner_folds(train, seed, inner_folds)
    held_out = out_of_fold(
        model, train, inner, seed=derived_seed(seed, _INNER_FITS), progress=progress
    )
    return model.fit(train, seed=derived_seed(seed, _FIT), progress=progress), held_out


def _fuse(
    model: Fusion, train: CohortData, folder: Path, device: str
) -> tuple[FittedModel, pd.DataFrame]:
    """Weights from the parts' out-of-fold risks; nothing is fitted anew."""
    places = {part: folder.parent / model_folder(part) for part in model.parts}
    held_out = {part: _out_of_fold_of(part, place) for part, place in places.items()}
    risks = pd.DataFrame({part: rows["risk"].astype(float) for part, rows in held_out.items()})
    # Every model of a fold has the same inner folds.
    inner = next(iter(held_out.values()))["inner_fold"].astype(int)
    if train.outcomes is None:
        raise ModelError(f"{model.name}: the training patients have no outcomes")
    fused = fuse_out_of_fold(risks, train.outcomes, inner)
    fitted = FittedFusion(
        name=model.name,
        title=model.title,
        parts=tuple(load_model(place / _MODEL, device) for place in places.values()),
        weights=learn_fusion(risks, train.outcomes, inner),
    )
    return fitted, fused


def _out_of_fold_of(part: str, place: Path) -> pd.DataFrame:
    result = read_fold(place)
    if result is None or result.failure:
        why = "was not run" if result is None else result.failure
        raise ModelError(f"{part}, a part of the fusion, has no risks: {why}")
    rows = result.predictions
    own = (rows["role"] == "train") & ~rows["in_sample"].astype(bool) & rows["member"].isna()
    return (
        rows[own]
        .assign(patient_id=lambda t: t["patient_id"].astype(object))
        .set_index("patient_id")
    )


def _finish(
    fitted: FittedModel,
    held_out: pd.DataFrame,
    data: CohortData,
    fold: Fold,
    folder: Path,
    seed: int,
) -> FoldResult:
    """Lock what is learned from the out-of-fold risks, then predict everybody."""
    if data.outcomes is None:
        raise ModelError(f"{fitted.name}: the training patients have no outcomes")
    locked = lock(held_out, data.outcomes["label"])
    fitted.save(folder / _MODEL)
    _write_locked(locked, folder)
    if isinstance(fitted, HasHistory) and fitted.history is not None:
        write_training_log(fitted.history, folder / LOG_FOLDER)
    if isinstance(fitted, BagModel):
        roles = {str(patient): str(role) for patient, role in fold.roles.items()}
        table = attention_table([fitted], data.bags, roles)
        write_table(table, folder / ATTENTION_FILE)
    parts = [_label(locked.apply(held_out), "train", in_sample=False)]
    for role in ("train", "validation", "test"):
        patients = fold.patients(role)
        if patients:
            some = data.take(patients)
            parts.extend(_predict(fitted, some, locked, role, in_sample=role == "train"))
    table = pd.concat(parts, ignore_index=True).assign(
        model=fitted.name, repeat=fold.repeat, fold=fold.fold, seed=seed
    )
    return FoldResult(
        conform(table, PREDICTION_COLUMNS),
        fitted.title,
        (*fitted.notes, *locked.notes(fitted.name)),
    )


def _predict(
    fitted: FittedModel, data: CohortData, locked: Locked, role: str, *, in_sample: bool
) -> list[pd.DataFrame]:
    parts = [_label(locked.apply(fitted.predict(data)), role, in_sample=in_sample)]
    if isinstance(fitted, BagModel):
        # Cut-off and scale were learned for the averaged model; a member has none of its own.
        members = Locked(cutoff=float("nan"), risk_sd=float("nan")).apply(fitted.members(data))
        parts.append(_label(members, role, in_sample=in_sample))
    return parts


def _label(predicted: pd.DataFrame, role: str, *, in_sample: bool) -> pd.DataFrame:
    table = predicted.rename_axis("patient_id").reset_index()
    return table.assign(role=role, in_sample=in_sample)


def _write_locked(locked: Locked, folder: Path) -> None:
    write_atomically(folder / "locked.json", json.dumps(locked.as_json(), indent=2).encode())


def read_locked(folder: Path) -> Locked:
    """What was locked in a finished fold of a model.

    Raises:
        ModelError: the file is not there or does not hold what it should.
    """
    try:
        return Locked.from_json(json.loads((folder / "locked.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder}: what was locked cannot be read ({error})") from error


def _failed(
    model: RiskModel | Fusion, data: CohortData, fold: Fold, seed: int, reason: str
) -> FoldResult:
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
        seed=seed,
        status="missing",
        reason=f"not fitted: {reason}",
    )
    return FoldResult(conform(table, PREDICTION_COLUMNS), model.title, failure=reason)
