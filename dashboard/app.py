"""The dashboard's entry: navigation only. `streamlit run dashboard/app.py -- --home DIR`."""

import streamlit as st
from page_parts import frame

PAGES = [
    st.Page("app_pages/overview.py", title="Overview", icon=":material/home:", default=True),
    st.Page("app_pages/cohort.py", title="Cohort", icon=":material/groups:"),
    st.Page("app_pages/kaplan_meier.py", title="Kaplan-Meier", icon=":material/show_chart:"),
    st.Page("app_pages/classification.py", title="Classification", icon=":material/grid_on:"),
    st.Page("app_pages/comparison.py", title="Comparison", icon=":material/balance:"),
    st.Page("app_pages/calibration.py", title="Calibration and utility", icon=":material/target:"),
    st.Page("app_pages/external.py", title="External validation", icon=":material/travel_explore:"),
    st.Page("app_pages/patients.py", title="Patients and slides", icon=":material/person_search:"),
    st.Page("app_pages/published.py", title="Published", icon=":material/menu_book:"),
]

frame(PAGES)
