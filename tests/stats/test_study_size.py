"""Sample sizes against pmsampsize and pmvalsampsize, and the article's own arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.stats.study_size import (
    cox_snell_r2_from_c_statistic,
    largest_number_of_predictors,
    power_logistic,
    sample_size,
    sample_size_for_events_per_variable,
    sample_size_for_shrinkage,
    validation_sample_size,
)

VALUES = pd.read_csv(Path(__file__).parent / "r" / "study_size.csv", comment="#")


def cases(analysis: str) -> list[tuple[list[float], pd.DataFrame]]:
    rows = VALUES[VALUES.analysis == analysis]
    tables = []
    for arguments, part in rows.groupby("arguments"):
        table = part.pivot_table(index="row", columns="quantity", values="value")
        tables.append(([float(number) for number in arguments.split()], table))
    assert tables
    return tables


def same_as(size, table: pd.DataFrame) -> None:
    assert [criterion.n for criterion in size.criteria] == table.Samp_size.tolist()[:3]
    assert size.n == table.Samp_size.iloc[3]
    np.testing.assert_allclose(
        [round(criterion.shrinkage, 3) for criterion in size.criteria], table.Shrinkage[:3]
    )
    np.testing.assert_allclose(
        [criterion.events_per_predictor for criterion in size.criteria], table.EPP[:3], atol=0.00501
    )
    assert round(size.max_r2, 3) == pytest.approx(table.Max_Rsq.iloc[0])
    assert round(size.nagelkerke_r2, 3) == pytest.approx(table.Nag_Rsq.iloc[0])


def test_binary_outcome_equals_pmsampsize() -> None:
    for (r2, predictors, prevalence, shrinkage), table in cases("binary"):
        size = sample_size(
            "binary",
            predictors=int(predictors),
            cox_snell_r2=r2,
            prevalence=prevalence,
            shrinkage=shrinkage,
        )
        same_as(size, table)


def test_time_to_event_outcome_equals_pmsampsize() -> None:
    for (r2, predictors, rate, time_point, follow_up), table in cases("survival"):
        size = sample_size(
            "survival",
            predictors=int(predictors),
            cox_snell_r2=r2,
            rate=rate,
            time_point=time_point,
            mean_follow_up=follow_up,
        )
        same_as(size, table)


def test_risk_interval_of_the_published_example() -> None:
    # Riley et al. 2019, venous thromboembolism: 0.122 (0.113 to 0.130) at two years.
    size = sample_size(
        "survival", predictors=30, cox_snell_r2=0.051, rate=0.065, time_point=2, mean_follow_up=2.07
    )
    assert [round(risk, 3) for risk in size.risk_interval] == [0.113, 0.122, 0.130]


def test_validation_equals_pmvalsampsize() -> None:
    for (prevalence, c, oe_width, slope_width, c_width), table in cases("validation"):
        size = validation_sample_size(
            prevalence,
            c,
            (-5, 2.5),
            oe_width=oe_width,
            slope_width=slope_width,
            c_statistic_width=c_width,
        )
        oe, slope, c_statistic = (criterion.n for criterion in size.criteria)
        assert oe == table.Samp_size.iloc[0]
        assert c_statistic == table.Samp_size.iloc[2]
        # There a million simulated patients, here an integral.
        assert slope == pytest.approx(table.Samp_size.iloc[1], rel=0.01)


def test_slope_criterion_from_values_and_from_the_c_statistic() -> None:
    values = np.random.default_rng(2).normal(-5, 2.5, 200_000)
    by_values = validation_sample_size(0.018, 0.8, values).criteria[1].n
    by_moments = validation_sample_size(0.018, 0.8, (-5, 2.5)).criteria[1].n
    assert by_values == pytest.approx(by_moments, rel=0.02)
    rng = np.random.default_rng(3)
    label = rng.random(400_000) < 0.3
    variance = 2 * 0.6744897501960817**2  # C-statistic 0.75
    center = np.log(0.3 / 0.7) - variance / 2
    simulated = rng.normal(center + variance * label, np.sqrt(variance))
    default = validation_sample_size(0.3, 0.75).criteria[1].n
    assert validation_sample_size(0.3, 0.75, simulated).criteria[1].n == pytest.approx(
        default, rel=0.02
    )


def test_the_articles_sample_sizes() -> None:
    prevalence = 45 / 174
    assert f"{sample_size_for_shrinkage(1, 0.57):.2f}" == "9.97"
    assert f"{largest_number_of_predictors(174, 0.57):.2f}" == "17.46"
    assert f"{sample_size_for_events_per_variable(1, prevalence):.2f}" == "38.67"
    assert f"{100 * power_logistic(174, prevalence, 2.0).value:.2f}" == "97.95"
    one = sample_size(predictors=1, cox_snell_r2=0.57, prevalence=prevalence)
    seventeen = sample_size(predictors=17, cox_snell_r2=0.57, prevalence=prevalence)
    assert (one.n, one.deciding) == (295, "precise overall risk")
    assert (seventeen.n, seventeen.deciding) == (326, "small optimism in R2")


def test_power_of_published_examples() -> None:
    # Hsieh et al. 1998: 317 and 1281 patients give 95 % power.
    assert power_logistic(317, 0.5, np.exp(0.405)).value == pytest.approx(0.95, abs=5e-4)
    assert power_logistic(1281, 0.45, 1.5, exposed=0.5).value == pytest.approx(0.95, abs=5e-4)
    assert power_logistic(400, 0.5, 1.5, r2_other=0.5).value == pytest.approx(
        power_logistic(200, 0.5, 1.5).value
    )


def test_r2_from_the_c_statistic_agrees_with_a_simulation() -> None:
    rng = np.random.default_rng(4)
    share, shift = 0.174, np.sqrt(2) * 0.8778962950512289  # C-statistic 0.81
    label = rng.random(1_000_000) < share
    x = rng.normal(shift * label)
    logit = np.log(share / (1 - share)) + shift * x - shift**2 / 2
    fitted = -np.logaddexp(0, np.where(label, -logit, logit)).mean()
    null = label.mean() * np.log(label.mean()) + (1 - label.mean()) * np.log(1 - label.mean())
    simulated = 1 - np.exp(2 * (null - fitted))
    assert cox_snell_r2_from_c_statistic(0.81, share) == pytest.approx(simulated, abs=2e-3)
    by_c = sample_size(predictors=24, c_statistic=0.81, prevalence=share)
    assert by_c.n == pytest.approx(1090, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prevalence": 0.2}, "exactly one"),
        ({"cox_snell_r2": 0.2}, "prevalence: missing"),
        ({"cox_snell_r2": 0.4, "prevalence": 0.2, "shrinkage": 0.3}, "below the shrinkage factor"),
        ({"cox_snell_r2": 0.6, "prevalence": 0.05}, "at most 0.328 is possible"),
        ({"cox_snell_r2": 0.2, "prevalence": 20}, "prevalence: found 20"),
    ],
)
def test_impossible_assumptions_are_named(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample_size("binary", predictors=3, **arguments)
    with pytest.raises(InputError, match="did you mean"):
        sample_size("binari", predictors=3)
