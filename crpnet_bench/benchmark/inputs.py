"""Everything a run reads, gathered once: patients, outcomes, scores, split and bags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crpnet_bench.benchmark.builtin import ensure_cohort
from crpnet_bench.benchmark.extract import SlideJob, SlideOutcome, extract_features
from crpnet_bench.benchmark.fold import Fold
from crpnet_bench.config import EncoderConfig, RunConfig, TilingConfig
from crpnet_bench.errors import InputError
from crpnet_bench.home import Home
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import needs_bags
from crpnet_bench.progress import Progress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.slides.features import read_features

__all__ = [
    "ORACLE",
    "RunInputs",
    "cohort_data",
    "extract_cohort",
    "failure_lines",
    "gather_inputs",
    "outcome_table",
    "store_outcomes",
]

ORACLE = "oracle"
_NO_SLIDE = "no slide registered"


@dataclass(frozen=True)
class RunInputs:
    """What a run reads.

    Attributes:
        cohort, cohort_version, kind, endpoint: of the registered cohort.
        split, split_sha256, split_table: the split file and its rows.
        folds: the split's folds.
        models: of the configuration; on synthetic cohorts the oracle as well.
        data: all included patients.
        outcomes: `patient_id`, `time` (months), `status`.
        slides: one row a slide, with what became of it.
        slide_failures: one line a slide that could not be used.
    """

    cohort: str
    cohort_version: int
    kind: Literal["real", "simulated", "synthetic"]
    endpoint: str
    split: str
    split_sha256: str
    split_table: pd.DataFrame
    folds: tuple[Fold, ...]
    models: tuple[str, ...]
    data: CohortData
    outcomes: pd.DataFrame
    slides: pd.DataFrame
    slide_failures: tuple[str, ...]


def gather_inputs(home: Home, config: RunConfig, *, device: str, progress: Progress) -> RunInputs:
    """Read the cohort and its split, extract what features are missing.

    Raises:
        NotFoundError: the cohort or the split does not exist.
        InputError: the cohort has no default split and none was named.
    """
    record = ensure_cohort(home, config.cohort, progress)
    split = config.split or record.manifest.cohort.default_split
    if split is None:
        raise InputError(
            f"cohort {record.name!r} has no default split; name one with --split, or make one "
            f"with `crpnet-bench split create {record.name}`"
        )
    split_table = views.splits(home, record.pinned, split)
    slides: tuple[SlideOutcome, ...] = ()
    if any(needs_bags(model) for model in config.models):
        slides = extract_cohort(
            home, record, config.tiling, config.encoder, device=device, progress=progress
        )
    truth = _truth(record)
    models = (*config.models, ORACLE) if truth is not None else config.models
    outcomes = views.outcomes(home, record.pinned)[["patient_id", "time", "status"]]
    return RunInputs(
        cohort=record.name,
        cohort_version=record.version,
        kind=record.manifest.cohort.kind,
        endpoint=record.manifest.outcome.endpoint,
        split=split,
        split_sha256=str(split_table["sha256"].iloc[0]),
        split_table=split_table[["patient_id", "repeat", "fold", "role"]],
        folds=_folds(split_table),
        models=tuple(dict.fromkeys(models)),
        data=cohort_data(home, record, slides, truth),
        outcomes=outcomes,
        slides=outcome_table(slides),
        slide_failures=failure_lines(slides),
    )


def extract_cohort(
    home: Home,
    record: views.CohortRecord,
    tiling: TilingConfig,
    encoder: EncoderConfig,
    *,
    device: str,
    workers: int = 1,
    progress: Progress,
) -> tuple[SlideOutcome, ...]:
    """Features of all slides of a registered cohort; outcomes go into the registry.

    Slides that were encoded with these settings before are not touched again.
    """
    outcomes = extract_features(
        cohort_jobs(home, record),
        home.features,
        tiling,
        encoder,
        device=device,
        workers=workers,
        progress=progress,
    )
    store_outcomes(home, record, outcomes)
    return tuple(outcomes)


def failure_lines(slides: Sequence[SlideOutcome]) -> tuple[str, ...]:
    """One line a slide that gave no features: file, reason, remedy."""
    return tuple(
        f"{slide.path.name}: {slide.reason}" + (f"; {slide.remedy}" if slide.remedy else "")
        for slide in slides
        if slide.status != "done"
    )


def cohort_jobs(home: Home, record: views.CohortRecord) -> list[SlideJob]:
    """The slides of a registered cohort's included patients."""
    return [_job(row) for row in views.slides(home, record.pinned).to_dict("records")]


def _job(row: Mapping[Any, Any]) -> SlideJob:
    slide_id = str(row["slide_id"])
    return SlideJob(
        slide_id=None if slide_id.startswith("pending-") else slide_id,
        patient_id=str(row["patient_id"]),
        path=Path(str(row["path"])),
        mpp=None if pd.isna(row["mpp"]) else float(row["mpp"]),
    )


