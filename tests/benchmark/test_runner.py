from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.finished import read_run
from crpnet_bench.benchmark.inputs import plan_run
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, CRPNetBenchError, RunError
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import read_record

K_FOLD = SplitRequest(method="k-fold", folds=5, name="five")


def run(home, config, **options):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress(), **options)


def value(metrics, model, metric, role="validation"):
    rows = metrics.query("model == @model and metric == @metric and role == @role")
    rows = rows[~rows["in_sample"]]
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_run_ends_in_folder_and_registry(new_home, clinical_config):
    home = new_home()
    finished = run(home, clinical_config())
    assert finished.record.status == "done"
    assert not finished.failures
    stored = views.metrics(home, finished.record.run_id)
    pd.testing.assert_frame_equal(stored, finished.metrics, check_like=True)
    again = read_run(home, finished.record.run_id)
    pd.testing.assert_frame_equal(again.metrics, finished.metrics)
    assert again.titles == finished.titles
    assert set(again.comparisons["model_b"]) == {"ssign", "karakiewicz_refit"}


def test_what_is_primary_is_on_disk_before_outcomes_are_read(new_home, clinical_config):
    home = new_home()
    with Registry(home).write() as registry:
        registry._run("DELETE FROM outcomes")
    config = clinical_config(primary_model="ssign", primary_metric="c_index")
    with pytest.raises(CRPNetBenchError):
        run(home, config)
    (path,) = home.runs.glob("*/run.json")
    record = json.loads(path.read_text())
    declared = {key: value for key, value in record.items() if key.startswith("primary")}
    assert declared == {
        "primary_model": "ssign",
        "primary_metric": "c_index",
        "primary_horizon_months": None,
        "primary_role": "validation",
    }
    assert (record["endpoint"], record["split"], record["status"]) == (
        "RFS",
        "random-70-30",
        "running",
    )


def test_folds_are_pooled_by_comparing_pairs_within_a_fold(new_home, clinical_config):
    home = new_home(K_FOLD)
    finished = run(home, clinical_config(split="five"))
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    rows = rows.query("model == 'karakiewicz_refit' and role == 'validation'")
    assert rows["patient_id"].is_unique
    assert rows["fold"].nunique() == 5
    known = rows.merge(views.outcomes(home, "drawn"), on="patient_id", suffixes=("", "_of"))
    known = known[known["status"] == "ok"]
    expected = stats.concordance_index(
        known["time"], known["status_of"] == 1, known["risk"].astype(float), fold=known["fold"]
    )
    found = value(finished.metrics, "karakiewicz_refit", "c_index")
    assert found["value"] == pytest.approx(expected.value, abs=1e-12)
    assert found["ci_low"] == pytest.approx(expected.ci_low, abs=1e-12)
    assert "within a fold" in found["ci_method"]
    assert found["n"] == len(known)
    out_of_fold = value(finished.metrics, "karakiewicz_refit", "c_index", "train")
    assert out_of_fold["n"] == len(known)  # patients, not patient-folds


def test_repeats_count_patients_once(new_home, clinical_config):
    home = new_home(SplitRequest(method="k-fold", folds=3, repeats=2, name="twice"), n=70)
    finished = run(home, clinical_config(split="twice", models=["ssign", "leibovich_2003"]))
    metrics = finished.metrics
    found = value(metrics, "ssign", "auc")
    assert (found["n"], value(metrics, "ssign", "accuracy")["n"]) == (70, 70)
    single = pd.read_parquet(finished.folder / "predictions.parquet")
    single = single.query("model == 'ssign' and role == 'validation'")
    known = single.merge(views.outcomes(home, "drawn"), on="patient_id", suffixes=("", "_of"))
    correct = known["predicted_class"].astype(int) == (known["status_of"] == 1).astype(int)
    by_repeat = correct.groupby(known["repeat"]).mean()
    accuracy = value(metrics, "ssign", "accuracy")
    assert accuracy["value"] == pytest.approx(by_repeat.mean())
    assert "mean of 2 repetitions" in accuracy["ci_method"]
    lower = [
        stats.proportion_interval(int(part.sum()), len(part)).ci_low
        for _, part in correct.groupby(known["repeat"])
    ]
    assert accuracy["ci_low"] == pytest.approx(np.mean(lower))
    assert value(metrics, "ssign", "logrank_p")["status"] == "not estimable"


