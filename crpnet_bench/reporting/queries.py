"""Frames that documents, dashboard and command line show, read from the published views."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.stats.baseline import baseline_table

__all__ = ["CohortSummary", "cohort_baseline", "cohort_flow", "cohort_summary", "split_overview"]

_FLOW_COLUMNS: Mapping[str, str] = {
    "step": "string",
    "kind": "string",  # stays | leaves
    "patients": "Int64",
    "events": "Int64",
    "slides": "Int64",
    "reason": "string",
}
# What a baseline table shows, in this order, where the cohort knows it.
_BASELINE = (
    "age",
    "sex",
    "symptoms",
    "ecog",
    "pT",
    "pN",
    "M",
    "grade",
    "tumor_size_cm",
    "necrosis",
    "sarcomatoid",
    "rhabdoid",
    "site",
)
_NOT_BASELINE = frozenset({"patient_id", "tumor_no", "m1_ned", "excluded", "reason"})


@dataclass(frozen=True)
class CohortSummary:
    """A cohort at a glance.

    Attributes:
        document: everything, for JSON.
        text: the same for people, without the scores.
        scores: how many patients have each score determined.
    """

    document: Mapping[str, Any]
    text: str
    scores: pd.DataFrame


def cohort_summary(home: Home, name: str) -> CohortSummary:
    """Manifest, counts, splits, scores and recorded warnings of a registered cohort.

    Raises:
        NotFoundError: no such cohort or version.
    """
    record = views.cohort(home, name)
    patients = views.patients(home, record.pinned)
    outcomes = views.outcomes(home, record.pinned)
    slides = views.slides(home, record.pinned)
    splits = _splits(views.splits(home, record.pinned))
    scores = _determined(views.scores(home, record.pinned))
    section, outcome = record.manifest.cohort, record.manifest.outcome
    document = {
        "cohort": record.name,
        "version": record.version,
        "registered": record.registered,
        "folder": str(record.folder),
        "title": section.title,
        "kind": section.kind,
        "licence": section.licence,
        "tnm_edition": section.tnm_edition,
        "grading": section.grading,
        "endpoint": outcome.endpoint,
        "events_are": outcome.events,
        "origin": outcome.origin,
        "patients": len(patients),
        "events": int((outcomes["status"] == 1).sum()),
        "competing_deaths": int((outcomes["status"] == 2).sum()),
        "median_months": round(float(outcomes["time"].median()), 1) if len(outcomes) else None,
        "slides": len(slides),
        "patients_with_slide": int(slides["patient_id"].nunique()),
        "default_split": section.default_split,
        "splits": splits,
        "scores": json.loads(scores.to_json(orient="records")),
        "warnings": list(record.warnings),
    }
    return CohortSummary(document, _as_text(document), scores)


def _splits(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "split": str(name),
            "folds": int(rows.groupby(["repeat", "fold"]).ngroups),
            "patients": int(rows["patient_id"].nunique()),
            "sha256": str(rows["sha256"].iloc[0]),
        }
        for name, rows in frame.groupby("split")
    ]


def split_overview(home: Home, name: str) -> pd.DataFrame:
    """One row a split: folds, patients by role over all folds, sha256 of its file.

    Raises:
        NotFoundError: no such cohort or version.
    """
    frame = views.splits(home, name)
    rows = []
    for split, part in frame.groupby("split"):
        by_role = part.groupby("role")["patient_id"].nunique()
        rows.append(
            {
                "split": str(split),
                "folds": int(part.groupby(["repeat", "fold"]).ngroups),
                **{role: int(by_role.get(role, 0)) for role in ("train", "validation", "test")},
                "sha256": str(part["sha256"].iloc[0]),
            }
        )
    return pd.DataFrame(rows, columns=["split", "folds", "train", "validation", "test", "sha256"])


def _determined(scores: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "score": str(name),
            "determined": int(part["value"].notna().sum()),
            "patients": len(part),
            "definition": str(part["definition_version"].iloc[0]),
        }
        for name, part in scores.groupby("score", sort=False)
    ]
    return pd.DataFrame(rows, columns=["score", "determined", "patients", "definition"])


def _as_text(document: Mapping[str, Any]) -> str:
    lines = []
    for key, value in document.items():
        if key in {"scores", "splits", "warnings"} or value in ("", None):
            continue
        lines.append(f"{key.replace('_', ' '):20} {value}")
    lines += [
        f"{'split':20} {s['split']}: {s['folds']} folds, {s['patients']} patients, "
        f"sha256 {s['sha256'][:12]}"
        for s in document["splits"]
    ]
    lines += [f"{'warning':20} {warning}" for warning in document["warnings"]]
    return "\n".join(lines)


# ---------------------------------------------------------------- flow


def cohort_flow(home: Home, name: str) -> pd.DataFrame:
    """The flow of patients: registered, excluded by reason, included, with slide, tiles, scores.

    Returns:
        `step`, `kind` (stays or leaves), `patients`, `events` (of the primary endpoint),
        `slides`, `reason`; counts that have no meaning for a step are missing.

    Raises:
        NotFoundError: no such cohort or version.
    """
    record = views.cohort(home, name)
    everyone = views.patients(home, record.pinned, with_excluded=True)
    outcomes = views.outcomes(home, record.pinned, with_excluded=True)
    slides = views.slides(home, record.pinned, with_excluded=True)
    count = _Counter(outcomes)
    staying = everyone[~everyone["excluded"].astype(bool)]
    rows = [count.row("registered", "stays", everyone["patient_id"], len(slides))]
    rows += _reasons(everyone[everyone["excluded"].astype(bool)], count)
    rows.append(count.row("included", "stays", staying["patient_id"]))
    rows += _slide_steps(slides, staying, count)
    rows += _tile_steps(home, record, staying, count)
    for score, part in views.scores(home, record.pinned).groupby("score", sort=False):
        known = part.loc[part["value"].notna(), "patient_id"]
        rows.append(count.row(f"scored: {score}", "stays", known))
    return pd.DataFrame(rows, columns=list(_FLOW_COLUMNS)).astype(dict(_FLOW_COLUMNS))


class _Counter:
    """Counts patients and their events."""

    def __init__(self, outcomes: pd.DataFrame) -> None:
        self._events = set(outcomes.loc[outcomes["status"] == 1, "patient_id"])

    def row(
        self,
        step: str,
        kind: str,
        patients: Iterable[str],
        slides: int | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        who = set(patients)
        return {
            "step": step,
            "kind": kind,
            "patients": len(who),
            "events": len(who & self._events),
            "slides": slides,
            "reason": reason,
        }


def _reasons(gone: pd.DataFrame, count: _Counter) -> list[dict[str, Any]]:
    return [
        count.row("excluded", "leaves", part["patient_id"], reason=str(reason))
        for reason, part in gone.groupby("reason", sort=False)
    ]


def _slide_steps(
    slides: pd.DataFrame, staying: pd.DataFrame, count: _Counter
) -> list[dict[str, Any]]:
    own = slides[slides["patient_id"].isin(staying["patient_id"])]
    out = own[own["excluded"].astype(bool)]
    used = own[~own["excluded"].astype(bool)]
    rows = [
        count.row("slide left out", "leaves", (), len(part), str(reason))
        for reason, part in out.groupby("reason", sort=False)
    ]
    without = set(staying["patient_id"]) - set(used["patient_id"])
    if without:
        rows.append(count.row("without slide", "leaves", without, reason="no usable slide"))
    rows.append(count.row("with slide", "stays", used["patient_id"], len(used)))
    return rows


def _tile_steps(
    home: Home, record: views.CohortRecord, staying: pd.DataFrame, count: _Counter
) -> list[dict[str, Any]]:
    outcomes = views.slide_outcomes(home, record.pinned)
    if outcomes.empty:
        return []  # nothing was extracted yet
    own = outcomes[outcomes["patient_id"].isin(staying["patient_id"])]
    done = own["status"] == "done"
    rows = [
        count.row("slide not usable", "leaves", (), len(part), str(reason))
        for reason, part in own[~done].groupby("reason", sort=False)
    ]
    tiled = own.loc[done, "patient_id"]
    if without := set(own["patient_id"]) - set(tiled):
        rows.append(count.row("without tiles", "leaves", without, reason="no slide was usable"))
    rows.append(count.row("with tiles", "stays", tiled, int(done.sum())))
    return rows


# ---------------------------------------------------------------- baseline


def cohort_baseline(home: Home, name: str, by: str = "event") -> pd.DataFrame:
    """The baseline table: n (%), mean +- SD or median (quartiles), test and p, missing values.

    Args:
        home: whose registry.
        name: `NAME` or `NAME@VERSION`.
        by: `event` (event observed or not, of the primary endpoint) or a variable.

    Raises:
        NotFoundError: no such cohort.
        InputError: no such variable, or every patient is in one group.
    """
    record = views.cohort(home, name)
    patients = views.patients(home, record.pinned)
    outcomes = views.outcomes(home, record.pinned).set_index("patient_id")["status"]
    event = patients["patient_id"].map(outcomes == 1).map({True: "event", False: "no event"})
    frame = patients.assign(event=event)
    known = [c for c in frame.columns if c not in _NOT_BASELINE]
    if by not in known:
        raise InputError(f"no variable {by!r} in {record.name!r}; {did_you_mean(by, known)}")
    extra = [c for c in known if c not in _BASELINE and c not in {"event", by}]
    shown = [c for c in (*_BASELINE, *extra) if c != by and frame[c].notna().any()]
    return baseline_table(frame, by, shown).to_frame()
