import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from crpnet_bench.synthetic.clinical import (
    clinical_predictor,
    draw_clinical,
    draw_outcomes,
    histology_predictor,
)


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(0)
    histology = histology_predictor(rng.choice([0, 0, 0, 0.03, 0.06, 0.12], 4000))
    return histology, draw_clinical(rng, histology)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20, unique=True))
def test_risk_rises_with_the_planted_fraction(fractions):
    ordered = np.sort(fractions)
    assert (np.diff(histology_predictor(ordered)) >= 0).all()


def test_no_nest_is_the_lowest_risk_and_15_percent_is_strong_but_finite():
    none, most = histology_predictor(np.array([0.0, 0.15]))
    assert none == 0
    assert 4 < most < 8


def test_stage_agrees_with_size(many):
    _, clinical = many
    size = clinical.tumor_size_mm
    limits = {"T1a": (0, 40), "T1b": (41, 70), "T2a": (71, 100), "T2b": (101, 999)}
    for stage, (low, high) in limits.items():
        own = size[clinical.pT == stage]
        assert own.size
        assert low <= own.min() <= own.max() <= high
    assert set(clinical.pT) == {*limits, "T3a", "T3b", "T3c", "T4"}


def test_margins_are_plausible(many):
    _, clinical = many
    assert 0.45 < (clinical.pT == "T1a").mean() < 0.65
    assert 0.55 < (clinical.grade == 2).mean() < 0.8
    assert set(clinical.grade) == {1, 2, 3, 4}
    assert 0.01 < (clinical.pN == "N1").mean() < 0.06
    assert 0.1 < clinical.necrosis.mean() < 0.35
    assert 0.55 < (clinical.symptoms == "none").mean() < 0.85
    assert not clinical.sarcomatoid[clinical.grade < 4].any()


def test_clinical_risk_is_partly_the_histologys(many):
    histology, clinical = many
    correlation = np.corrcoef(histology, clinical_predictor(clinical))[0, 1]
    assert 0.2 < correlation < 0.6


def test_outcomes_follow_the_hazard():
    rng = np.random.default_rng(1)
    low, high = (draw_outcomes(rng, np.full(3000, value)) for value in (0.0, 5.0))
    assert (low.status == 1).mean() < 0.03
    assert (high.status == 1).mean() > 0.5
    assert low.months[low.status == 0].min() >= 30
    assert low.months.max() <= 100
    assert high.months.min() >= 1
    assert (low.status == 2).any()
    assert len(np.unique(high.months)) < 110  # whole months, hence ties
