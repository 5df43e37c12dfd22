"""`crpnet-bench validate`: a finished run, locked, on somebody else's cohort.

Order matters here. First everything that needs no outcome: checks, features, predictions. Then the
ledger says that outcomes are looked at. Only then are they read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.builtin import ensure_cohort
from crpnet_bench.benchmark.comparisons import compare_models
from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.benchmark.finished import FinishedRun, external_folder, read_run
from crpnet_bench.benchmark.imported import RiskTable, read_risks, unknown_patients
from crpnet_bench.benchmark.inputs import (
    cohort_data,
    extract_cohort,
    failure_lines,
    outcome_table,
    planted_truth,
)
from crpnet_bench.benchmark.outcomes import read_outcomes
from crpnet_bench.benchmark.site_remarks import site_remark
from crpnet_bench.benchmark.slide_colours import COLOUR_MODEL, with_colours
from crpnet_bench.benchmark.validate_checks import (
    allowed,
    choose_endpoint,
    feature_differences,
    refuse_shared,
    refuse_without_tiles,
    setting_differences,
    training_patients,
)
from crpnet_bench.benchmark.validate_files import Validation, write_validation
from crpnet_bench.benchmark.validate_predictions import apply_run
from crpnet_bench.benchmark.validate_results import (
    calibration_metrics,
    case_mix,
    events_remark,
    out_of_fold_rows,
)
from crpnet_bench.benchmark.validate_transport import (
    change_remarks,
    primary_rows,
    training_rows,
    transport,
)
from crpnet_bench.config import IMPORTED, RunConfig, load_config
from crpnet_bench.errors import ConfigError, did_you_mean
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
from crpnet_bench.models.base import CohortData
from crpnet_bench.progress import Progress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import (
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    conform,
    read_table,
)

__all__ = ["validate_run"]


@dataclass(frozen=True)
class _Setting:
    """What is known before outcomes are read."""

    home: Home
    run: FinishedRun
    config: RunConfig
    external: views.CohortRecord
    endpoint: str
    remarks: tuple[str, ...]
    slides: tuple[SlideOutcome, ...]

    @property
    def folder(self) -> Path:
        """Where everything of this validation lies."""
        return external_folder(self.run.folder, self.external.pinned)


def validate_run(
    home: Home,
    run_id: str,
    cohort: str,
    *,
    device: str,
    progress: Progress,
    other_settings: Path | None = None,
    force: bool = False,
    imported: Mapping[str, str] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Validation:
    """Apply all models of a finished run, locked, to another registered cohort.

    Args:
        home: where registry, features and runs lie.
        run_id: a finished run.
        cohort: NAME or NAME@VERSION; a built-in one is made if need be.
        device: "cpu" or "cuda".
        progress: told of slides and models.
        other_settings: TOML; what it says of tiling and encoder replaces the run's; refused without
            `force` where they differ in more than backend, precision and batch.
        force: validate although tiling, encoder or endpoint differ; the remarks say so.
        imported: outside model -> csv of its risks for this cohort's patients.
        clock: the time of now, for the ledger.

    Raises:
        NotFoundError: run, cohort or endpoint do not exist.
        InputError: patients or slides are shared with the training patients.
        RunError: tiles would not be made as in training, or the run has not finished.
    """
    setting = _prepare(home, run_id, cohort, device, progress, other_settings, force=force)
    tables = _imported(setting.run, imported or {})
    data = _data(setting, progress)
    strangers = [
        sentence
        for table in tables.values()
        for sentence in unknown_patients(table, data.patient_ids, setting.external.pinned)
    ]
    applied = apply_run(
        setting.run,
        data,
        device=device,
        imported=tables,
        folder=setting.folder,
        progress=progress,
    )
    predictions = _stamped(applied.predictions, setting)
    _look(setting, predictions, clock)
    remarks = (*setting.remarks, *applied.remarks, *strangers)
    return _judge(replace(setting, remarks=remarks), predictions, progress)


def _prepare(
    home: Home,
    run_id: str,
    cohort: str,
    device: str,
    progress: Progress,
    other_settings: Path | None,
    *,
    force: bool,
) -> _Setting:
    run = read_run(home, run_id)
    own = RunConfig.from_mapping(run.record.config, f"run {run_id}")
    other = own if other_settings is None else _with_settings(own, other_settings)
    external = ensure_cohort(home, cohort, progress)
    endpoint, remarks = choose_endpoint(run, external, force=force)
    refused, said = setting_differences(own, other)
    remarks += [*allowed(refused, force=force), *said]
    refuse_shared(home, run, external, ())
    slides: tuple[SlideOutcome, ...] = ()
    if len(pd.read_parquet(run.folder / "slides.parquet")):  # a model of the run reads tiles
        slides = extract_cohort(
            home, external, other.tiling, other.encoder, device=device, progress=progress
        )
        refuse_shared(home, run, external, slides)  # now every slide is known by its content
        refuse_without_tiles(external, slides, force=force)
        if not refused:
            refused, said = feature_differences(run, own, other, slides)
            remarks += [*allowed(refused, force=force), *said]
    return _Setting(home, run, own, external, endpoint, tuple(remarks), slides)


def _with_settings(own: RunConfig, file: Path) -> RunConfig:
    """The run's settings with what the file says of tiling and encoder; the rest stays."""
    given = load_config(file)
    said = {
        section: getattr(own, section).model_copy(
            update={key: getattr(found, key) for key in found.model_fields_set}
        )
        for section, found in (("tiling", given.tiling), ("encoder", given.encoder))
    }
    return own.model_copy(update=said)


