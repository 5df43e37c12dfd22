from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import NotFoundError
from crpnet_bench.reporting.absolute_risk import (
    brier_table,
    calibrations,
    calibrations_table,
    decision,
    learn_link,
    over_time,
    probabilities,
)
from crpnet_bench.reporting.risk_figures import (
    calibration_figure,
    decision_figure,
    over_time_figure,
)
from crpnet_bench.reporting.run_data import RunData, take
from crpnet_bench.stats.recalibration import calibration
from crpnet_bench.stats.risk_link import fit_risk_link
from crpnet_bench.stats.time_dependent import time_dependent_auc


def test_the_link_is_learned_on_out_of_fold_risks_of_training_patients(data, sample):
    link = learn_link(data, "crpnet", 60.0)
    trained = take(data, data.set_named("training-out-of-fold")).of_model("crpnet")
    expected = fit_risk_link(
        trained["time"].to_numpy(float),
        (trained["status"] == 1).to_numpy(),
        trained["risk"].to_numpy(float),
        60.0,
    )
    risk = sample.of_model("crpnet")["risk"].to_numpy(float)
    np.testing.assert_allclose(link.probability(risk, 60.0), expected.probability(risk))
    assert f"{len(trained)} training patients" in link.told


def test_the_shown_patients_do_not_move_the_link(data):
    risk = np.array([0.0, 1.0])
    whole = learn_link(data, "crpnet", 60.0).probability(risk, 60.0)
    take(data, data.set_named("validation"), "grade >= 3")
    assert (learn_link(data, "crpnet", 60.0).probability(risk, 60.0) == whole).all()


def _with(data: RunData, predictions: pd.DataFrame) -> RunData:
    """The run with other predictions, as if these had been read."""
    left = set(zip(predictions["role"], predictions["in_sample"].fillna(value=False), strict=True))
    changed = replace(data, sets=tuple(s for s in data.sets if (s.role, s.in_sample) in left))
    vars(changed)["predictions"] = predictions
    return changed


def test_without_out_of_fold_risks_a_model_is_not_calibrated(data, sample):
    apparent = data.predictions["in_sample"].fillna(value=False)
    training = data.predictions["role"] == "train"
    bare = _with(data, data.predictions[~training | apparent])
    link = learn_link(bare, "crpnet", 60.0)
    assert link.fitted is None
    with pytest.raises(NotFoundError, match="not calibrated"):
        link.probability(np.array([1.0]), 60.0)
    known, left = probabilities(bare, sample, ["crpnet"], 60.0)
    assert known == {}
    table = calibrations_table({}, left)
    assert set(table["Predicted, mean %"]) == {"not calibrated"}
    assert table["Note"].str.startswith("the run has no out-of-fold").all()


def test_a_risk_that_goes_the_wrong_way_out_of_fold_is_not_calibrated(data):
    turned = data.predictions.assign(risk=-data.predictions["risk"])
    link = learn_link(_with(data, turned), "crpnet", 60.0)
    assert link.fitted is None
    assert "does not go with earlier events" in link.told


def test_calibration_numbers_are_those_of_the_statistics(data, sample):
    known, _ = probabilities(data, sample, ["crpnet"], 60.0)
    rows = known["crpnet"]
    expected = calibration(
        rows["time"].to_numpy(float),
        rows["status"].to_numpy(int),
        rows["probability"].to_numpy(float),
        60.0,
    )
    found = calibrations(known, 60.0)
    table = calibrations_table(found, {})
    assert table["Slope"][0].startswith(f"{expected.slope.value:.2f} (")
    figure = calibration_figure(
        found["crpnet"], rows["probability"].to_numpy(float), "crpnet", "c", sample.label
    )
    assert f"slope {expected.slope.value:.2f}" in figure.caption
    assert set(figure.data["kind"]) == {"group", "smoothed"}


def test_decision_curves_compare_models_on_common_patients_with_the_trials_rule(data, sample):
    known, _ = probabilities(data, sample, ["crpnet", "ssign"], 60.0)
    curves, told = decision(sample, known, 60.0)
    assert {"crpnet", "ssign", "treat all", "treat none", "KEYNOTE-564 rule"} <= set(curves.curves)
    rule = sample.groups["KEYNOTE-564 group"].notna()
    both = set(known["crpnet"]["patient_id"]) & set(known["ssign"]["patient_id"])
    assert curves.n == len(both & set(rule.index[rule]))
    assert told.startswith(f"Validation: {curves.n} patients")
    figure = decision_figure(curves, "d", told)
    assert set(figure.data["strategy"]) == set(curves.curves)


def test_no_calibrated_model_gives_no_decision_curve(sample):
    assert decision(sample, {}, 60.0) == (None, "No model is calibrated.")


def test_performance_over_time_is_the_time_dependent_auc(data, sample):
    found = over_time(data, sample, ["crpnet"])
    one, rows = found["crpnet"], sample.of_model("crpnet")
    expected = time_dependent_auc(
        rows["time"].to_numpy(float),
        rows["status"].to_numpy(int),
        rows["risk"].to_numpy(float),
        [36.0],
    )
    assert one.auc[one.times == 36.0][0] == pytest.approx(expected.at(36.0).value)
    assert (sample.patients["time"] >= one.times[-1]).sum() >= 10
    for what in ("auc", "brier"):
        assert "crpnet" in over_time_figure(found, what, "crpnet", "t", "x").data["model"].tolist()


def test_risks_of_several_fits_have_no_curve_over_time(data):
    folds = take(data, data.set_named("training-out-of-fold"))
    assert folds.fold_wise
    assert over_time(data, folds, ["crpnet"]) == {}
    empty = over_time_figure({}, "auc", "crpnet", "t", "x")
    assert "risks of different fits" in empty.caption


def test_brier_scores_stand_beside_that_of_the_average(data, sample):
    known, left = probabilities(data, sample, ["crpnet"], 36.0)
    table = brier_table(known, left | {"other": "because"}, 36.0).set_index("Model")
    assert float(table.loc["CRPNet", "Brier score"][:5]) < float(
        table.loc["CRPNet", "Brier score of the average"][:5]
    )
    assert table.loc["other", ["Brier score", "Note"]].tolist() == ["not calibrated", "because"]
