"""Classes and ROC curves: matrices of all models side by side, rates with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crpnet_bench.reporting.figures import GREY, Figure, dress, empty_figure, text, with_alpha
from crpnet_bench.reporting.model_looks import model_color, model_line, model_symbol
from crpnet_bench.reporting.names import METRIC_TITLES, model_title
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.tables import format_interval
from crpnet_bench.stats.discrimination import roc_curve
from crpnet_bench.stats.roc_band import roc_band

__all__ = [
    "confusion_figure",
    "locked_counts",
    "rates_table",
    "roc_figure",
]

_RATES = ("accuracy", "precision", "recall", "fpr", "fnr", "specificity", "npv")
_MOST_POINTS = 1500
_MOST_IN_A_ROW = 6  # matrices beside each other


def roc_figure(
    sample: Sample, models: Sequence[str], banded: str | None = None, *, height: int = 480
) -> Figure:
    """ROC curves of the models, with the interval band of one.

    Args:
        sample: the patients.
        models: which models.
        banded: the model that gets a band.
        height: pixels.
    """
    name = f"roc-{sample.patients_of.key}"
    plot, tables, labels = go.Figure(), [], []
    for model in models:
        rows = sample.of_model(model)
        curve = roc_curve((rows["status"] == 1).to_numpy(), rows["risk"].to_numpy(float))
        if curve.reason is not None:
            labels.append(f"{model_title(model)}: no curve, {curve.reason}")
            continue
        if model == banded:
            plot.add_trace(_band(rows, sample.settings.level, model_color(model)))
        x, y = _thinned(curve.false_positive_rate, curve.true_positive_rate)
        label = f"{text(model_title(model))}, AUC {_auc(sample, model)}"
        plot.add_trace(
            go.Scatter(
                x=100 * x,
                y=100 * y,
                mode="lines",
                line=model_line(model, 2.8 if model == banded else 1.9),
                name=label,
                hovertemplate="false positives %{x:.1f} %, true positives %{y:.1f} %<extra>"
                + text(model_title(model))
                + "</extra>",
            )
        )
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "threshold": curve.threshold,
                    "false_positive_rate": curve.false_positive_rate,
                    "true_positive_rate": curve.true_positive_rate,
                    "point": "curve",
                }
            )
        )
        if (locked := _locked_point(sample, model)) is not None:
            plot.add_trace(_locked_mark(model, *locked))
            tables.append(_locked_row(model, *locked))
    if not tables:
        return empty_figure(name, "; ".join(labels) or "No model was chosen.")
    plot.add_trace(_chance())
    dress(plot, height=height)
    plot.update_layout(
        legend={"orientation": "v", "x": 0.98, "y": 0.03, "xanchor": "right", "yanchor": "bottom"}
    )
    plot.update_xaxes(title="False-positive rate, %", range=[-1, 101])
    plot.update_yaxes(title="True-positive rate, %", range=[-1, 101])
    return Figure(name, plot, pd.concat(tables, ignore_index=True), _roc_caption(sample, banded))


def _roc_caption(sample: Sample, banded: str | None) -> str:
    band = ""
    if banded is not None:
        band = f" Band: {model_title(banded)}, pointwise 95 %, stratified bootstrap."
    folds = ""
    if sample.fold_wise:
        folds = (
            " Risks come from several fits: the AUC compares patients within a fold only, the "
            "curve pools them."
        )
    return (
        f"{sample.label}. Positive: event ever recorded. AUC with DeLong's 95 % interval. Marks: "
        f"the classes by the locked threshold, as in the matrices.{band}{folds}"
    )


def _locked_point(sample: Sample, model: str) -> tuple[float, float] | None:
    """False-positive and true-positive rate of the locked classes, as `evaluate` has them."""
    rates = [sample.metric(model, name) for name in ("fpr", "recall")]
    known = [float(row["value"]) for row in rates if row is not None and row["status"] == "ok"]
    return (known[0], known[1]) if len(known) == len(rates) else None


def _locked_mark(model: str, false_positive: float, true_positive: float) -> go.Scatter:
    return go.Scatter(
        x=[100 * false_positive], y=[100 * true_positive], mode="markers", showlegend=False,
        marker={"symbol": model_symbol(model), "size": 12, "color": model_color(model),
                "line": {"color": GREY, "width": 1.2}},
        cliponaxis=False,
        hovertemplate="locked threshold: false positives %{x:.1f} %, true positives %{y:.1f} %"
        "<extra>" + text(model_title(model)) + "</extra>",
    )  # fmt: skip


def _locked_row(model: str, false_positive: float, true_positive: float) -> pd.DataFrame:
    cells = {"model": model, "threshold": np.nan, "false_positive_rate": false_positive,
             "true_positive_rate": true_positive, "point": "locked classes"}  # fmt: skip
    return pd.DataFrame([cells])


def _band(rows: pd.DataFrame, level: float, color: str) -> go.Scatter:
    band = roc_band((rows["status"] == 1).to_numpy(), rows["risk"].to_numpy(float), level=level)
    x = np.concatenate((band.false_positive_rate, band.false_positive_rate[::-1]))
    y = np.concatenate((band.ci_high, band.ci_low[::-1]))
    return go.Scatter(
        x=100 * x, y=100 * y, fill="toself", fillcolor=with_alpha(color, 0.13),
        line={"width": 0}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip


def _chance() -> go.Scatter:
    return go.Scatter(
        x=[0, 100], y=[0, 100], mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": GREY, "width": 1, "dash": "dot"},
    )  # fmt: skip


def _thinned(
    x: np.ndarray[tuple[int], np.dtype[np.float64]],
    y: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    if x.size <= _MOST_POINTS:
        return x, y
    places = np.unique(np.linspace(0, x.size - 1, _MOST_POINTS).astype(int))
    return x[places], y[places]


def _auc(sample: Sample, model: str) -> str:
    row = sample.metric(model, "auc")
    if row is None or row["status"] != "ok":
        return "not estimable"
    return format_interval(row["value"], row["ci_low"], row["ci_high"])


# ---------------------------------------------------------------- matrices


def confusion_figure(sample: Sample, models: Sequence[str], *, height: int = 300) -> Figure:
    """Confusion matrices of the locked classes, side by side: counts and row per cent.

    Args:
        sample: the patients.
        models: which models.
        height: pixels of one row of matrices; more than six models take several rows.
    """
    name = f"confusion-{sample.patients_of.key}"
    counts = {model: locked_counts(sample, model) for model in models}
    known = {model: found for model, found in counts.items() if found is not None}
    if not known:
        return empty_figure(name, "No model gives classes for these patients.")
    lines = -(-len(known) // _MOST_IN_A_ROW)
    columns = -(-len(known) // lines)
    titles = [f"<b>{_in_two_lines(text(model_title(model)))}</b>" for model in known]
    plot = make_subplots(
        rows=lines, cols=columns, subplot_titles=titles,
        horizontal_spacing=0.5 / (10 + columns), vertical_spacing=0.36 / lines,
    )  # fmt: skip
    for place, (model, cells) in enumerate(known.items()):
        row, column = place // columns + 1, place % columns + 1
        plot.add_trace(_matrix(cells, model_color(model)), row=row, col=column)
        plot.update_yaxes(showticklabels=column == 1, row=row, col=column)
        plot.update_xaxes(title="Predicted", title_standoff=4, row=row, col=column)
    for empty in range(len(known), lines * columns):
        where = {"row": empty // columns + 1, "col": empty % columns + 1}
        plot.update_xaxes(visible=False, **where)
        plot.update_yaxes(visible=False, **where)
    dress(plot, height=height * lines)
    plot.update_layout(showlegend=False, margin={"t": 46})
    plot.update_xaxes(showline=False, showgrid=False, ticks="", tickangle=0)
    plot.update_yaxes(autorange="reversed", showline=False, showgrid=False, ticks="")
    table = pd.DataFrame([{"model": model, **cells} for model, cells in known.items()])
    left = [model_title(model) for model in models if model not in known]
    without = f" Without classes: {', '.join(left)}." if left else ""
    caption = (
        f"{sample.label}. Classes by the locked threshold; rows: event ever recorded or not, "
        f"with row per cent; prevalence {_percent(sample.events, sample.n)}.{without}"
    )
    return Figure(name, plot, table, caption)


def _in_two_lines(title: str) -> str:
    """A title of a matrix, broken where it has a second part."""
    for mark in (" (", ", ", " + "):
        first, found, second = title.partition(mark)
        if found:
            return f"{first}{mark.rstrip(' (')}<br>{mark.strip() if mark == ' (' else ''}{second}"
    return title


def locked_counts(sample: Sample, model: str) -> dict[str, int] | None:
    """tp, fp, tn and fn of the locked classes, as `evaluate` has them; None without classes."""
    rows = {name: sample.metric(model, name) for name in ("tp", "fp", "tn", "fn")}
    if any(row is None or row["status"] != "ok" for row in rows.values()):
        return None
    return {name: int(row["value"]) for name, row in rows.items() if row is not None}


def _matrix(cells: Mapping[str, int], color: str) -> go.Heatmap:
    grid = [[cells["tp"], cells["fn"]], [cells["fp"], cells["tn"]]]
    share = [[_share(cell, sum(row)) for cell in row] for row in grid]
    written = [[f"<b>{cell}</b><br>{_percent(cell, sum(row))}" for cell in row] for row in grid]
    return go.Heatmap(
        z=share,
        x=["event", "no event"],
        y=["Event", "No event"],
        text=written,
        texttemplate="%{text}",
        textfont={"size": 14, "color": "#1B2733"},
        colorscale=[[0, _paler(color, 0.06)], [1, _paler(color, 0.6)]],
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=3,
        ygap=3,
        hovertemplate="recorded: %{y}, predicted: %{x}<br>%{text}<extra></extra>",
    )


def _paler(color: str, strength: float) -> str:
    """The colour mixed with white, so that dark text can be read on it on any page."""
    mixed = [
        int(color[place : place + 2], 16) * strength + 255 * (1 - strength) for place in (1, 3, 5)
    ]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "n/a"


# ---------------------------------------------------------------- rates


def rates_table(sample: Sample, models: Sequence[str]) -> pd.DataFrame:
    """Rates of the locked classes with their intervals, a row a rate, a column a model."""
    return pd.DataFrame(
        [
            {"": f"{METRIC_TITLES[metric]}, %"}
            | {model_title(model): _rate(sample, model, metric) for model in models}
            for metric in _RATES
        ]
    )


def _rate(sample: Sample, model: str, metric: str) -> str:
    row = sample.metric(model, metric)
    if row is None or row["status"] != "ok":
        return "n/a"
    return format_interval(row["value"], row["ci_low"], row["ci_high"], scale=100, digits=1)
