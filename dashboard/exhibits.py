"""Figures and tables on a page, each with its downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import streamlit as st
from page_parts import choice
from wording import plain

from crpnet_bench.reporting.figures import Figure, can_export
from crpnet_bench.reporting.terms import COLUMN_TERMS, EXPLAINED

if TYPE_CHECKING:
    from streamlit.elements.lib.column_types import ColumnConfig

# Few buttons over a chart, since each is a stop of the Tab key.
_CHART = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "toImage", "pan2d", "zoomIn2d", "zoomOut2d",
                               "autoScale2d"],
}  # fmt: skip
# Columns of a table, in pixels of a page 1,280 wide.
_LETTER, _PADDING, _WIDEST, _PAGE, _SAMPLED = 6.6, 22, 460, 880, 100
_DECIMALS = {"Risk": "%.3f", "Probability": "%.3f"}


def show_figure(
    figure: Figure, *, key: str = "", narrow: bool = False, patients: str | None = None
) -> None:
    """A figure with its caption and downloads.

    Args:
        figure: what to show.
        key: of its elements on the page.
        narrow: for half a page.
        patients: who is not real, where it is not what the sidebar chose.
    """
    figure = figure.about(choice().not_real if patients is None else patients)
    name = key or figure.file_stem
    paper = "dark" if st.context.theme.type == "dark" else "light"
    st.plotly_chart(
        figure.on(paper), width="stretch", theme=None, key=f"plot-{name}", config=_CHART,
        alt=figure.caption,
    )  # fmt: skip
    text, files = st.columns([0.82, 0.18] if narrow else [0.86, 0.14], vertical_alignment="top")
    text.caption(plain(figure.caption))
    label = ":material/download:" if narrow else "Download"
    with files.popover(label, width="stretch", key=f"files-{name}", help="Download"):
        _downloads(figure, name)


def _downloads(figure: Figure, name: str) -> None:
    stem = figure.file_stem
    if can_export():
        for kind in ("svg", "png"):
            st.download_button(
                kind.upper(),
                data=lambda kind=kind: figure.image(kind),
                file_name=f"{stem}.{kind}",
                mime="image/svg+xml" if kind == "svg" else "image/png",
                key=f"{kind}-{name}",
                on_click="ignore",
                width="stretch",
            )
    else:
        st.caption("SVG and PNG need Chromium and kaleido on the machine of the dashboard.")
    st.download_button(
        "Interactive HTML", data=figure.html, file_name=f"{stem}.html", mime="text/html",
        key=f"html-{name}", on_click="ignore", width="stretch",
    )  # fmt: skip
    st.download_button(
        "Data (CSV)", data=figure.csv, file_name=f"{stem}.csv", mime="text/csv",
        key=f"csv-{name}", on_click="ignore", width="stretch",
    )  # fmt: skip


def show_table(
    table: pd.DataFrame,
    name: str,
    *,
    caption: str = "",
    height: Literal["auto", "content"] = "auto",
) -> None:
    """A table with its download."""
    st.dataframe(
        table, hide_index=True, width="stretch", key=f"table-{name}", height=height,
        column_config=_columns(table), placeholder="",
    )  # fmt: skip
    text, files = st.columns([0.86, 0.14], vertical_alignment="top")
    if caption:
        text.caption(plain(caption))
    files.download_button(
        "CSV", data=lambda: table.to_csv(index=False).encode(), file_name=f"{name}.csv",
        mime="text/csv", key=f"csv-{name}", on_click="ignore", width="stretch",
    )  # fmt: skip


def _columns(table: pd.DataFrame) -> dict[str, ColumnConfig]:
    """Widths by which no cell is cut off, tooltips of the headings, decimals of risks.

    A narrow table is stretched to the page; of a wide one the first column stays in sight.
    """
    pixels = {
        str(column): min(int(_LETTER * _longest(table[column], str(column))) + _PADDING, _WIDEST)
        for column in table.columns
    }
    wide = sum(pixels.values()) >= _PAGE
    return {
        name: _column(name, width, pinned=wide and place == 0)
        for place, (name, width) in enumerate(pixels.items())
    }


def _column(name: str, width: int, *, pinned: bool) -> ColumnConfig:
    told = EXPLAINED[COLUMN_TERMS[name]] if name in COLUMN_TERMS else None
    if name in _DECIMALS:
        return st.column_config.NumberColumn(
            width=width, pinned=pinned, help=told, format=_DECIMALS[name]
        )
    return st.column_config.Column(width=width, pinned=pinned, help=told)


def _longest(column: pd.Series[Any], heading: str) -> int:
    return max(len(heading), *(len(str(cell)) for cell in column.head(_SAMPLED)), 0)
