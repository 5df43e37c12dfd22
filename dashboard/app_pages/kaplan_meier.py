import streamlit as st
from exhibits import show_figure, show_table
from page_parts import drawn_by_program, headline, of_page, require_run, sample_of, sections
from wording import plain, terms

from crpnet_bench.reporting.clinical_groups import available_subgroups
from crpnet_bench.reporting.groupings import CUT_OFFS, Grouping, by_risk, by_variable
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.run_data import Sample, take
from crpnet_bench.reporting.survival import (
    FEWEST_PATIENTS,
    GroupedSurvival,
    group_survival,
    incidence_by_group,
    left_out,
    risk_table,
)
from crpnet_bench.reporting.survival_figures import incidence_figure, kaplan_meier_figure
from crpnet_bench.reporting.terms import EXPLAINED

data, sample = require_run()
headline("Kaplan-Meier", sample)

models = {model_title(model): model for model in sample.models}
ways = [f"Risk by {title}" for title in models] + list(sample.groups.columns)
left, right, third = st.columns([0.36, 0.44, 0.2])
way = left.selectbox("Groups", ways, key="groups", bind="query-params")
model = models.get(str(way).removeprefix("Risk by "))
cut_off, own = "", None
if model is not None:
    cut_off = right.selectbox(
        "Cut-off",
        list(CUT_OFFS),
        format_func=lambda key: CUT_OFFS[key],
        key="cutoff",
        bind="query-params",
        help=EXPLAINED["locked"],
    )
    if cut_off == "own":
        risks = sample.of_model(model)["risk"].astype(float)
        middle = float(risks.median()) if len(risks) else 0.0
        own = third.number_input(
            "Risk above", value=middle, format="%.3f", key="own", bind="query-params"
        )


def grouping_of(some: Sample) -> Grouping:
    if model is None:
        return by_variable(some, way)
    return by_risk(some, model, cut_off, own)


def survival_of(some: Sample) -> GroupedSurvival:
    return group_survival(grouping_of(some), some)


part = sections(["Curves", "Side by side", "Subgroups", "Competing deaths"], "km_part")
if part == "Competing deaths":
    terms("competing", "at_risk", "interval")
else:
    terms("kaplan_meier", "hr", "logrank", "at_risk", "interval")
settings = (way, cut_off, own)
stem = f"km-{data.record.cohort}-{sample.patients_of.key}-{way}"
if part == "Curves":
    survival = of_page("km", *settings, make=lambda: survival_of(sample))
    show_figure(
        of_page(
            "km-figure", *settings,
            make=lambda: kaplan_meier_figure(survival, stem, sample.endpoint),
        ),
        key="km",
    )  # fmt: skip
    show_table(
        risk_table(survival, sample.endpoint),
        "km-risks",
        caption="In brackets 95 % intervals, log-log. Events: one minus Kaplan-Meier; there is "
        "no interval before the first event of a group. Follow-up: reverse Kaplan-Meier.",
    )
elif part == "Side by side":
    for column, patients_of in zip(
        [c for _ in range(0, len(data.sets), 2) for c in st.columns(2)], data.sets, strict=False
    ):
        with column:
            some = sample_of(data, patients_of.key)
            st.markdown(f"**{plain(patients_of.title)}**")
            if patients_of.in_sample:
                st.caption(":material/warning: Fitted on these patients: too good.")
            if some.n < FEWEST_PATIENTS:
                st.caption(f"Fewer than {FEWEST_PATIENTS} patients.")
                continue
            figure = of_page(
                "km-side", patients_of.key, *settings,
                make=lambda some=some: kaplan_meier_figure(
                    survival_of(some), f"km-{some.patients_of.key}-{way}", some.endpoint,
                    height=430, narrow=True,
                ),
            )  # fmt: skip
            show_figure(
                figure,
                key=f"km-{patients_of.key}",
                narrow=True,
                patients=drawn_by_program(patients_of.pinned),
            )
elif part == "Subgroups":
    st.caption(
        "As in the article's figures 2 and 3. Several subgroups are looked at: a small P in one "
        "of them is weak evidence; the interaction test on the comparison page says whether "
        "they differ."
    )
    shown = available_subgroups(sample.patients)
    columns = [c for _ in range(0, len(shown), 2) for c in st.columns(2)]
    for column, subgroup in zip(columns, shown, strict=False):
        rule = f"({sample.where}) and {subgroup.rule}" if sample.where else subgroup.rule
        with column:
            some = of_page(
                "km-subsample", rule, make=lambda rule=rule: take(data, sample.patients_of, rule)
            )
            st.markdown(f"**{subgroup.title}**: {some.n} patients, {some.events} events")
            if some.n < FEWEST_PATIENTS:
                st.caption(f"Fewer than {FEWEST_PATIENTS} patients: not drawn.")
                continue
            figure = of_page(
                "km-subgroup", rule, *settings,
                make=lambda some=some, title=subgroup.title: kaplan_meier_figure(
                    survival_of(some), f"{stem}-{title}", some.endpoint,
                    height=400, narrow=True,
                ),
            )  # fmt: skip
            show_figure(figure, key=f"km-{subgroup.title}", narrow=True)
else:
    grouping = of_page("km-grouping", *settings, make=lambda: grouping_of(sample))
    incidence = of_page("km-cif", *settings, make=lambda: incidence_by_group(grouping))
    if incidence is None:
        others = [one.title for one in data.sets if sample_of(data, one.key).competing]
        st.info(
            "No death without the event is recorded among these patients."
            + (f" There are some in: {plain('; '.join(others))}." if others else "")
        )
    else:
        show_figure(
            incidence_figure(
                incidence,
                grouping.levels,
                f"incidence-{stem}",
                sample.endpoint,
                notes=left_out(grouping),
            ),
            key="incidence",
        )
