import streamlit as st
from exhibits import show_figure, show_table
from page_parts import (
    choice,
    choose_model,
    drawn_by_program,
    headline,
    of_page,
    require_run,
    sample_of,
    sections,
)
from wording import plain, terms

from crpnet_bench.reporting.comparison_figures import levels_figure
from crpnet_bench.reporting.external import (
    WANTED_EVENTS,
    case_mix,
    compared_sets,
    ledger_table,
    other_cohorts,
    performance_by_set,
    sets_metrics,
    transport_tables,
    validation_remarks,
)
from crpnet_bench.reporting.names import readable

data, _ = require_run()
now, record = choice(), data.record
headline("External validation")
st.markdown(
    f"Run **{record.run_id}** on its training patients (out of fold), its own validation "
    "patients, and every other cohort it was applied to with everything locked."
)
samples = [sample_of(data, one.key) for one in compared_sets(data)]
samples = [sample for sample in samples if sample.n]
if not any(sample.patients_of.role == "external" for sample in samples):
    st.info("This run was not applied to another cohort yet.", icon=":material/travel_explore:")
    others = of_page("others", make=lambda: other_cohorts(now.home, record))
    unseen = "demo-external" if record.cohort == "demo" else "COHORT"
    name = str(others["Cohort"].iloc[0]) if len(others) and unseen == "COHORT" else unseen
    st.code(f"crpnet-bench validate {record.run_id} {name} --home {now.home.root}", language="bash")
    if not others.empty:
        show_table(others, "other-cohorts")

part = sections(["Performance", "Case-mix", "Ledger"], "external_part")
horizon = max(record_horizons) if (record_horizons := samples[0].settings.horizons_months) else 60.0
if part == "Performance":
    own = f"{record.cohort}@{record.cohort_version}"
    remarked = [(own, tuple(readable(one) for one in record.remarks))]
    for cohort, remarks in (*remarked, *validation_remarks(data)):
        if remarks:
            points = "\n".join(f"- {plain(remark)}" for remark in remarks)
            st.warning(f"On {plain(cohort)}:\n{points}", icon=":material/flag:")
    model = choose_model(data, "external_model")
    terms("c_index", "auc", "hr_per_sd", "observed_expected", "slope", "wanted", "interval")
    table = of_page("sets", model, make=lambda: sets_metrics(samples, model, "c_index"))
    show_figure(
        levels_figure(table, model, "c_index", f"sets-{record.run_id}", f"Run {record.run_id}"),
        key="sets",
        patients=drawn_by_program(*(one.patients_of.pinned for one in samples)),
    )
    show_table(
        of_page("by-set", model, make=lambda: performance_by_set(data, samples, model, horizon)),
        "performance-by-set",
        caption=f"A validation wants {WANTED_EVENTS} events (Collins et al., Stat Med 2016). "
        f"Calibration at {horizon / 12:g} years.",
    )
    for cohort, changes in transport_tables(data):
        st.markdown(f"**To {plain(cohort)}**")
        show_table(
            changes,
            f"change-{cohort}",
            caption="Every model's discrimination here and there, the change with its interval "
            "(independent patients), and over pairs of patients of one site: where a risk follows "
            "the site (staining, scanner, referral), the two differ.",
        )
elif part == "Case-mix":
    mix, caption = of_page("case-mix", make=lambda: case_mix(samples))
    if mix.empty:
        st.info(caption)
    else:
        show_table(mix, "case-mix", caption=caption, height="content")
else:
    terms("ledger")
    show_table(
        of_page("ledger", make=lambda: ledger_table(now.home, record)),
        "ledger",
        caption="Every look at outcomes. A cohort that was looked at often is no test any more: "
        "choices follow what was seen.",
    )
