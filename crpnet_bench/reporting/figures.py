"""What every figure is: a drawing, the numbers behind it, a caption; and how it leaves.

Drawings carry no colours for text and background, so that a page may show them light or dark;
an exported file gets white paper and its caption, so that n, events and "synthetic" go with it.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from html import escape
from importlib.util import find_spec
from textwrap import wrap
from typing import Literal

import pandas as pd
import plotly.graph_objects as go

from crpnet_bench.errors import InputError

__all__ = [
    "GREY",
    "Figure",
    "can_export",
    "dress",
    "empty_figure",
    "faded",
    "label_width",
    "shortened",
    "text",
    "with_alpha",
]

GREY = "#8C8C8C"  # reference lines, readable on white and on black
_FONT = "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif"
_INKS = {"light": ("#1B2733", "#E3E8ED"), "dark": ("#E4EAF0", "#2C3742")}  # text, grid lines
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "google-chrome-stable")
_EXPORT_WIDTH, _EXPORT_HEIGHT = 900, 520
_PNG_SCALE = 3  # 900 px wide becomes 2,700: 300 dpi at 9 inches
_LETTERS, _LINE_PIXELS = 160, 15  # of a caption below an exported figure


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure that can be shown and taken away.

    Attributes:
        name: stem of its files.
        plot: the drawing.
        data: the numbers that were drawn, for CSV.
        caption: n, events, kind of interval, test.
    """

    name: str
    plot: go.Figure
    data: pd.DataFrame
    caption: str

    @property
    def file_stem(self) -> str:
        """The name, safe as a file's name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-").lower()

    def about(self, patients: str) -> Figure:
        """The figure with a word on whose patients they are at the end of its caption."""
        return replace(self, caption=f"{self.caption} {patients}") if patients else self

    def csv(self) -> bytes:
        """The numbers behind the figure."""
        return self.data.to_csv(index=False).encode()

    def html(self) -> bytes:
        """An interactive page that needs no network."""
        page: str = self._printed().to_html(include_plotlyjs=True, full_html=True)
        return page.encode()

    def image(self, kind: Literal["svg", "png"]) -> bytes:
        """A static picture on white paper.

        Raises:
            InputError: no browser (or no kaleido) is installed to draw it.
        """
        if not can_export():
            raise InputError(
                f"no {kind} without a browser: install Chromium and `pip install kaleido`, "
                "or take the interactive HTML"
            )
        printed = self._printed()
        content: bytes = printed.to_image(
            format=kind,
            width=_EXPORT_WIDTH,
            height=printed.layout.height,
            scale=_PNG_SCALE if kind == "png" else 1,
        )
        return content

    def on(self, paper: Literal["light", "dark"]) -> go.Figure:
        """The drawing for a light or a dark page, on a transparent ground."""
        text, grid = _INKS[paper]
        shown = go.Figure(self.plot)
        shown.update_layout(
            template="plotly_dark" if paper == "dark" else "plotly_white",
            font={"family": _FONT, "size": 13, "color": text},
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
        )
        shown.update_xaxes(gridcolor=grid, zerolinecolor=grid)
        shown.update_yaxes(gridcolor=grid, zerolinecolor=grid)
        return shown

    def _printed(self) -> go.Figure:
        printed = self.on("light")
        # Room for the caption is found together with that for the axes.
        printed.update_xaxes(automargin=True)
        printed.update_yaxes(automargin=True)
        lines = [text(line) for line in wrap(self.caption, _LETTERS)]
        printed.update_layout(
            font={"family": "Arial, Helvetica, sans-serif", "size": 14},
            paper_bgcolor="white",
            plot_bgcolor="white",
            height=(printed.layout.height or _EXPORT_HEIGHT) + _LINE_PIXELS * (len(lines) + 1),
            title={
                "text": "<br>".join(lines), "font": {"size": 12}, "automargin": True,
                "x": 0.012, "xanchor": "left", "xref": "container",
                "y": 0.012, "yanchor": "bottom", "yref": "container",
            },
        )  # fmt: skip
        return printed


def can_export() -> bool:
    """Whether static pictures can be drawn here: kaleido and a browser are installed."""
    return find_spec("kaleido") is not None and any(shutil.which(name) for name in _BROWSERS)


def dress(plot: go.Figure, *, height: int, legend: bool = True) -> go.Figure:
    """The look that all figures share."""
    plot.update_layout(
        height=height,
        margin={"l": 10, "r": 20, "t": 34 if legend else 16, "b": 10},
        showlegend=legend,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.0, "xanchor": "left", "x": 0},
        hovermode="closest",
        hoverlabel={"font": {"size": 13}},
        dragmode=False,
    )
    plot.update_xaxes(showline=True, linecolor=GREY, ticks="outside", automargin=True)
    plot.update_yaxes(showline=True, linecolor=GREY, ticks="outside", automargin=True)
    return plot


def empty_figure(name: str, reason: str, *, height: int = 220) -> Figure:
    """A figure that says why there is nothing to draw."""
    plot = go.Figure()
    plot.add_annotation(
        text=text(reason), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper"
    )
    plot.update_xaxes(visible=False)
    plot.update_yaxes(visible=False)
    dress(plot, height=height, legend=False)
    plot.update_xaxes(showline=False)
    plot.update_yaxes(showline=False)
    return Figure(name, plot, pd.DataFrame({"reason": [reason]}), reason)


def text(value: object) -> str:
    """Words from data, such as a site's name, to be drawn sign by sign.

    Plotly reads tags, fields of hover templates and formulas in whatever it draws; as entities
    the signs that begin them are only signs. A CSV or a table takes the words as they are.

    >>> text("<b>A</b> & 5 %{x} $y$")
    '&lt;b&gt;A&lt;/b&gt; &amp; 5 %&#123;x} &#36;y&#36;'
    """
    safe = escape(str(value), quote=False)
    return safe.replace("%{", "%&#123;").replace("$", "&#36;")


def label_width(words: str) -> int:
    """Pixels that words of a label's size need at most."""
    return sum(11 if letter.isupper() or letter in "mw" else 7 for letter in words)


def shortened(label: str, widest: float) -> str:
    """A label that is at most so many pixels wide; hover and data have it whole.

    >>> shortened("Low risk", 90), shortened("Department of Urology", 90)
    ('Low risk', 'Department…')
    """
    if label_width(label) <= widest:
        return label
    while label and label_width(f"{label}…") > widest:
        label = label[:-1]
    return f"{label.rstrip()}…"


def with_alpha(color: str, alpha: float) -> str:
    """A colour `#RRGGBB` made transparent.

    >>> with_alpha("#0072B2", 0.2)
    'rgba(0,114,178,0.2)'
    """
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def faded(color: str) -> str:
    """A colour for parts that few patients support."""
    return with_alpha(color, 0.6)
