"""The folds of a run as tasks: which there are, what they wait for, which are finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from crpnet_bench.benchmark.bags import BagSource
from crpnet_bench.benchmark.engines import Engine, Job, Shared
from crpnet_bench.benchmark.environment import task_threads
from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.fold import (
    Fold,
    FoldResult,
    fit_fold,
    fits_of_fold,
    lose_fold,
    read_fold,
)
from crpnet_bench.benchmark.inputs import RunInputs, RunPlan
from crpnet_bench.benchmark.line_up import Fusion, make_model, parts_of, reads_tiles
from crpnet_bench.benchmark.tuning import TunedModel
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, RiskModel
from crpnet_bench.progress import Progress

__all__ = ["FoldTask", "fit_all", "fold_tasks"]

_CHOICES = "choices"


@dataclass(frozen=True)
class FoldTask:
    """One model in one fold with one seed, small enough to be sent to another machine.

    Attributes:
        config: of the run.
        data: all patients of the run.
        model: its name.
        fold: patients by role, those with an outcome.
        name: of the fold's folder.
        seed: of the run or of its repetition.
        run: the run's folder.
        device: where networks compute.
    """

    config: RunConfig
    data: Shared[CohortData]
    model: str
    fold: Fold
    name: str
    seed: int
    run: Path
    device: str

    @property
    def key(self) -> tuple[str, str]:
        """Fold and model."""
        return self.name, self.model

    @property
    def place(self) -> Path:
        """Where the fold of the model lies."""
        return fold_folder(self.run, self.name, self.model)

    def finished(self) -> FoldResult | None:
        """What an earlier run left; None where it has to be computed."""
        result = read_fold(self.place)
        return None if result is None or result.lost else result

    def fit(self, progress: Progress) -> FoldResult:
        """Fit, unless a process that was lost afterwards had done it."""
        with task_threads(self.config.train.threads):
            return read_fold(self.place) or fit_fold(
                self._made(),
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
        return lose_fold(
            self._made(), self.data.get(), self.fold, self.place, seed=self.seed, reason=reason
        )

    def choices(self) -> list[Job[None]]:
        """The points of a tuned network's grid in each fit of the fold; none for another model."""
        model = self._made()
        if not isinstance(model, TunedModel):
            return []
        try:
            fits = fits_of_fold(
                self.data.get(),
                self.fold,
                seed=self.seed,
                inner_folds=self.config.train.inner_folds,
            )
        except ModelError:  # the fold itself will say it
            return []
        return [
            Job(
                name=f"{_told(self.key)}, fit {number}, point {point}",
                work=partial(self.choose, patients, seed, point),
                lost=_left_to_the_fold,
                cpus=self.config.train.threads,
                gpu=True,
            )
            for number, (patients, seed) in enumerate(fits)
            for point in range(len(model.points))
        ]

    def choose(self, patients: list[str], seed: int, point: int, progress: Progress) -> None:  # noqa: ARG002
        """Find what a point of the grid reaches in one fit, and keep it."""
        model = self._made()
        with task_threads(self.config.train.threads), suppress(ModelError):
            if isinstance(model, TunedModel):
                model.index(point, self.data.get().take(patients), seed)

    def job(
        self, unfinished: Mapping[tuple[str, str], object], choices: list[Job[None]]
    ) -> Job[FoldResult]:
        """The same for an engine; a fusion waits for those of its parts that are unfinished."""
        parts = [(self.name, part) for part in parts_of(self.model)]
        waited = [_told(part) for part in parts if part in unfinished]
        return Job(
            name=_told(self.key),
            work=self.fit,
            lost=self.lose,
            after=(*waited, *(job.name for job in choices)),
            cpus=self.config.train.threads,
            gpu=reads_tiles([self.model], self.config),
        )

    def _made(self) -> RiskModel | Fusion:
        return make_model(self.model, self.config, self.device, choices=self.run / _CHOICES)


def _told(key: tuple[str, str]) -> str:
    fold, model = key
    return f"{model} {fold}"


def _left_to_the_fold(reason: str) -> None:  # noqa: ARG001
    """A point that was lost is tried once more by the fold itself."""


def fold_tasks(
    config: RunConfig, plan: RunPlan, inputs: RunInputs, folder: Path, device: str
) -> Iterator[FoldTask]:
    """Every fold of every model and seed, in a fixed order, parts of a fusion before it."""
    bare = replace(inputs.data, bags={})
    data = Shared(partial(_with_bags, bare, inputs.bags), inputs.data)
    for seed in range(config.seed, config.seed + config.seeds):
        again = "" if seed == config.seed else f"-seed{seed}"
        for fold in plan.folds:
            known = fold.among(inputs.data.patient_ids)
            for model in plan.models:
                yield FoldTask(config, data, model, known, fold.name + again, seed, folder, device)


def _with_bags(data: CohortData, source: BagSource) -> CohortData:
    bags = source.read()
    own = {patient: bags[patient] for patient in data.patient_ids if patient in bags}
    return replace(data, bags=own)


def fit_all(
    tasks: list[FoldTask], folder: Path, engine: Engine, progress: Progress
) -> dict[tuple[str, str], FoldResult]:
    """Finished folds are read back, the others fitted.

    Args:
        tasks: all folds of the run, parts of a fusion before it.
        folder: of the run.
        engine: where they are fitted.
        progress: told of the tasks.

    Returns:
        What each fold and model ended as, in the order of the tasks.
    """
    results: dict[tuple[str, str], FoldResult] = {}
    unfinished: dict[tuple[str, str], FoldTask] = {}
    for task in tasks:
        result = task.finished()
        stale = any((task.name, part) in unfinished for part in parts_of(task.model))
        if result is None or stale:
            (task.place / "done.json").unlink(missing_ok=True)
            unfinished[task.key] = task
        else:
            results[task.key] = result
    jobs: list[Job[Any]] = []
    for task in unfinished.values():
        choices = task.choices() if engine.side_by_side else []
        jobs += [*choices, task.job(unfinished, choices)]
    fitted = engine.run(jobs, folder, description="folds", progress=progress)
    results |= {key: fitted[_told(key)] for key in unfinished}
    return {task.key: results[task.key] for task in tasks}