def _imported(run: FinishedRun, given: Mapping[str, str]) -> dict[str, RiskTable]:
    known = [name.removeprefix(IMPORTED) for name in run.record.models if name.startswith(IMPORTED)]
    for name in given:
        if name not in known:
            raise ConfigError(f"imported {name!r} is no outside model of this run; "
                              f"{did_you_mean(name, known)}")  # fmt: skip
    return {f"{IMPORTED}{name}": read_risks(Path(file)) for name, file in given.items()}


def _data(setting: _Setting, progress: Progress) -> CohortData:
    truth = planted_truth(setting.external)
    data = cohort_data(setting.home, setting.external, setting.slides, truth)
    if COLOUR_MODEL in setting.run.record.models:
        data = with_colours(data, setting.slides, progress)
    # What may differ was decided before; networks must not refuse it a second time.
    return replace(data, feature_fingerprint="")


def _stamped(predictions: pd.DataFrame, setting: _Setting) -> pd.DataFrame:
    record = setting.run.record
    stamped = predictions.assign(
        run_id=record.run_id,
        cohort=setting.external.name,
        cohort_version=setting.external.version,
        split=record.split,
        repeat=0,
        fold=0,
        seed=record.seed,
        role="external",
        in_sample=False,
    )
    return conform(stamped, PREDICTION_COLUMNS)


def _look(setting: _Setting, predictions: pd.DataFrame, clock: Callable[[], datetime]) -> None:
    record = setting.run.record
    with Registry(setting.home, clock=clock).write() as registry:
        registry.record_look(
            {
                "run_id": record.run_id,
                "cohort": setting.external.name,
                "cohort_version": setting.external.version,
                "command": "validate",
                "endpoint": setting.endpoint,
                "primary_model": record.primary_model,
                "models": ", ".join(record.models),
                "patients": predictions["patient_id"].nunique(),
                "remark": "; ".join(setting.remarks),
            }
        )


def _judge(setting: _Setting, predictions: pd.DataFrame, progress: Progress) -> Validation:
    """Read the outcomes, for the first time, and measure."""
    home, run, external = setting.home, setting.run, setting.external
    outcomes = read_outcomes(home, external.pinned, setting.endpoint)
    known = predictions["patient_id"].isin(list(outcomes["patient_id"]))
    lost = predictions.loc[~known, "patient_id"].nunique()
    predictions = predictions[known].reset_index(drop=True)
    settings, level = setting.config.evaluation, setting.config.evaluation.level
    own = _own_rows(home, run)
    shown = _with_patients(home, external.pinned, predictions, outcomes)
    whole = shown[shown["member"].isna()]
    calibrated = calibration_metrics(out_of_fold_rows(own), whole, settings.horizons_months, level)
    metrics = pd.concat(
        [
            evaluate(predictions, outcomes, settings=settings, progress=progress),
            _stamped_metrics(calibrated, setting),
        ],
        ignore_index=True,
    )
    record = run.record
    changes = transport(
        training_rows(own), primary_rows(own, record.primary_role), whole, record.models, level
    )
    patients = outcomes[outcomes["patient_id"].isin(list(predictions["patient_id"]))]
    trained, others, names = _patients_of_both(setting, outcomes)
    remarks = [
        *setting.remarks,
        *([f"{lost} patients without a recorded {setting.endpoint} left out"] if lost else []),
        *_own_validation_patients(run, external, predictions),
        *change_remarks(changes, record.primary_model, external.pinned),
        *site_remark(dict(zip(names, (trained, others), strict=True))),
        events_remark(int((patients["status"] == 1).sum()), len(patients)),
        *_looks(home, record.run_id, external),
    ]
    found = Validation(
        run_id=record.run_id,
        cohort=external.pinned,
        kind=external.manifest.cohort.kind,
        endpoint=setting.endpoint,
        folder=setting.folder,
        metrics=conform(metrics, METRIC_COLUMNS),
        comparisons=compare_models(predictions, outcomes, record.primary_model, level=level),
        transport=changes,
        case_mix=case_mix(trained, others, names),
        remarks=tuple(remarks),
        failures=failure_lines(setting.slides),
    )
    write_validation(found, predictions, outcome_table(setting.slides))
    with Registry(home).write() as registry:
        registry.import_external(record.run_id, external.name, predictions, found.metrics)
    return found


