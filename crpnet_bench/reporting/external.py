"""Does it hold elsewhere: a run's sets of patients side by side, their case-mix, the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.absolute_risk import calibrations, probabilities
from crpnet_bench.reporting.names import model_title, readable, variable_title
from crpnet_bench.reporting.run_data import PatientSet, RunData, Sample
from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.reporting.validation_tables import TRANSPORT_COLUMNS, transport_table
from crpnet_bench.results import RunRecord, read_table
from crpnet_bench.stats.baseline import baseline_table

__all__ = [
    "WANTED_EVENTS",
    "case_mix",
    "compared_sets",
    "ledger_table",
    "other_cohorts",
    "performance_by_set",
    "sets_metrics",
    "transport_tables",
    "validation_remarks",
]

WANTED_EVENTS = 100  # Collins GS et al. Stat Med 2016;35:214: at least 100 events to validate on
_DESCRIBED = (
    "age", "sex", "symptoms", "ecog", "pT", "pN", "grade", "tumor_size_cm", "necrosis",
    "sarcomatoid", "site",
)  # fmt: skip


def compared_sets(data: RunData) -> tuple[PatientSet, ...]:
    """Sets worth comparing, training out-of-fold first, then validation, test, external."""
    honest = [one for one in data.sets if not one.in_sample]
    return tuple(sorted(honest, key=lambda one: one.role != "train"))


def performance_by_set(
    data: RunData, samples: Sequence[Sample], model: str, horizon: float
) -> pd.DataFrame:
    """A row a set: patients, events against the 100 wanted, discrimination, calibration.

    Args:
        data: the run.
        samples: one a set.
        model: whose performance.
        horizon: months, for calibration.
    """
    rows = []
    for sample in samples:
        row = {
            "Patients": sample.patients_of.title,
            "n": str(sample.n),
            "Events": str(sample.events),
            "Of 100 wanted": f"{100 * sample.events / WANTED_EVENTS:.0f} %",
            "C-index": _cell(sample, model, "c_index"),
            "AUC": _cell(sample, model, "auc"),
            "HR per SD": _cell(sample, model, "hr_per_sd", digits=2),
        }
        known, _ = probabilities(data, sample, [model], horizon)
        found = calibrations(known, horizon).get(model)
        for title, one in (
            ("Observed/expected", found.observed_expected if found else None),
            ("Calibration slope", found.slope if found else None),
        ):
            row[title] = (
                "not calibrated"
                if one is None
                else "n/a"
                if one.value is None
                else format_interval(one.value, one.ci_low, one.ci_high, digits=2)
            )
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(sample: Sample, model: str, metric: str, *, digits: int = 3) -> str:
    row = sample.metric(model, metric)
    if row is None or row["status"] != "ok":
        return "n/a"
    return format_interval(row["value"], row["ci_low"], row["ci_high"], digits=digits)


def sets_metrics(samples: Sequence[Sample], model: str, metric: str) -> pd.DataFrame:
    """One metric of a model in each set, for `comparison_figures.levels_figure`."""
    rows = [
        {**row, "variable": sample.patients_of.title, "level": ""}
        for sample in samples
        if (row := sample.metric(model, metric)) is not None
    ]
    columns = ["variable", "level", "value", "ci_low", "ci_high", "n", "events", "status",
               "reason"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def case_mix(samples: Sequence[Sample]) -> tuple[pd.DataFrame, str]:
    """The baseline table by set, and its caption."""
    parts = [
        sample.patients.assign(set=f"{sample.patients_of.title} (n = {sample.n})")
        for sample in samples
    ]
    frame = pd.concat(parts, ignore_index=True)
    variables = [c for c in _DESCRIBED if c in frame and frame[c].notna().any()]
    if len(parts) < 2 or not variables:
        return pd.DataFrame(), "One set of patients only: there is nothing to compare."
    table = baseline_table(frame, "set", variables).to_frame()
    shown = table.rename(columns={"variable": "Variable", "level": "", "overall": "All"})
    shown["Variable"] = shown["Variable"].map(variable_title)
    shown["Variable"] = shown["Variable"].where(~shown["Variable"].duplicated(), "")
    shown[""] = shown[""].replace({"True": "yes", "False": "no"})
    sets = [str(part["set"].iloc[0]) for part in parts]
    shown = shown[["Variable", "", *sets, "All", "p_value", "test"]].copy()
    shown["P"] = shown.pop("p_value").map(lambda p: "" if pd.isna(p) else format_p(float(p)))
    shown["Test"] = shown.pop("test")
    return shown, (
        "Number (per cent of known values), mean and SD, or median and quartiles. A model that "
        "does worse elsewhere may have met other patients rather than failed."
    )


def ledger_table(home: Home, record: RunRecord) -> pd.DataFrame:
    """Every look at the outcomes of the cohorts that this run has seen."""
    looks = views.ledger(home)
    seen = set(looks.loc[looks["run_id"] == record.run_id, "cohort"]) | {record.cohort}
    own = looks[looks["cohort"].isin(seen)]
    return pd.DataFrame(
        {
            "Cohort": own["cohort"] + "@" + own["cohort_version"].astype("string"),
            "Looked": own["looked"].str.slice(0, 16).str.replace("T", " "),
            "By": own["run_id"].where(own["run_id"] != record.run_id, "this run"),
            "Command": own["command"],
            "Endpoint": own["endpoint"],
            "Primary model": own["primary_model"].map(lambda name: model_title(str(name))),
            "Patients": own["patients"],
            "Remark": own["remark"],
        }
    ).reset_index(drop=True)


def _validations(data: RunData) -> list[tuple[str, Path]]:
    """The other cohorts that still stand beside the run, and the folders of their validations.

    The files of a validation outlive its cohort in the registry; they speak of patients whom
    nothing else on the page shows.
    """
    shown = {one.pinned for one in data.sets if one.role == "external"}
    folders = sorted((data.home.runs / data.record.run_id / "external").glob("*"))
    return [(folder.name, folder) for folder in folders if folder.name in shown]


def validation_remarks(data: RunData) -> list[tuple[str, tuple[str, ...]]]:
    """Cohort and the sentences without which its external validation misleads."""
    found = []
    for cohort, folder in _validations(data):
        path = folder / "validation.json"
        if not path.is_file():
            continue
        about = json.loads(path.read_text(encoding="utf-8"))
        told = (*about["remarks"], *about["failures"])
        found.append((cohort, tuple(readable(one) for one in told)))
    return found


def transport_tables(data: RunData) -> list[tuple[str, pd.DataFrame]]:
    """Cohort and how each model's discrimination changed from the run's own patients to it."""
    found = []
    for cohort, folder in _validations(data):
        path = folder / "transport.parquet"
        if not path.is_file():
            continue
        table = read_table(path, TRANSPORT_COLUMNS)
        titles = {str(name): model_title(str(name)) for name in table["model"].unique()}
        shown = transport_table(table, titles)
        found.append((cohort, shown.rename(columns=lambda name: name.capitalize())))
    return found


def other_cohorts(home: Home, record: RunRecord) -> pd.DataFrame:
    """Registered cohorts that the run could be validated on, with their events."""
    frame = views.cohorts(home).drop_duplicates("cohort")
    frame = frame[frame["cohort"] != record.cohort]
    # A cohort with slides first: networks have nothing to look at in another.
    frame = frame.sort_values("slides", ascending=False, kind="stable")
    return pd.DataFrame(
        {
            "Cohort": frame["cohort"],
            "Kind": frame["kind"],
            "Endpoint": frame["endpoint"],
            "Patients": frame["included"],
            "Events": frame["events"],
            "Slides": frame["slides"],
            "Of 100 events wanted": [
                f"{100 * events / WANTED_EVENTS:.0f} %" for events in frame["events"]
            ],
        }
    ).reset_index(drop=True)
