"""C-index bars, forest plots and correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crpnet_bench.reporting.figures import (
    GREY,
    Figure,
    dress,
    empty_figure,
    shortened,
    text,
    with_alpha,
)
from crpnet_bench.reporting.forest import ForestRow
from crpnet_bench.reporting.model_looks import model_color, model_symbol
from crpnet_bench.reporting.names import METRIC_TITLES, model_title, variable_title
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.tables import format_interval
from crpnet_bench.stats.correlations import Correlation

__all__ = ["bars_figure", "correlation_figure", "forest_figure", "levels_figure"]

_ROW = 27  # pixels a row of a forest plot
_LETTER = 7  # pixels that a letter of 12 pixels needs at most, on average
_GAP = 14  # pixels between columns of text
_WIDEST = 220  # pixels of a label beside a drawing
_CLIP = (0.05, 50.0)  # limits of a forest plot's axis; arrows beyond
_TICKS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


def bars_figure(
    metrics: pd.DataFrame, models: Sequence[str], metric: str, name: str, label: str
) -> Figure:
    """One metric of each model as bars with intervals, best first.

    Args:
        metrics: the `metrics` table of one set of patients.
        models: which models.
        metric: "c_index" or "auc".
        name: stem of the figure's files.
        label: the patients, for the caption.
    """
    rows = metrics[(metrics["metric"] == metric) & metrics["model"].isin(list(models))]
    known = rows[rows["status"] == "ok"].sort_values("value")
    if known.empty:
        return empty_figure(name, "Not estimable: " + "; ".join(_reasons(rows)))
    titles = [text(model_title(str(model))) for model in known["model"]]
    value = known["value"].to_numpy(float)
    low, high = (known[c].to_numpy(float, na_value=np.nan) for c in ("ci_low", "ci_high"))
    texts = [format_interval(*cells) for cells in zip(value, low, high, strict=True)]
    plot = go.Figure(
        go.Bar(
            x=value, y=titles, orientation="h", width=0.62,
            marker={
                "color": [with_alpha(model_color(str(model)), 0.6) for model in known["model"]]
            },
            hovertemplate=[f"{t}: {s}<extra></extra>" for t, s in zip(titles, texts, strict=True)],
        )
    )  # fmt: skip
    for title, model, *ends in zip(titles, known["model"], low, high, strict=True):
        plot.add_trace(_whisker(title, ends, model_color(str(model))))
    right = max(1.0, float(np.nanmax([*high, *value])))
    plot.add_trace(_texts([right + 0.02] * len(titles), titles, texts))
    dress(plot, height=80 + 34 * len(known), legend=False)
    plot.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dot"})
    plot.update_yaxes(showgrid=False, ticks="")
    plot.update_xaxes(
        title=METRIC_TITLES[metric], range=[0, 1.42 * right],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
    )  # fmt: skip
    left = _reasons(rows)
    methods = "; ".join(dict.fromkeys(known["ci_method"].dropna().astype(str)))
    without = f" Not estimable: {'; '.join(left)}." if left else ""
    caption = (
        f"{label}. {METRIC_TITLES[metric]} with 95 % interval ({methods}); dotted: 0.5, guessing."
        f"{without}"
    )
    data = known[["model", "value", "ci_low", "ci_high", "ci_method", "n", "events"]]
    return Figure(name, plot, data.iloc[::-1].reset_index(drop=True), caption)


def _whisker(title: str, ends: Sequence[float], color: str) -> go.Scatter:
    return go.Scatter(
        x=list(ends), y=[title, title], mode="lines+markers", hoverinfo="skip", showlegend=False,
        line={"color": color, "width": 2.4},
        marker={"symbol": "line-ns", "size": 9, "line": {"color": color, "width": 2.4}},
    )  # fmt: skip


def _reasons(rows: pd.DataFrame) -> list[str]:
    bad = rows[rows["status"] != "ok"]
    return [
        f"{model_title(str(model))} ({reason})"
        for model, reason in bad[["model", "reason"]].itertuples(index=False)
    ]


def _length(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    return [0.0 if not np.isfinite(value) else float(value) for value in values]


def _texts(x: Sequence[float], y: Sequence[object], texts: Sequence[str]) -> go.Scatter:
    return go.Scatter(
        x=list(x), y=list(y), mode="text", text=list(texts), textposition="middle right",
        textfont={"size": 12}, hoverinfo="skip", showlegend=False, cliponaxis=False,
    )  # fmt: skip


# ---------------------------------------------------------------- forest


def forest_figure(
    rows: Sequence[ForestRow],
    name: str,
    caption: str,
    *,
    counted: str = "Events/n",
    tested: str = "P",
) -> Figure:
    """A forest plot: n and events, the hazard ratio as drawing and as text, P.

    Args:
        rows: from top to bottom.
        name: stem of the figure's files.
        caption: what the patients are and how the ratios were fitted.
        counted: heading of the counts.
        tested: heading of the P values.
    """
    if not rows:
        return empty_figure(name, caption)
    plot = go.Figure()
    places = [len(rows) - 1 - place for place in range(len(rows))]
    for place, row in zip(places, rows, strict=True):
        if row.value is not None:
            _draw_estimate(plot, place, row)
    words, width = _columns(rows, places, counted, tested)
    dress(plot, height=96 + _ROW * (len(rows) + 1), legend=False)
    plot.update_layout(annotations=words, margin={"r": width})
    labels = [text(shortened(row.label, _WIDEST)) for row in rows]
    plot.update_yaxes(
        tickvals=places, range=[-0.7, len(rows) + 0.6], showgrid=False,
        zeroline=False, ticks="", showline=False,
        ticktext=[
            f"<b>{label}</b>" if row.heading else label
            for label, row in zip(labels, rows, strict=True)
        ],
    )  # fmt: skip
    reach = _reach(rows)
    plot.update_xaxes(
        type="log", range=[np.log10(end) for end in reach],
        title="Hazard ratio (log scale)",
        tickvals=[tick for tick in _TICKS if reach[0] <= tick <= reach[1]],
        ticktext=[f"{tick:g}" for tick in _TICKS if reach[0] <= tick <= reach[1]],
    )  # fmt: skip
    plot.add_vline(x=1, line={"color": GREY, "width": 1})
    return Figure(name, plot, _forest_data(rows), f"{caption}{_notes(rows)}")


def _columns(
    rows: Sequence[ForestRow], places: Sequence[int], counted: str, tested: str
) -> tuple[list[dict[str, object]], int]:
    """The text right of the drawing, column by column, and how many pixels wide it is.

    Columns stand in pixels: their text does not shrink with the page, so shares of its width
    would let long numbers run into the next column.
    """
    columns = (
        (counted, [row.counts for row in rows]),
        ("HR (95 % CI)", [row.text for row in rows]),
        (tested, ["" if row.heading else row.p_text for row in rows]),
    )
    starts = [_GAP]
    for title, cells in columns:
        starts.append(starts[-1] + _wide([title, *cells]) + _GAP)
    words = []
    for start, (title, cells) in zip(starts, columns, strict=False):
        words.append(_word(f"<b>{text(title)}</b>", len(rows), start))
        words += [
            _word(text(cell), place, start, row)
            for cell, place, row in zip(cells, places, rows, strict=True)
            if cell
        ]
    words += [
        _word(f"<i>{text(row.p_text)}</i>", place, starts[1], row)
        for place, row in zip(places, rows, strict=True)
        if row.heading and row.p_text
    ]
    # What a heading tells may be longer than the two columns below it.
    told = [row.p_text for row in rows if row.heading]
    return words, max(starts[-1], starts[1] + _wide(told) + _GAP)


def _wide(cells: Sequence[str]) -> int:
    return _LETTER * max(map(len, cells), default=0)


def _word(words: str, y: float, start: int, row: ForestRow | None = None) -> dict[str, object]:
    """Text right of the drawing; it tells the row's whole label where that was shortened."""
    cut = row is not None and shortened(row.label, _WIDEST) != row.label
    hover = {"hovertext": text(row.label.strip())} if row is not None and cut else {}
    return {
        "text": words, "x": 1, "xref": "paper", "xanchor": "left", "xshift": start,
        "y": y, "yref": "y", "yanchor": "middle", "showarrow": False, "align": "left",
        "font": {"size": 12}, **hover,
    }  # fmt: skip