def _own_validation_patients(
    run: FinishedRun, external: views.CohortRecord, predictions: pd.DataFrame
) -> list[str]:
    """Nobody was fitted on them, but the two results are then not of independent patients."""
    split = pd.read_csv(run.folder / "split.csv", dtype={"patient_id": str})
    both = sorted(set(split["patient_id"]) & set(predictions["patient_id"]))
    if not both:
        return []
    return [
        f"{len(both)} of the patients of {external.pinned} bear the id of one whom the run was "
        f"evaluated on at home ({', '.join(both[:3])}{', ...' if len(both) > 3 else ''}): if they "
        "are the same, this is not all new, and the changes are not of independent patients"
    ]


def _stamped_metrics(metrics: pd.DataFrame, setting: _Setting) -> pd.DataFrame:
    record = setting.run.record
    return metrics.assign(
        run_id=record.run_id,
        cohort=setting.external.name,
        split=record.split,
        role="external",
        in_sample=False,
        subgroup="all",
    ).astype(dict(METRIC_COLUMNS))


def _own_rows(home: Home, run: FinishedRun) -> pd.DataFrame:
    record = run.record
    pinned = f"{record.cohort}@{record.cohort_version}"
    rows = read_table(run.folder / "predictions.parquet", PREDICTION_COLUMNS)
    outcomes = views.outcomes(home, pinned, record.endpoint)
    return _with_patients(home, pinned, rows, outcomes)


def _with_patients(
    home: Home, pinned: str, predictions: pd.DataFrame, outcomes: pd.DataFrame
) -> pd.DataFrame:
    """Predictions beside `time`, `event` and `site`; the risk is missing where it is not known."""
    sites = views.patients(home, pinned)[["patient_id", "site"]]
    table = outcomes[["patient_id", "time", "status"]].rename(columns={"status": "outcome"})
    joined = predictions.merge(table, on="patient_id").merge(sites, on="patient_id", how="left")
    return joined.assign(
        time=joined["time"].astype(float),
        event=(joined["outcome"] == 1).astype(int),
        risk=joined["risk"].where(joined["status"] == "ok"),
    )


def _patients_of_both(
    setting: _Setting, outcomes: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, str]]:
    """Training patients and those of the other cohort, with outcomes, and both names."""
    record = setting.run.record
    pinned = f"{record.cohort}@{record.cohort_version}"
    own = views.patients(setting.home, pinned).merge(
        views.outcomes(setting.home, pinned, record.endpoint)[["patient_id", "time", "status"]],
        on="patient_id",
    )
    own = own[own["patient_id"].isin(list(training_patients(setting.run)))]
    other = views.patients(setting.home, setting.external.pinned).merge(
        outcomes.drop(columns="site"), on="patient_id"
    )
    return own, other, (f"{record.cohort}, training", setting.external.pinned)


def _looks(home: Home, run_id: str, external: views.CohortRecord) -> list[str]:
    looks = views.ledger(home)
    every = looks[looks["cohort"] == external.name]
    same = every[every["cohort_version"] == external.version]
    own = int((same["run_id"] == run_id).sum())
    told = (
        f"ledger: look {own} of this run at the outcomes of {external.pinned}; {len(same)} in all, "
        f"by {same['run_id'].nunique()} run(s)"
    )
    if len(every) > len(same):  # mostly the same patients
        told += f"; {len(every) - len(same)} more at other versions of {external.name}"
    return [told + ("" if len(every) == 1 else "; only the first was blind")]
