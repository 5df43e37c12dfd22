"""Another threshold than the locked one, for exploration: its matrix, and where both lie."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from crpnet_bench.reporting.figures import GREY, Figure, dress, with_alpha
from crpnet_bench.reporting.model_looks import model_color
from crpnet_bench.reporting.names import GROUP_COLORS, model_title
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.stats.confusion_matrix import ConfusionResult, confusion

__all__ = ["at_threshold", "locked_thresholds", "threshold_figure"]

_BIN = 0.02
_RIGHT = 0.85  # of the axis: beyond, a line's name stands left of it


def locked_thresholds(sample: Sample, model: str) -> tuple[float, ...]:
    """Probabilities from which the locked class is 1, one a fit; none where there are no classes.

    Several folds or seeds have a threshold each, and then no single one gives the locked classes.
    """
    known = sample.of_model(model)["threshold"].dropna().unique()
    return tuple(sorted(float(value) for value in known))


def at_threshold(sample: Sample, model: str, threshold: float) -> ConfusionResult | None:
    """The matrix at another threshold of the probability, for exploration; None without any."""
    rows = _with_probability(sample, model)
    if rows.empty:
        return None
    return confusion(
        (rows["status"] == 1).to_numpy(),
        rows["probability"].to_numpy(float) >= threshold,
        level=sample.settings.level,
    )


def _with_probability(sample: Sample, model: str) -> pd.DataFrame:
    rows = sample.of_model(model)
    return rows[rows["probability"].notna()]


def threshold_figure(sample: Sample, model: str, tried: float) -> Figure:
    """The patients' probabilities by outcome, with the locked threshold and the one tried.

    Args:
        sample: the patients.
        model: a model with probabilities for them.
        tried: the threshold of the slider.
    """
    rows, locked = _with_probability(sample, model), locked_thresholds(sample, model)
    event = (rows["status"] == 1).to_numpy()
    plot = go.Figure()
    for member, label, color in (
        (~event, "no event", GROUP_COLORS[0]),
        (event, "event recorded", GROUP_COLORS[1]),
    ):
        plot.add_trace(
            go.Histogram(
                x=rows.loc[member, "probability"].to_numpy(float), name=label,
                xbins={"start": 0.0, "end": 1.0 + _BIN, "size": _BIN},
                marker={"color": with_alpha(color, 0.75)},
                hovertemplate="%{x}: %{y} patients<extra>" + label + "</extra>",
            )
        )  # fmt: skip
    dress(plot, height=256)
    plot.update_layout(barmode="stack", bargap=0.06, legend={"y": 1.34}, margin={"t": 78})
    plot.update_xaxes(title="Probability by the model", range=[0, 1.0 + _BIN], dtick=0.1)
    plot.update_yaxes(title="Patients")
    if tried not in locked:
        _line(plot, tried, f"tried {tried:.2f}", GREY, "dot", lines_up=1)
    for value in locked:
        text = f"<b>locked {value:.2f}</b>" if len(locked) == 1 else ""
        _line(plot, value, text, model_color(model), "solid")
    return Figure(
        f"thresholds-{model}-{sample.patients_of.key}",
        plot,
        pd.DataFrame({"probability": rows["probability"], "event": event.astype(np.int64)}),
        f"{sample.label}. {model_title(model)}: probability of each of {len(rows)} patients, "
        f"stacked by outcome. {_locked_in_words(locked)}",
    )


def _line(
    plot: go.Figure, x: float, text: str, color: str, dash: str, *, lines_up: int = 0
) -> None:
    plot.add_vline(
        x=x, line={"color": color, "width": 2.6, "dash": dash},
        annotation={"text": text, "xanchor": "right" if x > _RIGHT else "left", "y": 1.0,
                    "yanchor": "bottom", "yref": "paper", "yshift": 15 * lines_up},
    )  # fmt: skip


def _locked_in_words(locked: tuple[float, ...]) -> str:
    if not locked:
        return "The model has no locked threshold."
    if len(locked) == 1:
        return f"Solid: the locked threshold, {locked[0]:.3f}."
    return (
        f"Solid: the locked thresholds of {len(locked)} fits, {locked[0]:.3f} to "
        f"{locked[-1]:.3f}; the locked classes take each fit's own."
    )
