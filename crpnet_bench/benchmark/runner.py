"""`crpnet-bench run`: from a registered cohort to a table of metrics.

A run is a folder, then rows. Everything is written into `runs/<run_id>/` first, each file by
temporary name and rename; at the end the registry takes it over in one transaction. A run that
was killed goes on with `resume`: slides, folds and models that are finished stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.environment import describe_environment
from crpnet_bench.benchmark.fold import Fold, FoldResult, fit_fold, read_fold
from crpnet_bench.benchmark.inputs import RunInputs, gather_inputs
from crpnet_bench.benchmark.locking import derived_seed
from crpnet_bench.config import RunConfig, load_config
from crpnet_bench.errors import ConfigError, NotFoundError, RunError, did_you_mean
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import Progress
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import (
    PREDICTION_COLUMNS,
    RunRecord,
    conform,
    read_record,
    write_atomically,
    write_record,
    write_table,
)

__all__ = ["FinishedRun", "run_benchmark", "run_settings"]


@dataclass(frozen=True)
class FinishedRun:
    """What a run ended as.

    Attributes:
        record: what the run was, as in `run.json`.
        folder: where everything lies.
        metrics: the `metrics` table.
        titles: printed name of each model.
        notes: sentences of the fitted models about themselves.
        slide_failures: one line a slide that could not be used.
    """

    record: RunRecord
    folder: Path
    metrics: pd.DataFrame
    titles: Mapping[str, str]
    notes: tuple[str, ...]
    slide_failures: tuple[str, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that failed and was recorded: slides and folds."""
        return (*self.slide_failures, *self.record.failures)


def run_settings(
    home: Home, config: Path | None, given: Mapping[str, Any], resume: str | None
) -> RunConfig:
    """Settings of a new run, or of the one that goes on.

    Args:
        home: where the runs lie.
        config: a TOML file, or None.
        given: top-level settings from the command line; None means not given.
        resume: id of an interrupted run; then nothing else may be given.

    Raises:
        ConfigError: an unknown key, or settings beside `resume`.
        NotFoundError: no such run.
    """
    if resume is None:
        return load_config(config, given)
    chosen = sorted(name for name, value in given.items() if value is not None)
    if chosen or config is not None:
        told = ", ".join([*chosen, *(["config"] if config is not None else [])])
        raise ConfigError(f"--resume takes the run's own settings; leave out: {told}")
    return RunConfig.from_mapping(_record(home, resume).config, f"run {resume}")


def _record(home: Home, run_id: str) -> RunRecord:
    folder = home.runs / run_id
    if not (folder / "run.json").exists():
        known = [path.parent.name for path in home.runs.glob("*/run.json")]
        raise NotFoundError(f"run {run_id!r} does not exist; {did_you_mean(run_id, known)}")
    return read_record(folder)


