from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.declaration import (
    declare,
    primary_result,
    primary_sentence,
    run_settings,
)
from crpnet_bench.benchmark.finished import read_run
from crpnet_bench.benchmark.inputs import plan_run
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.runs import compare_runs, list_runs
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.errors import ConfigError, NotFoundError, RunError
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views


def run(home, config):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress())


def test_what_differs_between_two_runs(new_home, clinical_config):
    home = new_home()
    a = run(home, clinical_config(models=["ssign", "karakiewicz_refit"]))
    b = run(home, clinical_config(models=["ssign"], seed=1, train={"inner_folds": 4}))
    found = compare_runs(home, a.record.run_id, b.record.run_id)
    settings = found.settings.set_index("key")
    assert settings.loc["models"].tolist() == ["ssign, karakiewicz_refit", "ssign"]
    assert settings.loc["train.inner_folds"].tolist() == ["3", "4"]
    assert found.data.empty
    assert found.declared.empty
    rows = found.results[(found.results["role"] == "validation") & ~found.results["in_sample"]]
    same = rows[(rows["model"] == "ssign") & (rows["metric"] == "c_index")].iloc[0]
    assert same["same_risks"]
    only = rows[(rows["model"] == "karakiewicz_refit") & (rows["metric"] == "auc")].iloc[0]
    assert pd.isna(only["value_b"])
    assert pd.notna(only["value_a"])


def test_the_paired_difference_of_two_runs(new_home, clinical_config, drawn):
    home = new_home()
    values = drawn(80, 0)
    tables = []
    for name, risk in (("one", values["grade"]), ("two", values["age"])):
        path = home.root / f"{name}.csv"
        pd.DataFrame({"patient_id": values["patient_id"], "risk": risk}).to_csv(path, index=False)
        tables.append(path)
    runs = [
        run(home, clinical_config(models=["imported:m"], imported={"m": str(path)}))
        for path in tables
    ]
    found = compare_runs(home, *(one.record.run_id for one in runs))
    assert "imported" in set(found.data["key"])
    rows = found.results[(found.results["role"] == "validation") & ~found.results["in_sample"]]
    row = rows[rows["metric"] == "c_index"].iloc[0]
    shown = pd.read_csv(runs[0].folder / "split.csv").query("role == 'validation'")
    table = values.set_index("patient_id").loc[shown["patient_id"]]
    outcomes = views.outcomes(home, "drawn").set_index("patient_id").loc[table.index]
    expected = stats.compare_concordance(
        outcomes["time"], (outcomes["status"] == 1).astype(int), table["grade"], table["age"]
    )
    assert row["difference"] == pytest.approx(expected.difference)
    assert row["ci_low"] == pytest.approx(expected.ci_low)
    assert row["p_value"] == pytest.approx(expected.p_value)
    areas = stats.compare_auc((outcomes["status"] == 1).astype(int), table["grade"], table["age"])
    row = rows[rows["metric"] == "auc"].iloc[0]
    assert row["difference"] == pytest.approx(areas.difference)
    assert row["ci_low"] == pytest.approx(areas.ci_low)
    assert row["p_value"] == pytest.approx(areas.p_value)


def test_runs_that_judged_other_patients_have_no_paired_interval(new_home, clinical_config, drawn):
    """An interval on common patients must not stand beside a difference of all."""
    home = new_home()
    values = drawn(80, 0)
    path = home.root / "m.csv"
    runs = []
    for count in (80, 60):
        table = pd.DataFrame({"patient_id": values["patient_id"], "risk": values["age"]})
        table[:count].to_csv(path, index=False)
        runs.append(run(home, clinical_config(models=["imported:m"], imported={"m": str(path)})))
    found = compare_runs(home, *(one.record.run_id for one in runs)).results
    row = found.query("role == 'validation' and metric == 'c_index'").iloc[0]
    assert row["n_a"] > row["n_b"]
    assert pd.isna(row.get("ci_low"))


def test_unfinished_runs_are_listed_and_say_how_to_go_on(new_home, clinical_config):
    home = new_home()
    done = run(home, clinical_config(models=["ssign"]))
    config = clinical_config(models=["leibovich_2003"])
    plan = plan_run(home, config, progress=SilentProgress())
    record = declare(home, config, plan, "cpu", None, _later)
    table = list_runs(home).set_index("run")
    assert table.loc[record.run_id, "status"] == "running"
    assert table.loc[done.record.run_id, "status"] == "done"
    assert table.loc[done.record.run_id, "value"] == pytest.approx(
        done.metrics.query("metric == 'auc' and role == 'validation'")["value"].iloc[0]
    )
    with pytest.raises(RunError, match=f"run --resume {record.run_id}"):
        read_run(home, record.run_id)
    assert run_settings(home, None, {"seed": None}, record.run_id) == config
    with pytest.raises(ConfigError, match="leave out: seed"):
        run_settings(home, None, {"seed": 3}, record.run_id)


def _later():
    return datetime(2026, 3, 1, tzinfo=UTC)


def test_an_unknown_run_is_named_with_the_nearest(new_home, clinical_config):
    home = new_home()
    run_id = run(home, clinical_config(models=["ssign"])).record.run_id
    with pytest.raises(NotFoundError, match="did you mean"):
        read_run(home, run_id[:-1])


def test_the_primary_result_is_the_declared_row(new_home, clinical_config):
    home = new_home(SplitRequest())
    config = clinical_config(
        models=["ssign", "leibovich_2003"],
        primary_model="leibovich_2003",
        primary_metric="auc_t",
        primary_horizon_months=36,
    )
    finished = run(home, config)
    row = primary_result(finished.record, finished.metrics)
    assert (row["model"], row["metric"], row["role"]) == ("leibovich_2003", "auc_t", "validation")
    assert row["horizon_months"] == 36
    assert list_runs(home)["value"].tolist() == [row["value"]]


def test_the_primary_sentence_says_all_five(new_home, clinical_config):
    home = new_home(SplitRequest())
    config = clinical_config(
        models=["ssign"], primary_metric="auc_t", primary_horizon_months=36, endpoint="RFS"
    )
    told = primary_sentence(run(home, config).record)
    for word in ("auc_t at 36 months", "of ssign", "for RFS", "validation", "split random-70-30"):
        assert word in told
