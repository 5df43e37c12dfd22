from collections.abc import Callable

import pandas as pd
import streamlit as st
from exhibits import show_table
from page_parts import Result, choice, headline, kept, show_empty_home
from wording import plain

from crpnet_bench.reporting.overview import (
    attention_points,
    cohorts_table,
    newest_results,
    runs_table,
)

headline("crpnet-bench")
now = choice()
st.markdown(
    "Recurrence after surgery for clear cell renal cell carcinoma: CRPNet, a network that reads "
    "whole-slide images, beside clinical scores. **For research only; no clinical use.**"
)
if now.cohort is None:
    show_empty_home()
    st.stop()


def cached(name: str, make: Callable[[], Result]) -> Result:
    return kept(now.home, now.snapshot, name, make=make)


newest = cached("newest", lambda: newest_results(now.home))
if newest is not None:
    st.subheader("Newest results", anchor=False)
    st.markdown(f"**{plain(newest.heading)}**")
    for column, tile in zip(st.columns(len(newest.tiles)), newest.tiles, strict=True):
        column.metric(plain(tile.label), tile.value, help=tile.help, border=True)
        column.caption(tile.note)

points = cached("attention", lambda: attention_points(now.home))
st.subheader("What needs attention", anchor=False)
if points.empty:
    st.success("Nothing: no failed slide or fold, no warning, no missing value.")
else:
    show_table(points, "attention")

st.subheader("Cohorts", anchor=False)
show_table(cached("cohorts-table", lambda: cohorts_table(now.home)), "cohorts")
st.subheader("Runs", anchor=False)
runs: pd.DataFrame = cached("runs-table", lambda: runs_table(now.home))
if runs.empty:
    st.code(f"crpnet-bench run --home {now.home.root}", language="bash")
else:
    show_table(runs, "runs")
