"""The article's printed numbers beside those recomputed on simulated patients."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from crpnet_bench.errors import RegistryError
from crpnet_bench.home import Home
from crpnet_bench.reporting.figures import GREY, Figure, dress, empty_figure
from crpnet_bench.reporting.model_looks import model_color

__all__ = ["PUBLISHED_RUN", "Published", "published_figure", "published_results", "published_table"]

PUBLISHED_RUN = "published-changhai-sim"  # the run that `reproduce` keeps
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MODELS: Mapping[str, str] = {
    "CRPNet": "crpnet",
    "UISS": "uiss",
    "SSIGN": "ssign",
    "Karakiewicz": "karakiewicz",
    "T stage": "t_stage",
    "WHO/ISUP grade": "grade",
}


@dataclass(frozen=True, eq=False)
class Published:
    """What `crpnet-bench reproduce` left in the home.

    Attributes:
        what: what the comparison is, and is not.
        summary: mark -> number of rows.
        rows: part, group, what, published, recomputed, mark, range, agrees, note, explanation.
    """

    what: str
    summary: Mapping[str, int]
    rows: pd.DataFrame


def published_results(home: Home) -> Published | None:
    """The comparison, or None where `crpnet-bench reproduce` was never run.

    Raises:
        RegistryError: the file is damaged.
    """
    path = home.root / "published" / "reproduce.json"
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = pd.DataFrame(document["rows"])
        return Published(document["what"], document["summary"], rows)
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(
            f"{path} is damaged; `crpnet-bench reproduce` writes it anew"
        ) from error


def published_table(found: Published, part: str, group: str) -> pd.DataFrame:
    """The rows of one of the article's tables as readers see them."""
    rows = found.rows[(found.rows["part"] == part) & (found.rows["group"] == group)]
    agrees = rows["agrees"].map({True: "equal", False: "differs"}).fillna("")
    return pd.DataFrame(
        {
            "Quantity": rows["what"],
            "Article": rows["published"],
            "Here": rows["recomputed"],
            "": agrees,
            "Worth": rows["mark"],
            "Range over simulated cohorts": rows["spread"],
            "Explanation": rows["explanation"].where(rows["explanation"] != "", rows["note"]),
        }
    ).reset_index(drop=True)


def published_figure(found: Published, part: str, group: str) -> Figure:
    """Printed (hollow) and recomputed (filled) values of one of the article's tables."""
    name = f"published-{part}-{group}"
    rows = found.rows[(found.rows["part"] == part) & (found.rows["group"] == group)]
    drawn = [point for row in rows.to_dict("records") if (point := _point(row)) is not None]
    if not drawn:
        return empty_figure(name, "No single numbers to draw; see the table.", height=90)
    plot = go.Figure()
    for what, printed, ours, mark in drawn:
        color = _color(what)
        plot.add_trace(
            go.Scatter(
                x=[printed, ours], y=[what, what], mode="lines", hoverinfo="skip",
                line={"color": GREY, "width": 1.4}, showlegend=False,
            )
        )  # fmt: skip
        for value, symbol, side in ((printed, "circle-open", "article"), (ours, "circle", "here")):
            plot.add_trace(
                go.Scatter(
                    x=[value], y=[what], mode="markers", showlegend=False,
                    marker={
                        "symbol": symbol, "color": color, "size": 13 if side == "article" else 7,
                        "line": {"width": 2},
                    },
                    hovertemplate=f"{what}, {side}: %{{x:.4g}}<br>{mark}<extra></extra>",
                )
            )  # fmt: skip
    dress(plot, height=130 + 24 * len(drawn), legend=False)
    plot.update_yaxes(autorange="reversed", ticks="")
    plot.update_xaxes(title="Rates and indices as shares of one", range=[-0.02, 1.02])
    if part == "hazard ratios":
        plot.update_xaxes(title="Hazard ratio (log scale)", type="log", autorange=True)
    caption = (
        f"{part}, {group} cohort. Rings: as printed in the article; dots: recomputed by this "
        "program on simulated patients."
    )
    data = pd.DataFrame(drawn, columns=["quantity", "article", "recomputed", "mark"])
    return Figure(name, plot, data, caption)


def _point(row: Mapping[Any, Any]) -> tuple[str, float, float, str] | None:
    """Quantity, printed, recomputed and mark of a cell with one number; percentages as shares."""
    # Intervals are cells of their own; a hazard ratio's interval stands in brackets.
    found = _NUMBER.findall(str(row["published"]).partition("(")[0])
    ours = (row["numbers"] or [None])[0]
    if len(found) != 1 or "<" in str(row["published"]) or ours is None:
        return None
    scale = 100 if "%" in str(row["published"]) else 1
    return str(row["what"]), float(found[0]) / scale, float(ours), str(row["mark"])


def _color(what: str) -> str:
    first = next((name for name in _MODELS if what.startswith(name)), None)
    return GREY if first is None else model_color(_MODELS[first])
