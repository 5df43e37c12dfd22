"""Kaplan-Meier and cumulative incidence curves as journals print them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from crpnet_bench.reporting.figures import (
    GREY,
    Figure,
    dress,
    empty_figure,
    faded,
    label_width,
    shortened,
    text,
    with_alpha,
)
from crpnet_bench.reporting.names import event_words, group_color
from crpnet_bench.reporting.survival import GroupedSurvival, p_with_sign
from crpnet_bench.stats.competing_risks import CumulativeIncidence, GroupedCumulativeIncidence
from crpnet_bench.stats.inputs import Floats, Ints
from crpnet_bench.stats.survival_curve import KaplanMeier

__all__ = ["incidence_figure", "kaplan_meier_figure"]

_FEW_AT_RISK = 10  # beyond this a curve is faded
# What a screen cannot tell apart is drawn once; the data keep every time.
_MOST_TICKS = 400  # columns of two pixels in which a censor mark can stand
_HALF_A_TICK = 1.2  # percent of patients
_FINEST = 0.0005  # of the axis: a fifth of a pixel
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "solid")
_YEAR = 12.0
_TICK_PIXELS = 1.3
_ROW_PIXELS, _GAP_PIXELS = 23, 82  # of the numbers at risk; room for ticks, title and heading
_LETTER = 6.4  # pixels of one letter of the numbers at risk
_WIDTH, _NARROW_WIDTH = 900, 400  # pixels at least, of an exported figure and of half a page
_LEFT, _BESIDE_LABEL, _RIGHT = 76, 28, 20  # margins; the part of the left one beside a name
_LONGEST_LABEL = 0.24  # of the width; a longer name is cut off in the drawing
_BEFORE, _BEYOND = 0.045, 0.04  # of the time axis, left of 0 and right of the last tick
_REACH = 1 + _BEFORE + _BEYOND
_STEPS = (0.1, 0.25, 0.5, 1, 2, 3, 6, 12, 24, 36, 60, 120, 240)  # months between two ticks


def kaplan_meier_figure(
    survival: GroupedSurvival,
    name: str,
    event: str,
    *,
    height: int = 520,
    narrow: bool = False,
) -> Figure:
    """Curves with interval bands, censor ticks and the numbers at risk below.

    Args:
        survival: the curves.
        name: stem of the figure's files.
        event: the endpoint, for the axis.
        height: pixels.
        narrow: for half a page: fewer times, numbers at risk without events and censored.
    """
    curves = {level: curve for level, curve in survival.curves.items() if curve.n}
    if not curves:
        return empty_figure(name, "No group has enough patients to be drawn.")
    width = _NARROW_WIDTH if narrow else _WIDTH
    labels = _row_labels(curves, width)
    left = max(_LEFT, _BESIDE_LABEL + max(map(label_width, labels)))
    pixels = width - left - _RIGHT
    ticks = _ticks_with_room(curves, pixels, narrow=narrow)
    plot = _axes(ticks, len(curves), height, left)
    tick_width = _TICK_PIXELS * _REACH * ticks[-1] / pixels
    for place, (level, curve) in enumerate(curves.items()):
        color = group_color(level, place)
        count = "" if narrow else f" (n = {curve.n}, {_events(curve.n_events)})"
        in_legend = text(shortened(level, width / 2)) + count
        _draw_curve(plot, level, curve, color, _DASHES[place % 6], in_legend)
        plot.add_trace(_censor_marks(level, curve, color, tick_width), row=1, col=1)
    _draw_numbers(plot, curves, labels, ticks, narrow=narrow)
    plot.update_yaxes(
        title=f"{event_words(event)[1]}, %",
        range=[0, 103],
        tickvals=[0, 25, 50, 75, 100],
        row=1,
        col=1,
    )
    return Figure(name, plot, _curve_data(curves), _caption(survival, curves, event))


def _ticks(longest: float, step: float) -> list[float]:
    months = np.arange(0, max(longest, step) + step * 0.999, step)
    return [round(float(month), 6) for month in months]


def _first_step(longest: float, *, narrow: bool = False) -> float:
    """Months between two ticks where there is room: whole years, or a dozen in the first year."""
    if longest <= _YEAR:
        return next(step for step in _STEPS if longest / step <= _YEAR)
    return 24 if narrow or longest > 10 * _YEAR else 12


def _ticks_with_room(
    curves: Mapping[str, KaplanMeier], pixels: float, *, narrow: bool
) -> list[float]:
    """Months at which the numbers at risk are told, far enough apart that none touches another."""
    longest = max(float(curve.time[-1]) for curve in curves.values())
    first = _first_step(longest, narrow=narrow)
    ticks: list[float] = []
    for step in _STEPS[_STEPS.index(first) :]:
        ticks = _ticks(longest, step)
        cells = [cell for curve in curves.values() for cell in _numbers(curve, ticks, narrow)]
        if max(map(len, cells)) * _LETTER < pixels / (_REACH * max(len(ticks) - 1, 1)):
            break
    return ticks


def _row_labels(levels: Iterable[str], width: float) -> list[str]:
    """The groups' names, none wider than its part of the figure."""
    return [shortened(level, _LONGEST_LABEL * width) for level in levels]


