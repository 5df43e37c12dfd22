from __future__ import annotations

from html import unescape

import pandas as pd
import plotly.graph_objects as go
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.reporting.cohort_figures import distributions_figure, flow_figure
from crpnet_bench.reporting.figures import Figure, can_export, dress, empty_figure, text
from crpnet_bench.reporting.model_looks import model_color
from crpnet_bench.reporting.names import METRIC_TITLES, model_title
from crpnet_bench.scores.catalogue import SCORES


@pytest.fixture
def figure() -> Figure:
    plot = dress(go.Figure(go.Scatter(x=[0, 1], y=[0, 1], name="a")), height=300)
    return Figure("KM of CRPNet, T1-2", plot, pd.DataFrame({"x": [0, 1]}), "caption")


def test_a_figure_leaves_as_page_and_as_data(figure):
    assert figure.file_stem == "km-of-crpnet-t1-2"
    assert figure.csv() == b"x\n0\n1\n"
    page = figure.html().decode()
    assert "<html>" in page
    assert "https://cdn" not in page[:2000]


def test_light_and_dark_differ_in_ink_and_leave_the_figure_alone(figure):
    light, dark = figure.on("light"), figure.on("dark")
    assert light.layout.font.color != dark.layout.font.color
    assert figure.plot.layout.font.color is None


def test_without_a_browser_static_pictures_are_refused_with_the_remedy(figure, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not can_export()
    with pytest.raises(InputError, match="install Chromium"):
        figure.image("svg")


def test_an_empty_figure_tells_why():
    assert empty_figure("n", "because").plot.layout.annotations[0].text == "because"


def test_words_from_data_are_drawn_sign_by_sign():
    label = "<a href='http://x/'>**B**</a> & Co $x$ %{x} &lt;"
    safe = text(label)
    assert unescape(safe) == label
    assert not any(sign in safe for sign in ("<", "$", "%{"))
    assert text(3) == "3"


def test_sites_and_reasons_of_a_cohort_are_drawn_sign_by_sign():
    site = "<b>B</b> & $x$"
    patients = pd.DataFrame(
        {"patient_id": list("abcd"), "site": [site, "A", site, "A"], "status": [0, 1, 1, 0]}
    )
    figure = distributions_figure(patients, "d")
    drawn = {str(level) for trace in figure.plot.data for level in trace.x}
    assert drawn == {"A", text(site)}
    assert set(figure.data["site"]) == {"A", site}
    flow = pd.DataFrame(
        [{"step": "excluded", "kind": "leaves", "reason": site, "patients": 2, "events": 1}]
    )
    words = [one.text or "" for one in flow_figure(flow, "f").plot.layout.annotations]
    assert any(text(site) in one for one in words)
    reason = empty_figure("n", site)
    assert reason.plot.layout.annotations[0].text == text(site)
    assert reason.caption == site


def test_models_keep_one_title_and_one_colour():
    compared = ["crpnet", "uiss_2002", "ssign", "karakiewicz_refit", "leibovich_2003", "oracle"]
    assert len({model_color(name) for name in compared}) == len(compared)
    assert len({model_title(name) for name in compared}) == len(compared)
    assert all(model_title(name) != name for name in SCORES)
    assert model_color("somebody else's model") == model_color("somebody else's model")
    assert METRIC_TITLES["c_index"] == "C-index"


def test_whose_patients_they_are_leaves_with_the_figure():
    plot = dress(go.Figure(go.Scatter(x=[1, 2], y=[1, 2])), height=300)
    figure = Figure("f", plot, pd.DataFrame(), "n = 2 <b> & more.").about(
        "Synthetic patients (demo)."
    )
    page = figure.html().decode()
    assert "Synthetic patients (demo)." in page
    assert figure.plot.layout.title.text is None
    assert figure.about("") is figure
