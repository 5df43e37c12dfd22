from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.reporting.groupings import CUT_OFFS, Grouping, by_risk, by_variable
from crpnet_bench.reporting.run_data import take
from crpnet_bench.reporting.survival import group_survival, incidence_by_group, risk_table
from crpnet_bench.reporting.survival_figures import incidence_figure, kaplan_meier_figure
from crpnet_bench.stats.cutpoint import maximally_selected_cutpoint
from crpnet_bench.stats.survival_curve import kaplan_meier


def test_locked_groups_are_those_of_the_predictions(sample):
    grouping = by_risk(sample, "crpnet", "training-median")
    sizes = grouping.table["group"].value_counts()
    stored = sample.of_model("crpnet")["risk_group"].value_counts()
    assert sizes["High risk"] == stored["high"]
    assert sizes["Low risk"] == stored["low"]
    assert grouping.levels == ("Low risk", "High risk")


def test_hazard_ratio_and_log_rank_of_locked_groups_are_those_of_evaluate(sample):
    survival = group_survival(by_risk(sample, "crpnet", "training-median"), sample)
    row = sample.metric("crpnet", "hr_high_low")
    assert f"HR {row['value']:.2f} ({row['ci_low']:.2f}-" in survival.hazard_ratios[0]
    assert survival.test.p_value == pytest.approx(sample.metric("crpnet", "logrank_p")["value"])


def test_the_cohorts_median_halves_the_patients(sample):
    sizes = by_risk(sample, "crpnet", "cohort-median").table["group"].value_counts()
    assert abs(sizes["High risk"] - sizes["Low risk"]) <= 1


def test_tertiles_make_three_groups_of_similar_size(sample):
    grouping = by_risk(sample, "crpnet", "tertiles")
    sizes = grouping.table["group"].value_counts()
    assert list(grouping.levels) == ["Low risk", "Intermediate risk", "High risk"]
    assert sizes.max() - sizes.min() <= 1


def test_a_value_chosen_by_the_reader_has_no_p_value(sample):
    survival = group_survival(by_risk(sample, "crpnet", "own", own=0.0), sample)
    assert survival.test is None
    assert survival.p_text.startswith("no P value")
    assert survival.hazard_ratios == ()
    with pytest.raises(InputError, match="needs a value"):
        by_risk(sample, "crpnet", "own")


def test_the_best_cut_point_shows_its_corrected_p(sample):
    rows = sample.of_model("crpnet")
    found = maximally_selected_cutpoint(
        rows["time"].to_numpy(float), (rows["status"] == 1).to_numpy(), rows["risk"].to_numpy(float)
    )
    grouping = by_risk(sample, "crpnet", "best")
    assert grouping.p_value == found.p_value
    assert found.p_value > found.uncorrected_p_value
    assert "corrected for the search" in group_survival(grouping, sample).p_text


def test_every_cut_off_is_offered_and_an_unknown_one_is_refused(sample):
    for cut_off in CUT_OFFS:
        assert len(by_risk(sample, "ssign", cut_off, own=3.0).table)
    with pytest.raises(InputError, match="did you mean 'tertiles'"):
        by_risk(sample, "crpnet", "tertile")


def test_small_levels_are_not_drawn_and_missing_values_are_counted(sample):
    survival = group_survival(by_variable(sample, "T category"))
    sizes = by_variable(sample, "T category").table["group"].value_counts()
    small = [level for level, size in sizes.items() if size < 5]
    assert small
    assert not set(small) & set(survival.curves)
    assert any("fewer than 5 patients" in note and small[0] in note for note in survival.notes)
    necrosis = group_survival(by_variable(sample, "Necrosis"))
    unknown = int(sample.groups["Necrosis"].isna().sum())
    assert unknown > 0
    assert f"Without a value and not in the curves: {unknown}." in necrosis.notes
    assert necrosis.n == sample.n - unknown


def test_too_few_events_give_no_hazard_ratio(data):
    few = take(data, data.set_named("validation"), "status != 1")
    assert few.events < 5 <= few.n
    survival = group_survival(by_risk(few, "crpnet", "cohort-median"), few)
    assert survival.hazard_ratios == (f"no hazard ratio: {few.events} events, fewer than 5",)


