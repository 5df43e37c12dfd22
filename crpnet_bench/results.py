"""The two tables that everything reads, and the record of a run.

`predictions`: one row a patient, model, fold and role. `metrics`: one row a number.
Both are Parquet files in a run's folder and tables in the registry, with these columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from crpnet_bench.errors import InputError

__all__ = [
    "METRIC_COLUMNS",
    "PREDICTION_COLUMNS",
    "RunRecord",
    "conform",
    "read_record",
    "read_table",
    "write_atomically",
    "write_record",
    "write_table",
]

# Column -> pandas dtype. Nullable types, so that a missing number is never a zero.
PREDICTION_COLUMNS: Mapping[str, str] = {
    "run_id": "string",
    "model": "string",
    "member": "Int64",  # an initialisation of an averaged model; missing for the model itself
    "cohort": "string",
    "cohort_version": "Int64",
    "split": "string",
    "repeat": "Int64",
    "fold": "Int64",
    "inner_fold": "Int64",  # fold of an out-of-fold training row; missing elsewhere
    "seed": "Int64",
    "role": "string",  # train | validation | test | external
    "patient_id": "string",
    "risk": "Float64",  # higher means an earlier event
    "probability": "Float64",
    "horizon_months": "Float64",  # missing: ever observed
    "predicted_class": "Int64",
    "risk_group": "string",  # high (strictly above the cut-off) | low
    "threshold": "Float64",
    "cutoff": "Float64",
    "risk_sd": "Float64",  # SD of the training risk: the unit of a hazard ratio "per SD"
    "in_sample": "boolean",  # the model was fitted on this patient: "apparent"
    "status": "string",  # ok | missing
    "reason": "string",
}

METRIC_COLUMNS: Mapping[str, str] = {
    "run_id": "string",
    "model": "string",
    "member": "Int64",
    "cohort": "string",
    "split": "string",
    "role": "string",
    "in_sample": "boolean",
    "subgroup": "string",  # "all", or an expression such as "pT in T1-T2"
    "metric": "string",
    "horizon_months": "Float64",
    "value": "Float64",
    "ci_low": "Float64",
    "ci_high": "Float64",
    "ci_level": "Float64",
    "ci_method": "string",
    "n": "Int64",
    "events": "Int64",
    "status": "string",  # ok | not estimable
    "reason": "string",
}


class RunRecord(BaseModel):
    """What a run was: enough to say where each number comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    created: str  # UTC, ISO 8601
    status: Literal["running", "done", "done with failures", "failed"]
    cohort: str
    cohort_version: int
    cohort_kind: Literal["real", "simulated", "synthetic"]
    endpoint: str
    split: str
    split_sha256: str
    models: tuple[str, ...]
    primary_model: str
    primary_metric: str
    primary_horizon_months: float | None = None
    primary_role: str = "validation"
    seed: int
    seeds: int = 1  # whole repetitions with seed, seed + 1, ...
    device: str
    config_fingerprint: str
    config: dict[str, Any]
    environment: dict[str, str]
    imported: dict[str, str] = {}  # outside model -> sha256 of its file
    failures: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # without which the results mislead, such as unequal sites


def conform(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The frame with exactly these columns, in order, in their types; absent ones missing.

    Raises:
        InputError: a column that is not in the contract, or a value of another type.
    """
    unknown = sorted(set(frame.columns) - set(columns))
    if unknown:
        raise InputError(f"unknown columns {unknown}; expected {list(columns)}")
    index = pd.RangeIndex(len(frame))
    done: dict[str, pd.Series[Any]] = {}
    for name, dtype in columns.items():
        values = frame[name].to_numpy(dtype=object) if name in frame else [pd.NA] * len(frame)
        try:
            done[name] = pd.Series(values, dtype=dtype, index=index)
        except (TypeError, ValueError) as error:
            raise InputError(f"column {name!r}: expected {dtype}; {error}") from error
    return pd.DataFrame(done, index=index)


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary name beside `path`, then rename: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as Parquet, atomically."""
    write_atomically(path, frame.to_parquet(index=False))


def read_table(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Read a Parquet table and hold it to its contract.

    Raises:
        InputError: the file is not there, or not such a table.
    """
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; the folder is not whole: copy it again, or go on with the run "
            "by `crpnet-bench run --resume`"
        ) from error
    return conform(frame, columns)


def write_record(record: RunRecord, folder: Path) -> None:
    """Write `run.json` into the run's folder, atomically."""
    text = json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True)
    write_atomically(folder / "run.json", text.encode())


def read_record(folder: Path) -> RunRecord:
    """Read `run.json` from a run's folder.

    Raises:
        InputError: the file is damaged or of another version of this program.
    """
    path = folder / "run.json"
    try:
        return RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path}: {f'{where}: ' if where else ''}{first['msg']}; expected the record of a run; "
            "restore the file, or move this run's folder away"
        ) from error
