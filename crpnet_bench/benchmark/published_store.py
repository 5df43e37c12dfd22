"""Keeps what `reproduce` found where the dashboard reads it.

`HOME/published/reproduce.json` holds every printed cell beside its recomputed value; the assigned
predictions become a run of `changhai-sim`, so that every page shows the simulated patients too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from crpnet_bench import __version__
from crpnet_bench.benchmark.published_run import published_predictions
from crpnet_bench.config import EvaluationConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.reporting.published import PUBLISHED_RUN
from crpnet_bench.results import (
    PREDICTION_COLUMNS,
    RunRecord,
    conform,
    write_atomically,
    write_record,
    write_table,
)
from crpnet_bench.synthetic.changhai import COHORT_NAME, SPLIT, SimulatedChanghai

__all__ = ["keep_document", "keep_run"]

# Printed name -> name of the model in this program.
_MODELS: Mapping[str, str] = {
    "CRPNet": "crpnet",
    "UISS": "uiss",
    "SSIGN": "ssign",
    "Karakiewicz": "karakiewicz",
    "T stage": "t_stage",
    "WHO/ISUP grade": "grade",
}


def keep_document(home: Home, document: Mapping[str, Any]) -> None:
    """Write the comparison with the article for the dashboard."""
    content = json.dumps(document, indent=2, ensure_ascii=False, default=str).encode()
    write_atomically(home.root / "published" / "reproduce.json", content)


def keep_run(
    home: Home,
    simulated: SimulatedChanghai,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RunRecord:
    """Take the assigned predictions of the registered cohort `changhai-sim` over as a run.

    Training rows count as apparent throughout: nothing tells how the article's models would have
    done out of fold.

    Args:
        home: in which `changhai-sim` is registered.
        simulated: the cohort as it was simulated for the registry.
        clock: the time of now, UTC.

    Raises:
        NotFoundError: the cohort is not registered.
    """
    cohort = views.cohort(home, COHORT_NAME)
    predictions = _predictions(simulated, cohort.version)
    outcomes = views.outcomes(home, cohort.pinned)[["patient_id", "time", "status"]]
    settings = EvaluationConfig()
    metrics = evaluate(predictions, outcomes, settings=settings)
    split = views.splits(home, cohort.pinned, SPLIT)
    record = RunRecord(
        run_id=PUBLISHED_RUN,
        created=clock().isoformat(timespec="seconds"),
        status="done",
        cohort=cohort.name,
        cohort_version=cohort.version,
        cohort_kind=cohort.manifest.cohort.kind,
        endpoint=cohort.manifest.outcome.endpoint,
        split=SPLIT,
        split_sha256=str(split["sha256"].iloc[0]),
        models=tuple(_MODELS.values()),
        primary_model="crpnet",
        primary_metric="auc",
        seed=simulated.seed,
        device="cpu",
        config_fingerprint=settings.fingerprint(),
        config={"evaluation": settings.model_dump(mode="json")},
        environment={"crpnet-bench": __version__},
    )
    folder = home.runs / PUBLISHED_RUN
    write_table(predictions, folder / "predictions.parquet")
    write_table(metrics, folder / "metrics.parquet")
    write_record(record, folder)
    with Registry(home).write() as registry:
        registry.import_run(record, predictions, metrics)
    return record


def _predictions(simulated: SimulatedChanghai, version: int) -> pd.DataFrame:
    table = published_predictions(simulated)
    return conform(
        table.assign(
            run_id=PUBLISHED_RUN,
            cohort_version=version,
            model=table["model"].map(_MODELS),
            in_sample=table["role"] == "train",
        ),
        PREDICTION_COLUMNS,
    )
