"""What a run is about, and everything it reads.

First the plan, which needs no outcome: cohort, endpoint, split, models. It is written down before
`gather_inputs` reads patients, outcomes, scores and bags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.bags import BagSource, SlideFiles
from crpnet_bench.benchmark.builtin import ensure_cohort
from crpnet_bench.benchmark.engines import Engine, LocalEngine
from crpnet_bench.benchmark.extract import (
    SlideJob,
    SlideOutcome,
    extract_features,
    imported_folder,
)
from crpnet_bench.benchmark.fold import Fold
from crpnet_bench.benchmark.line_up import expand, make_model, reads_tiles
from crpnet_bench.benchmark.outcomes import read_outcomes
from crpnet_bench.benchmark.slide_colours import COLOUR_MODEL, with_colours
from crpnet_bench.config import IMPORTED, EncoderConfig, RunConfig, TilingConfig
from crpnet_bench.errors import ConfigError, InputError, NotFoundError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.models.base import CohortData
from crpnet_bench.progress import Progress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry

__all__ = [
    "ORACLE",
    "RunInputs",
    "RunPlan",
    "cohort_data",
    "extract_cohort",
    "failure_lines",
    "gather_inputs",
    "outcome_table",
    "plan_run",
    "planted_truth",
    "store_outcomes",
    "with_outcomes",
]

ORACLE = "oracle"
_NO_SLIDE = "no slide registered"


@dataclass(frozen=True)
class RunPlan:
    """What is declared before outcomes are read.

    Attributes:
        cohort: the registered cohort.
        endpoint: whose outcomes are read.
        split, split_sha256, split_table: the split file and its rows.
        folds: the split's folds.
        models: in the order of fitting: parts of a fusion before it; on synthetic cohorts the
            oracle last.
        asked: the models that the configuration names.
    """

    cohort: views.CohortRecord
    endpoint: str
    split: str
    split_sha256: str
    split_table: pd.DataFrame
    folds: tuple[Fold, ...]
    models: tuple[str, ...]
    asked: tuple[str, ...]

    @property
    def validation_role(self) -> str:
        """The role whose patients are the primary ones."""
        roles = set(self.split_table["role"])
        return next((role for role in ("validation", "test") if role in roles), "train")


@dataclass(frozen=True)
class RunInputs:
    """What a run reads.

    Attributes:
        data: all included patients.
        bags: where their bags were read.
        outcomes: `patient_id`, `time` (months), `status`, `site`.
        slides: one row a slide, with what became of it.
        slide_failures: one line a slide that could not be used.
        without_outcome: included patients whose endpoint is not recorded; left out.
    """

    data: CohortData
    bags: BagSource
    outcomes: pd.DataFrame
    slides: pd.DataFrame
    slide_failures: tuple[str, ...]
    without_outcome: tuple[str, ...] = ()


def plan_run(home: Home, config: RunConfig, *, progress: Progress) -> RunPlan:
    """Find cohort, endpoint, split and models; outcomes stay unread.

    Raises:
        NotFoundError: the cohort, its endpoint or the split does not exist.
        ConfigError: a model does not exist.
        InputError: no split was named, the cohort names no default, and there is not just one.
        ConfigError: the primary metric cannot be had with the split, or there are no features of
            the tool that `encoder.name` stands for.
    """
    for model in config.models:
        make_model(model, config)  # a wrong name is told before a built-in cohort is drawn
    _imported_features(home, config)
    record = ensure_cohort(home, config.cohort, progress)
    split = config.split or record.manifest.cohort.default_split or _only_split(home, record)
    table = views.splits(home, record.pinned, split)
    _primary_can_be_had(config, table, split)
    oracle = () if planted_truth(record) is None else (ORACLE,)
    return RunPlan(
        cohort=record,
        endpoint=_endpoint(record, config.endpoint),
        split=split,
        split_sha256=str(table["sha256"].iloc[0]),
        split_table=table[["patient_id", "repeat", "fold", "role"]],
        folds=_folds(table),
        models=expand((*config.models, *oracle)),
        asked=tuple(dict.fromkeys(config.models)),
    )


def _imported_features(home: Home, config: RunConfig) -> None:
    """Features of another tool must have been brought in, for some cohort at least."""
    name = config.encoder.name
    if not name.startswith(IMPORTED) or not reads_tiles(config.models, config):
        return
    if not imported_folder(home.features, name).is_dir():
        prefix = imported_folder(home.features, IMPORTED).name
        known = [
            IMPORTED + path.name.removeprefix(prefix) for path in home.features.glob(f"{prefix}*")
        ]
        raise ConfigError(
            f"encoder.name = {name!r}: no features were imported under this name; "
            f"{did_you_mean(name, known)}; `crpnet-bench features import` brings them in"
        )


def _primary_can_be_had(config: RunConfig, table: pd.DataFrame, split: str) -> None:
    """A time-dependent AUC compares risks of all patients, which folds do not allow."""
    folds = table.groupby("repeat")["fold"].nunique().max()
    if config.primary_metric == "auc_t" and folds > 1:
        raise ConfigError(
            f"primary_metric = 'auc_t': split {split!r} has {folds} folds, and risks of different "
            "folds have no common scale; declare auc or c_index, or name a split of one fold"
        )


def _only_split(home: Home, record: views.CohortRecord) -> str:
    """The split of a cohort that has one and names no default."""
    known = sorted({str(name) for name in views.splits(home, record.pinned)["split"]})
    if len(known) == 1:
        return known[0]
    if known:
        raise InputError(
            f"cohort {record.name!r} has the splits {', '.join(known)} and no default_split; name "
            "one with --split"
        )
    raise InputError(
        f"cohort {record.name!r} has no split; `crpnet-bench split create {record.name}` makes one"
    )


def _endpoint(record: views.CohortRecord, asked: str | None) -> str:
    manifest = record.manifest
    known = [manifest.outcome.endpoint, *(more.endpoint for more in manifest.further_outcomes)]
    if asked is None:
        return known[0]
    if asked not in known:
        raise NotFoundError(
            f"cohort {record.name!r} has no endpoint {asked!r}; {did_you_mean(asked, known)}"
        )
    return asked


def gather_inputs(
    home: Home,
    config: RunConfig,
    plan: RunPlan,
    *,
    device: str,
    progress: Progress,
    engine: Engine | None = None,
) -> RunInputs:
    """Extract what features are missing; read patients, scores, bags and outcomes."""
    record = plan.cohort
    slides: tuple[SlideOutcome, ...] = ()
    if reads_tiles(plan.asked, config):
        slides = extract_cohort(
            home,
            record,
            config.tiling,
            config.encoder,
            device=device,
            progress=progress,
            engine=engine,
        )
    data = cohort_data(home, record, slides, planted_truth(record))
    if COLOUR_MODEL in plan.models:
        data = with_colours(data, slides, progress)
    outcomes = read_outcomes(home, record.pinned, plan.endpoint)
    return RunInputs(
        data=with_outcomes(data, outcomes),
        bags=_bag_source(home, record, slides, data.patient_ids)[0],
        outcomes=outcomes,
        slides=outcome_table(slides),
        slide_failures=failure_lines(slides),
        without_outcome=tuple(sorted(set(data.patient_ids) - set(outcomes["patient_id"]))),
    )


def with_outcomes(data: CohortData, outcomes: pd.DataFrame) -> CohortData:
    """The patients who have an outcome, with what models learn from."""
    table = outcomes.set_index("patient_id")
    table.index = table.index.astype(object)
    learned = pd.DataFrame(
        {
            "time": table["time"].astype(float),
            "status": table["status"].astype(int),
            "label": (table["status"] == 1).astype(int),
        }
    )
    known = [patient for patient in data.patient_ids if patient in learned.index]
    return replace(data.take(known), outcomes=learned.loc[known])


def extract_cohort(
    home: Home,
    record: views.CohortRecord,
    tiling: TilingConfig,
    encoder: EncoderConfig,
    *,
    device: str,
    workers: int = 1,
    progress: Progress,
    engine: Engine | None = None,
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
        engine=engine or LocalEngine(),
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
    """The registered cohort as models see it, without outcomes.

    Args:
        home: whose registry.
        record: the cohort.
        slides: outcomes of its slides; empty when no model reads tiles.
        truth: true linear predictor by patient, of a synthetic cohort.
    """
    patients = views.patients(home, record.pinned).set_index("patient_id")
    patients.index = patients.index.astype(object)
    source, why_not = _bag_source(home, record, slides, list(patients.index))
    return CohortData(
        patients=patients,
        scores=_scores(home, record, patients.index, truth),
        bags=source.read(),
        bag_reasons=why_not,
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


def planted_truth(record: views.CohortRecord) -> pd.Series[Any] | None:
    """What was planted in a synthetic cohort; a row "oracle" shows what is reachable."""
    path = record.folder / "truth" / "patients.parquet"
    if record.manifest.cohort.kind != "synthetic" or not path.exists():
        return None
    table = pd.read_parquet(path).set_index("patient_id")
    return table["histology_linear_predictor"]


def _bag_source(
    home: Home,
    record: views.CohortRecord,
    slides: Sequence[SlideOutcome],
    patients: Sequence[str],
) -> tuple[BagSource, dict[str, str]]:
    """Slides with features of each patient, and why a patient has none."""
    usable: dict[str, SlideFiles] = {}
    reasons: dict[str, str] = {}
    of_patient: dict[str, list[SlideOutcome]] = {patient: [] for patient in patients}
    for slide in sorted(slides, key=lambda slide: slide.slide_id):
        if slide.patient_id in of_patient:
            of_patient[slide.patient_id].append(slide)
    for patient, own in of_patient.items():
        files = [(slide.slide_id, slide.feature_path) for slide in own if slide.feature_path]
        if files:
            usable[patient] = files
        else:
            reasons[patient] = "; ".join(s.reason for s in own) or _NO_SLIDE
    pack = home.features / _feature_fingerprint(slides) / "packed" / record.pinned
    return BagSource(usable, pack, {slide.slide_id: slide.path for slide in slides}), reasons


def _feature_fingerprint(slides: Sequence[SlideOutcome]) -> str:
    """Name of the folder the features lie in: tiling and encoder."""
    folders = {slide.feature_path.parent.name for slide in slides if slide.feature_path}
    return next(iter(folders), "")
