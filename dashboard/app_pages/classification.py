import streamlit as st
from page_parts import headline, of_page, require_run, sections, show_figure, show_table

from crpnet_bench.reporting.classification import (
    at_threshold,
    confusion_figure,
    horizon_table,
    locked_threshold,
    rates_table,
    roc_figure,
)
from crpnet_bench.reporting.names import EXPLAINED, model_title
from crpnet_bench.reporting.tables import Block, format_interval, table_one

data, sample = require_run()
headline("Classification", sample)
st.caption(f"Positive: event ever recorded. {EXPLAINED['ever']}")
models = list(sample.models)
part = sections(
    ["Confusion matrices", "ROC curves", "Table 1", "At 3 and 5 years", "Threshold"], "class_part"
)
if part == "Confusion matrices":
    show_figure(
        of_page("confusion", make=lambda: confusion_figure(sample, models)), key="confusion"
    )
    show_table(
        of_page("rates", make=lambda: rates_table(sample, models)),
        "rates",
        caption="Rates of the locked classes with 95 % intervals (Wilson); n/a: nobody in the "
        "denominator, or the model gives no class.",
    )
elif part == "ROC curves":
    primary = data.record.primary_model
    banded = st.selectbox(
        "Interval band of",
        models,
        index=models.index(primary) if primary in models else 0,
        format_func=model_title,
        key="band",
        bind="query-params",
        help=EXPLAINED["auc"],
    )
    show_figure(of_page("roc", banded, make=lambda: roc_figure(sample, models, banded)), key="roc")
elif part == "Table 1":
    one = sample.patients_of
    block = Block(one.role, one.in_sample, one.title)
    table = of_page(
        "table-one",
        make=lambda: table_one(sample.metrics, block, models, sample.where or "all").rename(
            columns={model: model_title(model) for model in models}
        ),
    )
    show_table(
        table, "table-1", height="content",
        caption="The layout of the article's Table 1, with intervals. C-index and hazard ratios "
        "use time; the rates do not.",
    )  # fmt: skip
elif part == "At 3 and 5 years":
    st.caption(EXPLAINED["ipcw"])
    for horizon in sample.settings.horizons_months:
        st.subheader(f"{horizon / 12:g} years")
        show_table(
            of_page("horizon", horizon, make=lambda h=horizon: horizon_table(sample, models, h)),
            f"at-{horizon:g}-months",
        )
    st.caption("n/a: follow-up ends before, too few events, or risks of different fits.")
else:
    st.caption("For exploration: a threshold chosen on these patients is too good for them.")
    model = st.selectbox(
        "Model", models, format_func=model_title, key="threshold_model", bind="query-params"
    )
    locked = locked_threshold(sample, model)
    threshold = st.slider(
        "Probability from which a patient is called positive", 0.0, 1.0,
        value=locked if locked is not None else 0.5, step=0.01, key="threshold",
        bind="query-params",
    )  # fmt: skip
    st.caption("No locked threshold." if locked is None else f"Locked threshold: {locked:.2f}")
    found = at_threshold(sample, model, threshold)
    if found is None:
        st.info("This model gives no probability for these patients.")
    else:
        tiles = st.columns(4)
        for column, (label, count) in zip(
            tiles,
            (("True positives", found.tp), ("False positives", found.fp),
             ("False negatives", found.fn), ("True negatives", found.tn)),
            strict=True,
        ):  # fmt: skip
            column.metric(label, count, border=True)
        tiles = st.columns(4)
        for column, (label, rate) in zip(
            tiles,
            (("Accuracy", found.accuracy), ("Precision", found.precision),
             ("Recall", found.recall), ("Specificity", found.specificity)),
            strict=True,
        ):  # fmt: skip
            shown = "n/a" if rate.value is None else f"{100 * rate.value:.1f} %"
            column.metric(label, shown, border=True, help=rate.reason)
            if rate.value is not None:
                column.caption(
                    format_interval(rate.value, rate.ci_low, rate.ci_high, scale=100, digits=1)
                )
