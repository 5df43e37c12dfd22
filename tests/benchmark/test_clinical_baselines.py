"""Clinical baselines in a run: probabilities by the locked link, sites that training never saw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.fold import read_locked
from crpnet_bench.benchmark.line_up import load_model
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress

SITES = SplitRequest(method="site-preserved", folds=3, name="sites")
RANDOM = SplitRequest(method="random", name="random")


def run(home, config):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress())


def test_site_alone_says_nothing_of_sites_it_never_saw(new_home, clinical_config):
    home = new_home(SITES)
    finished = run(home, clinical_config(models=["site_only", "t_stage"], split="sites"))
    assert finished.failures == ()
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    held_out = rows[(rows["model"] == "site_only") & (rows["role"] == "validation")]
    assert (held_out["status"] == "missing").all()
    assert held_out["reason"].str.fullmatch("site [ABC] had no patient in training").all()
    indices = finished.metrics[
        (finished.metrics["role"] == "validation") & (finished.metrics["metric"] == "c_index")
    ]
    assert dict(zip(indices["model"], indices["status"], strict=True)) == {
        "site_only": "not estimable",
        "t_stage": "ok",
    }


def test_probabilities_come_from_out_of_fold_risks_and_models_read_back(new_home, clinical_config):
    home = new_home(RANDOM, n=120)
    models = ["cox_clinical", "site_only", "grade+clinical"]
    finished = run(home, clinical_config(models=models, split="random"))
    assert finished.failures == ()
    assert finished.record.models == ("cox_clinical", "site_only", "grade", "grade+clinical")
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    for name in ("cox_clinical", "site_only"):
        own = rows[(rows["model"] == name) & (rows["role"] == "validation")]
        folder = fold_folder(finished.folder, "repeat0-fold0", name)
        link = read_locked(folder).link
        assert link is not None
        np.testing.assert_allclose(
            own["probability"].astype(float), link.probability(own["risk"].astype(float))
        )
        assert own["predicted_class"].isin([0, 1]).all()
        assert load_model(folder / "model").name == name


@pytest.mark.parametrize(
    ("name", "seeds"),
    [("cox_clinical", 10), ("site_only", 10),
     pytest.param("rsf_clinical", 8, marks=pytest.mark.slow)],
)  # fmt: skip
def test_nothing_is_found_where_there_is_nothing(name, seeds):
    """Null check: mean C of new patients when nothing carries risk."""
    found = []
    for seed in range(seeds):
        data = noise(300, seed)
        model = build_model(name, RunConfig())
        fitted = model.fit(data.take(data.patient_ids[:150]), seed=seed, progress=SilentProgress())
        new = data.take(data.patient_ids[150:])
        rows = new.outcomes
        risk = fitted.predict(new)["risk"]
        found.append(stats.concordance_index(rows["time"], rows["status"], risk).value)
    assert np.mean(found) == pytest.approx(0.5, abs=0.03)


def noise(n: int, seed: int) -> CohortData:
    generator = np.random.default_rng(seed)
    ids = pd.Index([f"p{i:03d}" for i in range(n)], dtype=object)
    patients = pd.DataFrame(
        {
            "age": generator.normal(60, 10, n),
            "pT": generator.choice(["T1a", "T1b", "T2a", "T3a"], n),
            "grade": generator.integers(1, 5, n),
            "tumor_size_cm": generator.gamma(5, 1, n),
            "site": generator.choice(list("ABCDEFGH"), n),
        },
        index=ids,
    )
    event = generator.exponential(50, n)
    censoring = generator.uniform(10, 100, n)
    status = (event <= censoring).astype(int)
    time = np.minimum(event, censoring)
    outcomes = pd.DataFrame({"time": time, "status": status, "label": status}, index=ids)
    return CohortData(patients, outcomes=outcomes)
