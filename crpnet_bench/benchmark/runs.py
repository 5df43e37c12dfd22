"""Which runs there are, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.declaration import primary_result
from crpnet_bench.benchmark.finished import FinishedRun, read_run
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.results import (
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    RunRecord,
    read_record,
    read_table,
)
from crpnet_bench.stats.concordance import compare_concordance
from crpnet_bench.stats.discrimination import compare_auc

__all__ = ["RunComparison", "compare_runs", "list_runs"]

_HEADLINES = ("auc", "c_index", "hr_per_sd")
_DATA = ("cohort", "cohort_version", "endpoint", "split", "split_sha256", "imported")
_DECLARED = ("primary_model", "primary_metric", "primary_horizon_months", "primary_role")
_FOLDS = ["seed", "repeat", "fold", "inner_fold"]


def list_runs(home: Home) -> pd.DataFrame:
    """One row a run, newest first, those that have not finished among them."""
    records = [read_record(path.parent) for path in home.runs.glob("*/run.json")]
    records.sort(key=lambda record: (record.created, record.run_id), reverse=True)
    columns = ["run", "created", "status", "cohort", "endpoint", "split", "models", "primary",
               "value", "failures"]  # fmt: skip
    return pd.DataFrame([_listed(home, record) for record in records], columns=columns)


def _listed(home: Home, record: RunRecord) -> dict[str, Any]:
    return {
        "run": record.run_id,
        "created": record.created[:16].replace("T", " "),
        "status": record.status,
        "cohort": f"{record.cohort}@{record.cohort_version} ({record.cohort_kind})",
        "endpoint": record.endpoint,
        "split": record.split,
        "models": ", ".join(record.models),
        "primary": f"{record.primary_metric} of {record.primary_model}",
        "value": _primary_value(home, record),
        "failures": len(record.failures),
    }


def _primary_value(home: Home, record: RunRecord) -> float | None:
    path = home.runs / record.run_id / "metrics.parquet"
    if not path.exists():
        return None
    found = primary_result(record, read_table(path, METRIC_COLUMNS))
    return None if found is None or pd.isna(found["value"]) else float(found["value"])


@dataclass(frozen=True)
class RunComparison:
    """What differs between run a and run b.

    Attributes:
        a, b: the run ids.
        settings: `key, a, b` of each setting that differs.
        data: the same for cohort, split, features, outside files, device and versions.
        declared: the same for what each run declared as primary.
        results: headline numbers of the models of either run, `a`, `b` and `difference`; where
            the patients are the same, the paired interval and P value of the differences of AUC
            and C.
    """

    a: str
    b: str
    settings: pd.DataFrame
    data: pd.DataFrame
    declared: pd.DataFrame
    results: pd.DataFrame


def compare_runs(home: Home, a: str, b: str) -> RunComparison:
    """Compare two finished runs.

    Raises:
        NotFoundError: one does not exist.
        RunError: one has not finished.
    """
    one, other = read_run(home, a), read_run(home, b)
    return RunComparison(
        a=a,
        b=b,
        settings=_differing(_flat(one.record.config), _flat(other.record.config)),
        data=_differing(_data(one), _data(other)),
        declared=_differing(_some(one.record, _DECLARED), _some(other.record, _DECLARED)),
        results=_results(home, one, other),
    )


def _flat(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat


def _some(record: RunRecord, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _data(run: FinishedRun) -> dict[str, Any]:
    record = run.record
    known = _some(record, _DATA) | {"device": record.device, "features": _features(run)}
    return known | {f"version of {name}": text for name, text in record.environment.items()}


def _features(run: FinishedRun) -> str:
    path = run.folder / "slides.parquet"
    if not path.exists():
        return "none"
    slides = pd.read_parquet(path)
    folders = {str(place).rsplit("/", 2)[-2] for place in slides["feature_path"].dropna()}
    done = int((slides["status"] == "done").sum())
    return f"{done} of {len(slides)} slides, {', '.join(sorted(folders)) or 'no features'}"


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> pd.DataFrame:
    keys = dict.fromkeys([*a, *b])
    rows = [(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key)]
    table = [(key, _text(one), _text(other)) for key, one, other in rows]
    return pd.DataFrame(table, columns=["key", "a", "b"])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)


def _results(home: Home, one: FinishedRun, other: FinishedRun) -> pd.DataFrame:
    keys = ["model", "role", "in_sample", "metric"]
    tables = []
    for run in (one, other):
        rows = run.metrics[run.metrics["metric"].isin(_HEADLINES) & run.metrics["member"].isna()]
        tables.append(rows[rows["horizon_months"].isna()].set_index(keys)[["value", "n"]])
    joined = tables[0].join(tables[1], how="outer", lsuffix="_a", rsuffix="_b").reset_index()
    joined["difference"] = joined["value_a"] - joined["value_b"]
    paired = _paired(home, one, other)
    return joined.merge(paired, on=keys, how="left") if len(paired) else joined


def _paired(home: Home, one: FinishedRun, other: FinishedRun) -> pd.DataFrame:
    """Paired differences where both runs judged the very same patients in the same folds."""
    a, b = one.record, other.record
    if (a.cohort, a.cohort_version, a.endpoint) != (b.cohort, b.cohort_version, b.endpoint):
        return pd.DataFrame()
    outcomes = views.outcomes(home, f"{a.cohort}@{a.cohort_version}", a.endpoint)
    outcomes = outcomes[["patient_id", "time", "status"]].rename(columns={"status": "outcome"})
    keys = ["model", "role", "in_sample", *_FOLDS, "patient_id"]
    joined = _risks(one)[[*keys, "risk"]].merge(
        _risks(other)[[*keys, "risk"]], on=keys, how="outer", suffixes=("_a", "_b")
    )
    joined = joined.merge(outcomes, on="patient_id")
    return pd.DataFrame(_paired_rows(joined))


def _risks(run: FinishedRun) -> pd.DataFrame:
    rows = read_table(run.folder / "predictions.parquet", PREDICTION_COLUMNS)
    rows = rows[(rows["status"] == "ok") & rows["member"].isna()]
    # The base seed is a name of the repetition here, not a setting to be equal.
    return rows.assign(seed=rows["seed"] - run.record.seed)


def _paired_rows(joined: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for (model, role, in_sample), rows in joined.groupby(["model", "role", "in_sample"]):
        if rows[["risk_a", "risk_b"]].isna().any(axis=None):
            continue  # patients whom one run has and the other lacks: nothing to pair
        fold = rows[_FOLDS].astype("Float64").fillna(-1).groupby(_FOLDS).ngroup().to_numpy()
        several = rows["patient_id"].duplicated().any()
        pairs: dict[str, Any] = {
            "fold": fold if len(set(fold)) > 1 else None,
            "cluster": rows["patient_id"].astype(str).to_numpy() if several else None,
        }
        event = (rows["outcome"] == 1).astype(int)
        risks = rows["risk_a"].astype(float), rows["risk_b"].astype(float)
        for metric, found in (
            ("auc", compare_auc(event, *risks, **pairs)),
            ("c_index", compare_concordance(rows["time"].astype(float), event, *risks, **pairs)),
        ):
            yield {
                "model": model,
                "role": role,
                "in_sample": in_sample,
                "metric": metric,
                "paired_n": rows["patient_id"].nunique(),
                "same_risks": bool((rows["risk_a"] == rows["risk_b"]).all()),
                "ci_low": found.ci_low,
                "ci_high": found.ci_high,
                "p_value": found.p_value,
            }