def test_the_risk_table_is_one_minus_the_curve(sample):
    survival = group_survival(by_risk(sample, "crpnet", "training-median"), sample)
    table = risk_table(survival, "RFS").set_index("")
    high = sample.of_model("crpnet").query("risk_group == 'high'")
    curve = kaplan_meier(high["time"].to_numpy(float), (high["status"] == 1).to_numpy())
    point = curve.at(36.0)
    expected = f"{100 * (1 - point.value):.1f} ({100 * (1 - point.ci_high):.1f}-"
    assert table.loc["Recurrence by 3 years, %", "High risk"].startswith(expected)
    assert "Progression by 3 years, %" in set(risk_table(survival, "PFI")[""])
    assert table.loc["At risk at 3 years", "High risk"] == str(point.at_risk)
    assert table.loc["Patients (events)", "High risk"] == f"{curve.n} ({curve.n_events})"


def test_the_figures_data_are_the_curves_and_its_numbers_at_risk_are_right(sample):
    survival = group_survival(by_risk(sample, "crpnet", "training-median"), sample)
    figure = kaplan_meier_figure(survival, "km", "RFS")
    curve = survival.curves["High risk"]
    high = figure.data[figure.data["group"] == "High risk"]
    np.testing.assert_array_equal(high["survival"], curve.survival)
    texts = [trace for trace in figure.plot.data if trace.name == "High risk, at risk"]
    point = curve.at(float(texts[0].x[2]))
    assert texts[0].text[2] == f"{point.at_risk} ({point.events}, {point.censored})"
    assert "log-log" in figure.caption
    assert f"n = {survival.n}, {survival.events} events" in figure.caption


def test_a_curve_is_faded_where_fewer_than_ten_are_at_risk(sample):
    survival = group_survival(by_risk(sample, "crpnet", "training-median"), sample)
    curve = survival.curves["Low risk"]
    lines = [
        trace
        for trace in kaplan_meier_figure(survival, "km", "RFS").plot.data
        if trace.line.shape == "hv" and trace.legendgroup == "Low risk"
    ]
    solid, faded = lines
    last = curve.time[curve.at_risk >= 10][-1]
    assert max(solid.x) <= last
    assert max(faded.x) == curve.time[-1]


def _drawn_alone(time: list[float], status: list[int], group: str = "a") -> list[object]:
    table = pd.DataFrame({"time": time, "status": status, "group": group})
    found = group_survival(Grouping("x", table, (group,)))
    return list(kaplan_meier_figure(found, "x", "RFS").plot.data)


def test_a_curve_fades_where_patients_get_few_also_long_after_the_last_event():
    events, censored = list(range(1, 11)), list(np.linspace(12, 100, 90))
    _, solid, faded, *_ = _drawn_alone([*events, *censored], [1] * 10 + [0] * 90)
    assert solid.x[-1] == faded.x[0] == censored[-10]
    assert solid.y[-1] == faded.y[0] == pytest.approx(90)


def test_a_band_reaches_to_where_the_curve_falls_to_nothing():
    band, *_ = _drawn_alone([5.0, 10.0, 20.0, 30.0], [1, 1, 1, 1])
    assert max(band.x) == 30


def test_names_from_data_are_drawn_sign_by_sign_and_cut_where_they_are_too_long():
    name = "<b>Municipal</b> University Hospital of the Northern Province, Department of Urology"
    drawn = _drawn_alone([5.0, 10.0], [1, 0], name)
    legend = next(trace.name for trace in drawn if trace.showlegend)
    assert legend.startswith("&lt;b&gt;Municipal")
    assert "…" in legend
    table = pd.DataFrame({"time": [5.0, 10.0], "status": [1, 0], "group": name})
    for narrow, widest in ((False, 250), (True, 125)):
        found = group_survival(Grouping("x", table, (name,)))
        plot = kaplan_meier_figure(found, "x", "RFS", narrow=narrow).plot
        assert plot.layout.margin.l <= widest


