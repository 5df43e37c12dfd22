"""A run's record: written before outcomes are read, held to when the run goes on.

`run.json` names one primary model, endpoint, horizon, split and metric. It is on disk before
`gather_inputs` reads a single outcome, so nobody can choose them by the result; everything else
that the run shows is exploratory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.environment import describe_environment
from crpnet_bench.benchmark.imported import read_risks
from crpnet_bench.benchmark.inputs import RunInputs, RunPlan
from crpnet_bench.config import RunConfig, load_config
from crpnet_bench.errors import ConfigError, NotFoundError, RunError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.results import RunRecord, read_record, write_atomically, write_record, write_table

__all__ = [
    "declare",
    "hold_slides",
    "primary_result",
    "primary_sentence",
    "run_record",
    "run_settings",
]


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
    return RunConfig.from_mapping(run_record(home, resume).config, f"run {resume}")


def run_record(home: Home, run_id: str) -> RunRecord:
    """The record of a run, finished or not, from its folder.

    Raises:
        NotFoundError: no such run.
    """
    folder = home.runs / run_id
    if not run_id or not (folder / "run.json").exists():
        known = [path.parent.name for path in home.runs.glob("*/run.json")]
        raise NotFoundError(f"run {run_id!r} does not exist; {did_you_mean(run_id, known)}")
    return read_record(folder)


def declare(
    home: Home,
    config: RunConfig,
    plan: RunPlan,
    device: str,
    resume: str | None,
    clock: Callable[[], datetime],
) -> RunRecord:
    """Write the record of a new run, or check that an old one may go on.

    Raises:
        RunError: `resume` names a run of other settings, data, split or device.
    """
    if resume is not None:
        return _reopen(home, config, plan, device, resume)
    now = clock()
    fingerprint = config.fingerprint()
    cohort = plan.cohort
    record = RunRecord(
        run_id=_claimed(home.runs, f"{now:%Y%m%d-%H%M%S}-{cohort.name}-{fingerprint[:8]}"),
        created=now.isoformat(timespec="seconds"),
        status="running",
        cohort=cohort.name,
        cohort_version=cohort.version,
        cohort_kind=cohort.manifest.cohort.kind,
        endpoint=plan.endpoint,
        split=plan.split,
        split_sha256=plan.split_sha256,
        models=plan.models,
        primary_model=config.primary_model or plan.asked[0],
        primary_metric=config.primary_metric,
        primary_horizon_months=config.primary_horizon_months,
        primary_role=plan.validation_role,
        seed=config.seed,
        seeds=config.seeds,
        device=device,
        config_fingerprint=fingerprint,
        config=config.model_dump(mode="json"),
        environment=describe_environment(device),
        imported=_hashes(config),
    )
    folder = home.runs / record.run_id
    write_atomically(folder / "config.json", json.dumps(record.config, indent=2).encode())
    write_atomically(folder / "split.csv", plan.split_table.to_csv(index=False).encode())
    write_record(record, folder)
    return record


def _claimed(runs: Path, stem: str) -> str:
    """A name that no other run has; making its folder claims it, also against other processes."""
    for count in range(1000):
        name = stem if count == 0 else f"{stem}-{count}"
        try:
            (runs / name).mkdir(parents=True)
        except FileExistsError:
            continue
        return name
    raise RunError(f"{runs}: a thousand runs named {stem} in one second; wait and start again")


def _hashes(config: RunConfig) -> dict[str, str]:
    files = {name: Path(file).expanduser() for name, file in config.imported.items()}
    return {name: read_risks(file).sha256 for name, file in files.items()}


def _reopen(home: Home, config: RunConfig, plan: RunPlan, device: str, run_id: str) -> RunRecord:
    record = run_record(home, run_id)
    differing = [
        f"{name} was {before!r}, is {now!r}"
        for name, before, now in (
            ("configuration", record.config_fingerprint, config.fingerprint()),
            ("cohort", record.cohort, plan.cohort.name),
            ("cohort version", record.cohort_version, plan.cohort.version),
            ("split", record.split_sha256, plan.split_sha256),
            ("device", record.device, device),
            ("imported predictions", record.imported, _hashes(config)),
        )
        if before != now
    ]
    if differing:
        raise RunError(f"run {run_id}: cannot go on, {'; '.join(differing)}; start a new run")
    return record


def hold_slides(inputs: RunInputs, folder: Path) -> None:
    """Write which features the run reads; a run that goes on must find the same.

    Raises:
        RunError: slides or features changed since the run began.
    """
    path = folder / "slides.parquet"
    if not path.exists():
        write_table(inputs.slides, path)
        return
    if _identified(pd.read_parquet(path)) != _identified(inputs.slides):
        raise RunError(
            f"run {folder.name}: cannot go on, its slides or their features are not those it "
            "began with; start a new run"
        )


def _identified(slides: pd.DataFrame) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Slides by content and features by encoder and tiling, wherever the home lies now.

    Sorted, for the registry keeps no order of rows.
    """
    return sorted(
        (
            str(row["slide_id"]),
            str(row["patient_id"]),
            str(row["status"]),
            () if pd.isna(row["feature_path"]) else Path(str(row["feature_path"])).parts[-2:],
        )
        for row in slides.to_dict("records")
    )


def primary_result(record: RunRecord, metrics: pd.DataFrame) -> dict[str, Any] | None:
    """The row of `metrics` that the run declared as primary; None where there is none."""
    own = (
        (metrics["model"] == record.primary_model)
        & (metrics["metric"] == record.primary_metric)
        & (metrics["role"] == record.primary_role)
        & (metrics["subgroup"] == "all")
        & metrics["member"].isna()
        & ~metrics["in_sample"].fillna(value=False).astype(bool)
    )
    horizon = record.primary_horizon_months
    own &= (
        metrics["horizon_months"].isna()
        if horizon is None
        else (metrics["horizon_months"].eq(horizon).fillna(value=False))
    )
    rows = metrics[own].to_dict("records")
    return {str(key): value for key, value in rows[0].items()} if rows else None


def primary_sentence(record: RunRecord) -> str:
    """What the run declared before outcomes were read, for people."""
    horizon = record.primary_horizon_months
    at = "" if horizon is None else f" at {horizon:g} months"
    return (
        f"Primary, declared before outcomes were read: {record.primary_metric}{at} of "
        f"{record.primary_model} for {record.endpoint} in the {record.primary_role} patients of "
        f"split {record.split}; all else is exploratory."
    )
