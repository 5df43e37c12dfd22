import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choose_model, headline, of_page, require_run, sections
from wording import terms

from crpnet_bench.reporting.associations import correlations, correlations_table, level_metrics
from crpnet_bench.reporting.clinical_models import with_clinical
from crpnet_bench.reporting.comparison_figures import (
    bars_figure,
    correlation_figure,
    forest_figure,
    levels_figure,
)
from crpnet_bench.reporting.forest import (
    MULTIVARIABLE,
    forest_rows,
    interval_methods,
    multivariable_rows,
    subgroup_forest,
    subgroup_rows,
)
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.paired import paired_table
from crpnet_bench.reporting.terms import EXPLAINED

data, sample = require_run()
headline("Comparison", sample)
models = list(sample.models)
metrics = of_page("with-clinical", make=lambda: with_clinical(data, sample))
everything = list(dict.fromkeys(metrics["model"]))
part = sections(
    ["C-index", "Hazard ratios", "Paired differences", "Subgroups", "Age, sex, site",
     "Correlations"],
    "compare_part",
)  # fmt: skip


if part == "C-index":
    terms("c_index", "interval")
    show_figure(
        bars_figure(
            metrics, everything, "c_index", f"c-index-{sample.patients_of.key}", sample.label
        ),
        key="c-index",
    )
elif part == "Hazard ratios":
    terms("hr", "hr_per_sd", "locked", "interval")
    groups = (
        "Groups by the locked training median"
        if sample.out_of_fold
        else "Risk groups as the run recorded them"
    )
    for metric, title, caption in (
        ("hr_per_sd", "Univariable, per standard deviation", EXPLAINED["hr_per_sd"]),
        ("hr_high_low", "Univariable, high against low risk group",
         f"{groups}; not comparable between models whose groups "
         "differ in size."),
    ):  # fmt: skip
        st.subheader(title, anchor=False)
        rows = forest_rows(metrics, everything, metric)
        figure = forest_figure(
            rows,
            f"forest-{metric}-{sample.patients_of.key}",
            f"{sample.label}. {caption} {interval_methods(metrics, metric)}",
            counted="Events/n" if metric == "hr_per_sd" else "Events/n, high v low",
        )
        show_figure(figure, key=metric)
    st.subheader("Multivariable", anchor=False)
    model = choose_model(data, "model", "Model beside clinical variables")
    variables = st.multiselect(
        "Clinical variables",
        list(MULTIVARIABLE),
        default=["T stage", "Grade"],
        key="variables",
        bind="query-params",
    )
    rows, told = of_page(
        "multivariable", model, tuple(variables),
        make=lambda: multivariable_rows(sample, model, variables),
    )  # fmt: skip
    show_figure(
        forest_figure(rows, f"forest-multivariable-{sample.patients_of.key}",
                      f"{sample.patients_of.title}. {told}"),
        key="multivariable",
    )  # fmt: skip
elif part == "Paired differences":
    terms("c_index", "auc", "holm", "interval")
    model = choose_model(data, "model", "Compare this model with each other")
    show_table(
        of_page("paired", model, make=lambda: paired_table(sample, model)),
        "paired-differences",
        caption="On patients with both predictions. C-index: infinitesimal jackknife; AUC: "
        "DeLong's paired test. Holm: adjusted for the comparisons of this table.",
    )
elif part == "Subgroups":
    terms("interaction", "hr", "holm", "locked", "interval")
    model = choose_model(data, "model")
    effects = of_page("subgroups", model, make=lambda: subgroup_forest(sample, model))
    show_figure(
        forest_figure(
            subgroup_rows(effects, model),
            f"subgroups-{sample.patients_of.key}",
            f"{sample.label}. Hazard ratio of the locked high against the low risk group of "
            f"{model_title(model)}; P adjusted over all subgroups (Holm). Subgroups with fewer "
            "than 10 patients or 5 events get no hazard ratio (suppressed). Cox models, 95 % "
            "intervals; interaction: likelihood ratio, approximate where a group without events "
            "makes a hazard ratio infinite."
            if effects
            else "No risk groups or no clinical variables for these patients.",
            tested="P, Holm",
        ),
        key="subgroups",
    )
elif part == "Age, sex, site":
    terms("c_index", "interval")
    model = choose_model(data, "model")
    table = of_page(
        "levels", model,
        make=lambda: level_metrics(sample, model, ["Age group", "Sex", "Site"]),
    )  # fmt: skip
    show_figure(
        levels_figure(table, model, "c_index", f"levels-{sample.patients_of.key}", sample.label),
        key="levels",
    )
else:
    terms("rho", "risk", "holm", "interval")
    model = choose_model(data, "model")
    found = of_page("correlations", model, make=lambda: correlations(sample, model))
    show_figure(
        correlation_figure(sample, model, found, f"correlations-{sample.patients_of.key}"),
        key="correlations",
    )
    show_table(
        correlations_table(found),
        "correlation-table",
        caption="Holm: adjusted for the comparisons of this table.",
    )
