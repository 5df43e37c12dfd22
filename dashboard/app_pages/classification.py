from collections.abc import Callable

import pandas as pd
import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choose_model, headline, of_page, require_run, sections
from wording import plain, terms

from crpnet_bench.reporting.classification import (
    confusion_figure,
    locked_counts,
    rates_table,
    roc_figure,
)
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.tables import Block, format_interval, horizon_table, table_one
from crpnet_bench.reporting.terms import EXPLAINED
from crpnet_bench.reporting.threshold import at_threshold, locked_thresholds, threshold_figure

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
    terms("confusion", "locked", "precision", "recall", "specificity", "interval")
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
    terms("roc", "auc", "locked", "interval")
    banded = choose_model(data, "band", "Interval band of", EXPLAINED["auc"])
    show_figure(of_page("roc", banded, make=lambda: roc_figure(sample, models, banded)), key="roc")
elif part == "Table 1":
    terms("auc", "c_index", "hr", "hr_per_sd", "precision", "recall", "logrank", "interval")
    table = of_page("table-one", make=lambda: in_titles(table_one))
    show_table(
        table, "table-1", height="content",
        caption="The layout of the article's Table 1, with intervals. C-index and hazard ratios "
        "use time; the rates do not.",
    )  # fmt: skip
elif part == "At 3 and 5 years":
    terms("ipcw", "auc_t", "recall", "specificity", "interval")
    show_table(
        of_page("horizons", make=lambda: in_titles(horizon_table)), "at-horizons", height="content"
    )
    st.caption("n/a: follow-up ends before, too few events, or risks of different fits.")
else:
    st.caption("For exploration: a threshold chosen on these patients is too good for them.")
    terms("probability", "locked", "precision", "recall", "specificity", "interval")
    model = choose_model(data, "threshold_model")
    locked = locked_thresholds(sample, model)
    if sample.of_model(model)["probability"].isna().all():
        st.info(f"{plain(model_title(model))} gives no probability for these patients.")
        st.stop()
    start = locked[len(locked) // 2] if locked else 0.5
    key = f"threshold_{model}"  # each model's own: the same probability means another thing
    slider, back = st.columns([0.76, 0.24], vertical_alignment="bottom")
    threshold = slider.slider(
        "Probability from which a patient is called positive", 0.0, 1.0, value=start, step=0.01,
        format="%.3f", key=key, bind="query-params",
    )  # fmt: skip
    back.button(
        f"Back to locked {start:.3f}" if len(locked) == 1 else f"Back to {start:.3f}",
        on_click=lambda: st.session_state.update({key: start}),
        disabled=threshold == start,
        icon=":material/lock:" if locked else None,
        width="stretch",
    )
    show_figure(
        of_page("threshold", model, threshold,
                make=lambda: threshold_figure(sample, model, threshold)),
        key="threshold-figure",
    )  # fmt: skip
    found, counted = at_threshold(sample, model, threshold), locked_counts(sample, model)
    for column, label, name in zip(
        st.columns(4),
        ("True positives", "False positives", "False negatives", "True negatives"),
        ("tp", "fp", "fn", "tn"),
        strict=True,
    ):
        column.metric(label, getattr(found, name), border=True)
        if counted is not None:
            column.caption(f"locked classes: {counted[name]}")
    for column, name in zip(
        st.columns(4), ("accuracy", "precision", "recall", "specificity"), strict=True
    ):
        rate = getattr(found, name)
        shown = "n/a" if rate.value is None else f"{100 * rate.value:.1f} %"
        told = rate.reason or EXPLAINED[name]
        column.metric(name.capitalize(), shown, border=True, help=told)
        if rate.value is not None:
            _, _, limits = format_interval(
                rate.value, rate.ci_low, rate.ci_high, scale=100, digits=1
            ).partition(" (")
            column.caption(f"95 % CI {limits.removesuffix(')')}")
