"""Tasks on a cluster of two nodes on this machine: the same numbers, and nothing lost."""

from __future__ import annotations

import functools
import logging
import os
import shutil
import threading
import time

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.engines import ClusterOptions, Job, Shared, open_engine
from crpnet_bench.benchmark.extract import SlideJob, extract_features
from crpnet_bench.benchmark.inputs import outcome_table
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.config import EncoderConfig, TilingConfig
from crpnet_bench.errors import RunError, SlideError
from crpnet_bench.progress import SilentProgress
from crpnet_bench.slides.features import read_features
from crpnet_bench.slides.writer import SlideLayout, write_slide

pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
]

STORE = 100 * 1024**2
MODELS = ["crpnet", "ssign", "karakiewicz_refit", "crpnet+ssign"]
FIVE = SplitRequest(method="k-fold", folds=5, name="five")


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each; the second may go."""
    # No reports; what else runs on this machine kills no worker by its use of memory, and other
    # tests do not come first.
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0", RAY_memory_monitor_refresh_ms="0", RAY_worker_niceness="0"
    )
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def engine(cluster):
    with open_engine("ray", ClusterOptions(cluster.address), "cpu") as engine:
        yield engine


def _run(home, config, **options):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress(), **options)


def _predictions(finished):
    return pd.read_parquet(finished.folder / "predictions.parquet").drop(columns="run_id")


def _job(name, work, **options):
    return Job(name, work, lost=lambda reason: f"lost: {reason}", **options)


def _work(engine, jobs, folder):
    return engine.run(jobs, folder, description="tasks", progress=SilentProgress())


def _append(file, word, progress):
    with file.open("a") as open_file:
        open_file.write(word)
    return word


def _die(file, progress):
    _append(file, "x", progress)
    os._exit(1)


def _die_once(file, progress):
    died_before = file.exists()
    _append(file, "x", progress)
    if not died_before:
        os._exit(1)
    return "done"


def _refuse(progress):
    raise SlideError("no tissue", "exclude it")


def _stumble(progress):
    return 1 / 0


def _length(shared, progress):
    return len(shared.get())


class _Bars(SilentProgress):
    """Notes which bars were opened."""

    def __init__(self):
        self.opened = []

    def task(self, description, total, unit=""):
        self.opened.append((description, total))
        return super().task(description, total, unit)


def test_tasks_end_in_order_and_wait_for_each_other(engine, tmp_path):
    order = tmp_path / "order"
    write = functools.partial(functools.partial, _append, order)
    jobs = [
        _job("a", write("a")),
        _job("b", write("b"), after=("a",)),
        _job("c", write("c"), after=("a", "b")),
    ]
    assert list(_work(engine, jobs, tmp_path).items()) == [("a", "a"), ("b", "b"), ("c", "c")]
    assert order.read_text() == "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["order"]


def test_a_worker_that_dies_is_replaced_with_a_bound(engine, tmp_path, caplog):
    jobs = [
        _job("dies", functools.partial(_die, tmp_path / "dies")),
        _job("recovers", functools.partial(_die_once, tmp_path / "recovers")),
        _job("waits", functools.partial(_append, tmp_path / "waits", "w"), after=("dies",)),
    ]
    with caplog.at_level(logging.WARNING):
        results = _work(engine, jobs, tmp_path)
    assert results["dies"].startswith("lost: its worker was lost 3 times (the last: WorkerCrashed")
    assert (results["recovers"], results["waits"]) == ("done", "w")
    assert (tmp_path / "dies").read_text() == "xxx"
    assert (tmp_path / "recovers").read_text() == "xx"
    assert "recovers: its worker was lost" in caplog.text


def test_what_a_task_refuses_is_told_and_a_bug_keeps_its_traceback(engine, tmp_path):
    with pytest.raises(RunError, match="slide 7, on .*: no tissue"):
        _work(engine, [_job("slide 7", _refuse)], tmp_path)
    with pytest.raises(ZeroDivisionError, match="(?s)_stumble.*division by zero"):
        _work(engine, [_job("a", _stumble)], tmp_path)


def test_a_task_larger_than_any_machine_is_refused(engine, tmp_path):
    with pytest.raises(RunError, match="big needs 2 CPUs and 0 GPUs on one machine; the cluster"):
        _work(engine, [_job("big", _refuse, cpus=2)], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_shared_is_read_by_the_worker_and_never_sent(engine, tmp_path):
    reads = tmp_path / "reads"
    shared = Shared(functools.partial(_append, reads, "r", None), value="not read, not sent")
    jobs = [_job(str(n), functools.partial(_length, shared)) for n in range(6)]
    assert set(_work(engine, jobs, tmp_path).values()) == {len("r")}
    assert len(reads.read_text()) <= 2  # once a worker


def test_a_run_gives_the_numbers_of_a_run_without_ray(
    engine, tmp_path, home_with_bags, network_config
):
    home = home_with_bags(tmp_path, 40, 0, SplitRequest(method="k-fold", folds=3, name="three"))
    config = network_config(MODELS, split="three", seeds=2)
    here = _run(home, config)
    there = _run(home, config, engine=engine)
    assert here.record.status == there.record.status == "done"
    pd.testing.assert_frame_equal(_predictions(there), _predictions(here))
    pd.testing.assert_frame_equal(
        there.metrics.drop(columns="run_id"), here.metrics.drop(columns="run_id")
    )
    marks = {path: path.stat().st_mtime_ns for path in there.folder.glob("folds/*/*/done.json")}
    assert len(marks) == 2 * 3 * len(MODELS)
    part = there.folder / "folds" / "repeat0-fold1" / "ssign" / "done.json"
    part.unlink()
    again = _run(home, config, engine=engine, resume=there.record.run_id)
    pd.testing.assert_frame_equal(_predictions(again), _predictions(here))
    changed = {path.parent.name for path, mark in marks.items() if path.stat().st_mtime_ns != mark}
    assert changed == {"ssign", "crpnet+ssign"}  # the fusion rests on its part


def test_points_of_a_grid_are_tasks_of_their_own(engine, tmp_path, home_with_bags, network_config):
    home = home_with_bags(tmp_path, 40, 0, SplitRequest(name="once"))
    config = network_config(["crpnet"], split="once", tune={"train.learning_rate": [1e-3, 3e-2]})
    here = _run(home, config)
    bars = _Bars()
    there = run_benchmark(home, config, device="cpu", progress=bars, engine=engine)
    pd.testing.assert_frame_equal(_predictions(there), _predictions(here))
    fits = 1 + config.train.inner_folds
    assert ("folds", 1 + 2 * fits) in bars.opened
    for finished in (here, there):
        assert len(list((finished.folder / "choices").iterdir())) == 2 * fits


def test_extraction_gives_the_features_of_one_machine(engine, tmp_path):
    generator = np.random.default_rng(0)
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("one", "two"):
        pixels = generator.integers(0, 256, (140, 200, 3), dtype=np.uint8)
        write_slide(folder / f"{name}.svs", pixels, SlideLayout())
    write_slide(folder / "blank.svs", np.full((140, 200, 3), 240, np.uint8), SlideLayout())
    shutil.copy(folder / "one.svs", folder / "copy.svs")
    names = ["one", "absent", "blank", "copy", "two"]
    jobs = [SlideJob(None, f"of {name}", folder / f"{name}.svs") for name in names]
    settings = (TilingConfig(tile_px=64, entropy_threshold=4.0), EncoderConfig())
    here = extract_features(jobs, tmp_path / "here", *settings)
    there = extract_features(jobs, tmp_path / "there", *settings, engine=engine)
    same = outcome_table(here).drop(columns="feature_path")
    pd.testing.assert_frame_equal(outcome_table(there).drop(columns="feature_path"), same)
    assert list(same["status"]) == ["done", "failed", "no tiles", "done", "done"]
    for one, other in zip(here, there, strict=True):
        if one.feature_path:
            found, expected = read_features(other.feature_path), read_features(one.feature_path)
            assert np.array_equal(found.features, expected.features)
    assert all(slide.reused for slide in extract_features(
        jobs[:1], tmp_path / "there", *settings, engine=engine))  # fmt: skip


def test_a_node_that_is_lost_in_mid_run_loses_nothing(
    cluster, engine, tmp_path, home_with_bags, network_config, caplog
):
    """Last: the cluster has one node less afterwards."""
    home = home_with_bags(tmp_path, 40, 0, FIVE)
    config = network_config(["crpnet"], iterations=400)
    here = _run(home, config)

    def remove_when_two_folds_are_finished():
        while len(list(home.runs.glob("*/folds/*/*/done.json"))) < 5 + 2:
            time.sleep(0.05)
        time.sleep(0.5)  # a task that is only on its way goes elsewhere without a word
        cluster.remove_node(cluster.second, allow_graceful=False)

    remover = threading.Thread(target=remove_when_two_folds_are_finished, daemon=True)
    remover.start()
    with caplog.at_level(logging.WARNING):
        there = _run(home, config, engine=engine)
    remover.join()
    assert "its worker was lost" in caplog.text
    assert there.record.status == "done"
    pd.testing.assert_frame_equal(_predictions(there), _predictions(here))
