"""`crpnet-bench run`: from a registered cohort to a table of metrics.

A run is a folder, then rows. Everything is written into `runs/<run_id>/` first, each file by
temporary name and rename; at the end the registry takes it over in one transaction. A run that
was killed goes on with `resume`: slides, folds and models that are finished stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.bags import BagSource
from crpnet_bench.benchmark.comparisons import compare_models
from crpnet_bench.benchmark.declaration import declare, hold_slides
from crpnet_bench.benchmark.engines import Engine, Job, LocalEngine, Shared
from crpnet_bench.benchmark.environment import task_threads
from crpnet_bench.benchmark.finished import FinishedRun, fold_folder
from crpnet_bench.benchmark.fold import Fold, FoldResult, fit_fold, lose_fold, read_fold
from crpnet_bench.benchmark.inputs import RunInputs, RunPlan, gather_inputs, plan_run
from crpnet_bench.benchmark.ledger import note_run
from crpnet_bench.benchmark.line_up import make_model, parts_of, reads_tiles, with_wider_fields
from crpnet_bench.benchmark.seeds import metrics_by_seed
from crpnet_bench.benchmark.site_remarks import run_site_remarks
from crpnet_bench.config import RunConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
from crpnet_bench.models.base import CohortData
from crpnet_bench.progress import Progress
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import (
    PREDICTION_COLUMNS,
    RunRecord,
    conform,
    write_record,
    write_table,
)

__all__ = ["run_benchmark"]


Results = Mapping[tuple[str, str], FoldResult]


def run_benchmark(
    home: Home,
    config: RunConfig,
    *,
    device: str,
    progress: Progress,
    resume: str | None = None,
    engine: Engine | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FinishedRun:
    """Train and evaluate all models of `config` on its cohort and split.

    Args:
        home: where registry, features and runs lie.
        config: what to compute; with `resume` it must be the run's own.
        device: "cpu" or "cuda".
        progress: told of slides and folds.
        resume: id of a run that was interrupted.
        engine: where slides and folds are computed; here if None.
        clock: the time of now, UTC; part of the run's name.

    Raises:
        InputError: cohort, split or model do not exist.
        RunError: `resume` names a run of other settings, data or split.
    """
    engine = engine or LocalEngine()
    config = with_wider_fields(config)
    plan = plan_run(home, config, progress=progress)
    record = declare(home, config, plan, device, resume, clock)
    folder = home.runs / record.run_id
    inputs = gather_inputs(home, config, plan, device=device, progress=progress, engine=engine)
    hold_slides(inputs, folder)
    tasks = list(_fold_tasks(config, plan, inputs, folder, device))
    results = _fit_all(tasks, folder, engine, progress)
    return _finish(home, config, record, inputs, results)


def _finish(
    home: Home, config: RunConfig, record: RunRecord, inputs: RunInputs, results: Results
) -> FinishedRun:
    folder = home.runs / record.run_id
    predictions = _predictions(record, results)
    settings = config.evaluation
    metrics = evaluate(predictions, inputs.outcomes, settings=settings)
    comparisons = compare_models(
        predictions, inputs.outcomes, record.primary_model, level=settings.level
    )
    write_table(predictions, folder / "predictions.parquet")
    write_table(metrics, folder / "metrics.parquet")
    write_table(comparisons, folder / "comparisons.parquet")
    by_seed = pd.DataFrame()
    if config.seeds > 1:
        by_seed = metrics_by_seed(predictions, inputs.outcomes, settings)
        write_table(by_seed, folder / "seeds.parquet")
    done = _closed(record, results).model_copy(
        update={"remarks": _site_remarks(record, inputs, predictions, metrics)}
    )
    write_record(done, folder)
    with Registry(home).write() as registry:
        registry.import_run(done, predictions, metrics)
        note_run(registry, done, predictions["patient_id"].nunique())
    return FinishedRun(
        record=done,
        folder=folder,
        metrics=metrics,
        titles={model: result.title for (_, model), result in results.items()},
        notes=_notes(inputs, results, done),
        slide_failures=inputs.slide_failures,
        comparisons=comparisons,
        by_seed=by_seed,
    )


def _closed(record: RunRecord, results: Results) -> RunRecord:
    failures = tuple(
        f"{model} {fold}: {result.failure.removeprefix(f'{model}: ')}"
        for (fold, model), result in results.items()
        if result.failure
    )
    status = "done with failures" if failures else "done"
    return record.model_copy(update={"status": status, "failures": failures})


def _site_remarks(
    record: RunRecord, inputs: RunInputs, predictions: pd.DataFrame, metrics: pd.DataFrame
) -> tuple[str, ...]:
    trained = predictions.loc[predictions["role"] == "train", "patient_id"].unique().tolist()
    return run_site_remarks(
        inputs.outcomes, trained, metrics, record.primary_model, record.primary_role
    )


def _notes(inputs: RunInputs, results: Results, record: RunRecord) -> tuple[str, ...]:
    told = [note for result in results.values() for note in result.notes]
    if inputs.without_outcome:
        some = ", ".join(inputs.without_outcome[:3])
        told.append(
            f"{len(inputs.without_outcome)} patients without a recorded {record.endpoint} "
            f"left out ({some}{', ...' if len(inputs.without_outcome) > 3 else ''})"
        )
    return tuple(dict.fromkeys(told))


@dataclass(frozen=True)
class _FoldTask:
    """One model in one fold with one seed, small enough to be sent to another machine.

    Attributes:
        model: its name.
        fold: patients by role, those with an outcome.
        name: of the fold's folder.
        place: `<fold>/<model>` of the run.
    """

    config: RunConfig
    data: Shared[CohortData]
    model: str
    fold: Fold
    name: str
    seed: int
    place: Path
    device: str

    @property
    def key(self) -> tuple[str, str]:
        """Fold and model."""
        return self.name, self.model

    def finished(self) -> FoldResult | None:
        """What an earlier run left; None where it has to be computed."""
        result = read_fold(self.place)
        return None if result is None or result.lost else result

    def fit(self, progress: Progress) -> FoldResult:
        """Fit, unless a process that was lost afterwards had done it."""
        with task_threads(self.config.train.threads):
            return read_fold(self.place) or fit_fold(
                make_model(self.model, self.config, self.device),
                self.data.get(),
                self.fold,
                self.place,
                seed=self.seed,
                inner_folds=self.config.train.inner_folds,
                progress=progress,
                device=self.device,
            )

    def lose(self, reason: str) -> FoldResult:
        """Record that its processes died."""
        model = make_model(self.model, self.config, self.device)
        return lose_fold(
            model, self.data.get(), self.fold, self.place, seed=self.seed, reason=reason
        )

    def job(self, unfinished: Mapping[tuple[str, str], object]) -> Job[FoldResult]:
        """The same for an engine; a fusion waits for those of its parts that are unfinished."""
        parts = [(self.name, part) for part in parts_of(self.model)]
        return Job(
            name=_told(self.key),
            work=self.fit,
            lost=self.lose,
            after=tuple(_told(part) for part in parts if part in unfinished),
            cpus=self.config.train.threads,
            gpu=reads_tiles([self.model], self.config),
        )


def _told(key: tuple[str, str]) -> str:
    fold, model = key
    return f"{model} {fold}"


def _fold_tasks(
    config: RunConfig, plan: RunPlan, inputs: RunInputs, folder: Path, device: str
) -> Iterator[_FoldTask]:
    """Every fold of every model and seed, in a fixed order, parts of a fusion before it."""
    bare = replace(inputs.data, bags={})
    data = Shared(partial(_with_bags, bare, inputs.bags), inputs.data)
    for seed in range(config.seed, config.seed + config.seeds):
        again = "" if seed == config.seed else f"-seed{seed}"
        for fold in plan.folds:
            known, name = fold.among(inputs.data.patient_ids), fold.name + again
            for model in plan.models:
                place = fold_folder(folder, name, model)
                yield _FoldTask(config, data, model, known, name, seed, place, device)


def _with_bags(data: CohortData, source: BagSource) -> CohortData:
    bags = source.read()
    own = {patient: bags[patient] for patient in data.patient_ids if patient in bags}
    return replace(data, bags=own)


def _fit_all(
    tasks: list[_FoldTask], folder: Path, engine: Engine, progress: Progress
) -> dict[tuple[str, str], FoldResult]:
    """Finished folds are read back, the others fitted."""
    results: dict[tuple[str, str], FoldResult] = {}
    unfinished: dict[tuple[str, str], _FoldTask] = {}
    for task in tasks:
        result = task.finished()
        stale = any((task.name, part) in unfinished for part in parts_of(task.model))
        if result is None or stale:
            (task.place / "done.json").unlink(missing_ok=True)
            unfinished[task.key] = task
        else:
            results[task.key] = result
    jobs = [task.job(unfinished) for task in unfinished.values()]
    fitted = engine.run(jobs, folder, description="folds", progress=progress)
    results |= {key: fitted[_told(key)] for key in unfinished}
    return {task.key: results[task.key] for task in tasks}


def _predictions(record: RunRecord, results: Results) -> pd.DataFrame:
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
