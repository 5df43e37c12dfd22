"""Values with a printed summary, and risks with a printed AUC."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from crpnet_bench.audit.printed import MeanCell, MedianCell
from crpnet_bench.synthetic.assigned_risks import Band, assign_risks, pair_area
from crpnet_bench.synthetic.follow_up import ConcordanceTarget, draw_times, search_times
from crpnet_bench.synthetic.printed_margins import layouts, place, with_mean_sd, with_quartiles

mean = TypeAdapter(MeanCell).validate_python
median = TypeAdapter(MedianCell).validate_python


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(5, 150), min_size=8, max_size=60), st.integers(0, 2**32 - 1))
def test_quartiles_of_any_whole_numbers_can_be_placed(values: list[int], seed: int):
    q1, q2, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    cell = median(f"{q2:.2f} ({q1:.2f}, {q3:.2f})")
    gaps = np.diff(np.sort(values))
    if gaps.max() > 10:
        return  # the two neighbours of a quantile are sought at most ten units apart
    found = with_quartiles(cell, len(values), 1.0, (0, 200), np.random.default_rng(seed))
    assert np.quantile(found, [0.25, 0.5, 0.75]) == pytest.approx([q1, q2, q3], abs=0.006)


def test_bins_get_what_they_require():
    cell = median("65 (45, 82.5)")
    edges, required = (40, 70, 100), (5, 6, 2, 2)
    rng = np.random.default_rng(0)
    for layout in layouts(cell, 19, edges, required):
        values = place(layout, 19, edges, (8, 160), rng)
        counts = np.histogram(values, bins=[0, 40.5, 70.5, 100.5, 200])[0]
        assert (counts >= required).all()
        assert np.quantile(values, [0.25, 0.5, 0.75]).tolist() == [45, 65, 82.5]


def test_impossible_summary_is_refused():
    with pytest.raises(ValueError, match="no 19 values"):
        layouts(median("65 (45, 82.5)"), 19, (40, 70, 100), (12, 2, 2, 2))


@pytest.mark.parametrize(
    ("text", "n"), [("61.37 ± 13.335", 135), ("64.042 ± 9.0834", 48), ("59.053 ± 5.2965", 19)]
)
def test_whole_numbers_with_a_printed_mean_and_sd(text: str, n: int):
    cell = mean(text)
    for seed in range(5):
        values = with_mean_sd(cell, n, 1.0, np.random.default_rng(seed))
        assert (values == np.rint(values)).all()
        assert cell.mean.agrees(values.mean())
        assert cell.sd.agrees(values.std(ddof=1))


def test_mean_that_no_whole_numbers_have():
    with pytest.raises(ValueError, match="no 19 multiples"):
        with_mean_sd(mean("59.03 ± 5.2965"), 19, 1.0, np.random.default_rng(0))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.55, 0.95), st.integers(0, 2**32 - 1))
def test_any_area_within_the_bands_is_reached(auc: float, seed: int):
    rng = np.random.default_rng(seed)
    event = rng.permutation(np.repeat([True, False], [20, 60]))
    bands = (Band(20, 60, 0, 500, positive=False),)
    risk, positive = assign_risks(event, bands, auc, rng.normal(size=80), rng)
    assert pair_area(event, risk) == pytest.approx(auc, abs=0.0031)
    assert not positive.any()


def test_area_that_the_bands_exclude():
    event = np.repeat([True, False], [10, 10])
    bands = (Band(1, 9, 0, 9, positive=False), Band(9, 1, 10, 19, positive=True))
    with pytest.raises(ValueError, match="no risks with an AUC"):
        assign_risks(event, bands, 0.5, np.zeros(20), np.random.default_rng(0))


def test_times_are_distinct_and_reach_the_index():
    rng = np.random.default_rng(5)
    event = np.repeat([True, False], [30, 60])
    risks = np.stack([event + rng.normal(size=90), rng.normal(size=90)])
    start = draw_times(event, rng)
    assert len(np.unique(start)) == 90
    target = ConcordanceTarget(risks, event, first=0.75, tolerance=0.005, margin=0.02)
    times = search_times(target, start, rng)
    assert times is not None
    assert sorted(times) == sorted(start)


def test_times_that_cannot_reach_the_index():
    rng = np.random.default_rng(5)
    event = np.repeat([True, False], [5, 20])
    risks = np.stack([-event.astype(float), rng.normal(size=25)])
    target = ConcordanceTarget(risks, event, first=0.99, tolerance=0.005, margin=0.0)
    assert search_times(target, draw_times(event, rng), rng, steps=200) is None
