from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.errors import InputError
from crpnet_bench.evaluation import evaluate
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS, conform


def _cohort(n: int = 120, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of two models and outcomes; the risk is informative, ties occur."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=n)
    time = np.ceil(generator.exponential(60 * np.exp(-0.8 * signal)))
    censoring = np.ceil(generator.uniform(12, 96, size=n))
    status = np.where(time <= censoring, 1, np.where(generator.random(n) < 0.1, 2, 0))
    ids = [f"p{i:03d}" for i in range(n)]
    outcomes = pd.DataFrame(
        {"patient_id": ids, "time": np.minimum(time, censoring), "status": status}
    )
    parts = []
    for model, noise in (("good", 0.3), ("poor", 3.0)):
        risk = np.round(signal + noise * generator.normal(size=n), 1)
        probability = 1 / (1 + np.exp(-risk))
        parts.append(
            pd.DataFrame(
                {
                    "run_id": "r",
                    "model": model,
                    "cohort": "c",
                    "split": "s",
                    "role": "validation",
                    "repeat": 0,
                    "fold": 0,
                    "in_sample": False,
                    "patient_id": ids,
                    "risk": risk,
                    "probability": probability,
                    "predicted_class": (probability >= 0.5).astype(int),
                    "risk_group": np.where(risk > 0, "high", "low"),
                    "threshold": 0.5,
                    "cutoff": 0.0,
                    "risk_sd": 1.25,
                    "status": "ok",
                }
            )
        )
    return conform(pd.concat(parts, ignore_index=True), PREDICTION_COLUMNS), outcomes


def _value(metrics: pd.DataFrame, model: str, metric: str, subgroup: str = "all", horizon=None):
    rows = metrics[
        (metrics["model"] == model)
        & (metrics["metric"] == metric)
        & (metrics["subgroup"] == subgroup)
    ]
    if horizon is not None:
        rows = rows[rows["horizon_months"] == horizon]
    assert len(rows) == 1
    return rows.iloc[0]


def test_metrics_are_those_of_the_statistics_package():
    predictions, outcomes = _cohort()
    metrics = evaluate(predictions, outcomes)
    rows = predictions[predictions["model"] == "good"].merge(outcomes, on="patient_id")
    time, event = rows["time"], (rows["status_y"] == 1).astype(int)
    risk = rows["risk"].astype(float)
    auc = stats.roc_auc(event, risk)
    found = _value(metrics, "good", "auc")
    assert (found["value"], found["ci_low"], found["ci_high"]) == (
        auc.value,
        auc.ci_low,
        auc.ci_high,
    )
    c_index = stats.concordance_index(time, event, risk)
    assert _value(metrics, "good", "c_index")["value"] == c_index.value
    hazard = stats.cox_ph(time, event, pd.DataFrame({"x": risk / 1.25})).terms["x"]
    assert _value(metrics, "good", "hr_per_sd")["value"] == pytest.approx(hazard.hazard_ratio)
    table = stats.confusion(event, rows["predicted_class"].astype(int))
    assert _value(metrics, "good", "tp")["value"] == table.tp
    assert _value(metrics, "good", "recall")["ci_low"] == table.recall.ci_low
    at_60 = _value(metrics, "good", "auc_t", horizon=60.0)
    assert 0.5 < at_60["value"] <= 1
    assert at_60["ci_low"] < at_60["value"] < at_60["ci_high"]


def test_every_row_has_n_and_events_and_holds_to_the_contract():
    predictions, outcomes = _cohort()
    metrics = evaluate(predictions, outcomes)
    assert list(metrics.columns) == list(METRIC_COLUMNS)
    assert (metrics["n"] == 120).all()
    assert (metrics["events"] == (outcomes["status"] == 1).sum()).all()
    estimated = metrics["status"] == "ok"
    assert metrics.loc[estimated, "value"].notna().all()
    assert metrics.loc[~estimated, "reason"].notna().all()


def test_a_missing_prediction_is_counted_with_its_reason():
    predictions, outcomes = _cohort()
    lost = predictions["patient_id"].isin(["p000", "p001"]) & (predictions["model"] == "good")
    predictions.loc[lost, ["status", "reason"]] = ["missing", "no slide"]
    predictions.loc[lost, "risk"] = pd.NA
    metrics = evaluate(predictions, outcomes)
    missing = _value(metrics, "good", "n_missing")
    assert missing["value"] == 2
    assert missing["reason"] == "no slide (2)"
    assert _value(metrics, "good", "auc")["n"] == 118
    assert _value(metrics, "poor", "auc")["n"] == 120


def test_a_subgroup_is_evaluated_like_a_cohort_of_its_own():
    predictions, outcomes = _cohort()
    some = set(outcomes["patient_id"][:70])
    within = evaluate(predictions, outcomes, subgroups={"first 70": some})
    alone = evaluate(
        predictions[predictions["patient_id"].isin(some)],
        outcomes[outcomes["patient_id"].isin(some)],
    )
    for metric in ("auc", "c_index", "hr_per_sd", "recall"):
        assert (
            _value(within, "good", metric, "first 70")["value"]
            == _value(alone, "good", metric)["value"]
        )


def test_without_events_everything_is_a_row_with_a_reason():
    predictions, outcomes = _cohort()
    outcomes["status"] = 0
    metrics = evaluate(predictions, outcomes)
    for metric in ("auc", "c_index", "hr_per_sd", "hr_high_low", "logrank_p", "recall"):
        row = _value(metrics, "good", metric)
        assert row["status"] == "not estimable", metric
        assert pd.notna(row["reason"]), metric


def test_one_risk_group_has_no_hazard_ratio_but_a_reason():
    predictions, outcomes = _cohort()
    predictions["risk_group"] = "high"
    row = _value(evaluate(predictions, outcomes), "good", "hr_high_low")
    assert row["status"] == "not estimable"
    assert "one risk group only" in row["reason"]


def test_out_of_fold_rows_compare_pairs_within_a_fold():
    predictions, outcomes = _cohort()
    good = predictions["model"] == "good"
    inner = pd.Series(range(120)).mod(4).tolist() * 2
    predictions["inner_fold"] = pd.array(inner, dtype="Int64")
    predictions["role"] = "train"
    # A shift by fold destroys pooled discrimination and must leave the stratified one alone.
    shifted = predictions.copy()
    shifted["risk"] = shifted["risk"] + 100.0 * shifted["inner_fold"].astype("Float64")
    plain = _value(evaluate(predictions[good], outcomes), "good", "auc")["value"]
    assert _value(evaluate(shifted[good], outcomes), "good", "auc")["value"] == pytest.approx(plain)


@pytest.mark.parametrize("damage", ["unknown patient", "two outcomes"])
def test_patients_who_do_not_fit_are_refused(damage):
    predictions, outcomes = _cohort()
    if damage == "unknown patient":
        outcomes = outcomes[outcomes["patient_id"] != "p005"]
    else:
        outcomes = pd.concat([outcomes, outcomes.iloc[[5]]])
    with pytest.raises(InputError, match="p005"):
        evaluate(predictions, outcomes)


def test_pairs_of_one_site_are_those_of_a_stratified_index():
    predictions, outcomes = _cohort()
    site = np.random.default_rng(3).choice(["A", "B", "C"], len(outcomes)).astype(object)
    site[:4] = None  # not recorded: in no pair of one site
    metrics = evaluate(predictions, outcomes.assign(site=site))
    good = predictions[predictions["model"] == "good"].set_index("patient_id")["risk"]
    risk = good.reindex(outcomes["patient_id"]).to_numpy(float)
    time, event = outcomes["time"].to_numpy(float), (outcomes["status"] == 1).to_numpy()
    concordant = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if site[i] is None or site[i] != site[j] or i == j:
                continue
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                concordant += float(risk[i] > risk[j]) + 0.5 * float(risk[i] == risk[j])
    assert _value(metrics, "good", "c_index_within_sites")["value"] == pytest.approx(
        concordant / pairs
    )
    known = np.array([one is not None for one in site])
    auc = stats.roc_auc(event[known], risk[known], fold=site[known].astype(str))
    within = _value(metrics, "good", "auc_within_sites")
    assert (within["value"], within["ci_low"]) == (auc.value, auc.ci_low)
    assert within["n"] == len(outcomes) - 4
    gain = stats.concordance_within(time[known], event[known], risk[known], site[known].astype(str))
    found = _value(metrics, "good", "c_index_site_gain")
    assert (found["value"], found["ci_low"]) == (gain.gain.value, gain.gain.ci_low)
    overall = stats.roc_auc(event[known], risk[known])
    assert _value(metrics, "good", "auc_site_gain")["value"] == pytest.approx(
        overall.value - auc.value
    )
    plain = evaluate(predictions, outcomes)
    shown = metrics[~metrics["metric"].str.contains("_site")].reset_index(drop=True)
    pd.testing.assert_frame_equal(shown, plain)


def test_one_site_needs_no_pairs_of_one_site():
    predictions, outcomes = _cohort()
    metrics = evaluate(predictions, outcomes.assign(site="A"))
    assert not metrics["metric"].str.contains("_site").any()


class _Counting:
    """Progress that keeps what it is told."""

    def __init__(self):
        self.total = self.done = 0

    @contextmanager
    def task(self, description, total, unit=""):
        self.total += total
        yield self

    def advance(self, count=1, note=""):
        self.done += count


def test_long_evaluations_tell_how_far_they_are():
    predictions, outcomes = _cohort()
    some = {"few": set(outcomes["patient_id"][:60])}
    told = _Counting()
    evaluate(predictions, outcomes, subgroups=some, progress=told)
    sets = predictions[["model", "role", "in_sample"]].drop_duplicates()
    assert told.done == told.total == 2 * len(sets)