def run_benchmark(
    home: Home,
    config: RunConfig,
    *,
    device: str,
    progress: Progress,
    resume: str | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FinishedRun:
    """Train and evaluate all models of `config` on its cohort and split.

    Args:
        home: where registry, features and runs lie.
        config: what to compute; with `resume` it must be the run's own.
        device: "cpu" or "cuda".
        progress: told of slides and folds.
        resume: id of a run that was interrupted.
        clock: the time of now, UTC; part of the run's name.

    Raises:
        InputError: cohort, split or model do not exist.
        RunError: `resume` names a run of other settings, data or split.
    """
    inputs = gather_inputs(home, config, device=device, progress=progress)
    record = _open_run(home, config, inputs, device, resume, clock)
    folder = home.runs / record.run_id
    results = dict(_fit_all(config, inputs, folder, device, progress))
    predictions = _predictions(record, results)
    metrics = evaluate(predictions, inputs.outcomes, settings=config.evaluation)
    failures = tuple(
        f"{model} {fold}: {result.failure}"
        for (fold, model), result in results.items()
        if result.failure
    )
    done = record.model_copy(
        update={"status": "done with failures" if failures else "done", "failures": failures}
    )
    write_table(predictions, folder / "predictions.parquet")
    write_table(metrics, folder / "metrics.parquet")
    write_record(done, folder)
    with Registry(home).write() as registry:
        registry.import_run(done, predictions, metrics)
    return FinishedRun(
        record=done,
        folder=folder,
        metrics=metrics,
        titles={model: result.title for (_, model), result in results.items()},
        notes=tuple(dict.fromkeys(note for result in results.values() for note in result.notes)),
        slide_failures=inputs.slide_failures,
    )


def _open_run(
    home: Home,
    config: RunConfig,
    inputs: RunInputs,
    device: str,
    resume: str | None,
    clock: Callable[[], datetime],
) -> RunRecord:
    if resume is not None:
        return _reopen(home, config, inputs, device, resume)
    now = clock()
    fingerprint = config.fingerprint()
    stem = f"{now:%Y%m%d-%H%M%S}-{inputs.cohort}-{fingerprint[:8]}"
    record = RunRecord(
        run_id=_unused(home.runs, stem),
        created=now.isoformat(timespec="seconds"),
        status="running",
        cohort=inputs.cohort,
        cohort_version=inputs.cohort_version,
        cohort_kind=inputs.kind,
        endpoint=inputs.endpoint,
        split=inputs.split,
        split_sha256=inputs.split_sha256,
        models=inputs.models,
        primary_model=config.primary_model or inputs.models[0],
        primary_metric=config.primary_metric,
        seed=config.seed,
        device=device,
        config_fingerprint=fingerprint,
        config=config.model_dump(mode="json"),
        environment=describe_environment(device),
    )
    folder = home.runs / record.run_id
    write_record(record, folder)
    write_atomically(folder / "config.json", json.dumps(record.config, indent=2).encode())
    write_atomically(folder / "split.csv", inputs.split_table.to_csv(index=False).encode())
    write_table(inputs.slides, folder / "slides.parquet")
    return record


def _unused(runs: Path, stem: str) -> str:
    names = (stem if count == 0 else f"{stem}-{count}" for count in range(1000))
    return next(name for name in names if not (runs / name).exists())


def _reopen(
    home: Home, config: RunConfig, inputs: RunInputs, device: str, run_id: str
) -> RunRecord:
    record = _record(home, run_id)
    differing = [
        f"{name} was {before!r}, is {now!r}"
        for name, before, now in (
            ("configuration", record.config_fingerprint, config.fingerprint()),
            ("cohort version", record.cohort_version, inputs.cohort_version),
            ("split", record.split_sha256, inputs.split_sha256),
            ("device", record.device, device),
        )
        if before != now
    ]
    if differing:
        raise RunError(f"run {run_id}: cannot go on, {'; '.join(differing)}; start a new run")
    return record


def _fit_all(
    config: RunConfig, inputs: RunInputs, folder: Path, device: str, progress: Progress
) -> Iterator[tuple[tuple[str, str], FoldResult]]:
    """Finished folds are read back, the others fitted, in a fixed order."""
    for fold in inputs.folds:
        for name in inputs.models:
            place = folder / "folds" / fold.name / name
            result = read_fold(place) or fit_fold(
                build_model(name, config, device),
                inputs.data,
                fold,
                place,
                seed=_fold_seed(config.seed, fold),
                inner_folds=config.train.inner_folds,
                progress=progress,
            )
            yield (fold.name, name), result


def _fold_seed(seed: int, fold: Fold) -> int:
    return derived_seed(seed, fold.repeat, fold.fold)


def _predictions(record: RunRecord, results: Mapping[tuple[str, str], FoldResult]) -> pd.DataFrame:
    table = pd.concat([result.predictions for result in results.values()], ignore_index=True)
    return conform(
        table.assign(
            run_id=record.run_id,
            cohort=record.cohort,
            cohort_version=record.cohort_version,
            split=record.split,
        ),
        PREDICTION_COLUMNS,
    )
