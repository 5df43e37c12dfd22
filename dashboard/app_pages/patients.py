import pandas as pd
import streamlit as st
from exhibits import show_figure, show_table
from page_parts import choice, choose_model, headline, kept, of_page, require_run
from wording import plain, terms

from crpnet_bench.registry import views
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.patients import (
    absolute_risk,
    patient_scores,
    patients_table,
    position_figure,
    run_local_names,
    score_notes,
    score_trace,
    slide_pictures,
)

data, sample = require_run()
now = choice()
run_id = data.record.run_id
headline("Patients and slides", sample)
terms("risk", "probability", "locked", "calibration", "attention", "evidence")
left, right = st.columns([0.35, 0.65], vertical_alignment="bottom")
with left:
    model = choose_model(data, "patient_model")
hidden = right.toggle("Numbers instead of identifiers", key="numbers", bind="query-params")
everyone = sorted(
    str(patient) for patient in data.patients[sample.patients_of.pinned]["patient_id"]
)
names = run_local_names(everyone, run_id) if hidden else {one: one for one in everyone}
table = of_page("patients", model, hidden, make=lambda: patients_table(sample, model, names))
if table.empty:
    st.info(
        f"{plain(model_title(model))} has no predictions for these patients.",
        icon=":material/person_off:",
    )
    st.stop()
show_table(table, "patients", caption="A click on a heading sorts. Highest risk first.")

by_name = {names[str(patient)]: str(patient) for patient in sample.patients["patient_id"]}
shown = st.selectbox("Patient", list(table["Patient"]), key="patient", bind="query-params")
patient = by_name[str(shown)]
st.subheader(plain(shown), anchor=False)

row = sample.predictions[
    (sample.predictions["model"] == model) & (sample.predictions["patient_id"] == patient)
].iloc[0]
outcome = sample.patients[sample.patients["patient_id"] == patient].iloc[0]
tiles = st.columns(4)
tiles[0].metric(
    "Risk group", "none" if pd.isna(row["risk_group"]) else str(row["risk_group"]), border=True
)
horizon = max(sample.settings.horizons_months)
absolute = of_page("absolute", model, patient, make=lambda: absolute_risk(
    data, sample, model, patient, horizon
))  # fmt: skip
known = absolute.endswith("%")
tiles[1].metric(
    f"Risk within {horizon / 12:g} years",
    absolute if known else absolute.partition(":")[0],
    border=True,
    help="Through a Cox model on out-of-fold risks of the training patients."
    if known
    else absolute,
)
tiles[2].metric("Follow-up, months", f"{outcome['time']:.1f}", border=True)
said = {0: "censored", 1: "event", 2: "death without event"}[int(outcome["status"])]
tiles[3].metric("Outcome", said, border=True)
if row["status"] != "ok":
    st.warning(f"No prediction: {plain(row['reason'])}", icon=":material/block:")

show_figure(position_figure(sample, model, patient, str(shown)), key="position")

st.markdown("**Scores**")
pinned = sample.patients_of.pinned
scores = kept(
    now.home, now.snapshot, "scores", pinned, patient,
    make=lambda: patient_scores(now.home, pinned, patient),
)  # fmt: skip
show_table(scores, "patient-scores", caption=score_notes(scores))
trace = kept(
    now.home, now.snapshot, "trace", pinned, patient,
    make=lambda: score_trace(now.home, pinned, patient),
)  # fmt: skip
with st.expander("How each score came about"):
    show_table(trace, "score-trace", caption="Points of each component, in each score.")

st.markdown("**Slides**")
slides = kept(
    now.home, now.snapshot, "slides", pinned, make=lambda: views.slide_outcomes(now.home, pinned)
)
own = slides[slides["patient_id"] == patient]
for reason in own.loc[own["status"] != "done", "reason"]:
    st.caption(f"A slide was not used: {plain(reason)}")
external = pinned if sample.patients_of.role == "external" else None
pictures = slide_pictures(
    now.home, run_id, model, [str(one) for one in own["slide_id"]], external
)  # fmt: skip
if not pictures:
    used = [str(one) for one in own.loc[own["status"] == "done", "slide_id"]]
    st.info("No pictures of attention for this patient and model.", icon=":material/image:")
    if used:
        st.code(
            f"crpnet-bench explain {run_id} --slide {used[0][:12]}"
            + (f" --cohort {external}" if external else "")
            + f" --home {now.home.root}",
            language="bash",
        )
for number, slide in enumerate(pictures, start=1):
    st.caption(
        f"Slide {number} of {len(pictures)}, {slide.tiles} tiles. Attention of a fit that was "
        f"{'trained on this patient' if slide.fitted_on_patient else 'not trained on this patient'}"
        f" ({slide.fold}, {slide.role})."
    )
    if slide.warning:
        st.warning(plain(slide.warning), icon=":material/blur_on:")
    for column, (name, words) in zip(
        st.columns(3),
        (
            ("thumbnail.jpg", "The slide"),
            ("attention.png", "Attention, ranked: dark low, bright high"),
            ("evidence.png", "Attention times tile logit: red for, blue against the event"),
        ),
        strict=True,
    ):
        column.image(str(slide.picture(name)), caption=words, width="stretch")
    for words, paths in (("Most attended tiles", slide.high), ("Least attended", slide.low)):
        st.caption(words)
        for column, path in zip(st.columns(6), paths, strict=False):
            column.image(str(path), width="stretch")
    geojson, overlay, _ = st.columns([0.22, 0.22, 0.56])
    geojson.download_button(
        "GeoJSON for QuPath", data=slide.picture("tiles.geojson").read_bytes,
        file_name=f"{slide.slide_id[:12]}.geojson", mime="application/geo+json",
        key=f"geojson-{slide.slide_id}", on_click="ignore", width="stretch",
    )  # fmt: skip
    overlay.download_button(
        "Overlay (PNG)", data=slide.picture("attention.png").read_bytes,
        file_name=f"{slide.slide_id[:12]}-attention.png", mime="image/png",
        key=f"overlay-{slide.slide_id}", on_click="ignore", width="stretch",
    )  # fmt: skip
