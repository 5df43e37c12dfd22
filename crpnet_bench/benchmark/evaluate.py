"""`crpnet-bench evaluate`: all metrics of a predictions table, or of a run's patients by a rule.

Reaches neither torch nor, for a table, the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crpnet_bench.benchmark.ledger import judged_endpoints
from crpnet_bench.benchmark.outcomes import read_outcomes
from crpnet_bench.config import EvaluationConfig
from crpnet_bench.errors import InputError, Problem, ValidationError, did_you_mean
from crpnet_bench.evaluation import evaluate
from crpnet_bench.filters import select
from crpnet_bench.home import Home
from crpnet_bench.models.logistic import fit_score_logistic
from crpnet_bench.progress import Progress
from crpnet_bench.registry import views
from crpnet_bench.registry.cells import plain_number
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS, conform
from crpnet_bench.schema import months
from crpnet_bench.scores.components import is_missing

__all__ = ["ALL", "Evaluated", "evaluate_run", "evaluate_table"]

ALL = "all"
_COLUMNS = ("patient_id", "split", "label", "time", "event")
_ROLES = ("train", "validation", "test", "external")
_UNITS = ("days", "months", "years")


@dataclass(frozen=True)
class Evaluated:
    """Metrics with what a reader has to know about them.

    Attributes:
        metrics: the `metrics` table.
        models: in the order of the source.
        subgroup: which rows to show, "all" or the rule.
        notes: how classes and risk groups came about, one sentence each.
    """

    metrics: pd.DataFrame
    models: tuple[str, ...]
    subgroup: str
    notes: tuple[str, ...] = ()


def evaluate_run(
    home: Home,
    run_id: str,
    where: str | None,
    settings: EvaluationConfig | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """The metrics of a run, for all its patients and for those a rule selects.

    Args:
        home: whose registry.
        run_id: the run.
        where: a rule over the cohort's variables (`crpnet_bench.filters`), or None.
        settings: horizons and level; the run's own if None.
        progress: told of models and sets of patients.

    Raises:
        InputError: no such run, or the rule cannot be read.
    """
    predictions = views.predictions(home, run_id)
    record = next(run for run in views.runs(home) if run.run_id == run_id)
    chosen = settings or EvaluationConfig.model_validate(record.config["evaluation"])
    # An external validation belongs to another cohort than the run.
    own = predictions.groupby(["cohort", "cohort_version"], sort=False)
    endpoints = judged_endpoints(home, record)
    parts = []
    for (cohort, version), rows in own:
        pinned = f"{cohort}@{version}"
        endpoint = endpoints.get((str(cohort), int(str(version))), record.endpoint)
        outcomes = read_outcomes(home, pinned, endpoint)
        subgroups = {where: _selected(home, pinned, where)} if where else {}
        found = evaluate(rows, outcomes, subgroups=subgroups, settings=chosen, progress=progress)
        parts.append(found)
    metrics = conform(pd.concat(parts, ignore_index=True), METRIC_COLUMNS)
    return Evaluated(metrics, tuple(dict.fromkeys(predictions["model"])), where or ALL)


def _selected(home: Home, cohort: str, where: str) -> set[str]:
    patients = views.patients(home, cohort)
    chosen = set(patients.loc[select(patients, where), "patient_id"])
    if not chosen:
        raise InputError(f"--where {where!r} selects none of {len(patients)} patients of {cohort}")
    return chosen


def evaluate_table(
    path: Path,
    *,
    time_unit: str = "months",
    settings: EvaluationConfig | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """The metrics of any predictions table.

    Args:
        path: csv, tsv, xlsx or parquet with `patient_id, split, label, time, event` and one
            column a model. `split` is train, validation, test or external; `label` 0 or 1 (empty:
            an event was recorded); `event` 0 censored, 1 event, 2 competing death. An empty cell
            of a model is a patient without its prediction.
        time_unit: of `time`: days, months or years.
        settings: horizons and level.
        progress: told of models and sets of patients.

    A model whose values all lie in 0..1 is read as a probability and cut at 0.5; another one
    is a score, whose class comes from a logistic regression on the training rows. The cut-off
    of risk groups and the scale of "hazard ratio per SD" come from the training rows too.

    Raises:
        ValidationError: lists every cell that cannot be read.
    """
    if time_unit not in _UNITS:
        raise InputError(f"time unit {time_unit!r}: {did_you_mean(time_unit, _UNITS)}")
    table, problems = read_text_table(path)
    if table is None:
        raise ValidationError(problems, f"predictions {path}")
    problems += [found for name in _COLUMNS if (found := table.find(name, "predictions"))]
    models = tuple(name for name in table.columns if name not in _COLUMNS)
    if not models:
        problems.append(Problem(table.file, "one column a model beside " + ", ".join(_COLUMNS)))
    if problems:
        raise ValidationError(problems, f"predictions {path}")
    frame = _read(table, models, problems)
    if problems:
        raise ValidationError(problems, f"predictions {path}")
    outcomes = frame.assign(time=[months(time, time_unit) for time in frame["time"]])
    outcomes = outcomes.rename(columns={"event": "status"})[
        ["patient_id", "time", "status", "label"]
    ]
    parts, notes = [], []
    for model in models:
        part, told = _predictions(frame, model)
        parts.append(part)
        notes += told
    predictions = conform(pd.concat(parts, ignore_index=True), PREDICTION_COLUMNS)
    metrics = evaluate(predictions, outcomes, settings=settings, progress=progress)
    return Evaluated(metrics, models, ALL, tuple(notes))


def _read(table: TextTable, models: Sequence[str], problems: list[Problem]) -> pd.DataFrame:
    frame = pd.DataFrame({"patient_id": table.column("patient_id"), "split": table.column("split")})
    seen: set[str] = set()
    for row, patient in zip(table.row_numbers, frame["patient_id"], strict=True):
        if not patient or patient in seen:
            problems.append(Problem(table.file, "each patient once", "patient_id", row, patient))
        seen.add(patient)
    for row, role in zip(table.row_numbers, frame["split"], strict=True):
        if role not in _ROLES:
            problems.append(Problem(table.file, f"one of {', '.join(_ROLES)}", "split", row, role))
    frame["time"] = _numbers(table, "time", problems, "a number from 0 up", lambda x: x >= 0)
    frame["event"] = _numbers(
        table,
        "event",
        problems,
        "0 (censored), 1 (event) or 2 (competing death)",
        {0, 1, 2}.__contains__,
    )
    label = _numbers(table, "label", problems, "0, 1 or empty", {0, 1}.__contains__, empty=True)
    frame["label"] = np.where(np.isnan(label), frame["event"] == 1, label == 1)
    for model in models:
        frame[model] = _numbers(
            table, model, problems, "a number or empty", np.isfinite, empty=True
        )
    return frame


def _numbers(
    table: TextTable,
    column: str,
    problems: list[Problem],
    expected: str,
    allowed: object,
    *,
    empty: bool = False,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = np.full(len(table), np.nan)
    for place, (row, cell) in enumerate(zip(table.row_numbers, table.column(column), strict=True)):
        if is_missing(cell):
            if not empty:
                problems.append(Problem(table.file, expected, column, row, cell))
            continue
        number = plain_number(cell)
        if number is None or not allowed(number):  # type: ignore[operator]
            problems.append(Problem(table.file, expected, column, row, cell))
        else:
            values[place] = number
    return values


def _predictions(frame: pd.DataFrame, model: str) -> tuple[pd.DataFrame, list[str]]:
    known = frame[model].notna().to_numpy()
    train = (frame["split"] == "train").to_numpy() & known
    # Without training rows nothing was learned elsewhere: the shown patients' own median and
    # scale are used, as the article did, and the note says so.
    learned_on = train if train.any() else known
    risks = frame.loc[learned_on, model].to_numpy(float)
    notes = []
    if not train.any():
        notes.append(f"{model}: no training rows; median and SD are the shown patients' own")
    probability, how = _probability(frame, model, known, train)
    notes.append(f"{model}: {how}")
    cutoff = float(np.median(risks)) if risks.size else float("nan")
    group = pd.Series(np.where(frame[model] > cutoff, "high", "low"), dtype="string")
    table = pd.DataFrame(
        {
            "model": model,
            "role": frame["split"],
            "repeat": 0,
            "fold": 0,
            "in_sample": pd.array(
                [pd.NA if role == "train" else False for role in frame["split"]], dtype="boolean"
            ),
            "patient_id": frame["patient_id"],
            "risk": frame[model],
            "probability": probability,
            "predicted_class": pd.array(
                np.where(np.isnan(probability), np.nan, probability >= 0.5), dtype="Float64"
            ).astype("Int64"),
            "risk_group": group.where(pd.Series(known)),
            "threshold": 0.5,
            "cutoff": cutoff,
            "risk_sd": float(np.std(risks, ddof=1)) if risks.size > 1 else float("nan"),
            "status": np.where(known, "ok", "missing"),
            "reason": np.where(known, "", "no value in the table"),
        }
    )
    return table, notes


def _probability(
    frame: pd.DataFrame,
    model: str,
    known: np.ndarray[tuple[int], np.dtype[np.bool_]],
    train: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], str]:
    values = frame[model].to_numpy(float)
    if known.any() and values[known].min() >= 0 and values[known].max() <= 1:
        return values, "read as a probability, positive at 0.5 and above"
    label = frame.loc[train, "label"].to_numpy(int)
    if not train.any() or label.min() == label.max():
        reason = "a score without training rows of both classes: no class"
        return np.full(len(frame), np.nan), reason
    link = fit_score_logistic(values[train], label)
    return link.probability(values), (
        f"a score; class by logistic regression on {int(train.sum())} training rows "
        f"({link.method}), cut at 0.5"
    )
