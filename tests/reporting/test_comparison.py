"""Classification, comparison and association tables against the statistics they stand for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.reporting.associations import correlations, correlations_table, level_metrics
from crpnet_bench.reporting.classification import (
    confusion_figure,
    rates_table,
    roc_figure,
)
from crpnet_bench.reporting.clinical_models import clinical_metrics, with_clinical
from crpnet_bench.reporting.comparison_figures import (
    bars_figure,
    correlation_figure,
    forest_figure,
    levels_figure,
)
from crpnet_bench.reporting.forest import (
    ForestRow,
    forest_rows,
    multivariable_rows,
    subgroup_forest,
    subgroup_rows,
)
from crpnet_bench.reporting.model_looks import model_color
from crpnet_bench.reporting.paired import paired_table
from crpnet_bench.reporting.run_data import take
from crpnet_bench.stats.concordance import compare_concordance, concordance_index
from crpnet_bench.stats.correlations import correlation
from crpnet_bench.stats.cox import cox_ph


def test_confusion_matrices_hold_the_counts_of_evaluate(sample):
    figure = confusion_figure(sample, sample.models)
    cells = figure.data.set_index("model").loc["crpnet"]
    assert cells["tp"] == sample.metric("crpnet", "tp")["value"]
    assert cells.sum() == sample.n
    matrix = figure.plot.data[0]
    assert f"<b>{cells['tp']}</b>" in matrix.text[0][0]
    assert f"{100 * cells['tp'] / (cells['tp'] + cells['fn']):.1f} %" in matrix.text[0][0]


def test_rates_are_printed_as_evaluate_has_them(sample):
    table = rates_table(sample, sample.models).set_index("")
    row = sample.metric("crpnet", "recall")
    assert table.loc["Recall, %", "CRPNet"].startswith(f"{100 * row['value']:.1f} (")


def test_a_rate_without_denominator_is_na(data):
    healthy = take(data, data.set_named("validation"), "status == 0")
    assert rates_table(healthy, ["crpnet"]).set_index("").loc["Recall, %", "CRPNet"] == "n/a"


def test_roc_curves_have_one_colour_a_model_and_the_auc_of_evaluate(sample):
    figure = roc_figure(sample, sample.models, "crpnet")
    lines = {trace.name.split(",")[0]: trace for trace in figure.plot.data if trace.name}
    assert lines["CRPNet"].line.color == model_color("crpnet")
    assert f"{sample.metric('crpnet', 'auc')['value']:.3f}" in lines["CRPNet"].name
    assert set(figure.data["model"]) == set(sample.models)
    assert "bootstrap" in figure.caption


def test_clinical_variables_are_evaluated_like_models(data, sample):
    metrics = clinical_metrics(data, sample)
    rows = sample.patients
    grade = metrics[(metrics["model"] == "grade") & (metrics["metric"] == "c_index")].iloc[0]
    known = rows["grade"].notna()
    expected = concordance_index(
        rows.loc[known, "time"],
        rows.loc[known, "status"] == 1,
        rows.loc[known, "grade"].astype(float),
    )
    assert grade["value"] == expected.value
    assert {"t_stage", "grade", "necrosis", "diameter"} == set(metrics["model"])
    assert len(with_clinical(data, sample)) == len(sample.metrics) + len(metrics)


def test_bars_are_sorted_and_say_their_interval(data, sample):
    metrics = with_clinical(data, sample)
    figure = bars_figure(metrics, [*sample.models, "grade"], "c_index", "c", sample.label)
    assert figure.data["value"].is_monotonic_decreasing
    assert "jackknife" in figure.caption


def test_forest_rows_are_the_metrics(data, sample):
    rows = forest_rows(with_clinical(data, sample), ["crpnet", "t_stage"], "hr_high_low")
    metric = sample.metric("crpnet", "hr_high_low")
    assert rows[0].value == metric["value"]
    assert " v " in rows[0].counts
    stage = sample.patients
    high = stage["pT"].str[:2].isin(["T3", "T4"]).to_numpy(float)
    fit = cox_ph(stage["time"], stage["status"] == 1, {"x": high})
    assert rows[1].value == pytest.approx(fit.terms["x"].hazard_ratio)


def test_too_few_events_give_no_hazard_ratio_in_a_forest_plot(data):
    few = take(data, data.set_named("validation"), "age < 45")
    assert few.events < 5
    (row,) = forest_rows(few.metrics, ["crpnet"], "hr_per_sd")
    assert row.value is None
    assert row.text == "not estimable"


def test_the_multivariable_model_is_cox_on_complete_patients(sample):
    rows, told = multivariable_rows(sample, "crpnet", ["T stage", "Necrosis"])
    frame = sample.of_model("crpnet")
    frame = frame[frame["necrosis"].notna()]
    sd = float(frame["risk_sd"].iloc[0])
    fit = cox_ph(
        frame["time"].to_numpy(float),
        (frame["status"] == 1).to_numpy(),
        {
            "risk": frame["risk"].to_numpy(float) / sd,
            "stage": frame["pT"].str[:2].isin(["T3", "T4"]).to_numpy(float),
            "necrosis": frame["necrosis"].to_numpy(float),
        },
    )
    assert [row.value for row in rows] == pytest.approx(
        [term.hazard_ratio for term in fit.terms.values()]
    )
    left = sample.n - len(frame)
    assert f"{left} patients with a missing value" in told


def test_subgroups_have_interaction_p_values_and_suppress_small_cells(sample):
    effects = subgroup_forest(sample, "crpnet")
    rows = subgroup_rows(effects, "crpnet")
    headings = [row for row in rows if row.heading]
    assert {"T stage", "Sex"} <= {row.label for row in headings}
    assert all("interaction" in row.p_text for row in headings)
    for effect in effects:
        if effect.n < 10 or effect.events < 5:
            assert effect.effect.hazard_ratio is None
    assert not any(row.value for row in rows if row.text == "suppressed")


def test_a_forest_plot_clips_wide_intervals_with_arrows():
    rows = [ForestRow("a", value=2.0, low=0.01, high=900.0, text="2.00 (0.01-900.00)")]
    figure = forest_figure(rows, "f", "caption")
    symbols = [trace.marker.symbol for trace in figure.plot.data if trace.mode == "markers"]
    assert symbols == ["triangle-left", "triangle-right", "square"]
    assert figure.data["ci_high"].tolist() == [900.0]


def test_columns_of_a_forest_plot_stand_by_their_longest_text():
    cells = {"value": 2.0, "low": 0.1, "high": 40.0, "p_text": "0.052", "counts": "1,012/1,137"}
    rows = [
        ForestRow("Grade group", heading=True, p_text="interaction P = 0.012, approximate"),
        ForestRow("  I-II", text="19.31 (2.48-150.31)", **cells),
        ForestRow("  III-IV", text="1.49 (0.52-4.28)", **cells),
    ]
    figure = forest_figure(rows, "f", "caption", tested="P, Holm")
    layout = figure.plot.layout
    words = {one.text: one.xshift for one in layout.annotations}
    for left, right in (
        ("1,012/1,137", "19.31 (2.48-150.31)"),
        ("19.31 (2.48-150.31)", "0.052"),
        ("<b>Events/n</b>", "<b>HR (95 % CI)</b>"),
    ):
        assert words[right] - words[left] >= 7 * len(left.strip("</b>")) + 10
    last = "interaction P = 0.012, approximate"
    assert layout.margin.r >= words[f"<i>{last}</i>"] + 6 * len(last)


def test_a_long_label_is_short_beside_the_drawing_and_whole_on_hover_and_in_the_data():
    site = "Municipal University Hospital of the Northern Province, Department of Urology"
    rows = [
        ForestRow("Site", heading=True),
        ForestRow(
            f"  {site}", value=2.0, low=1.0, high=4.0, text="2.00 (1.00-4.00)", counts="9/20"
        ),
        ForestRow(f"  {site} B", text="suppressed", counts="1/9"),
    ]
    figure = forest_figure(rows, "f", "caption")
    drawn = figure.plot.layout.yaxis.ticktext
    assert all(len(label) <= 30 for label in drawn)
    assert drawn[1].endswith("…")
    assert figure.data["row"].tolist()[1] == f"Site: {site}"
    assert any(site in str(trace.hovertemplate) for trace in figure.plot.data)
    hovers = [one.hovertext for one in figure.plot.layout.annotations if one.text == "suppressed"]
    assert hovers == [f"{site} B"]


def test_names_from_a_cohort_are_drawn_sign_by_sign():
    site = "<a href='http://x/'>B</a> & $x$ %{x}"
    rows = [ForestRow(site, value=2.0, low=1.0, high=4.0, text="2.00 (1.00-4.00)", counts="9/20")]
    levels = pd.DataFrame(
        [{"variable": "Site", "level": site, "value": 0.7, "ci_low": 0.6, "ci_high": 0.8,
          "n": 20, "events": 9, "status": "ok", "reason": None}]
    )  # fmt: skip
    forest = forest_figure(rows, "f", "caption")
    by_level = levels_figure(levels, "crpnet", "c_index", "l", "caption")
    for figure in (forest, by_level):
        drawn = figure.plot.to_json()
        assert "<a" not in drawn
        assert "\\u003ca" not in drawn
        assert "%{x}" not in drawn
        assert "$x$" not in drawn
    assert forest.data["row"].tolist() == [site]
    assert by_level.data["level"].tolist() == [site]


def test_remarks_are_told_once_with_the_rows_they_are_about():
    rows = [
        ForestRow(name, value=1.0, low=0.5, high=2.0, notes=("Firth", f"{name}")) for name in "ab"
    ]
    assert forest_figure(rows, "f", "caption.").caption == "caption. Firth: a, b. a: a. b: b."


def test_paired_differences_are_on_common_patients(sample):
    table = paired_table(sample, "crpnet").set_index("Against")
    ours, theirs = sample.of_model("crpnet"), sample.of_model("ssign")
    both = ours.merge(theirs, on="patient_id", suffixes=("", "_b"))
    expected = compare_concordance(
        both["time"], both["status"] == 1, both["risk"].astype(float), both["risk_b"].astype(float)
    )
    assert table.loc["SSIGN", "Patients"] == str(len(both))
    assert table.loc["SSIGN", "C-index, difference (95 % CI)"].startswith(
        f"{expected.difference:+.3f} ({expected.ci_low:+.3f}"
    )


def test_levels_are_evaluated_within_themselves(sample):
    table = level_metrics(sample, "crpnet", ["Sex", "Site"])
    female = table[table["level"] == "female"].iloc[0]
    rows = sample.of_model("crpnet")
    rows = rows[rows["sex"] == "female"]
    expected = concordance_index(rows["time"], rows["status"] == 1, rows["risk"].astype(float))
    assert (female["value"], female["n"]) == (expected.value, len(rows))
    assert table["variable"].iloc[0] == "All patients"
    assert "events/patients" in levels_figure(table, "crpnet", "c_index", "l", "x").caption


def test_correlations_are_spearmans(sample):
    found = correlations(sample, "crpnet")
    rows = sample.of_model("crpnet")
    expected = correlation(
        rows["risk"].to_numpy(float), rows["tumor_size_cm"].to_numpy(float), "spearman"
    )
    assert found["Tumour diameter"].value == expected.value
    table = correlations_table(found)
    assert list(table["Variable"]) == ["Grade", "T stage", "Tumour diameter"]
    assert np.isfinite([float(p.strip("<")) for p in table["P, Holm"]]).all()
    figure = correlation_figure(sample, "crpnet", found, "c")
    assert len(figure.plot.data) == 3