def test_a_fold_without_events_is_a_record_not_a_missing_row(new_home, clinical_config, drawn):
    patients = drawn(60, 1)
    patients["site"] = ["A"] * 30 + ["B"] * 30
    patients.loc[patients["site"] == "A", "event"] = "no"
    home = new_home(patients=patients)
    folder = views.cohort(home, "drawn").folder
    rows = [
        (patient, 0, fold, "validation" if site == held_out else "train")
        for fold, held_out in enumerate("AB")
        for patient, site in zip(patients["patient_id"], patients["site"], strict=True)
    ]
    split = pd.DataFrame(rows, columns=["patient_id", "repeat", "fold", "role"])
    split.to_csv(folder / "splits" / "sites.csv", index=False)
    register_cohort(home, folder)
    finished = run(home, clinical_config(split="sites", models=["ssign", "karakiewicz_refit"]))
    assert finished.record.status == "done with failures"
    assert len(finished.record.failures) == 2
    assert "ssign repeat0-fold" in finished.record.failures[0]
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    validated = rows.query("role == 'validation' and model == 'ssign'")
    assert len(validated) == 60
    lost = validated[validated["status"] == "missing"]
    assert len(lost) == 30
    assert lost["reason"].str.startswith("not fitted: ssign: 0 events among 30").all()
    assert value(finished.metrics, "ssign", "n_missing")["value"] == 30


def test_another_endpoint_of_the_cohort(new_home, clinical_config):
    home = new_home()
    finished = run(home, clinical_config(endpoint="OS", models=["ssign"]))
    assert finished.record.endpoint == "OS"
    outcomes = views.outcomes(home, "drawn", "OS").set_index("patient_id")
    shown = pd.read_parquet(finished.folder / "predictions.parquet").query("role == 'validation'")
    assert value(finished.metrics, "ssign", "auc")["events"] == int(
        (outcomes.loc[shown["patient_id"], "status"] == 1).sum()
    )


def test_seeds_are_a_distribution_with_every_member(new_home, clinical_config):
    home = new_home(n=60)
    finished = run(home, clinical_config(models=["ssign"], seeds=3, seed=4))
    assert sorted(finished.by_seed["seed"].unique()) == [4, 5, 6]
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    assert sorted(rows["seed"].unique()) == [4, 5, 6]
    found = value(finished.metrics, "ssign", "c_index")
    each = finished.by_seed.query("metric == 'c_index' and role == 'validation'")["value"]
    assert found["value"] == pytest.approx(each.mean())
    assert found["n"] == 18


def test_a_finished_fold_is_not_computed_again(new_home, clinical_config):
    home = new_home(K_FOLD)
    config = clinical_config(split="five")
    first = run(home, config)
    before = (first.folder / "predictions.parquet").read_bytes()
    marks = {path: path.stat().st_mtime_ns for path in first.folder.glob("folds/*/*/done.json")}
    some = next(iter(marks))
    some.unlink()
    again = run(home, config, resume=first.record.run_id)
    assert (again.folder / "predictions.parquet").read_bytes() == before
    changed = {p for p, mark in marks.items() if p.stat().st_mtime_ns != mark}
    assert changed == {some}
    assert len(views.ledger(home)) == 1


def test_a_run_of_other_settings_does_not_go_on(new_home, clinical_config):
    home = new_home()
    first = run(home, clinical_config(models=["ssign"]))
    with pytest.raises(RunError, match="configuration was"):
        run(home, clinical_config(models=["ssign"], seed=9), resume=first.record.run_id)