def store_outcomes(
    home: Home, record: views.CohortRecord, outcomes: Sequence[SlideOutcome]
) -> None:
    """Write what became of each slide into the registry, unless it stands there already."""
    table = outcome_table(outcomes)
    before = views.slide_outcomes(home, record.pinned)
    if before.astype(object).equals(table[before.columns].astype(object)):
        return
    with Registry(home).write() as registry:
        registry.store_slide_outcomes(record.name, record.version, table)


def outcome_table(outcomes: Sequence[SlideOutcome]) -> pd.DataFrame:
    """Slide outcomes as a frame, one row a slide."""
    return pd.DataFrame(
        [
            {
                "slide_id": slide.slide_id,
                "patient_id": slide.patient_id,
                "path": str(slide.path),
                "status": slide.status,
                "reason": slide.reason,
                "remedy": slide.remedy,
                "n_grid": slide.n_grid,
                "n_masked": slide.n_masked,
                "n_below": slide.n_below,
                "n_kept": slide.n_kept,
                "feature_path": str(slide.feature_path) if slide.feature_path else None,
                "warnings": "; ".join(slide.warnings),
            }
            for slide in outcomes
        ],
        columns=[
            "slide_id", "patient_id", "path", "status", "reason", "remedy",
            "n_grid", "n_masked", "n_below", "n_kept", "feature_path", "warnings",
        ],
    )  # fmt: skip


def _folds(split: pd.DataFrame) -> tuple[Fold, ...]:
    folds = []
    for repeat, fold in sorted(set(zip(split["repeat"], split["fold"], strict=True))):
        part = split[(split["repeat"] == repeat) & (split["fold"] == fold)]
        patients = part["patient_id"].to_numpy(object)
        roles = pd.Series(part["role"].to_numpy(object), index=patients)
        folds.append(Fold(int(repeat), int(fold), roles))
    return tuple(folds)


def cohort_data(
    home: Home,
    record: views.CohortRecord,
    slides: Sequence[SlideOutcome],
    truth: pd.Series[Any] | None = None,
) -> CohortData:
    """The registered cohort as models see it.

    Args:
        home: whose registry.
        record: the cohort.
        slides: outcomes of its slides; empty when no model reads tiles.
        truth: true linear predictor by patient, of a synthetic cohort.
    """
    patients = views.patients(home, record.pinned).set_index("patient_id")
    patients.index = patients.index.astype(object)
    outcomes = views.outcomes(home, record.pinned).set_index("patient_id")
    outcomes.index = outcomes.index.astype(object)
    bags, why_not = _bags(slides, list(patients.index))
    return CohortData(
        patients=patients,
        scores=_scores(home, record, patients.index, truth),
        bags=bags,
        bag_reasons=why_not,
        outcomes=pd.DataFrame(
            {
                "time": outcomes["time"].astype(float),
                "status": outcomes["status"].astype(int),
                "label": (outcomes["status"] == 1).astype(int),
            }
        ).loc[patients.index],
        cohort=record.name,
        feature_fingerprint=_feature_fingerprint(slides),
    )


def _scores(
    home: Home, record: views.CohortRecord, patients: pd.Index[Any], truth: pd.Series[Any] | None
) -> pd.DataFrame:
    long = views.scores(home, record.pinned)
    columns: dict[str, pd.Series[Any]] = {}
    for score, part in long.groupby("score"):
        rows = part.set_index("patient_id").reindex(patients)
        columns[str(score)] = rows["risk"].astype("Float64")
        columns[f"{score}_reason"] = rows["reason"].astype("string")
    if truth is not None:
        columns[ORACLE] = truth.reindex(patients).astype("Float64")
    return pd.DataFrame(columns, index=patients)


def _truth(record: views.CohortRecord) -> pd.Series[Any] | None:
    """What was planted in a synthetic cohort; a row "oracle" shows what is reachable."""
    path = record.folder / "truth" / "patients.parquet"
    if record.manifest.cohort.kind != "synthetic" or not path.exists():
        return None
    table = pd.read_parquet(path).set_index("patient_id")
    return table["histology_linear_predictor"]


def _bags(
    slides: Sequence[SlideOutcome], patients: Sequence[str]
) -> tuple[Mapping[str, Bag], Mapping[str, str]]:
    bags: dict[str, Bag] = {}
    reasons: dict[str, str] = {}
    for patient in patients:
        own = sorted((s for s in slides if s.patient_id == patient), key=lambda s: s.slide_id)
        usable = [slide for slide in own if slide.feature_path is not None]
        if usable:
            bags[patient] = _bag(usable)
        else:
            reasons[patient] = "; ".join(s.reason for s in own) or _NO_SLIDE
    return bags, reasons


def _bag(slides: Sequence[SlideOutcome]) -> Bag:
    parts = [read_features(slide.feature_path) for slide in slides if slide.feature_path]
    counts = [len(part.coords) for part in parts]
    return Bag(
        features=np.concatenate([part.features for part in parts]),
        slide=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        coords=np.concatenate([part.coords for part in parts]),
        slide_ids=tuple(slide.slide_id for slide in slides),
    )


def _feature_fingerprint(slides: Sequence[SlideOutcome]) -> str:
    """Name of the folder the features lie in: tiling and encoder."""
    folders = {slide.feature_path.parent.name for slide in slides if slide.feature_path}
    return next(iter(folders), "")