def _numbers(curve: KaplanMeier, ticks: Sequence[float], narrow: bool) -> list[str]:
    points = curve.at(list(ticks))
    if narrow:
        return [f"{point.at_risk}" for point in points]
    return [f"{point.at_risk} ({point.events}, {point.censored})" for point in points]


def _axes(ticks: Sequence[float], groups: int, height: int, left: int) -> go.Figure:
    plot = make_subplots(rows=2, cols=1, shared_xaxes=True)
    dress(plot, height=height)
    # Margins that a browser measures for itself cost it a second drawing.
    plot.update_layout(margin={"l": left, "r": _RIGHT})
    plot.update_xaxes(automargin=False)
    plot.update_yaxes(automargin=False)
    reach = [-_BEFORE * ticks[-1], (1 + _BEYOND) * ticks[-1]]
    plot.update_xaxes(range=reach, tickvals=list(ticks), zeroline=False)
    plot.update_xaxes(title="Months", showticklabels=True, title_standoff=2, row=1, col=1)
    inner = height - 44
    below, gap = _ROW_PIXELS * groups / inner, _GAP_PIXELS / inner
    plot.update_yaxes(domain=[below + gap, 1], row=1, col=1)
    plot.update_yaxes(domain=[0, below], row=2, col=1)
    return plot


def _draw_curve(
    plot: go.Figure, level: str, curve: KaplanMeier, color: str, dash: str, in_legend: str
) -> None:
    edges = _visible(curve.ci_low, curve.ci_high)
    low, high = _from(1.0, curve.ci_low[edges]), _from(1.0, curve.ci_high[edges])
    plot.add_trace(_band(_from(0.0, curve.time[edges]), low, high, color), row=1, col=1)
    supported = np.flatnonzero(curve.at_risk >= _FEW_AT_RISK)
    last = supported[-1:]  # where the curve begins to fade
    steps = np.union1d(_visible(curve.survival), last)
    time, survival = _from(0.0, curve.time[steps]), _from(1.0, curve.survival[steps])
    fades = 1 + int(np.searchsorted(steps, last[0])) if last.size else 0
    solid, faint = slice(0, fades + 1), slice(fades, None)
    for part, shade, shown in ((solid, color, True), (faint, faded(color), False)):
        if shown or time[part].size > 1:
            plot.add_trace(
                go.Scatter(
                    x=time[part],
                    y=100 * survival[part],
                    mode="lines",
                    line={"color": shade, "width": 2.4, "shape": "hv", "dash": dash},
                    name=in_legend,
                    legendgroup=level,
                    showlegend=shown,
                    hovertemplate="%{x:.1f} months: %{y:.1f} %<extra>" + text(level) + "</extra>",
                ),
                row=1,
                col=1,
            )


def _events(count: int) -> str:
    return f"{count} event" if count == 1 else f"{count} events"


def _from(first: float, values: Floats) -> Floats:
    return np.concatenate(([first], values))


