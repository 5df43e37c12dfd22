"""Calibration, net benefit, and performance over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crpnet_bench.reporting.absolute_risk import OverTime
from crpnet_bench.reporting.figures import GREY, Figure, dress, empty_figure, text, with_alpha
from crpnet_bench.reporting.model_looks import model_color, model_line, model_symbol
from crpnet_bench.reporting.names import model_title
from crpnet_bench.stats.inputs import Floats
from crpnet_bench.stats.net_benefit import DecisionCurve
from crpnet_bench.stats.recalibration import Calibration

__all__ = ["calibration_figure", "decision_figure", "over_time_figure"]


def calibration_figure(
    found: Calibration, predicted: Floats, model: str, name: str, label: str
) -> Figure:
    """Observed against predicted with groups, smoothed curve and the spread of predictions.

    Args:
        found: of the model.
        predicted: probabilities of the patients, shape (n,).
        model: its name.
        name: stem of the figure's files.
        label: the patients, for the caption.
    """
    color, years = model_color(model), f"{found.horizon / 12:g} years"
    plot = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.82, 0.18], vertical_spacing=0.03
    )
    dress(plot, height=560)
    curve = found.curve
    if curve.predicted.size:
        x = 100 * np.concatenate((curve.predicted, curve.predicted[::-1]))
        y = 100 * np.concatenate((curve.ci_high, curve.ci_low[::-1]))
        plot.add_trace(
            go.Scatter(
                x=x, y=y, fill="toself", fillcolor=with_alpha(color, 0.14), mode="lines",
                line={"width": 0}, hoverinfo="skip", showlegend=False,
            ),
            row=1, col=1,
        )  # fmt: skip
        plot.add_trace(
            go.Scatter(
                x=100 * curve.predicted, y=100 * curve.observed, mode="lines",
                line={"color": color, "width": 2.4}, name=f"{text(model_title(model))}, smoothed",
            ),
            row=1, col=1,
        )  # fmt: skip
    plot.add_trace(_groups(found, color), row=1, col=1)
    plot.add_trace(
        go.Scatter(
            x=[0, 100], y=[0, 100], mode="lines", name="perfect", hoverinfo="skip",
            line={"color": GREY, "width": 1, "dash": "dot"},
        ),
        row=1, col=1,
    )  # fmt: skip
    plot.add_trace(
        go.Histogram(
            x=100 * predicted, xbins={"start": 0, "end": 100, "size": 2}, showlegend=False,
            marker={"color": with_alpha(color, 0.6)}, hovertemplate="%{x} %: %{y}<extra></extra>",
        ),
        row=2, col=1,
    )  # fmt: skip
    plot.update_xaxes(range=[-2, 102])
    plot.update_xaxes(title=f"Predicted risk by {years}, %", row=2, col=1)
    plot.update_yaxes(title="Observed, %", range=[-2, 102], row=1, col=1)
    plot.update_yaxes(title="Patients", showgrid=False, row=2, col=1)
    return Figure(name, plot, _calibration_data(found), _calibration_caption(found, label))


def _groups(found: Calibration, color: str) -> go.Scatter:
    known = [group for group in found.groups if group.observed.value is not None]
    value = [100 * float(group.observed.value or 0) for group in known]
    return go.Scatter(
        x=[100 * group.predicted for group in known],
        y=value,
        mode="markers",
        name="groups of equal size",
        marker={"color": color, "size": 9, "symbol": "square"},
        error_y={
            "type": "data",
            "symmetric": False,
            "color": color,
            "array": [
                100 * (group.observed.ci_high or 0) - v if group.observed.ci_high else 0
                for group, v in zip(known, value, strict=True)
            ],
            "arrayminus": [
                v - 100 * group.observed.ci_low if group.observed.ci_low is not None else 0
                for group, v in zip(known, value, strict=True)
            ],
        },
        hovertemplate=[
            f"predicted {100 * group.predicted:.1f} %, observed {v:.1f} %, n = {group.n}"
            "<extra></extra>"
            for group, v in zip(known, value, strict=True)
        ],
    )


def _calibration_data(found: Calibration) -> pd.DataFrame:
    smooth = pd.DataFrame(
        {
            "kind": "smoothed",
            "predicted": found.curve.predicted,
            "observed": found.curve.observed,
            "ci_low": found.curve.ci_low,
            "ci_high": found.curve.ci_high,
        }
    )
    groups = [
        {
            "kind": "group",
            "predicted": group.predicted,
            "observed": group.observed.value,
            "ci_low": group.observed.ci_low,
            "ci_high": group.observed.ci_high,
            "n": group.n,
        }
        for group in found.groups
    ]
    return pd.DataFrame([*groups, *smooth.to_dict("records")])


def _calibration_caption(found: Calibration, label: str) -> str:
    parts = [label, f"n = {found.n}"]
    for name, one in (
        ("observed/expected", found.observed_expected),
        ("intercept", found.intercept),
        ("slope", found.slope),
    ):
        if one.value is None:
            parts.append(f"{name} not estimable ({one.reason})")
        elif one.ci_low is None or one.ci_high is None:
            parts.append(f"{name} {one.value:.2f}")
        else:
            parts.append(f"{name} {one.value:.2f} ({one.ci_low:.2f}-{one.ci_high:.2f})")
    if found.curve.reason:
        parts.append(f"no smoothed curve: {found.curve.reason}")
    else:
        parts.append(f"curve: {found.curve.method}, pointwise 95 % interval")
    warning = f" {found.warning}." if found.warning else ""
    return "; ".join(parts) + f".{warning}"


# ---------------------------------------------------------------- decision curve


def decision_figure(curves: DecisionCurve, name: str, label: str) -> Figure:
    """Net benefit over threshold probabilities, beside treating all, none, and a fixed rule."""
    plot = go.Figure()
    tables = []
    for title, curve in curves.curves.items():
        look = {
            "treat all": {"color": GREY, "width": 1.6, "dash": "dash"},
            "treat none": {"color": GREY, "width": 1.6},
        }.get(title, model_line(title))
        if title.startswith("KEYNOTE"):
            look = {"color": "#7B61A8", "width": 2.2, "dash": "dot"}
        value = np.asarray(curve.value, dtype=np.float64)
        known = title.startswith(("treat", "KEYNOTE"))
        shown = text(title if known else model_title(title))
        plot.add_trace(
            go.Scatter(
                x=100 * curve.thresholds, y=value, mode="lines", line=look, name=shown,
                hovertemplate="threshold %{x:.0f} %: net benefit %{y:.3f}<extra>" + shown
                + "</extra>",
            )
        )  # fmt: skip
        tables.append(
            pd.DataFrame(
                {
                    "strategy": title,
                    "threshold": curve.thresholds,
                    "net_benefit": value,
                    "ci_low": np.asarray(curve.ci_low),
                    "ci_high": np.asarray(curve.ci_high),
                    "treated": curve.treated,
                }
            )
        )
    data = pd.concat(tables, ignore_index=True)
    dress(plot, height=460)
    highest = float(np.nanmax(data["net_benefit"].to_numpy(float), initial=0.05))
    plot.update_yaxes(title="Net benefit", range=[-0.35 * highest, 1.12 * highest])
    plot.update_xaxes(title="Threshold probability, %")
    incidence = curves.incidence.value
    told = "" if incidence is None else f", incidence {100 * incidence:.1f} %"
    caption = (
        f"{label}; outcome by {curves.horizon / 12:g} years{told}. Treated: probability at or "
        "above the threshold; weighed for censoring; a gap: follow-up of the treated "
        "ends earlier. Intervals are in the data."
    )
    return Figure(name, plot, data, caption)


# ---------------------------------------------------------------- over time


def over_time_figure(
    found: Mapping[str, OverTime], what: str, banded: str, name: str, label: str
) -> Figure:
    """Time-dependent AUC or Brier score of each model, with the interval band of one.

    Args:
        found: by model.
        what: "auc" or "brier".
        banded: the model that gets a band.
        name: stem of the figure's files.
        label: the patients, for the caption.
    """
    if not found:
        return empty_figure(
            name, "Not estimable: too few patients at risk, or risks of different fits."
        )
    plot = go.Figure()
    for model, one in found.items():
        color = model_color(model)
        value = one.auc if what == "auc" else one.brier
        if model == banded:
            ends = (one.auc_low, one.auc_high)
            low, high = ends if what == "auc" else (one.brier_low, one.brier_high)
            known = np.isfinite(low) & np.isfinite(high)
            plot.add_trace(
                go.Scatter(
                    x=np.concatenate((one.times[known], one.times[known][::-1])),
                    y=np.concatenate((high[known], low[known][::-1])),
                    fill="toself", fillcolor=with_alpha(color, 0.14), mode="lines",
                    line={"width": 0}, hoverinfo="skip", showlegend=False,
                )
            )  # fmt: skip
        if np.isfinite(value).any():
            plot.add_trace(
                go.Scatter(
                    x=one.times, y=value, mode="lines+markers", name=text(model_title(model)),
                    line=model_line(model),
                    marker={"size": 6, "color": color, "symbol": model_symbol(model)},
                    hovertemplate="%{x:g} months: %{y:.3f}<extra>" + text(model_title(model))
                    + "</extra>",
                )
            )  # fmt: skip
    if what == "brier":
        first = next(iter(found.values()))
        plot.add_trace(
            go.Scatter(
                x=first.times, y=first.null, mode="lines", name="knowing the average only",
                line={"color": GREY, "width": 1.6, "dash": "dash"},
            )
        )  # fmt: skip
    dress(plot, height=430)
    if what == "auc":
        plot.add_hline(y=0.5, line={"color": GREY, "width": 1, "dash": "dot"})
        lowest = np.nanmin([0.32, *(np.nanmin(one.auc, initial=1.0) for one in found.values())])
        plot.update_yaxes(title="Time-dependent AUC", range=[lowest - 0.02, 1.02])
    else:
        plot.update_yaxes(title="Brier score (lower is better)", rangemode="tozero")
    plot.update_xaxes(title="Months", dtick=12)
    caption = (
        f"{label}. Cumulative/dynamic, weighed by the Kaplan-Meier of censoring; band: "
        f"{model_title(banded)}, pointwise 95 %; drawn while ten patients are at risk."
    )
    return Figure(name, plot, _over_time_data(found), caption)


def _over_time_data(found: Mapping[str, OverTime]) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "model": model,
                    "months": one.times,
                    "auc": one.auc,
                    "auc_ci_low": one.auc_low,
                    "auc_ci_high": one.auc_high,
                    "brier": one.brier,
                    "brier_ci_low": one.brier_low,
                    "brier_ci_high": one.brier_high,
                    "brier_of_the_average": one.null,
                }
            )
            for model, one in found.items()
        ],
        ignore_index=True,
    )
