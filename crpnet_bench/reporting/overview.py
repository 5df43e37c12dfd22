"""What the first pages say: cohorts, runs, newest results, what needs attention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crpnet_bench.errors import InputError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.names import EXPLAINED, METRIC_TITLES, model_title, variable_title
from crpnet_bench.reporting.queries import cohort_baseline
from crpnet_bench.reporting.run_data import run_data, take
from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.results import RunRecord
from crpnet_bench.schema import ColumnSource
from crpnet_bench.stats.follow_up import median_follow_up

__all__ = [
    "NewestResults",
    "Tile",
    "attention_points",
    "baseline_shown",
    "cohorts_table",
    "data_dictionary",
    "event_free_table",
    "newest_results",
    "runs_table",
]

_MOST_MISSING = 0.05  # a larger share of missing values is worth a look


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of the newest run."""

    label: str
    value: str
    note: str
    help: str


@dataclass(frozen=True, slots=True)
class NewestResults:
    """The newest run in a few numbers."""

    heading: str
    tiles: tuple[Tile, ...]


def cohorts_table(home: Home) -> pd.DataFrame:
    """One row a cohort, its newest version."""
    frame = views.cohorts(home).drop_duplicates("cohort")
    return pd.DataFrame(
        {
            "Cohort": frame["cohort"],
            "Kind": frame["kind"],
            "Title": frame["title"],
            "Version": frame["version"],
            "Endpoint": frame["endpoint"],
            "Patients": frame["included"],
            "Excluded": frame["patients"] - frame["included"],
            "Events": frame["events"],
            "Slides": frame["slides"],
            "Registered": frame["registered"].str.slice(0, 16).str.replace("T", " "),
        }
    ).reset_index(drop=True)


def runs_table(home: Home) -> pd.DataFrame:
    """One row a run, newest first, with its primary result on validation patients."""
    records = views.runs(home)
    return pd.DataFrame(
        [
            {
                "Run": record.run_id,
                "Cohort": f"{record.cohort}@{record.cohort_version}",
                "Kind": record.cohort_kind,
                "Split": record.split,
                "Models": ", ".join(model_title(name) for name in record.models),
                "Primary": f"{METRIC_TITLES.get(record.primary_metric, record.primary_metric)} of "
                f"{model_title(record.primary_model)}",
                "Result": _primary(home, record),
                "Status": record.status,
                "Device": record.device,
                "Seed": record.seed,
                "Created": record.created[:16].replace("T", " "),
            }
            for record in records
        ]
    )


def _primary(home: Home, record: RunRecord) -> str:
    rows = _rows(home, record, record.primary_metric, record.primary_model)
    return "" if rows.empty else _text(rows.iloc[0])


def _rows(home: Home, record: RunRecord, metric: str, model: str) -> pd.DataFrame:
    return views.read(
        home,
        "SELECT * FROM metrics WHERE run_id = ? AND metric = ? AND model = ? AND member IS NULL "
        "AND subgroup = 'all' AND role <> 'train' ORDER BY role = 'validation' DESC, role",
        [record.run_id, metric, model],
    )


def _text(row: pd.Series[Any]) -> str:
    if row["status"] != "ok":
        return "not estimable"
    return format_interval(row["value"], row["ci_low"], row["ci_high"])


def newest_results(home: Home) -> NewestResults | None:
    """The newest finished run's primary model in three numbers and its best rival's."""
    record = next((run for run in views.runs(home) if run.status.startswith("done")), None)
    if record is None:
        return None
    tiles = []
    for metric in ("c_index", "auc", "hr_high_low"):
        rows = _rows(home, record, metric, record.primary_model)
        if len(rows):
            tiles.append(_tile(metric, rows.iloc[0], record.primary_model))
    rival = _best_rival(home, record)
    if rival is not None:
        tiles.append(_tile("c_index", rival, str(rival["model"])))
    if not tiles:
        return None
    kind = "" if record.cohort_kind == "real" else f", {record.cohort_kind} patients"
    first = _rows(home, record, "c_index", record.primary_model)
    counted = ""
    if len(first):
        row = first.iloc[0]
        counted = f": {row['n']} {row['role']} patients, {row['events']} events"
    return NewestResults(f"{record.cohort}{kind}{counted} (run {record.run_id})", tuple(tiles))


def _tile(metric: str, row: pd.Series[Any], model: str) -> Tile:
    digits = 2 if metric.startswith("hr") else 3
    known = row["status"] == "ok"
    value = f"{row['value']:.{digits}f}" if known else "not estimable"
    interval = "" if not known or pd.isna(row["ci_low"]) else (
        f"95 % CI {row['ci_low']:.{digits}f}-{row['ci_high']:.{digits}f}"
    )  # fmt: skip
    explained = {"c_index": "c_index", "auc": "auc"}.get(metric, "hr")
    title = METRIC_TITLES[metric].replace(", high against low", "")
    return Tile(f"{title}, {model_title(model)}", value, interval, EXPLAINED[explained])


def _best_rival(home: Home, record: RunRecord) -> pd.Series[Any] | None:
    rivals = [name for name in record.models if name not in {record.primary_model, "oracle"}]
    found = [_rows(home, record, "c_index", name) for name in rivals]
    rows = [frame.iloc[0] for frame in found if len(frame) and frame.iloc[0]["status"] == "ok"]
    return max(rows, key=lambda row: float(row["value"])) if rows else None


