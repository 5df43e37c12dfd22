"""An external validation on disk: `runs/<run>/external/<cohort>@<version>/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.comparisons import COMPARISON_COLUMNS
from crpnet_bench.reporting.validation_tables import TRANSPORT_COLUMNS
from crpnet_bench.results import (
    METRIC_COLUMNS,
    read_table,
    write_atomically,
    write_table,
)

__all__ = ["Validation", "read_validations", "write_validation"]


@dataclass(frozen=True)
class Validation:
    """A run on another cohort.

    Attributes:
        run_id: the run.
        cohort: `NAME@VERSION` of the other cohort.
        kind: real, simulated or synthetic.
        endpoint: that was judged.
        folder: where everything lies.
        metrics: the `metrics` table, role "external", calibration among them.
        comparisons: of the models on these patients, exploratory.
        transport: own validation beside this one, by model and index.
        case_mix: training patients beside these, a row a variable.
        remarks: sentences without which the numbers mislead: means of folds, forced differences,
            drops, events against the 100 wanted, the ledger.
        failures: one line a slide that could not be used.
    """

    run_id: str
    cohort: str
    kind: str
    endpoint: str
    folder: Path
    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    transport: pd.DataFrame
    case_mix: pd.DataFrame
    remarks: tuple[str, ...]
    failures: tuple[str, ...]


def write_validation(found: Validation, predictions: pd.DataFrame, slides: pd.DataFrame) -> None:
    """Write everything into its folder, `validation.json` last; an older one goes first.

    Args:
        found: what was measured.
        predictions: rows of `predictions`, role "external".
        slides: what became of each slide.
    """
    about_file = found.folder / "validation.json"
    about_file.unlink(missing_ok=True)  # tables of two looks must never stand under one remark
    for name, table in (
        ("slides", slides),
        ("predictions", predictions),
        ("metrics", found.metrics),
        ("comparisons", found.comparisons),
        ("transport", found.transport),
        ("case_mix", found.case_mix),
    ):
        write_table(table, found.folder / f"{name}.parquet")
    about = {
        "run_id": found.run_id,
        "cohort": found.cohort,
        "kind": found.kind,
        "endpoint": found.endpoint,
        "remarks": list(found.remarks),
        "failures": list(found.failures),
    }
    write_atomically(about_file, json.dumps(about, indent=2).encode())


def read_validations(folder: Path) -> Sequence[Validation]:
    """All external validations of a run, from its folder."""
    return [_read(path.parent) for path in sorted(folder.glob("external/*/validation.json"))]


def _read(place: Path) -> Validation:
    about = json.loads((place / "validation.json").read_text(encoding="utf-8"))
    return Validation(
        **{**about, "remarks": tuple(about["remarks"]), "failures": tuple(about["failures"])},
        folder=place,
        metrics=read_table(place / "metrics.parquet", METRIC_COLUMNS),
        comparisons=read_table(place / "comparisons.parquet", COMPARISON_COLUMNS),
        transport=read_table(place / "transport.parquet", TRANSPORT_COLUMNS),
        case_mix=pd.read_parquet(place / "case_mix.parquet"),
    )