def _notes(rows: Sequence[ForestRow]) -> str:
    """Each remark once, with the rows it is about."""
    about: dict[str, list[str]] = {}
    for label, row in zip(_whole_labels(rows), rows, strict=True):
        for note in row.notes:
            about.setdefault(note, []).append(label)
    return "".join(f" {note}: {', '.join(labels)}." for note, labels in about.items())


def _whole_labels(rows: Sequence[ForestRow]) -> list[str]:
    """Labels that can be read without the heading above them, such as `Necrosis: no`."""
    labels, heading = [], ""
    for row in rows:
        heading = row.label if row.heading else heading
        label = row.label.strip()
        labels.append(f"{heading}: {label}" if heading and not row.heading else label)
    return labels


def _reach(rows: Sequence[ForestRow]) -> tuple[float, float]:
    ends = [end for row in rows for end in (row.low, row.high, row.value) if end]
    # A little beyond the ends, so that an arrow does not lie on a label.
    low = min([0.5, *(max(_CLIP[0], end) * 0.85 for end in ends)])
    high = max([2.0, *(min(_CLIP[1], end) * 1.15 for end in ends)])
    return low, high


def _draw_estimate(plot: go.Figure, place: int, row: ForestRow) -> None:
    color = model_color(row.model) if row.model else GREY
    low = row.low if row.low is not None else row.value
    high = row.high if row.high is not None else row.value
    ends = [min(max(float(end or 1), _CLIP[0]), _CLIP[1]) for end in (low, high)]
    plot.add_trace(
        go.Scatter(
            x=ends, y=[place, place], mode="lines", line={"color": color, "width": 2},
            hoverinfo="skip", showlegend=False,
        )
    )  # fmt: skip
    for end, clipped, symbol in (
        (ends[0], low is not None and low < _CLIP[0], "triangle-left"),
        (ends[1], high is not None and high > _CLIP[1], "triangle-right"),
    ):
        if clipped:
            plot.add_trace(_mark(end, place, symbol, color, "beyond the axis"))
    value = min(max(float(row.value or 1), _CLIP[0]), _CLIP[1])
    told = text(f"{row.label.strip()}: {row.text}")
    symbol = model_symbol(row.model) if row.model else "square"
    plot.add_trace(_mark(value, place, symbol, color, told))


