"""The registry of scores, and survival shown only beside its own endpoint."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crpnet_bench.errors import NotFoundError
from crpnet_bench.scores import SCORES, ClinicalInputs, ScoreOptions, get_score, published_survival

LOW_RISK = ClinicalInputs("T1a", "N0", "M0", 1, 3.0, necrosis=False, ecog=0, age=50)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_row_is_complete(name):
    score = SCORES[name]
    result = score.function(LOW_RISK)
    assert score.name == result.score == name
    assert score.citation == result.citation
    assert score.definition_version == result.definition_version
    assert result.group in score.groups
    assert score.as_risk(result) == 0
    assert score.function(ClinicalInputs()).minimum == score.range[0]
    assert score.function(ClinicalInputs()).maximum == score.range[1]
    for table in score.survival:
        assert table.by == "value" or tuple(table.percent) == score.groups
        for by_year in table.percent.values():
            years = sorted(by_year)
            percents = [by_year[year] for year in years]
            assert percents == sorted(percents, reverse=True)


def test_survival_by_group_falls_from_good_to_bad():
    for score in SCORES.values():
        for table in score.survival:
            at_five = [by_year[5] for by_year in table.percent.values()]
            metastatic = 3 if score.name == "uiss_2002" else len(at_five)
            assert at_five[:metastatic] == sorted(at_five[:metastatic], reverse=True)
            assert at_five[metastatic:] == sorted(at_five[metastatic:], reverse=True)


@pytest.mark.parametrize(
    ("name", "endpoint", "five_years"),
    [
        ("uiss_2002", "DSS", 91.1),
        ("ssign", "DSS", 97.3),
        ("ssign", "CSS", 97.3),
        ("leibovich_2003", "MFS", 98.7),
        ("grant", "OS", 94),
    ],
)
def test_survival_beside_its_own_endpoint(name, endpoint, five_years):
    survival = published_survival(SCORES[name].function(LOW_RISK), endpoint)
    assert survival.percent[5] == five_years
    assert survival.reason is None


def test_another_endpoint_is_stated_and_shows_nothing():
    survival = published_survival(SCORES["leibovich_2003"].function(LOW_RISK), "RFS")
    assert survival.percent is None
    assert survival.reason == "published for MFS, the endpoint here is RFS"


def test_leibovich_from_8_points_has_only_the_groups_survival():
    worst = ClinicalInputs("T4", "N1", "M0", 4, 12.0, necrosis=True)
    survival = published_survival(SCORES["leibovich_2003"].function(worst), "MFS")
    assert (survival.stratum, survival.percent) == ("high", {5: 31.2})


def test_no_survival_for_what_is_not_determined_or_out_of_scope():
    unknown = published_survival(SCORES["grant"].function(ClinicalInputs()), "OS")
    assert unknown.percent is None
    assert unknown.reason.startswith("not determined")
    inputs = ClinicalInputs("T1a", "N0", "M1", 1, 3.0, necrosis=False)
    outside = SCORES["leibovich_2003"].function(inputs, ScoreOptions(outside_scope=True))
    assert published_survival(outside, "MFS").reason == "the score was not made for this patient"
    assert published_survival(SCORES["keynote564"].function(LOW_RISK), "OS") is None


def test_the_source_of_ssigns_survival_is_marked_unconfirmed():
    survival = published_survival(SCORES["ssign"].function(LOW_RISK), "DSS")
    assert not survival.confirmed
    assert "unconfirmed" in survival.source


def test_an_unknown_score_is_named():
    with pytest.raises(NotFoundError, match="did you mean 'ssign'"):
        get_score("sign")


def test_importing_the_scores_loads_nothing_heavy():
    code = (
        "import sys, crpnet_bench.scores; "
        "print([m for m in ('pandas', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
