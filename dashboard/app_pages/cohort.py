from collections.abc import Callable

import streamlit as st
from exhibits import show_figure, show_table
from page_parts import Result, choice, drawn_by_program, headline, kept, require_cohort, sections
from wording import plain, terms

from crpnet_bench.registry import views
from crpnet_bench.reporting import cohort_figures as figures
from crpnet_bench.reporting.cohort_tables import (
    baseline_shown,
    data_dictionary,
    event_free_table,
    flow_table,
)
from crpnet_bench.reporting.names import readable
from crpnet_bench.reporting.queries import cohort_flow, cohort_summary

name = require_cohort()
now = choice()


def cached(what: str, make: Callable[[], Result]) -> Result:
    return kept(now.home, now.snapshot, what, name, make=make)


drawn = drawn_by_program(name)
summary = cached("summary", lambda: cohort_summary(now.home, name))
document = summary.document
headline(plain(document["title"] or document["cohort"]))
st.markdown(
    f"**{document['cohort']}**, version {document['version']} · {document['kind']} · "
    f"{document['patients']} patients, {document['events']} events of {document['endpoint']}, "
    f"{document['competing_deaths']} deaths without it · {document['slides']} slides · "
    f"time from {document['origin']} · TNM edition {document['tnm_edition']}, "
    f"grading {readable(str(document['grading']))}"
)
if document["warnings"]:
    points = "\n".join(f"- {plain(readable(warning))}" for warning in document["warnings"])
    st.warning(f"Look at this before trusting the cohort:\n{points}", icon=":material/flag:")

patients = cached(
    "patients",
    lambda: views.patients(now.home, name).merge(
        views.outcomes(now.home, name)[["patient_id", "time", "status"]], on="patient_id"
    ),
)
part = sections(
    ["Flow", "Baseline", "Missing values", "Follow-up", "Distributions", "Dictionary"],
    "cohort_part",
)
if part == "Flow":
    flow = cached("flow", lambda: cohort_flow(now.home, name))
    show_figure(figures.flow_figure(flow, f"flow-{document['cohort']}"), patients=drawn)
    with st.expander("As a table"):
        show_table(flow_table(flow), "flow-table")
elif part == "Baseline":
    table, caption = cached("baseline", lambda: baseline_shown(now.home, name))
    show_table(table, "baseline", caption=caption, height="content")
elif part == "Missing values":
    show_figure(
        figures.missingness_figure(patients, f"missing-{document['cohort']}"), patients=drawn
    )
    show_table(summary.scores, "scores-determined", caption="How many patients have each score.")
elif part == "Follow-up":
    terms("follow_up", "interval")
    show_figure(
        figures.follow_up_figure(patients, f"follow-up-{document['cohort']}"), patients=drawn
    )
    if now.run is not None:
        st.subheader("Event-free patients by risk group", anchor=False)
        run_id = now.run.run_id
        show_table(
            cached(f"event-free of {run_id}", lambda: event_free_table(now.home, run_id)),
            "event-free",
            caption="Median follow-up of patients without the event, by locked risk group of the "
            "run's primary model: a group that was followed for less time looks better than it is.",
        )
elif part == "Distributions":
    show_figure(
        figures.distributions_figure(patients, f"distributions-{document['cohort']}"),
        patients=drawn,
    )
else:
    show_table(
        cached("dictionary", lambda: data_dictionary(now.home, name)),
        "dictionary",
        caption="Which column of the clinical table each variable came from.",
        height="content",
    )
