"""What all pages share: the frame with its filters, caches by view, figures and tables."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TypeVar, cast

import pandas as pd
import streamlit as st
from streamlit.navigation.page import StreamlitPage
from wording import code, plain

from crpnet_bench.errors import CRPNetBenchError, InputError, RegistryError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.clinical_groups import available_subgroups
from crpnet_bench.reporting.names import (
    ENDPOINT_TITLES,
    kind_sentence,
    model_title,
    not_real,
)
from crpnet_bench.reporting.run_data import (
    CohortData,
    RunData,
    Sample,
    cohort_data,
    run_data,
    take,
)
from crpnet_bench.reporting.terms import EXPLAINED
from crpnet_bench.results import RunRecord

Result = TypeVar("Result")

_ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from another host
_STYLE = """<style>
[data-testid="stMainBlockContainer"] {padding: 2.6rem 2.4rem 3rem; max-width: 1360px;}
[data-testid="stSidebarHeader"] {height: 2.2rem;}
[data-testid="stSidebar"] [data-testid="stSelectbox"] * {font-size: 0.8rem;}
[data-testid="stSidebarNav"] a:focus-visible {outline: 2px solid; outline-offset: -2px;}
</style>"""
_ALL = "All patients"
_OWN = "Own rule"
_RETRY_SECONDS = 3.0
_READING_SECONDS = 4.0  # of the page drawn last, before anything else is prepared


@dataclass(frozen=True)
class Choice:
    """What the sidebar says.

    Attributes:
        home: whose results.
        snapshot: names the registry's view, part of every cache key.
        cohort: `NAME@VERSION`, or None where nothing is registered.
        run: the run, or None.
        set_key: which patients of the run.
        where: the subgroup's rule, or empty.
        not_real: says of the chosen patients that a program drew them; empty for real ones.
    """

    home: Home
    snapshot: str
    cohort: str | None = None
    run: RunRecord | None = None
    set_key: str = ""
    where: str = ""
    not_real: str = ""


# ---------------------------------------------------------------- the frame of every page


def frame(pages: Sequence[StreamlitPage]) -> None:
    """Draw navigation and filters, then the page; expected errors become one sentence."""
    st.set_page_config(page_title="crpnet-bench", page_icon=str(_ICON), layout="wide")
    st.html(_STYLE)
    page = st.navigation(list(pages))
    home = Home.resolve(_home_argument())
    try:
        st.session_state["choice"] = _sidebar(home)
        page.run()
    except RegistryError as error:
        st.error(f"The registry cannot be read: {plain(error)}")
        st.caption("This page looks again every few seconds.")
        _look_again(home)
    except CRPNetBenchError as error:
        st.error(plain(error))
    _preparation().drawn = time.monotonic()


class _Preparation(Thread):
    """Imports what the first page does without, once a server, whenever nobody waits for a page."""

    modules = ("scipy.optimize", "scipy.stats", "crpnet_bench.evaluation",
               "plotly.graph_objects", "crpnet_bench.reporting.survival_figures")  # fmt: skip

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.drawn = time.monotonic()  # when a page was drawn last

    def run(self) -> None:
        for name in self.modules:
            while time.monotonic() < self.drawn + _READING_SECONDS:
                time.sleep(0.25)
            import_module(name)


@cache
def _preparation() -> _Preparation:
    thread = _Preparation()
    thread.start()
    return thread


def _home_argument() -> Path | None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--home", type=Path)
    return parser.parse_known_args(sys.argv[1:])[0].home


@st.fragment(run_every=_RETRY_SECONDS)
def _look_again(home: Home) -> None:
    try:
        if not views.is_empty(home):
            views.cohorts(home)
    except CRPNetBenchError:
        return
    st.rerun()


def choice() -> Choice:
    """What the sidebar says."""
    found: Choice = st.session_state["choice"]
    return found


# ---------------------------------------------------------------- caches


@st.cache_resource(show_spinner="Computing ...", max_entries=250, ttl=3600)
def _kept(key: tuple[object, ...], _make: Callable[[], object]) -> object:
    return _make()


def kept(home: Home, snapshot: str, name: str, *key: object, make: Callable[[], Result]) -> Result:
    """A result computed once for each view of the registry and each setting; never changed."""
    result = _kept((str(home.root), snapshot, name, *key), make)
    return cast("Result", result)


def of_page(name: str, *key: object, make: Callable[[], Result]) -> Result:
    """A result computed once for each choice in the sidebar and each further key."""
    now = choice()
    run_id = now.run.run_id if now.run else ""
    return kept(
        now.home, now.snapshot, name, now.cohort, run_id, now.set_key, now.where, *key, make=make
    )


def _run_kept(home: Home, snapshot: str, run_id: str) -> RunData:
    def cohort(home: Home, pinned: str, endpoint: str | None) -> CohortData:
        return kept(
            home, snapshot, "cohort-data", pinned, endpoint,
            make=lambda: cohort_data(home, pinned, endpoint),
        )  # fmt: skip

    return kept(home, snapshot, "run", run_id, make=lambda: run_data(home, run_id, cohort))


def drawn_by_program(*cohorts: str) -> str:
    """Says of the patients of these cohorts that a program drew them; empty for real ones."""
    now = choice()
    known = kept(now.home, now.snapshot, "cohorts", make=lambda: views.cohorts(now.home))
    return not_real(known, cohorts)


# ---------------------------------------------------------------- filters


def _sidebar(home: Home) -> Choice:
    snapshot = views.snapshot_key(home)
    if not snapshot:
        return Choice(home, snapshot)
    cohorts = kept(home, snapshot, "cohorts", make=lambda: views.cohorts(home))
    runs = kept(home, snapshot, "runs", make=lambda: views.runs(home))
    if cohorts.empty:
        return Choice(home, snapshot)
    with st.sidebar:
        cohort = _choose_cohort(cohorts, runs)
        run = _choose_run([run for run in runs if run.cohort == cohort.partition("@")[0]])
        if run is None:
            return Choice(home, snapshot, cohort, not_real=not_real(cohorts, [cohort]))
        data = _run_kept(home, snapshot, run.run_id)
        set_key = _choose_set(data)
        where = _choose_subgroup(data, set_key)
        st.caption(f"Home: {plain(home.root)}")
    shown = not_real(cohorts, [data.set_named(set_key).pinned])
    return Choice(home, snapshot, cohort, run, set_key, where, shown)


def _choose_cohort(cohorts: pd.DataFrame, runs: Sequence[RunRecord]) -> str:
    newest = cohorts.drop_duplicates("cohort")
    names = [str(name) for name in newest["cohort"]]
    # The cohort of the newest run comes first: that is what a reader came for.
    first = next((run.cohort for run in runs if run.cohort in names), names[0])
    names = [first, *(name for name in names if name != first)]
    name = _always_in_address("Cohort", names, "cohort")
    row = newest[newest["cohort"] == name].iloc[0]
    kind = kind_sentence(str(row["kind"]))
    if kind:
        st.info(kind, icon=":material/science:")
    return f"{name}@{row['version']}"


def _choose_run(runs: Sequence[RunRecord]) -> RunRecord | None:
    if not runs:
        st.caption("No run of this cohort yet.")
        return None
    by_id = {run.run_id: run for run in runs}
    run = by_id[_always_in_address("Run", list(by_id), "run", help="Newest first.")]
    st.caption(plain(f"Split {run.split} · {run.endpoint} · {run.status}"))
    return run


def _always_in_address(
    label: str,
    options: Sequence[str],
    key: str,
    help: str | None = None,  # noqa: A002 as Streamlit's own
) -> str:
    """A choice that stays in the address even where it is the first one.

    The newest run is the default, and a link must open the same view after the next run.
    """
    asked = st.query_params.get(key)
    index = options.index(asked) if asked in options else 0
    chosen = st.selectbox(label, options, index=index, key=key, help=help)
    st.query_params[key] = chosen
    return str(chosen)


def _choose_set(data: RunData) -> str:
    titles = {one.key: one.title for one in data.sets}
    keys = list(titles)
    chosen = st.selectbox(
        "Patients",
        keys,
        format_func=lambda key: titles[key],
        key="patients",
        bind="query-params",
        help=EXPLAINED["out_of_fold"],
    )
    return str(chosen)


def _choose_subgroup(data: RunData, set_key: str) -> str:
    patients = data.patients[data.set_named(set_key).pinned]
    known = {one.title: one.rule for one in available_subgroups(patients)}
    title = st.selectbox("Subgroup", [_ALL, *known, _OWN], key="subgroup", bind="query-params")
    if title != _OWN:
        return known.get(str(title), "")
    rule = st.text_input(
        "Rule",
        key="where",
        bind="query-params",
        placeholder="grade >= 3 and age < 60",
        help="As in `crpnet-bench evaluate RUN --where`: columns "
        + ", ".join(f"`{c}`" for c in patients.columns if c not in {"patient_id", "reason"}),
    )
    try:
        take(data, data.set_named(set_key), rule)
    except InputError as error:
        st.error(f"{plain(error)}. All patients are shown.")
        return ""
    return rule


# ---------------------------------------------------------------- what pages ask for


def require_cohort() -> str:
    """The chosen cohort; without one the page says how to get one and stops."""
    now = choice()
    if now.cohort is None:
        show_empty_home()
        st.stop()
    return now.cohort


def show_empty_home() -> None:
    """What an empty home says."""
    now = choice()
    st.info(f"Nothing is registered in {plain(now.home.root)}.", icon=":material/inbox:")
    st.markdown("The embedded synthetic cohort, trained and evaluated in a few minutes:")
    st.code(f"crpnet-bench run --home {now.home.root}", language="bash")
    st.markdown("Or your own patients:")
    st.code(f"crpnet-bench cohort register DIR --home {now.home.root}", language="bash")


def require_run() -> tuple[RunData, Sample]:
    """The chosen run and patients; without a run the page says how to make one and stops."""
    cohort = require_cohort()
    now = choice()
    if now.run is None:
        st.info("No run of this cohort yet.", icon=":material/play_circle:")
        st.code(
            f"crpnet-bench run {cohort.partition('@')[0]} --home {now.home.root}", language="bash"
        )
        st.stop()
    data = _run_kept(now.home, now.snapshot, now.run.run_id)
    return data, sample_of(data, now.set_key)


def sample_of(data: RunData, set_key: str) -> Sample:
    """The patients of a set in the chosen subgroup."""
    now = choice()
    return kept(
        now.home, now.snapshot, "sample", data.record.run_id, set_key, now.where,
        make=lambda: take(data, data.set_named(set_key), now.where),
    )  # fmt: skip


def choose_model(data: RunData, key: str, label: str = "Model", help: str | None = None) -> str:  # noqa: A002 as Streamlit's own
    """One of the run's models; its primary one at first."""
    models, primary = list(data.models), data.record.primary_model
    chosen = st.selectbox(
        label,
        models,
        index=models.index(primary) if primary in models else 0,
        format_func=model_title,
        key=key,
        bind="query-params",
        help=help,
    )
    return str(chosen)


def headline(title: str, sample: Sample | None = None) -> None:
    """The page's title and who is shown."""
    st.header(title, anchor=False)
    if sample is None:
        return
    rule = f" · {code(sample.where)}" if sample.where else ""
    endpoint = ENDPOINT_TITLES.get(sample.endpoint, "")
    st.markdown(
        f"**{plain(sample.patients_of.title)}**{rule} · {sample.n} patients, "
        f"{sample.events} events of {sample.endpoint}" + (f" ({endpoint})" if endpoint else "")
    )
    if sample.patients_of.in_sample:
        st.warning(
            "Apparent: the models were fitted on these patients, so results are too good. "
            "Look at validation, or at the out-of-fold rows.",
            icon=":material/warning:",
        )
    if sample.n < 5:
        st.warning("Fewer than 5 patients: nothing is drawn.", icon=":material/visibility_off:")
        st.stop()


def sections(names: Sequence[str], key: str) -> str:
    """Parts of a page, one open at a time so that only what is seen is computed."""
    chosen = st.segmented_control(
        "Part", list(names), default=names[0], key=key, bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    return str(chosen or names[0])
