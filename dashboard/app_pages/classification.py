from collections.abc import Callable

import pandas as pd
import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choose_model, headline, of_page, require_run, sections

from crpnet_bench.reporting.classification import (
    at_threshold,
    confusion_figure,
    locked_threshold,
    rates_table,
    roc_figure,
)
from crpnet_bench.reporting.names import EXPLAINED, model_title
from crpnet_bench.reporting.tables import Block, format_interval, horizon_table, table_one

data, sample = require_run()
headline("Classification", sample)
st.caption(f"Positive: event ever recorded. {EXPLAINED['ever']}")
models = list(sample.models)


def in_titles(table: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """One of the command line's tables with the models' titles."""
    one = sample.patients_of
    block = Block(one.role, one.in_sample, one.title)
    shown = table(sample.metrics, block, models, sample.where or "all")
    return shown.rename(columns={model: model_title(model) for model in models})


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
    banded = choose_model(data, "band", "Interval band of", EXPLAINED["auc"])
    show_figure(of_page("roc", banded, make=lambda: roc_figure(sample, models, banded)), key="roc")
elif part == "Table 1":
    table = of_page("table-one", make=lambda: in_titles(table_one))
    show_table(
        table, "table-1", height="content",
        caption="The layout of the article's Table 1, with intervals. C-index and hazard ratios "
        "use time; the rates do not.",
    )  # fmt: skip
elif part == "At 3 and 5 years":
    st.caption(EXPLAINED["ipcw"])
    show_table(
        of_page("horizons", make=lambda: in_titles(horizon_table)), "at-horizons", height="content"
    )
    st.caption("n/a: follow-up ends before, too few events, or risks of different fits.")
else:
    st.caption("For exploration: a threshold chosen on these patients is too good for them.")
    model = choose_model(data, "threshold_model")
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
