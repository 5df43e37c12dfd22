from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from crpnet_bench import stats
from crpnet_bench.benchmark.comparisons import COMPARISON_COLUMNS, compare_models
from crpnet_bench.results import PREDICTION_COLUMNS, conform


def _tables(n=90, seed=0, folds=1, repeats=1):
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=n)
    time = np.ceil(generator.exponential(40 * np.exp(-0.8 * signal)))
    censoring = np.ceil(generator.uniform(10, 90, n))
    ids = np.array([f"p{i:03d}" for i in range(n)])
    outcomes = pd.DataFrame(
        {
            "patient_id": ids,
            "time": np.minimum(time, censoring),
            "status": (time <= censoring).astype(int),
        }
    )
    parts = []
    for repeat in range(repeats):
        fold = generator.integers(0, folds, n)
        risks = {
            "net": signal + generator.normal(size=n),
            "points": np.clip(np.round(signal + generator.normal(size=n)), -1, 2),
            "other": signal + 0.5 * generator.normal(size=n),
        }
        for model, risk in risks.items():
            parts.append(
                pd.DataFrame(
                    {
                        "model": model,
                        "cohort": "c",
                        "role": "validation",
                        "seed": 0,
                        "repeat": repeat,
                        "fold": fold,
                        "in_sample": False,
                        "patient_id": ids,
                        "risk": risk,
                        "status": "ok",
                    }
                )
            )
    return conform(pd.concat(parts), PREDICTION_COLUMNS), outcomes


def _row(table, rival, metric, ties=None):
    rows = table[(table["model_b"] == rival) & (table["metric"] == metric)]
    rows = rows[rows["ties"].isna() if ties is None else rows["ties"].eq(ties).fillna(value=False)]
    assert len(rows) == 1
    return rows.iloc[0]


def _wide(predictions, outcomes):
    risks = predictions.pivot_table(index="patient_id", columns="model", values="risk")
    return risks.join(outcomes.set_index("patient_id")).astype(float)


def test_the_paired_tests_are_those_of_the_statistics():
    predictions, outcomes = _tables()
    table = compare_models(predictions, outcomes, "net")
    wide = _wide(predictions, outcomes)
    auc = stats.compare_auc(wide["status"], wide["net"], wide["points"])
    found = _row(table, "points", "auc", "half")
    assert (found["difference"], found["ci_low"], found["p_value"]) == (
        auc.difference,
        auc.ci_low,
        auc.p_value,
    )
    c = stats.compare_concordance(wide["time"], wide["status"], wide["net"], wide["points"])
    found = _row(table, "points", "c_index", "half")
    assert (found["difference"], found["p_value"]) == (c.difference, c.p_value)
    assert list(table.columns) == list(COMPARISON_COLUMNS)


def test_ties_are_counted_three_ways():
    predictions, outcomes = _tables()
    table = compare_models(predictions, outcomes, "net")
    wide = _wide(predictions, outcomes)
    points = stats.concordance_index(wide["time"], wide["status"], wide["points"])
    strict = _row(table, "points", "c_index", "strict")
    assert strict["value_b"] == pytest.approx(points.concordant / points.comparable)
    assert strict["value_b"] < points.value < strict["value_b"] + 1
    assert strict["value_a"] == pytest.approx(_row(table, "points", "c_index", "half")["value_a"])
    drawn = _row(table, "points", "c_index", "random")
    assert drawn["value_b"] == pytest.approx(points.value, abs=0.01)
    assert drawn["ci_low"] < drawn["difference"] < drawn["ci_high"]
    assert pd.isna(drawn["p_value"])
    assert set(table.loc[table["model_b"] == "other", "ties"].dropna()) == {"half"}