def test_the_fingerprint_is_in_the_name(new_home, clinical_config):
    home = new_home()
    config = clinical_config(models=["ssign"])
    finished = run(home, config, clock=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert finished.record.run_id == f"20260102-030405-drawn-{config.fingerprint()[:8]}"


def test_without_a_default_split_one_is_taken_and_several_are_asked_for(new_home, clinical_config):
    home = new_home(SplitRequest(), K_FOLD)
    with pytest.raises(CRPNetBenchError, match="the splits five, random-70-30 and no default"):
        plan_run(home, clinical_config(split=None), progress=SilentProgress())
    with Registry(home).write() as registry:
        registry._run("DELETE FROM splits WHERE split <> 'five'")
    plan = plan_run(home, clinical_config(split=None), progress=SilentProgress())
    assert plan.split == "five"


def test_patients_in_no_fold_are_told(new_home, clinical_config):
    home = new_home()
    with Registry(home).write() as registry:
        registry._run("DELETE FROM splits WHERE patient_id = 'P007'")
    finished = run(home, clinical_config(models=["ssign"]))
    told = "1 patient of 80 in no fold of split random-70-30, not used (P007)"
    assert told in finished.record.remarks
    assert told in read_run(home, finished.record.run_id).record.remarks


def test_a_grid_without_a_network_is_told_and_its_keys_are_checked(new_home, clinical_config):
    home = new_home()
    config = clinical_config(models=["ssign"], tune={"train.learning_rate": [1e-4, 1e-3]})
    finished = run(home, config)
    assert "[tune] changes nothing: no model of the run is a network" in finished.record.remarks
    wrong = clinical_config(models=["ssign"], tune={"train.learnin_rate": [1e-4]})
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        plan_run(home, wrong, progress=SilentProgress())


def test_a_primary_metric_that_folds_do_not_give_is_refused_beforehand(new_home, clinical_config):
    home = new_home(K_FOLD)
    config = clinical_config(
        models=["ssign"], split="five", primary_metric="auc_t", primary_horizon_months=36
    )
    with pytest.raises(ConfigError, match="split 'five' has 5 folds"):
        plan_run(home, config, progress=SilentProgress())


def test_features_that_were_never_imported_are_told_beforehand(new_home, network_config):
    home = new_home()
    (home.features / "imported-tiny").mkdir(parents=True)
    config = network_config(["crpnet"], encoder={"name": "imported:tini"})
    with pytest.raises(ConfigError, match="did you mean 'imported:tiny'"):
        plan_run(home, config, progress=SilentProgress())


def test_a_run_is_done_when_the_registry_has_it(new_home, clinical_config):
    """Where the registry cannot be written the run is not over, its look is in the ledger."""
    home = new_home()
    config = clinical_config(models=["ssign"])
    record = run(home, config).record
    with Registry(home).write() as registry:
        registry._run("DELETE FROM runs")
        registry._run("ALTER TABLE metrics RENAME TO elsewhere")
    with pytest.raises(Exception, match="metrics"):
        run(home, config)
    (broken,) = [path for path in home.runs.glob("*") if path.name != record.run_id]
    assert read_record(broken).status == "running"
    with Registry(home).write() as registry:
        registry._run("ALTER TABLE elsewhere RENAME TO metrics")
    assert set(views.ledger(home)["run_id"]) == {record.run_id, broken.name}
    assert run(home, config, resume=broken.name).record.status == "done"
    assert len(views.ledger(home)) == 2


def test_a_wrong_model_is_told_before_a_built_in_cohort_is_drawn(tmp_path):
    home = Home(tmp_path / "home")
    with pytest.raises(ConfigError, match="did you mean 'crpnet'"):
        plan_run(home, RunConfig(cohort="demo", models=("crpnett",)), progress=SilentProgress())
    assert not (home.root / "cohorts").exists()
