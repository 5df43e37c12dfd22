import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choose_model, headline, of_page, require_run, sections
from wording import plain, terms

from crpnet_bench.reporting.absolute_risk import (
    brier_table,
    calibrations,
    calibrations_table,
    decision,
    over_time,
    probabilities,
)
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.risk_figures import (
    calibration_figure,
    decision_figure,
    over_time_figure,
)
from crpnet_bench.reporting.terms import EXPLAINED

data, sample = require_run()
headline("Calibration and utility", sample)
models = list(sample.models)
horizons = {f"{months / 12:g} years": months for months in sample.settings.horizons_months}
left, right = st.columns([0.3, 0.7])
chosen = left.selectbox(
    "Horizon", list(horizons), index=len(horizons) - 1, key="horizon", bind="query-params"
)
horizon = horizons[chosen]
with right:
    model = choose_model(data, "calibrated_model", help=EXPLAINED["calibration"])
known, not_calibrated = of_page(
    "probabilities", horizon, make=lambda: probabilities(data, sample, models, horizon)
)


def not_calibrated_because() -> str:
    """Models without probabilities, each with the reason."""
    told = "; ".join(f"{model_title(one)}: {why}" for one, why in not_calibrated.items())
    return f"Not calibrated: {told}." if told else ""


part = sections(["Calibration", "Decision curve", "Over time"], "calibration_part")
stem = f"{sample.patients_of.key}-{horizon:g}-months"
if part == "Calibration":
    terms("calibration", "observed_expected", "slope", "interval")
    st.caption(
        "Risks become probabilities through a Cox model that was learned on out-of-fold risks of "
        "the training patients. On the training patients themselves calibration says little."
    )
    found = of_page("calibrations", horizon, make=lambda: calibrations(known, horizon))
    if model in found:
        show_figure(
            calibration_figure(
                found[model],
                known[model]["probability"].to_numpy(float),
                model,
                f"calibration-{model}-{stem}",
                sample.label,
            ),
            key="calibration",
        )
    else:
        st.info(plain(f"{model_title(model)} is not calibrated: {not_calibrated[model]}."))
    show_table(
        calibrations_table(found, not_calibrated),
        "calibration-table",
        caption="In brackets 95 % intervals. " + not_calibrated_because(),
        height="content",
    )
elif part == "Decision curve":
    terms("net_benefit", "ipcw")
    st.caption(EXPLAINED["net_benefit"])
    curves, told = of_page("decision", horizon, make=lambda: decision(sample, known, horizon))
    if curves is None:
        st.info(told)
    else:
        show_figure(decision_figure(curves, f"decision-{stem}", told), key="decision")
    if not_calibrated:
        st.caption(plain(not_calibrated_because()))
else:
    terms("auc_t", "brier", "index_of_accuracy", "ipcw", "interval")
    over = of_page("over-time", make=lambda: over_time(data, sample, models))
    st.subheader("Time-dependent AUC", anchor=False)
    show_figure(
        over_time_figure(over, "auc", model, f"auc-over-time-{stem}", sample.label), key="auc-t"
    )
    st.subheader("Brier score", anchor=False)
    show_figure(
        over_time_figure(over, "brier", model, f"brier-over-time-{stem}", sample.label),
        key="brier-t",
    )
    show_table(
        of_page("brier", horizon, make=lambda: brier_table(known, not_calibrated, horizon)),
        "brier-table",
        caption=f"At {chosen}. Index of prediction accuracy: how much better than knowing the "
        "average only; negative is worse. In brackets 95 % intervals. " + not_calibrated_because(),
    )
