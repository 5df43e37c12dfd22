"""A cohort as figures: its flow, its follow-up, what is missing, how its variables spread."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crpnet_bench.reporting.figures import GREY, Figure, dress, empty_figure, text, with_alpha
from crpnet_bench.reporting.names import GROUP_COLORS, variable_title
from crpnet_bench.stats.follow_up import median_follow_up

__all__ = [
    "distributions_figure",
    "flow_figure",
    "follow_up_figure",
    "missing_table",
    "missingness_figure",
]

_BLUE, _WARM = GROUP_COLORS[0], GROUP_COLORS[1]
_DESCRIBED = (
    "age", "sex", "symptoms", "ecog", "pT", "pN", "M", "grade", "tumor_size_cm", "necrosis",
    "sarcomatoid", "rhabdoid", "site",
)  # fmt: skip
_NUMBERS = ("age", "tumor_size_cm")
_LINE = 68  # pixels a box of the flow diagram


def flow_figure(flow: pd.DataFrame, name: str) -> Figure:
    """The flow diagram: who stays goes down, who leaves goes to the right with the reason.

    Args:
        flow: `queries.cohort_flow`.
        name: stem of the figure's files.
    """
    shown = flow[~flow["step"].str.startswith("scored:")].reset_index(drop=True)
    plot = go.Figure()
    places, y, last = [], 0.0, None
    for row in shown.itertuples(index=False):
        stays = row.kind == "stays"
        x0, x1 = (0.02, 0.46) if stays else (0.54, 0.98)
        box = (x0, x1, y - 0.38, y + 0.38)
        plot.add_shape(
            type="rect", x0=x0, x1=x1, y0=box[2], y1=box[3],
            line={"color": _BLUE if stays else GREY, "width": 1.5},
            fillcolor=with_alpha(_BLUE if stays else GREY, 0.08),
        )  # fmt: skip
        plot.add_annotation(
            text=_flow_text(row), x=(x0 + x1) / 2, y=y, showarrow=False, font={"size": 13}
        )
        if stays:
            if last is not None:
                _arrow(plot, 0.24, last - 0.38, 0.24, y + 0.38)
            last = y
        else:
            _arrow(plot, 0.24, y, 0.54, y)
        places.append(y)
        y -= 1
    dress(plot, height=40 + _LINE * len(shown), legend=False)
    plot.update_layout(margin={"t": 10, "l": 10, "r": 10, "b": 10})
    plot.update_xaxes(visible=False, range=[0, 1])
    plot.update_yaxes(visible=False, range=[y + 0.4, 0.6])
    caption = "Patients who stay, and those who leave with their reason; events as recorded."
    return Figure(name, plot, flow, caption)


def _flow_text(row: object) -> str:
    step, reason = str(getattr(row, "step", "")), getattr(row, "reason", None)
    patients, events = getattr(row, "patients", 0), getattr(row, "events", 0)
    slides = getattr(row, "slides", None)
    parts = [_counted(patients, "patient"), _counted(events, "event")] if patients else []
    if slides is not None and not pd.isna(slides):
        parts.append(_counted(slides, "slide"))
    why = "" if reason is None or pd.isna(reason) else f": {_short(str(reason))}"
    return f"<b>{text(step.capitalize())}</b>{why}<br>{', '.join(parts)}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _short(reason: str) -> str:
    """The reason on at most two lines of a box; the table below has it whole."""
    return "<br>".join(text(line) for line in wrap(reason, 52, max_lines=2, placeholder=" …"))


def _arrow(plot: go.Figure, x0: float, y0: float, x1: float, y1: float) -> None:
    plot.add_annotation(
        x=x1, y=y1, ax=x0, ay=y0, xref="x", yref="y", axref="x", ayref="y", showarrow=True,
        arrowhead=2, arrowsize=1, arrowwidth=1.3, arrowcolor=GREY, text="",
    )  # fmt: skip


# ---------------------------------------------------------------- follow-up


def follow_up_figure(outcomes: pd.DataFrame, name: str) -> Figure:
    """How long patients were followed: the reverse Kaplan-Meier curve.

    Args:
        outcomes: `time` (months), `status`.
        name: stem of the figure's files.
    """
    found = median_follow_up(outcomes["time"].to_numpy(float), outcomes["status"].to_numpy(int))
    curve = found.curve
    if not curve.n:
        return empty_figure(name, "No patients.")
    plot = go.Figure(
        go.Scatter(
            x=np.concatenate(([0.0], curve.time)),
            y=100 * np.concatenate(([1.0], curve.survival)),
            mode="lines",
            line={"color": _BLUE, "width": 2.4, "shape": "hv"},
            hovertemplate="%{x:.1f} months: %{y:.1f} %<extra></extra>",
        )
    )
    dress(plot, height=340, legend=False)
    longest = float(curve.time[-1])
    plot.update_xaxes(title="Months", tickvals=list(np.arange(0, longest + 12, 12)))
    plot.update_yaxes(title="Still under follow-up, %", range=[0, 103])
    if found.median is None:
        told = f"median not estimable ({found.reason})"
    else:
        plot.add_vline(x=found.median, line={"color": GREY, "width": 1, "dash": "dot"})
        ends = [
            "not reached" if end is None else f"{end:.1f}"
            for end in (found.median_ci_low, found.median_ci_high)
        ]
        told = f"median {found.median:.1f} months (95 % CI {ends[0]}-{ends[1]})"
    caption = (
        f"Follow-up, {told}, reverse Kaplan-Meier; n = {found.n}, {found.events} with an event "
        f"or death; longest {found.longest:.0f} months."
    )
    data = pd.DataFrame(
        {"months": curve.time, "under_follow_up": curve.survival, "at_risk": curve.at_risk}
    )
    return Figure(name, plot, data, caption)


# ---------------------------------------------------------------- variables


def missing_table(patients: pd.DataFrame) -> pd.DataFrame:
    """variable, known, missing, per cent missing; most missing first."""
    n = len(patients)
    rows = [
        {
            "Variable": variable_title(column),
            "Known": int(patients[column].notna().sum()),
            "Missing": int(patients[column].isna().sum()),
            "Missing, %": round(100 * float(patients[column].isna().mean()), 1) if n else 0.0,
        }
        for column in _DESCRIBED
        if column in patients
    ]
    return pd.DataFrame(rows).sort_values("Missing", ascending=False, ignore_index=True)


def missingness_figure(patients: pd.DataFrame, name: str) -> Figure:
    """Share of missing values of each variable."""
    table = missing_table(patients)
    plot = go.Figure(
        go.Bar(
            x=table["Missing, %"],
            y=table["Variable"],
            orientation="h",
            marker={"color": _WARM},
            text=[f"{missing} of {known + missing}" for known, missing in
                  table[["Known", "Missing"]].itertuples(index=False)],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} % missing<extra></extra>",
        )
    )  # fmt: skip
    dress(plot, height=70 + 25 * len(table), legend=False)
    largest = float(table["Missing, %"].max()) if len(table) else 0.0
    plot.update_xaxes(title="Missing, %", range=[0, min(118, max(10, 1.25 * largest))])
    plot.update_yaxes(autorange="reversed", showgrid=False)
    return Figure(name, plot, table, f"Missing values among {len(patients)} included patients.")


def distributions_figure(patients: pd.DataFrame, name: str) -> Figure:
    """Each variable's distribution, by whether the event was observed.

    Args:
        patients: clinical variables and `status`.
        name: stem of the figure's files.
    """
    shown = [c for c in _DESCRIBED if c in patients and patients[c].nunique() > 1]
    if not shown:
        return empty_figure(name, "No variable has more than one value.")
    columns = 3
    rows = -(-len(shown) // columns)
    plot = make_subplots(
        rows=rows, cols=columns, subplot_titles=[variable_title(c) for c in shown],
        horizontal_spacing=0.06, vertical_spacing=min(0.4 / rows, 0.16),
    )  # fmt: skip
    event = (patients["status"] == 1).to_numpy()
    for place, column in enumerate(shown):
        row, col = place // columns + 1, place % columns + 1
        for member, label, color in ((~event, "no event", _BLUE), (event, "event", _WARM)):
            values = patients.loc[member, column].dropna()
            plot.add_trace(
                _histogram(column, values, label, color, shown=place == 0), row=row, col=col
            )
    dress(plot, height=60 + 210 * rows)
    plot.update_layout(barmode="stack", margin={"t": 60}, legend={"y": 1.0 + 30 / (210 * rows)})
    data = patients[["patient_id", *shown]].assign(event=event)
    caption = (
        f"{len(patients)} included patients, {int(event.sum())} events; bars are stacked: event "
        "observed or not. Missing values are not drawn."
    )
    return Figure(name, plot, data.drop(columns="patient_id"), caption)


def _histogram(
    column: str, values: pd.Series[Any], label: str, color: str, *, shown: bool
) -> go.Histogram | go.Bar:
    look = {
        "name": label, "legendgroup": label, "showlegend": shown,
        "marker": {"color": with_alpha(color, 0.75)},
    }  # fmt: skip
    if column in _NUMBERS:
        return go.Histogram(x=values.astype(float), nbinsx=18, **look)
    flags = pd.api.types.is_bool_dtype(values.dtype)
    levels = values.map({True: "yes", False: "no"}) if flags else values.astype(str)
    counts = levels.value_counts().sort_index()
    return go.Bar(x=[text(level) for level in counts.index], y=counts.to_numpy(), **look)