# ---------------------------------------------------------------- attention


def attention_points(home: Home) -> pd.DataFrame:
    """Everything that a reader should look at: cohort or run, what, how many."""
    rows = [
        *(row for name in _newest_cohorts(home) for row in _of_cohort(home, name)),
        *(row for record in views.runs(home) for row in _of_run(record)),
    ]
    return pd.DataFrame(rows, columns=["Where", "What"])


def _newest_cohorts(home: Home) -> list[str]:
    frame = views.cohorts(home).drop_duplicates("cohort")
    return [f"{row.cohort}@{row.version}" for row in frame.itertuples(index=False)]


def _of_cohort(home: Home, name: str) -> Iterator[dict[str, str]]:
    record = views.cohort(home, name)
    for warning in record.warnings:
        yield {"Where": record.name, "What": warning}
    patients = views.patients(home, name)
    share = patients.isna().mean()
    for column, missing in share.items():
        if _MOST_MISSING < missing < 1 and column not in {"reason", "tumor_no", "m1_ned"}:
            what = f"{variable_title(str(column))}: {100 * missing:.0f} % of values are missing"
            yield {"Where": record.name, "What": what}
    slides = views.slide_outcomes(home, name)
    for reason, part in slides[slides["status"] != "done"].groupby("reason", dropna=False):
        yield {"Where": record.name, "What": f"{_slides(len(part))} not used: {reason}"}


def _slides(count: int) -> str:
    return f"{count} slide" if count == 1 else f"{count} slides"


def _of_run(record: RunRecord) -> Iterator[dict[str, str]]:
    for failure in record.failures:
        yield {"Where": f"run {record.run_id}", "What": f"failed: {failure}"}
    if not record.status.startswith("done"):
        yield {"Where": f"run {record.run_id}", "What": f"status: {record.status}"}


# ---------------------------------------------------------------- cohort page


def baseline_shown(home: Home, name: str) -> tuple[pd.DataFrame, str]:
    """The baseline table by outcome with readable names, and its caption."""
    try:
        frame = cohort_baseline(home, name)
    except InputError as error:
        return pd.DataFrame({"": [str(error)]}), "No table: all patients are in one group."
    shown = frame.rename(columns={"variable": "Variable", "level": "", "overall": "All"})
    shown["Variable"] = shown["Variable"].map(variable_title)
    shown["Variable"] = shown["Variable"].where(~shown["Variable"].duplicated(), "")
    shown[""] = shown[""].replace({"True": "yes", "False": "no"})
    shown["p_value"] = shown["p_value"].map(lambda p: "" if pd.isna(p) else format_p(float(p)))
    shown = shown.rename(columns={"p_value": "P", "test": "Test"})
    caption = (
        "By whether the event was observed. Numbers (per cent of known values), mean and SD, or "
        "median and quartiles. P values are not adjusted for their number."
    )
    return shown, caption


def data_dictionary(home: Home, name: str) -> pd.DataFrame:
    """Variable, its meaning, source column, unit, and how its values were mapped."""
    manifest = views.cohort(home, name).manifest
    patients = views.patients(home, name)
    rows = []
    for variable, source in manifest.clinical.columns.items():
        column = source if isinstance(source, ColumnSource) else ColumnSource(column=str(source))
        values = patients[variable].dropna() if variable in patients else pd.Series(dtype=object)
        rows.append(
            {
                "Variable": variable,
                "Meaning": variable_title(variable),
                "Column": column.column,
                "Unit": column.unit or "",
                "Values": json.dumps(column.map, ensure_ascii=False, default=str)
                if column.map
                else _range(values),
                "Known": str(len(values)) if variable in patients else "",
                "Note": getattr(column, "note", None) or "",
            }
        )
    return pd.DataFrame(rows)


def _range(values: pd.Series[Any]) -> str:
    if values.empty:
        return ""
    if values.nunique() <= 8:
        return ", ".join(sorted(f"{value}" for value in values.unique()))
    if pd.api.types.is_numeric_dtype(values):
        return f"{values.min():g} to {values.max():g}"
    return f"{values.nunique()} different"


def event_free_table(home: Home, run_id: str) -> pd.DataFrame:
    """Follow-up of the event-free by locked risk group of the run's primary model."""
    data = run_data(home, run_id)
    rows = []
    for one in data.sets:
        frame = take(data, one).of_model(data.record.primary_model)
        for group, part in frame[frame["risk_group"].notna()].groupby("risk_group"):
            free = part[part["status"] != 1]
            found = median_follow_up(part["time"].to_numpy(float), part["status"].to_numpy(int))
            rows.append(
                {
                    "Patients": one.title,
                    "Risk group": str(group),
                    "n": len(part),
                    "Event-free": len(free),
                    "Median of the event-free, months": f"{free['time'].median():.1f}"
                    if len(free)
                    else "",
                    "Reverse Kaplan-Meier median, months": "not reached"
                    if found.median is None
                    else f"{found.median:.1f}",
                }
            )
    return pd.DataFrame(rows)