def test_the_interval_of_strict_ties_is_a_jackknife():
    """With ties the standard error is close to that of a leave-one-out jackknife."""
    predictions, outcomes = _tables(n=40, seed=3)
    table = compare_models(predictions, outcomes, "net")
    wide = _wide(predictions, outcomes)

    def strict(rows):
        a, b = (
            stats.concordance_index(rows["time"], rows["status"], rows[model])
            for model in ("net", "points")
        )
        return a.concordant / a.comparable - b.concordant / b.comparable

    each = np.array([strict(wide.drop(index=patient)) for patient in wide.index])
    n = len(each)
    jackknife = np.sqrt((n - 1) / n * np.sum((each - each.mean()) ** 2))
    row = _row(table, "points", "c_index", "strict")
    se = (row["ci_high"] - row["ci_low"]) / (2 * 1.959963984540054)
    assert se == pytest.approx(jackknife, rel=0.08)
    assert row["difference"] == pytest.approx(strict(wide))


def test_what_the_model_adds_to_the_score():
    predictions, outcomes = _tables()
    table = compare_models(predictions, outcomes, "net")
    wide = _wide(predictions, outcomes)
    alone = stats.cox_ph(wide["time"], wide["status"], wide[["points"]])
    joint = stats.cox_ph(wide["time"], wide["status"], wide[["points", "net"]])
    ratio = 2 * (joint.log_likelihood - alone.log_likelihood)
    row = _row(table, "points", "likelihood_ratio")
    assert row["difference"] == pytest.approx(ratio)
    assert row["p_value"] == pytest.approx(chi2.sf(ratio, 1))
    gain = _row(table, "points", "c_index_added")
    better = stats.concordance_index(
        wide["time"], wide["status"], joint.linear_predictor(wide[["points", "net"]])
    )
    assert gain["value_a"] == pytest.approx(better.value)
    base = stats.concordance_index(wide["time"], wide["status"], wide["points"])
    assert gain["value_b"] == pytest.approx(base.value)


def test_only_patients_with_both_risks_and_the_others_are_counted():
    predictions, outcomes = _tables()
    lost = predictions["patient_id"].isin(["p000", "p001", "p002"])
    points = lost & (predictions["model"] == "points")
    predictions.loc[points, "status"] = "missing"
    net = predictions["patient_id"].isin(["p002", "p003"]) & (predictions["model"] == "net")
    predictions.loc[net, ["status", "risk"]] = ["missing", pd.NA]
    table = compare_models(predictions, outcomes, "net")
    row = _row(table, "points", "auc", "half")
    assert (row["n"], row["left_out"]) == (86, 4)
    assert _row(table, "other", "auc", "half")["left_out"] == 2


def test_pairs_are_compared_within_folds():
    predictions, outcomes = _tables(n=120, folds=4)
    table = compare_models(predictions, outcomes, "net")
    wide = _wide(predictions, outcomes)
    fold = predictions[predictions["model"] == "net"].set_index("patient_id")["fold"]
    c = stats.compare_concordance(
        wide["time"], wide["status"], wide["net"], wide["other"], fold=fold.loc[wide.index]
    )
    assert _row(table, "other", "c_index", "half")["difference"] == pytest.approx(c.difference)
    assert pd.notna(_row(table, "other", "likelihood_ratio")["difference"])


def test_repeats_are_one_unit_a_patient():
    predictions, outcomes = _tables(n=60, folds=3, repeats=2)
    table = compare_models(predictions, outcomes, "net")
    row = _row(table, "other", "auc", "half")
    assert row["n"] == 60
    assert _row(table, "other", "likelihood_ratio")["reason"] == (
        "several rows a patient: no likelihood"
    )


def test_apparent_rows_are_never_compared():
    predictions, outcomes = _tables()
    assert compare_models(predictions.assign(in_sample=True), outcomes, "net").empty


def test_holm_is_over_the_rivals():
    predictions, outcomes = _tables()
    table = compare_models(predictions, outcomes, "net")
    rows = table[(table["metric"] == "auc") & (table["ties"] == "half")]
    expected = stats.adjust_p_values(rows["p_value"].to_numpy(float), "holm")
    assert rows["p_holm"].to_numpy(float) == pytest.approx(expected)
