"""The threshold to play with, beside the locked one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crpnet_bench.reporting.classification import locked_counts, roc_figure
from crpnet_bench.reporting.threshold import at_threshold, locked_thresholds, threshold_figure


def test_the_locked_threshold_gives_the_locked_matrix(sample):
    assert locked_thresholds(sample, "crpnet") == (0.5,)
    found = at_threshold(sample, "crpnet", 0.5)
    assert locked_counts(sample, "crpnet") == {
        name: getattr(found, name) for name in ("tp", "fp", "tn", "fn")
    }
    everybody = at_threshold(sample, "crpnet", 0.0)
    assert (everybody.fn, everybody.tn) == (0, 0)


def test_both_thresholds_are_marked_and_every_patient_is_in_a_bar(sample):
    figure = threshold_figure(sample, "crpnet", 0.31)
    assert {shape.x0 for shape in figure.plot.layout.shapes} == {0.5, 0.31}
    texts = [one.text for one in figure.plot.layout.annotations]
    assert texts == ["tried 0.31", "<b>locked 0.50</b>"]
    assert sum(len(trace.x) for trace in figure.plot.data) == len(sample.of_model("crpnet"))
    assert figure.data["event"].sum() == sample.events
    assert "the locked threshold, 0.500" in figure.caption


def test_at_the_locked_threshold_there_is_one_line(sample):
    assert len(threshold_figure(sample, "crpnet", 0.5).plot.layout.shapes) == 1


def test_several_fits_have_several_locked_thresholds(sample):
    predictions = sample.predictions.copy()
    half = predictions.index[::2]
    predictions.loc[half, "threshold"] = 0.4
    several = replace(sample, predictions=predictions)
    assert locked_thresholds(several, "crpnet") == (0.4, 0.5)
    figure = threshold_figure(several, "crpnet", 0.45)
    assert "thresholds of 2 fits, 0.400 to 0.500" in figure.caption
    assert len(figure.plot.layout.shapes) == 3


def test_a_model_without_probabilities_has_no_matrix_at_a_threshold(sample):
    bare = replace(sample, predictions=sample.predictions.assign(probability=None))
    assert at_threshold(bare, "crpnet", 0.5) is None


def test_the_locked_classes_are_marked_on_their_roc_curve(sample):
    figure = roc_figure(sample, ["crpnet"])
    (mark,) = [trace for trace in figure.plot.data if trace.mode == "markers"]
    for place, metric in ((mark.x[0], "fpr"), (mark.y[0], "recall")):
        assert place == pytest.approx(100 * sample.metric("crpnet", metric)["value"])
    (row,) = figure.data[figure.data["point"] == "locked classes"].to_dict("records")
    assert row["true_positive_rate"] == sample.metric("crpnet", "recall")["value"]
