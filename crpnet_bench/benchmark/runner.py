"""`crpnet-bench run`: from a registered cohort to a table of metrics.

A run is a folder, then rows. Everything is written into `runs/<run_id>/` first, each file by
temporary name and rename; at the end the registry takes it over in one transaction. A run that
was killed goes on with `resume`: slides, folds and models that are finished stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.comparisons import compare_models
from crpnet_bench.benchmark.declaration import declare, hold_slides
from crpnet_bench.benchmark.engines import Engine, LocalEngine
from crpnet_bench.benchmark.finished import FinishedRun
from crpnet_bench.benchmark.fold import FoldResult
from crpnet_bench.benchmark.fold_tasks import fit_all, fold_tasks
from crpnet_bench.benchmark.imported import read_risks, unknown_patients
from crpnet_bench.benchmark.inputs import RunInputs, RunPlan, gather_inputs, plan_run
from crpnet_bench.benchmark.ledger import note_run
from crpnet_bench.benchmark.line_up import reads_tiles, with_wider_fields
from crpnet_bench.benchmark.seeds import metrics_by_seed
from crpnet_bench.benchmark.site_remarks import run_site_remarks
from crpnet_bench.config import RunConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
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

_NAMED = 3

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
    tasks = list(fold_tasks(config, plan, inputs, folder, device))
    results = fit_all(tasks, folder, engine, progress)
    return _finish(home, config, plan, record, inputs, results, progress)


def _finish(
    home: Home,
    config: RunConfig,
    plan: RunPlan,
    record: RunRecord,
    inputs: RunInputs,
    results: Results,
    progress: Progress,
) -> FinishedRun:
    folder = home.runs / record.run_id
    predictions = _predictions(record, results)
    settings = config.evaluation
    with Registry(home).write() as registry:  # before they are measured, whatever comes then
        note_run(registry, record, predictions["patient_id"].nunique())
    metrics = evaluate(predictions, inputs.outcomes, settings=settings, progress=progress)
    comparisons = compare_models(
        predictions, inputs.outcomes, record.primary_model, level=settings.level
    )
    write_table(predictions, folder / "predictions.parquet")
    write_table(metrics, folder / "metrics.parquet")
    write_table(comparisons, folder / "comparisons.parquet")
    by_seed = pd.DataFrame()
    if config.seeds > 1:
        by_seed = metrics_by_seed(predictions, inputs.outcomes, settings, progress)
        write_table(by_seed, folder / "seeds.parquet")
    remarks = (
        *_population_remarks(config, plan, inputs),
        *_site_remarks(record, inputs, predictions, metrics),
    )
    done = _closed(record, results).model_copy(update={"remarks": remarks})
    with Registry(home).write() as registry:
        registry.import_run(done, predictions, metrics)
    write_record(done, folder)  # last: until then the run goes on with --resume
    return FinishedRun(
        record=done,
        folder=folder,
        metrics=metrics,
        titles={model: result.title for (_, model), result in results.items()},
        notes=_notes(results),
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


def _population_remarks(config: RunConfig, plan: RunPlan, inputs: RunInputs) -> list[str]:
    """Included patients who take no part, risks of patients who are not there, a grid unused."""
    included = {*inputs.data.patient_ids, *inputs.without_outcome}
    told = []
    if inputs.without_outcome:
        count, some = _counted(inputs.without_outcome)
        told.append(f"{count} without a recorded {plan.endpoint} left out ({some})")
    outside = sorted(included - set(plan.split_table["patient_id"]))
    if outside:
        count, some = _counted(outside)
        told.append(
            f"{count} of {len(included)} in no fold of split {plan.split}, not used ({some})"
        )
    for file in config.imported.values():
        table = read_risks(Path(file).expanduser())
        told += unknown_patients(table, included, plan.cohort.pinned)
    if config.tune and not reads_tiles(plan.asked, config):
        told.append("[tune] changes nothing: no model of the run is a network")
    return told


def _counted(patients: Sequence[str]) -> tuple[str, str]:
    """How many, and the first of them."""
    some = ", ".join(patients[:_NAMED]) + (", ..." if len(patients) > _NAMED else "")
    return f"{len(patients)} patient{'' if len(patients) == 1 else 's'}", some


def _notes(results: Results) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for result in results.values() for note in result.notes))


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