def _visible(*lines: Floats) -> Ints:
    """Places where a line enters another of the finest steps of the axis; first and last too."""
    steps = np.array([np.floor(np.nan_to_num(line, nan=-1.0) / _FINEST) for line in lines])
    moved = (np.diff(steps, axis=1) != 0).any(axis=0)
    moved = np.concatenate(([True], moved))
    moved[-1] = True
    return np.flatnonzero(moved)


def _band(time: Floats, low: Floats, high: Floats, color: str) -> go.Scatter:
    known = np.isfinite(low) & np.isfinite(high)
    x, bottom, top = time[known], low[known], high[known]
    if known.any() and (after := int(np.flatnonzero(known)[-1]) + 1) < time.size:
        # Limits hold until the next step, also where that one has none.
        x, bottom, top = np.append(x, time[after]), _repeated(bottom), _repeated(top)
    # Steps are spelled out: a filled shape knows no "hv" on its way back.
    steps = np.repeat(x, 2)[1:]
    upper, lower = np.repeat(top, 2)[:-1], np.repeat(bottom, 2)[:-1]
    return go.Scatter(
        x=np.concatenate((steps, steps[::-1])),
        y=100 * np.concatenate((upper, lower[::-1])),
        fill="toself",
        fillcolor=with_alpha(color, 0.14),
        mode="lines",
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
    )


def _repeated(values: Floats) -> Floats:
    return np.append(values, values[-1])


def _censor_marks(level: str, curve: KaplanMeier, color: str, width: float) -> go.Scatter:
    """Upright marks on the curve, `width` months wide."""
    places = np.flatnonzero(curve.censored > 0)
    columns = np.floor(_MOST_TICKS * curve.time[places] / max(float(curve.time[-1]), 1e-9))
    places = places[np.unique(columns, return_index=True)[1]]
    # One filled shape: a browser draws markers and broken lines piece by piece, a thousand of
    # them as slowly as all the rest.
    time, height = curve.time[places], 100 * curve.survival[places]
    left, right = time - width / 2, time + width / 2
    low, high = height - _HALF_A_TICK, height + _HALF_A_TICK
    gap = np.full(places.size, np.nan)
    return go.Scatter(
        x=np.column_stack([left, left, right, right, gap]).ravel(),
        y=np.column_stack([low, high, high, low, gap]).ravel(),
        mode="none",
        fill="toself",
        fillcolor=color,
        hoverinfo="skip",
        name=f"{text(level)}, censored",
        legendgroup=level,
        showlegend=False,
    )


def _draw_numbers(
    plot: go.Figure,
    curves: Mapping[str, KaplanMeier],
    labels: Sequence[str],
    ticks: Sequence[float],
    *,
    narrow: bool,
) -> None:
    for place, (level, curve) in enumerate(curves.items()):
        points = curve.at(list(ticks))
        plot.add_trace(
            go.Scatter(
                x=list(ticks),
                y=[place] * len(ticks),
                name=f"{text(level)}, at risk",
                mode="text",
                text=_numbers(curve, ticks, narrow),
                textfont={"size": 12},
                cliponaxis=False,
                showlegend=False,
                hovertemplate=[
                    f"{point.time:g} months: {point.at_risk} at risk, {point.events} events, "
                    f"{point.censored} censored so far<extra>{text(level)}</extra>"
                    for point in points
                ],
            ),
            row=2,
            col=1,
        )
    plot.update_yaxes(
        range=[len(curves) - 0.5, -0.5], tickvals=list(range(len(curves))),
        ticktext=[text(label) for label in labels], showgrid=False, showline=False, ticks="",
        zeroline=False, ticksuffix="       ", row=2, col=1,
    )  # fmt: skip
    plot.update_xaxes(showgrid=False, showline=False, ticks="", showticklabels=False, row=2, col=1)
    plot.add_annotation(
        text=f"<b>At risk{'' if narrow else ' (events, censored so far)'}</b>",
        xref="x2 domain", yref="y2 domain", x=0, y=1.0, xanchor="left", yanchor="bottom",
        showarrow=False, font={"size": 12},
    )  # fmt: skip


