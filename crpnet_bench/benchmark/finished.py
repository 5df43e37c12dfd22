"""What a run ended as: from the runner when it ends, or from its folder later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.comparisons import COMPARISON_COLUMNS
from crpnet_bench.benchmark.declaration import run_record
from crpnet_bench.benchmark.fold import FoldResult, read_fold
from crpnet_bench.benchmark.line_up import model_folder
from crpnet_bench.errors import RunError
from crpnet_bench.home import Home
from crpnet_bench.results import METRIC_COLUMNS, RunRecord, conform, read_table

__all__ = ["FinishedRun", "external_folder", "fold_folder", "fold_names", "read_run"]


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
        comparisons: of the models on the same patients, exploratory.
        by_seed: metrics of each seed; empty for one seed.
    """

    record: RunRecord
    folder: Path
    metrics: pd.DataFrame
    titles: Mapping[str, str]
    notes: tuple[str, ...]
    slide_failures: tuple[str, ...]
    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_seed: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def failures(self) -> tuple[str, ...]:
        """Everything that failed and was recorded: slides and folds."""
        return (*self.slide_failures, *self.record.failures)


def fold_folder(run: Path, fold: str, model: str) -> Path:
    """Where a fold of a model lies: predictions, what was locked, the fitted model."""
    return run / "folds" / fold / model_folder(model)


def external_folder(run: Path, pinned: str) -> Path:
    """Where a run's validation on another cohort lies; `pinned` is `NAME@VERSION`."""
    return run / "external" / pinned


def fold_names(run: Path) -> list[str]:
    """Folders of the folds of a run, sorted."""
    return sorted(path.name for path in (run / "folds").glob("repeat*"))


def read_run(home: Home, run_id: str) -> FinishedRun:
    """A finished run from its folder.

    Raises:
        NotFoundError: no such run.
        RunError: the run has not finished; names the command that goes on.
    """
    record = run_record(home, run_id)
    folder = home.runs / run_id
    if record.status == "running" or not (folder / "metrics.parquet").exists():
        raise RunError(
            f"run {run_id} has not finished; `crpnet-bench run --resume {run_id}` goes on with it"
        )
    folds = _folds(folder, record)
    return FinishedRun(
        record=record,
        folder=folder,
        metrics=read_table(folder / "metrics.parquet", METRIC_COLUMNS),
        titles={model: result.title for model, result in folds},
        notes=tuple(dict.fromkeys(note for _, result in folds for note in result.notes)),
        slide_failures=_slide_failures(folder / "slides.parquet"),
        comparisons=_comparisons(folder / "comparisons.parquet"),
        by_seed=_optional(folder / "seeds.parquet"),
    )


def _folds(folder: Path, record: RunRecord) -> list[tuple[str, FoldResult]]:
    found = [
        (model, read_fold(fold_folder(folder, fold, model)))
        for fold in fold_names(folder)
        for model in record.models
    ]
    return [(model, result) for model, result in found if result is not None]


def _slide_failures(path: Path) -> tuple[str, ...]:
    slides = _optional(path)
    if slides.empty:
        return ()
    failed = slides[slides["status"] != "done"]
    return tuple(
        f"{Path(str(row['path'])).name}: {row['reason']}"
        + (f"; {row['remedy']}" if row["remedy"] else "")
        for row in failed.to_dict("records")
    )


def _comparisons(path: Path) -> pd.DataFrame:
    return conform(_optional(path), COMPARISON_COLUMNS)


def _optional(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.exists() else pd.DataFrame()