def _mark(x: float, y: float, symbol: str, color: str, told: str) -> go.Scatter:
    return go.Scatter(
        x=[x], y=[y], mode="markers", marker={"symbol": symbol, "size": 10, "color": color},
        hovertemplate=f"{told}<extra></extra>", showlegend=False, cliponaxis=False,
    )  # fmt: skip


def _forest_data(rows: Sequence[ForestRow]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "row": label,
                "hazard_ratio": row.value,
                "ci_low": row.low,
                "ci_high": row.high,
                "p": row.p_text,
                "events_n": row.counts,
                "text": row.text,
                "note": "; ".join(row.notes),
            }
            for label, row in zip(_whole_labels(rows), rows, strict=True)
        ]
    )


# ---------------------------------------------------------------- levels of a variable


def levels_figure(table: pd.DataFrame, model: str, metric: str, name: str, label: str) -> Figure:
    """One metric of a model by levels of clinical variables, with intervals."""
    known = table[table["status"] == "ok"]
    if known.empty:
        return empty_figure(name, "Not estimable in any group.")
    whole = [
        f"{variable}: {level}" if level else str(variable)
        for variable, level in known[["variable", "level"]].itertuples(index=False)
    ]
    labels = [text(label) for label in whole]
    value = known["value"].to_numpy(float)
    low, high = (known[c].to_numpy(float, na_value=np.nan) for c in ("ci_low", "ci_high"))
    texts = [
        f"{format_interval(*cells)}, {events}/{n}"
        for *cells, events, n in zip(value, low, high, known["events"], known["n"], strict=True)
    ]
    plot = go.Figure(
        go.Scatter(
            x=value, y=labels, mode="markers",
            marker={"symbol": "square", "size": 10, "color": model_color(model)},
            error_x={
                "type": "data", "symmetric": False, "array": _length(high - value),
                "arrayminus": _length(value - low), "color": model_color(model), "thickness": 2,
                "width": 0,
            },
            hovertemplate=[f"{t}: {s}<extra></extra>" for t, s in zip(labels, texts, strict=True)],
            showlegend=False,
        )
    )  # fmt: skip
    plot.add_trace(_texts([1.03] * len(labels), labels, texts))
    dress(plot, height=90 + _ROW * len(labels), legend=False)
    plot.add_vline(x=0.5, line={"color": GREY, "width": 1, "dash": "dot"})
    plot.update_xaxes(
        title=METRIC_TITLES[metric], range=[0.2, 1.45], tickvals=[0.2, 0.4, 0.5, 0.6, 0.8, 1.0]
    )
    plot.update_yaxes(
        autorange="reversed", showgrid=False, type="category", tickvals=labels,
        ticktext=[text(shortened(label, _WIDEST)) for label in whole],
    )  # fmt: skip
    unknown = [
        f"{variable}: {level} ({reason})" if level else f"{variable} ({reason})"
        for variable, level, reason in table.loc[
            table["status"] != "ok", ["variable", "level", "reason"]
        ].itertuples(index=False)
    ]
    without = f" Not estimable: {'; '.join(unknown)}." if unknown else ""
    caption = (
        f"{label}. {METRIC_TITLES[metric]} of {model_title(model)} with 95 % interval, "
        f"events/patients; groups of fewer than 5 patients are not shown.{without}"
    )
    columns = ["variable", "level", "value", "ci_low", "ci_high", "n", "events"]
    return Figure(name, plot, known[columns].reset_index(drop=True), caption)


