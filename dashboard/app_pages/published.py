import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choice, headline, kept, require_cohort, sections
from wording import terms

from crpnet_bench.registry import views
from crpnet_bench.reporting.classification import confusion_figure
from crpnet_bench.reporting.comparison_figures import bars_figure, forest_figure
from crpnet_bench.reporting.forest import forest_rows
from crpnet_bench.reporting.groupings import by_risk
from crpnet_bench.reporting.published import (
    PUBLISHED_RUN,
    published_figure,
    published_results,
    published_table,
)
from crpnet_bench.reporting.run_data import RunData, Sample, run_data, take
from crpnet_bench.reporting.survival import group_survival
from crpnet_bench.reporting.survival_figures import kaplan_meier_figure

SIMULATED = "Simulated patients (changhai-sim)."

require_cohort()
now = choice()
headline("Published")
st.markdown(
    "The CRPNet article (Yang et al., Am J Cancer Res 2026) beside this program's evaluation of "
    "simulated patients that have its printed margins."
)
found = published_results(now.home)
if found is None:
    st.info("Nothing to compare yet.", icon=":material/menu_book:")
    st.code(f"crpnet-bench reproduce --home {now.home.root}", language="bash")
    st.stop()
st.warning(found.what, icon=":material/science:")
tiles = st.columns(len(found.summary))
for column, (mark, count) in zip(tiles, found.summary.items(), strict=True):
    column.metric(mark.removeprefix("recomputed ").capitalize(), count, border=True)

terms("auc", "c_index", "hr", "precision", "recall", "interval")
left, right = st.columns([0.5, 0.5])
parts = list(dict.fromkeys(found.rows["part"]))
part = left.selectbox("Part of the article", parts, key="part", bind="query-params")
groups = list(dict.fromkeys(found.rows.loc[found.rows["part"] == part, "group"]))
group = right.selectbox(
    "Cohort of the article", groups, index=len(groups) - 1, key="group", bind="query-params"
)
if part in {"Table 1", "C-index", "hazard ratios"}:
    show_figure(published_figure(found, part, group), key="published", patients=SIMULATED)
show_table(published_table(found, part, group), "published-table", height="content")


def published_sample(data: RunData) -> Sample:
    role = "train" if group == "training" else "validation"
    return take(data, next(one for one in data.sets if one.role == role))


known = PUBLISHED_RUN in {run.run_id for run in views.runs(now.home)}
if known:
    st.subheader("The article's figures, recomputed on simulated patients", anchor=False)
    data = kept(
        now.home, now.snapshot, "run", PUBLISHED_RUN,
        make=lambda: run_data(now.home, PUBLISHED_RUN),
    )  # fmt: skip
    sample = kept(now.home, now.snapshot, "published", group, make=lambda: published_sample(data))
    shown = sections(
        ["Figures 2-3: survival", "Figure 4: matrices", "Figure 4: C-index",
         "Figure 4E: hazard ratios"],
        "published_part",
    )  # fmt: skip
    models = list(sample.models)
    if shown.startswith("Figures 2"):
        survival = group_survival(by_risk(sample, "crpnet", "cohort-median"), sample)
        show_figure(
            kaplan_meier_figure(survival, f"published-km-{group}", sample.endpoint),
            key="published-km",
            patients=SIMULATED,
        )
    elif shown.endswith("matrices"):
        four = [model for model in models if model not in {"t_stage", "grade"}]
        show_figure(confusion_figure(sample, four), key="published-confusion", patients=SIMULATED)
    elif shown.endswith("C-index"):
        figure = bars_figure(
            sample.metrics, models, "c_index", f"published-c-index-{group}", sample.label
        )
        show_figure(figure, key="published-bars", patients=SIMULATED)
    else:
        rows = forest_rows(sample.metrics, models, "hr_high_low")
        figure = forest_figure(
            rows, f"published-forest-{group}",
            f"{sample.label}. Groups by the cohort's median, as in the article.",
            counted="Events/n, high v low",
        )  # fmt: skip
        show_figure(figure, key="published-forest", patients=SIMULATED)
