"""What the first pages say: cohorts, runs, newest results, what needs attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.names import METRIC_TITLES, model_title, readable, variable_title
from crpnet_bench.reporting.tables import format_interval
from crpnet_bench.reporting.terms import EXPLAINED
from crpnet_bench.results import RunRecord

__all__ = [
    "NewestResults",
    "Tile",
    "attention_points",
    "cohorts_table",
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
            "Version": frame["version"],
            "Endpoint": frame["endpoint"],
            "Patients": frame["included"],
            "Excluded": frame["patients"] - frame["included"],
            "Events": frame["events"],
            "Slides": frame["slides"],
            "Registered": frame["registered"].str.slice(0, 16).str.replace("T", " "),
            "Title": frame["title"],
        }
    ).reset_index(drop=True)


def runs_table(home: Home) -> pd.DataFrame:
    """One row a run, newest first, with its primary result on validation patients."""
    records = views.runs(home)
    found = _Found(home, records)
    return pd.DataFrame(
        [
            {
                "Run": record.run_id,
                "Cohort": f"{record.cohort}@{record.cohort_version}",
                "Primary": f"{METRIC_TITLES.get(record.primary_metric, record.primary_metric)} of "
                f"{model_title(record.primary_model)}",
                "Result": _primary(found, record),
                "Kind": record.cohort_kind,
                "Split": record.split,
                "Models": ", ".join(model_title(name) for name in record.models),
                "Status": record.status,
                "Device": record.device,
                "Seed": record.seed,
                "Created": record.created[:16].replace("T", " "),
            }
            for record in records
        ]
    )


class _Found:
    """Metrics of whole runs on their validation patients, or test patients where there are none.

    One query for all runs, since pages ask for a few numbers of each.
    """

    def __init__(self, home: Home, records: Sequence[RunRecord]) -> None:
        rows = views.read(
            home,
            "SELECT run_id, model, metric, role, value, ci_low, ci_high, status, n, events "
            "FROM metrics WHERE list_contains(?, run_id) AND member IS NULL AND subgroup = 'all' "
            "AND role IN ('validation', 'test') AND horizon_months IS NULL "
            "ORDER BY role = 'validation' DESC",
            [[record.run_id for record in records]],
        )
        self._rows: dict[tuple[str, str, str], Mapping[Any, Any]] = {}
        for row in rows.to_dict("records"):
            self._rows.setdefault((row["run_id"], row["metric"], row["model"]), row)

    def get(self, record: RunRecord, metric: str, model: str) -> Mapping[Any, Any] | None:
        """The first row, or None where there is none."""
        return self._rows.get((record.run_id, metric, model))


def _primary(found: _Found, record: RunRecord) -> str:
    row = found.get(record, record.primary_metric, record.primary_model)
    return "" if row is None else _text(row)


def _text(row: Mapping[Any, Any]) -> str:
    if row["status"] != "ok":
        return "not estimable"
    return format_interval(row["value"], row["ci_low"], row["ci_high"])


def newest_results(home: Home) -> NewestResults | None:
    """The newest finished run's primary model in three numbers and its best rival's."""
    record = next((run for run in views.runs(home) if run.status.startswith("done")), None)
    if record is None:
        return None
    found = _Found(home, [record])
    main = {
        metric: row
        for metric in ("c_index", "auc", "hr_high_low")
        if (row := found.get(record, metric, record.primary_model)) is not None
    }
    tiles = [_tile(metric, row, record.primary_model) for metric, row in main.items()]
    rival = _best_rival(found, record)
    if rival is not None:
        tiles.append(_tile("c_index", rival, str(rival["model"])))
    if not tiles:
        return None
    kind = "" if record.cohort_kind == "real" else f", {record.cohort_kind} patients"
    counted = ""
    if (row := main.get("c_index")) is not None:
        counted = f": {row['n']} {row['role']} patients, {row['events']} events"
    return NewestResults(f"{record.cohort}{kind}{counted} (run {record.run_id})", tuple(tiles))


def _tile(metric: str, row: Mapping[Any, Any], model: str) -> Tile:
    digits = 2 if metric.startswith("hr") else 3
    known = row["status"] == "ok"
    value = f"{row['value']:.{digits}f}" if known else "not estimable"
    _, _, limits = format_interval(
        row["value"] if known else 0.0, row["ci_low"], row["ci_high"], digits=digits
    ).partition(" (")
    interval = f"95 % CI {limits.removesuffix(')')}" if known and limits else ""
    explained = {"c_index": "c_index", "auc": "auc"}.get(metric, "hr")
    title = METRIC_TITLES[metric].replace("Hazard ratio, high against low", "HR high/low")
    return Tile(f"{title}, {model_title(model)}", value, interval, EXPLAINED[explained])


def _best_rival(found: _Found, record: RunRecord) -> Mapping[Any, Any] | None:
    rivals = [name for name in record.models if name not in {record.primary_model, "oracle"}]
    first = [found.get(record, "c_index", name) for name in rivals]
    rows = [row for row in first if row is not None and row["status"] == "ok"]
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
        yield {"Where": record.name, "What": readable(warning)}
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
        yield {"Where": f"run {record.run_id}", "What": f"failed: {readable(failure)}"}
    if not record.status.startswith("done"):
        yield {"Where": f"run {record.run_id}", "What": f"status: {record.status}"}
