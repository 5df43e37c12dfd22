"""One patient: scores with their trace, place among the others, slides with the attention."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.absolute_risk import learn_link
from crpnet_bench.reporting.figures import GREY, Figure, dress, empty_figure, text, with_alpha
from crpnet_bench.reporting.model_looks import model_color
from crpnet_bench.reporting.names import (
    GROUP_COLORS,
    model_title,
    variable_title,
)
from crpnet_bench.reporting.run_data import RunData, Sample
from crpnet_bench.scores.components import COMPONENTS

__all__ = [
    "SlidePictures",
    "absolute_risk",
    "patient_scores",
    "patients_table",
    "position_figure",
    "run_local_names",
    "score_notes",
    "score_trace",
    "slide_pictures",
]

_SHOWN = ("age", "sex", "pT", "pN", "grade", "tumor_size_cm", "necrosis", "site")
_OUTCOME: Mapping[int, str] = {0: "censored", 1: "event", 2: "death without event"}


def run_local_names(patients: Sequence[str], run_id: str) -> dict[str, str]:
    """`Patient 001` and so on in an order drawn from the run's name, identifier -> name.

    The order does not follow the identifiers, so a number tells nothing about one.
    """
    order = sorted(patients)
    random.Random(run_id).shuffle(order)  # noqa: S311 hides an order, no secret
    width = max(3, len(str(len(order))))
    return {patient: f"Patient {place:0{width}d}" for place, patient in enumerate(order, start=1)}


def patients_table(sample: Sample, model: str, names: Mapping[str, str]) -> pd.DataFrame:
    """One row a patient: the model's risk and class, the outcome, clinical variables.

    Args:
        sample: the patients.
        model: whose risk.
        names: identifier -> shown name.

    Returns:
        Highest risk first; a patient without a prediction has its reason and no risk.
    """
    rows = sample.predictions[sample.predictions["model"] == model]
    rows = rows.drop_duplicates("patient_id")
    columns = ["patient_id", "risk", "probability", "risk_group", "predicted_class", "reason"]
    clinical = [name for name in _SHOWN if name in sample.patients]
    table = rows[columns].merge(
        sample.patients[["patient_id", "time", "status", *clinical]], on="patient_id"
    )
    table = table.sort_values("risk", ascending=False, na_position="last", ignore_index=True)
    shown = pd.DataFrame(
        {
            "Patient": [names[str(patient)] for patient in table["patient_id"]],
            "Risk": table["risk"].astype("Float64").round(3),
            "Probability": table["probability"].astype("Float64").round(3),
            "Risk group": table["risk_group"],
            "Class": table["predicted_class"].map({1: "event", 0: "no event"}),
            "Months": table["time"].astype("Float64").round(1),
            "Outcome": table["status"].map(_OUTCOME),
        }
    )
    for name in clinical:
        shown[variable_title(name)] = table[name]
    return shown.assign(**{"No prediction because": table["reason"].fillna("")})


# ---------------------------------------------------------------- scores


def patient_scores(home: Home, cohort: str, patient: str) -> pd.DataFrame:
    """Each score of a patient: value, group, possible range, and why it is not determined."""
    rows = views.scores(home, cohort)
    own = rows[rows["patient_id"] == patient]
    table = pd.DataFrame(
        {
            "Score": [model_title(str(name)) for name in own["score"]],
            "Value": own["value"].fillna("not determined").to_numpy(),
            "Group": own["group"].fillna("").to_numpy(),
            "Possible": [
                "" if pd.notna(value) or pd.isna(low) else f"{low} to {high}"
                for value, low, high in own[["value", "min", "max"]].itertuples(index=False)
            ],
            "Because": own["reason"].fillna("").to_numpy(),
            "Notes": ["; ".join(_listed(cell)) for cell in own["warnings"]],
        }
    )
    return table[[name for name in table if name == "Value" or (table[name] != "").any()]]


def score_notes(table: pd.DataFrame) -> str:
    """Each note of `patient_scores` once and whole, with its scores."""
    about: dict[str, list[str]] = {}
    for name, notes in (
        table[["Score", "Notes"]].itertuples(index=False) if "Notes" in table else ()
    ):
        for note in filter(None, str(notes).split("; ")):
            about.setdefault(note, []).append(str(name))
    return " ".join(f"{', '.join(names)}: {note}." for note, names in about.items())


def _listed(cell: str | None) -> list[str]:
    return [] if pd.isna(cell) else [str(one) for one in json.loads(cell)]


def score_trace(home: Home, cohort: str, patient: str) -> pd.DataFrame:
    """How each score came about: a row a component, a column a score with its points."""
    rows = views.scores(home, cohort)
    own = rows[rows["patient_id"] == patient]
    lines: dict[str, dict[str, Any]] = {}
    for name, trace in own[["score", "trace"]].itertuples(index=False):
        for part in [] if pd.isna(trace) else json.loads(str(trace)):
            line = lines.setdefault(part["input"], {"Component": variable_title(part["input"])})
            line["Value"] = "missing" if part["value"] is None else _said(part["value"])
            points = "" if part["points"] is None else f"{part['points']:g}"
            note = part.get("note") or ""
            line[model_title(str(name))] = (
                f"{points} ({note})" if note and points else points or note
            )
    order = [name for name in COMPONENTS if name in lines]
    found = [lines[name] for name in (*order, *(name for name in lines if name not in order))]
    return pd.DataFrame(found).fillna("")


def _said(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------- risk


def absolute_risk(data: RunData, sample: Sample, model: str, patient: str, horizon: float) -> str:
    """The patient's probability of the event by the horizon, or "not calibrated" and why."""
    rows = sample.of_model(model)
    own = rows.loc[rows["patient_id"] == patient, "risk"].to_numpy(float)
    if not own.size:
        return "no prediction"
    link = learn_link(data, model, horizon)
    if link.fitted is None:
        return f"not calibrated: {link.told}"
    percent = 100 * float(link.probability(own, horizon)[0])
    if not 1 <= percent <= 99:
        return "below 1 %" if percent < 1 else "above 99 %"
    return f"{percent:.0f} %"