# ---------------------------------------------------------------- correlations


def correlation_figure(
    sample: Sample, model: str, found: Mapping[str, Correlation], name: str
) -> Figure:
    """The model's risk against grade, T stage and diameter, a panel each."""
    columns = {"Grade": "grade", "T stage": "pT", "Tumour diameter": "tumor_size_cm"}
    shown = [title for title in found if columns[title] in sample.patients]
    if not shown:
        return empty_figure(name, "Grade, T stage and diameter are not recorded.")
    rows = sample.of_model(model)
    titles = [f"{title}, {_rho(found[title])}" for title in shown]
    plot = make_subplots(
        rows=1, cols=len(shown), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03
    )
    for place, title in enumerate(shown, start=1):
        column = columns[title]
        known = rows[rows[column].notna()]
        drawn = (
            _dots(known, column, model)
            if column == "tumor_size_cm"
            else _boxes(known, column, model)
        )
        plot.add_trace(drawn, row=1, col=place)
        plot.update_xaxes(title=variable_title(column), row=1, col=place)
    dress(plot, height=420, legend=False)
    plot.update_layout(margin={"t": 40})
    plot.update_yaxes(title=f"Risk by {text(model_title(model))}", row=1, col=1)
    data = rows[["risk", *(columns[title] for title in shown)]]
    caption = (
        f"{sample.label}. Spearman's rank correlation; boxes: quartiles, whiskers 1.5 times the "
        "interquartile range, every patient a dot."
    )
    return Figure(name, plot, data, caption)


def _rho(found: Correlation) -> str:
    return "not estimable" if found.value is None else f"rho = {found.value:.2f}"


def _boxes(rows: pd.DataFrame, column: str, model: str) -> go.Box:
    labels = rows[column].astype(object).map(lambda value: str(value)[:3])
    order = np.argsort(labels.to_numpy(str), kind="stable")
    return go.Box(
        x=labels.to_numpy(object)[order],
        y=rows["risk"].to_numpy(float)[order],
        boxpoints="all" if len(rows) <= 500 else False,
        jitter=0.5,
        pointpos=0,
        marker={"size": 4, "color": model_color(model), "opacity": 0.6},
        line={"width": 1.3, "color": GREY},
        fillcolor="rgba(0,0,0,0)",
        showlegend=False,
    )


def _dots(rows: pd.DataFrame, column: str, model: str) -> go.Scatter:
    some = rows if len(rows) <= 3000 else rows.iloc[:: int(np.ceil(len(rows) / 3000))]
    return go.Scatter(
        x=some[column].to_numpy(float),
        y=some["risk"].to_numpy(float),
        mode="markers",
        marker={"size": 5, "color": model_color(model), "opacity": 0.6},
        showlegend=False,
        hovertemplate="%{x:.1f} cm: %{y:.3f}<extra></extra>",
    )
