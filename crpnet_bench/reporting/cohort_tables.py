"""What the cohort page says in tables: baseline, dictionary of the columns, follow-up by group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from crpnet_bench.errors import InputError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.names import model_title, variable_title
from crpnet_bench.reporting.queries import cohort_baseline, cohort_summary
from crpnet_bench.reporting.run_data import run_data, take
from crpnet_bench.reporting.tables import format_p
from crpnet_bench.schema import ColumnSource
from crpnet_bench.stats.follow_up import median_follow_up

__all__ = ["baseline_shown", "data_dictionary", "event_free_table", "flow_table"]


def baseline_shown(home: Home, name: str) -> tuple[pd.DataFrame, str]:
    """The baseline table by outcome with readable names, and its caption."""
    try:
        frame = cohort_baseline(home, name)
    except InputError as error:
        return pd.DataFrame({"": [str(error)]}), "No table: all patients are in one group."
    document = cohort_summary(home, name).document
    events, n = int(document["events"]), int(document["patients"])
    shown = frame.rename(
        columns={
            "variable": "Variable",
            "level": "",
            "event": f"Event (n = {events})",
            "no event": f"No event (n = {n - events})",
            "overall": f"All (n = {n})",
        }
    )
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


def flow_table(flow: pd.DataFrame) -> pd.DataFrame:
    """The rows of `queries.cohort_flow` with readable names."""
    scored = flow["step"].str.removeprefix("scored: ").map(lambda name: model_title(str(name)))
    steps = flow["step"].where(~flow["step"].str.startswith("scored: "), "Score of " + scored)
    shown = flow.assign(step=steps.str.slice(0, 1).str.upper() + steps.str.slice(1))
    return shown.rename(columns=lambda name: {"kind": "Who"}.get(name, str(name).capitalize()))


def data_dictionary(home: Home, name: str) -> pd.DataFrame:
    """Variable, its meaning, source column, unit, and how its values were mapped."""
    manifest = views.cohort(home, name).manifest
    # Lengths are kept in centimetres, whatever the table's unit.
    patients = views.patients(home, name).rename(columns={"tumor_size_cm": "tumor_size"})
    rows = []
    for variable, source in manifest.clinical.columns.items():
        column = source if isinstance(source, ColumnSource) else ColumnSource(column=str(source))
        values = patients[variable].dropna() if variable in patients else pd.Series(dtype=object)
        rows.append(
            {
                "Variable": variable,
                "Meaning": variable_title(variable),
                "Column": column.column,
                "Unit there": column.unit or "",
                "Values": _mapped(column.map) if column.map else _range(values),
                "Known": str(len(values)) if variable in patients else "",
                "Note": getattr(column, "note", None) or "",
            }
        )
    return pd.DataFrame(rows)


def _mapped(values: Mapping[Any, Any]) -> str:
    """How the table's words were read: `yes = true, no = false`."""
    return ", ".join(f"{word} = {json.dumps(value)}" for word, value in values.items())


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
