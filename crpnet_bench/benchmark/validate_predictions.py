"""Locked predictions of a run's models for patients of another cohort.

Nothing is learned here: weights, preprocessing, cut-offs and thresholds are read back as they
were locked. With several folds the risk is the mean over the fitted models, as are the cut-off,
the scale and the attention; no fold is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from crpnet_bench.benchmark.attention import ATTENTION_FILE, attention_table
from crpnet_bench.benchmark.finished import FinishedRun, fold_folder, fold_names
from crpnet_bench.benchmark.fold import read_fold, read_locked
from crpnet_bench.benchmark.fusion import FittedFusion
from crpnet_bench.benchmark.imported import FittedImport, RiskTable
from crpnet_bench.benchmark.line_up import load_model, model_folder
from crpnet_bench.benchmark.locking import Locked
from crpnet_bench.models.base import BagModel, CohortData, FittedModel, prediction_frame
from crpnet_bench.progress import Progress
from crpnet_bench.results import write_table

__all__ = ["Applied", "apply_run"]


@dataclass(frozen=True)
class Applied:
    """Predictions of all models.

    Attributes:
        predictions: rows of `predictions` but for the run's and the cohort's own columns.
        remarks: what the reader has to know.
    """

    predictions: pd.DataFrame
    remarks: tuple[str, ...]


def apply_run(
    run: FinishedRun,
    data: CohortData,
    *,
    device: str,
    imported: Mapping[str, RiskTable],
    folder: Path,
    progress: Progress,
) -> Applied:
    """Predict the patients of `data` with every model of the run, and write where networks looked.

    Args:
        run: the finished run.
        data: patients of the other cohort; outcomes are not read.
        device: where networks compute.
        imported: predictions of outside models for these patients, by full model name.
        folder: of the validation; gets `<model>/attention.parquet`.
        progress: told of models.
    """
    models = run.record.models
    parts, remarks = [], []
    with progress.task("predicting", len(models), "models") as task:
        for name in models:
            fits, failed = _fits(run, name, device, imported)
            parts.append(_rows(name, fits, data))
            _write_attention(fits, data, folder / model_folder(name))
            remarks += _ensemble_remarks(name, len(fits), failed)
            task.advance()
    predictions = pd.concat(parts, ignore_index=True)
    return Applied(predictions, tuple(dict.fromkeys(remarks)))


@dataclass(frozen=True)
class _Fit:
    fold: str
    fitted: FittedModel
    locked: Locked


def _fits(
    run: FinishedRun, name: str, device: str, imported: Mapping[str, RiskTable]
) -> tuple[list[_Fit], list[str]]:
    fits, failed = [], []
    for fold in fold_names(run.folder):
        place = fold_folder(run.folder, fold, name)
        result = read_fold(place)
        if result is None or result.failure:
            failed.append(fold)
            continue
        fitted = _with_table(load_model(place / "model", device), imported)
        fits.append(_Fit(fold, fitted, read_locked(place)))
    return fits, failed


def _with_table(fitted: FittedModel, imported: Mapping[str, RiskTable]) -> FittedModel:
    """An outside model's risks of these patients come from its file for them."""
    if isinstance(fitted, FittedImport) and fitted.name in imported:
        return replace(fitted, table=imported[fitted.name])
    if isinstance(fitted, FittedFusion):
        return replace(fitted, parts=tuple(_with_table(part, imported) for part in fitted.parts))
    return fitted


def _rows(name: str, fits: list[_Fit], data: CohortData) -> pd.DataFrame:
    if not fits:
        nothing = np.full(len(data), np.nan)
        reasons = dict.fromkeys(data.patient_ids, "not fitted in any fold of the run")
        frame = Locked(float("nan"), float("nan")).apply(
            prediction_frame(data.patient_ids, nothing, nothing, reasons)
        )
    elif len(fits) == 1:
        frame = fits[0].locked.apply(fits[0].fitted.predict(data))
        fitted = fits[0].fitted
        if isinstance(fitted, BagModel):
            members = Locked(float("nan"), float("nan")).apply(fitted.members(data))
            frame = pd.concat([frame, members])
    else:
        frame = _mean(fits, data)
    return frame.rename_axis("patient_id").reset_index().assign(model=name)


def _write_attention(fits: list[_Fit], data: CohortData, folder: Path) -> None:
    """The mean over the fits, as the risk is; nothing for models that read no tiles."""
    networks = [fit.fitted for fit in fits if isinstance(fit.fitted, BagModel)]
    if networks:
        table = attention_table(networks, data.bags, dict.fromkeys(data.patient_ids, "external"))
        fold = fits[0].fold if len(networks) == 1 else f"mean of {len(networks)} folds"
        write_table(table.assign(fold=fold), folder / ATTENTION_FILE)


def _mean(fits: list[_Fit], data: CohortData) -> pd.DataFrame:
    # A link from risk to probability belongs to its fold: apply it before the mean.
    frames = [fit.locked.apply(fit.fitted.predict(data)) for fit in fits]
    reasons: dict[str, str] = {}
    for frame in frames:
        for patient, row in frame[frame["status"] != "ok"].iterrows():
            reasons.setdefault(str(patient), str(row["reason"]))
    risk = np.mean([frame["risk"].to_numpy(np.float64) for frame in frames], axis=0)
    probability = np.mean([frame["probability"].to_numpy(np.float64) for frame in frames], axis=0)
    locked = Locked(
        cutoff=float(np.mean([fit.locked.cutoff for fit in fits])),
        risk_sd=float(np.mean([fit.locked.risk_sd for fit in fits])),
        threshold=fits[0].locked.threshold,
    )
    return locked.apply(prediction_frame(data.patient_ids, risk, probability, reasons))


def _ensemble_remarks(name: str, fitted: int, failed: list[str]) -> list[str]:
    told = []
    if fitted > 1:
        told.append(f"risk, cut-off and scale are means over the {fitted} fitted folds of the run")
    if failed:
        told.append(f"{name}: not fitted in {', '.join(failed)}, which are left out")
    return told