def test_no_group_is_an_empty_figure_with_the_reason(data):
    nobody = take(data, data.set_named("validation"), "age > 200")
    survival = group_survival(by_variable(nobody, "T stage"))
    figure = kaplan_meier_figure(survival, "km", "RFS")
    assert figure.data["reason"].tolist() == ["No group has enough patients to be drawn."]
    assert risk_table(survival, "RFS").empty


def test_competing_deaths_have_their_curves_only_where_they_are(data, sample):
    grouping = by_risk(sample, "crpnet", "training-median")
    incidence = incidence_by_group(grouping)
    assert sample.competing > 0
    figure = incidence_figure(incidence, grouping.levels, "cif", "RFS")
    assert {"incidence", "incidence_of_death"} <= set(figure.data)
    assert "Gray's test" in figure.caption
    without = by_variable(take(data, data.set_named("validation"), "status != 2"), "T stage")
    assert incidence_by_group(without) is None


def test_levels_come_from_good_to_bad(sample):
    assert by_variable(sample, "Symptoms").levels[0] == "none"
    assert by_variable(sample, "Grade group").levels == ("I-II", "III-IV")
    assert isinstance(by_variable(sample, "T stage").table, pd.DataFrame)
    with pytest.raises(InputError, match="no grouping"):
        by_variable(sample, "T stages of yesterday")


def test_a_thinned_curve_stays_within_a_pixel_and_the_data_keep_every_time():
    rng = np.random.default_rng(4)
    time, event = rng.exponential(60, 8000), rng.random(8000) < 0.5
    table = pd.DataFrame({"time": time, "status": event.astype(int), "group": "all"})
    found = group_survival(Grouping("x", table, ("all",)))
    figure = kaplan_meier_figure(found, "x", "RFS")
    curve = found.curves["all"]
    drawn = next(trace for trace in figure.plot.data if trace.line.shape == "hv")
    at = np.searchsorted(drawn.x, curve.time[curve.time <= drawn.x[-1]], side="right") - 1
    shown = np.asarray(drawn.y, dtype=float)[at] / 100
    assert len(drawn.x) < len(curve.time) / 3
    assert np.abs(shown - curve.survival[: len(at)]).max() < 0.0005
    assert len(figure.data) == len(curve.time)


def test_every_censored_time_has_a_tick_at_its_height():
    table = pd.DataFrame(
        {"time": [2.0, 3.0, 3.0, 5.0, 8.0], "status": [0, 1, 0, 0, 1], "group": "a"}
    )
    found = group_survival(Grouping("x", table, ("a",)))
    figure = kaplan_meier_figure(found, "x", "RFS")
    ticks = next(trace for trace in figure.plot.data if trace.name == "a, censored")
    drawn = np.column_stack([ticks.x, ticks.y]).astype(float).reshape(-1, 5, 2)
    np.testing.assert_allclose(drawn[:, :4, 0].mean(axis=1), [2, 3, 5])
    np.testing.assert_allclose(drawn[:, :4, 1].mean(axis=1), [100, 75, 75])
    assert np.isnan(drawn[:, 4]).all()


@pytest.mark.parametrize(("patients", "longest", "narrow", "step"), [
    (60, 119, False, 12), (4000, 119, False, 24), (60, 119, True, 24), (4000, 119, True, 24),
    (60, 250, False, 36), (60, 11, False, 2), (60, 0.5, True, 0.1),
])  # fmt: skip
def test_numbers_at_risk_do_not_touch_one_another(
    patients: int, longest: float, narrow: bool, step: int
):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {"time": rng.uniform(0, longest, patients), "status": rng.integers(0, 2, patients)}
    )
    groups = tuple("ab")
    found = group_survival(Grouping("x", table.assign(group=rng.choice(groups, patients)), groups))
    plot = kaplan_meier_figure(found, "x", "RFS", narrow=narrow).plot
    months = [trace.x for trace in plot.data if trace.mode == "text"][0]
    np.testing.assert_allclose(np.diff(months), step)