def position_figure(sample: Sample, model: str, patient: str, name: str) -> Figure:
    """Where the patient's risk lies among those of the set, by outcome.

    Args:
        sample: the patients.
        model: whose risk.
        patient: identifier.
        name: the patient's shown name.
    """
    stem = f"risk-of-{name}"
    rows = sample.of_model(model)
    own = rows[rows["patient_id"] == patient]
    if own.empty:
        return empty_figure(stem, f"{model_title(model)} has no prediction for this patient.")
    plot = go.Figure()
    event = (rows["status"] == 1).to_numpy()
    for member, label, color in (
        (~event, "no event", GROUP_COLORS[0]),
        (event, "event", GROUP_COLORS[1]),
    ):
        plot.add_trace(
            go.Histogram(
                x=rows.loc[member, "risk"].to_numpy(float), nbinsx=24, name=label,
                marker={"color": with_alpha(color, 0.7)},
            )
        )  # fmt: skip
    risk = float(own["risk"].iloc[0])
    dress(plot, height=280)
    plot.update_layout(barmode="stack")
    plot.add_vline(
        x=risk, line={"color": model_color(model), "width": 3},
        annotation={"text": f"<b>{text(name)}</b>", "xanchor": _side(rows["risk"], risk)},
    )  # fmt: skip
    cutoff = own["cutoff"].iloc[0]
    if pd.notna(cutoff):
        plot.add_vline(x=float(cutoff), line={"color": GREY, "width": 1.4, "dash": "dash"})
    plot.update_xaxes(title=f"Risk by {text(model_title(model))}")
    plot.update_yaxes(title="Patients")
    below = 100 * float(np.mean(rows["risk"].to_numpy(float) < risk))
    caption = (
        f"{name}: risk {risk:.3f}, higher than {below:.0f} % of {len(rows)} patients "
        f"({sample.patients_of.title}). Dashed: locked cut-off between low and high risk."
    )
    return Figure(stem, plot, rows[["risk", "status"]].reset_index(drop=True), caption)


def _side(risks: pd.Series[Any], risk: float) -> str:
    """On which side of the line its name has room."""
    return "right" if risk > (float(risks.min()) + float(risks.max())) / 2 else "left"


# ---------------------------------------------------------------- slides


@dataclass(frozen=True, slots=True)
class SlidePictures:
    """The pictures of one slide that `crpnet-bench explain` made.

    Attributes:
        slide_id: of the slide.
        model, fold, role: whose attention.
        folder: where the pictures lie.
        tiles: how many tiles were looked at.
        warning: attention is nearly uniform; else empty.
        high, low: pictures of the most and the least attended tiles.
    """

    slide_id: str
    model: str
    fold: str
    role: str
    folder: Path
    tiles: int
    warning: str
    high: tuple[Path, ...]
    low: tuple[Path, ...]

    @property
    def fitted_on_patient(self) -> bool:
        """Whether the network was trained on this patient."""
        return self.role == "train"

    def picture(self, name: str) -> Path:
        """`thumbnail.jpg`, `attention.png`, `evidence.png` or `tiles.geojson`."""
        return self.folder / name


def slide_pictures(
    home: Home, run_id: str, model: str, slide_ids: Sequence[str], external: str | None = None
) -> list[SlidePictures]:
    """Pictures of the slides, read from the run's folder; slides without pictures are left out.

    Args:
        home: where the run lies.
        run_id: the run.
        model: whose attention.
        slide_ids: of one patient.
        external: `NAME@VERSION` of the other cohort that the patient belongs to; None for the
            run's own.
    """
    run = home.runs / run_id
    place = run if external is None else run / "external" / external
    found = []
    for slide_id in slide_ids:
        folder = place / "explain" / model / slide_id
        if not slide_id.isalnum() or not (folder / "explain.json").is_file():
            continue
        told = json.loads((folder / "explain.json").read_text(encoding="utf-8"))
        found.append(
            SlidePictures(
                slide_id=slide_id,
                model=model,
                fold=str(told["fold"]),
                role=str(told["role"]),
                folder=folder,
                tiles=int(told["tiles"]),
                warning=told["warning"] or "",
                high=_numbered(folder, "high"),
                low=_numbered(folder, "low"),
            )
        )
    return found


def _numbered(folder: Path, name: str) -> tuple[Path, ...]:
    paths = folder.glob(f"{name}-*.jpg")
    return tuple(sorted(paths, key=lambda path: int(path.stem.rpartition("-")[2])))