def _curve_data(curves: Mapping[str, KaplanMeier]) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": level,
                    "months": curve.time,
                    "survival": curve.survival,
                    "ci_low": curve.ci_low,
                    "ci_high": curve.ci_high,
                    "at_risk": curve.at_risk,
                    "events": curve.events,
                    "censored": curve.censored,
                }
            )
            for level, curve in curves.items()
        ],
        ignore_index=True,
    )


def _caption(survival: GroupedSurvival, curves: Mapping[str, KaplanMeier], event: str) -> str:
    first = next(iter(curves.values()))
    by = f" by {survival.grouping.title}" if survival.grouping.clinical else ""
    parts = [
        f"{event}, Kaplan-Meier{by}; n = {survival.n}, {_events(survival.events)}; bands: "
        f"pointwise {100 * first.level:g} % intervals, {first.conf_type}; ticks: censored; "
        f"faded: fewer than {_FEW_AT_RISK} at risk",
        f"{survival.p_text}",
        *survival.hazard_ratios,
    ]
    sentences = "; ".join(part for part in parts if part)
    return " ".join([f"{sentences}.", survival.grouping.note, *survival.notes]).strip()


def incidence_figure(
    incidence: GroupedCumulativeIncidence,
    levels: Sequence[str],
    name: str,
    event: str,
    *,
    notes: Sequence[str] = (),
    height: int = 460,
) -> Figure:
    """Cumulative incidence of the event, and of death without it, by group.

    Args:
        incidence: curves by group.
        levels: the groups' order.
        name: stem of the figure's files.
        event: the endpoint.
        notes: who is not in the curves.
        height: pixels.
    """
    plot = make_subplots(rows=1, cols=1)
    dress(plot, height=height)
    shown = [level for level in levels if level in incidence.groups]
    for place, level in enumerate(shown):
        curve, color = incidence.groups[level], group_color(level, place)
        seen = _visible(curve.value, curve.competing, curve.ci_low, curve.ci_high)
        time = curve.time[seen]
        plot.add_trace(_band(time, curve.ci_low[seen], curve.ci_high[seen], color))
        for values, dash, what in (
            (curve.value, "solid", event),
            (curve.competing, "dot", "death without it"),
        ):
            plot.add_trace(
                go.Scatter(
                    x=_from(0.0, time),
                    y=100 * _from(0.0, values[seen]),
                    mode="lines",
                    line={"color": color, "width": 2.4, "shape": "hv", "dash": dash},
                    name=f"{text(shortened(level, _WIDTH / 2))}: {what}",
                    hovertemplate="%{x:.1f} months: %{y:.1f} %<extra>"
                    + f"{text(level)}: {what}"
                    + "</extra>",
                )
            )
    longest = max(float(incidence.groups[level].time[-1]) for level in shown)
    ticks = _ticks(longest, _first_step(longest))
    plot.update_xaxes(title="Months", tickvals=ticks, range=[0, ticks[-1]])
    plot.update_yaxes(title="Cumulative incidence, %", range=[0, 100])
    plot.add_hline(y=0, line={"color": GREY, "width": 1})
    p_value = incidence.p_value
    test = "not estimable" if p_value is None else p_with_sign(p_value)
    caption = (
        f"Cumulative incidence of {event} (solid) and of death without it (dotted), "
        f"Aalen-Johansen; n = {incidence.n}, "
        f"{_events(int(incidence.events.sum()))}, {int(incidence.competing_events.sum())} deaths "
        f"without it; bands: pointwise {100 * incidence.level:g} % "
        f"intervals, {incidence.conf_type}; Gray's test for {event} {test}."
    )
    return Figure(name, plot, _incidence_data(incidence.groups, shown), " ".join([caption, *notes]))


def _incidence_data(
    groups: Mapping[str, CumulativeIncidence], levels: Sequence[str]
) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": level,
                    "months": groups[level].time,
                    "incidence": groups[level].value,
                    "ci_low": groups[level].ci_low,
                    "ci_high": groups[level].ci_high,
                    "incidence_of_death": groups[level].competing,
                    "at_risk": groups[level].at_risk,
                }
            )
            for level in levels
        ],
        ignore_index=True,
    )
