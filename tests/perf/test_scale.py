"""What rows cost the registry and tasks a cluster; the printed lines are those of docs/scale.md.

Run with `pytest tests/perf/test_scale.py -m perf -s`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.engines import ClusterOptions, Job, open_engine
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import RunRecord

pytestmark = [
    pytest.mark.perf,
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
]

REGISTRY = """
import json, resource, sys, time
from pathlib import Path
import pandas as pd
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry

def took(work):
    started = time.process_time(), time.perf_counter()
    result = work()
    figures[work.__name__] = [time.process_time() - started[0], time.perf_counter() - started[1]]
    return result

figures = {}
home = Home(Path(sys.argv[1]))

def register():
    return register_cohort(home, Path(sys.argv[2]), defer_hash=True)

def read_slides():
    return views.slides(home, "small")

def store_outcomes():
    with Registry(home).write() as registry:
        registry.store_slide_outcomes("small", 1, outcomes)

def read_outcomes():
    return views.slide_outcomes(home, "small")

def write_little():
    with Registry(home).write() as registry:
        registry.store_file_hashes({("a", 1, 1): "b"})

done = took(register)
slides = took(read_slides)
outcomes = slides[["patient_id", "path"]].assign(
    slide_id=[f"{n:064x}" for n in range(len(slides))], status="done", n_grid=9000, n_masked=4000,
    n_below=1000, n_kept=4000, feature_path=[f"features/{n:064x}.h5" for n in range(len(slides))])
took(store_outcomes)
took(read_outcomes)
took(write_little)
figures |= {
    "slides": len(slides), "patients": done.patients,
    "registry_mb": home.registry.stat().st_size / 2**20,
    "view_mb": max(path.stat().st_size for path in home.views.glob("*.duckdb")) / 2**20,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}
print(json.dumps(figures))
"""


@pytest.mark.parametrize(("patients", "each"), [(10_000, 1), (10_000, 10), (20_000, 50)])
def test_registry_by_number_of_slides(cohort_folder, tmp_path, patients, each):
    head, *rows = cohort_folder.read("clinical.csv").splitlines()
    cells = [row.split(",", 1)[1] for row in rows]
    clinical = [f"Q{n},{cells[n % len(cells)]}" for n in range(patients)]
    cohort_folder.write("clinical.csv", "\n".join([head, *clinical]))
    slides = [f"Q{n},wsi/Q{n}-{slide}.svs" for n in range(patients) for slide in range(each)]
    cohort_folder.write("slides.csv", "\n".join(["patient_id,path", *slides]))
    found = subprocess.run(
        [sys.executable, "-c", REGISTRY, str(tmp_path / "home"), str(cohort_folder.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(found.stdout)
    print("\n" + ", ".join(f"{name} {_told(value)}" for name, value in measured.items()))
    assert measured["slides"] == patients * each


def _told(value):
    if isinstance(value, list):
        return f"{value[0]:.1f} s CPU ({value[1]:.1f} s)"
    return f"{value:,.0f}"


def test_registry_by_number_of_predictions(tmp_path):
    """Patients times folds times models: what fills the registry first."""
    home = Home(tmp_path / "home")
    patients, fits = 20_000, 50
    generator = np.random.default_rng(0)
    rows = patients * fits
    predictions = pd.DataFrame(
        {
            "run_id": "run",
            "model": np.repeat([f"model-{n % 5}" for n in range(fits)], patients),
            "cohort": "large",
            "cohort_version": 1,
            "split": "ten",
            "repeat": 0,
            "fold": np.repeat(np.arange(fits) // 5, patients),
            "seed": 0,
            "role": "validation",
            "patient_id": np.tile([f"P{n:07d}" for n in range(patients)], fits),
            "risk": generator.normal(size=rows),
            "probability": generator.random(rows),
            "status": "ok",
        }
    )
    record = RunRecord(
        run_id="run", created="2026-01-01T00:00:00+00:00", status="done", cohort="large",
        cohort_version=1, cohort_kind="simulated", endpoint="RFS", split="ten", split_sha256="",
        models=("model-0",), primary_model="model-0", primary_metric="auc", seed=0, device="cpu",
        config_fingerprint="", config={}, environment={},
    )  # fmt: skip
    started = time.process_time(), time.perf_counter()
    with Registry(home).write() as registry:
        registry.import_run(record, predictions, pd.DataFrame())
    took = [time.process_time() - started[0], time.perf_counter() - started[1]]
    size = home.registry.stat().st_size / 2**20
    print(f"\n{rows:,} predictions: {_told(took)}, registry {size:.0f} MB")
    assert len(views.predictions(home, "run")) == rows


@pytest.fixture
def cluster():
    """A node of one processor; the test adds a second."""
    # No reports; and what else runs on this machine kills no worker by its use of memory.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_memory_monitor_refresh_ms="0")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    node = {"num_cpus": 1, "object_store_memory": 100 * 1024**2}
    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args=node | {"include_dashboard": False}
    )
    yield cluster
    cluster.shutdown()


def _nothing(progress):
    return None


def _wait(seconds, progress):
    time.sleep(seconds)


def _compute(steps, progress):
    """Additions of one thread, in memory that fits into a processor's cache."""
    numbers = np.ones(10_000)
    for _ in range(steps):
        numbers += 1.0


def _seconds(engine, works, folder):
    jobs = [Job(str(number), work, lost=str) for number, work in enumerate(works)]
    started = time.perf_counter()
    engine.run(jobs, folder, description="tasks", progress=SilentProgress())
    return time.perf_counter() - started


def test_overhead_of_a_task_and_efficiency_from_one_to_two_nodes(cluster, tmp_path):
    works = {
        "waiting 1 s": [partial(_wait, 1.0)] * 20,
        "computing": [partial(_compute, 200_000)] * 20,
    }
    with open_engine("ray", ClusterOptions(cluster.address), "cpu") as engine:
        _seconds(engine, [_nothing] * 20, tmp_path)  # starts the worker
        overhead = min(_seconds(engine, [_nothing] * 500, tmp_path) for _ in range(3)) / 500
        one = {name: _seconds(engine, work, tmp_path) for name, work in works.items()}
        cluster.add_node(num_cpus=1, object_store_memory=100 * 1024**2)
        _seconds(engine, [partial(_wait, 0.5)] * 30, tmp_path)
        two = {name: _seconds(engine, work, tmp_path) for name, work in works.items()}
    print(f"\noverhead {1000 * overhead:.1f} ms a task; load {os.getloadavg()[0]:.0f}")
    for name in works:
        efficiency = one[name] / (2 * two[name])
        print(f"20 tasks, {name}: {one[name]:.1f} s on one node, {two[name]:.1f} s on two, "
              f"efficiency {efficiency:.2f}")  # fmt: skip
    assert overhead < 0.1
    assert one["waiting 1 s"] / (2 * two["waiting 1 s"]) > 0.8
