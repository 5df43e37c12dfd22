"""A run that is killed at any moment goes on and ends with the same predictions."""

from __future__ import annotations

import multiprocessing
import time

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views

FIVE = SplitRequest(method="k-fold", folds=5, name="five")
MODELS = ["ssign", "leibovich_2003", "leibovich_2003+ssign"]


@pytest.fixture(scope="module")
def server():
    """Starts runs in processes of their own; the program is imported only once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crpnet_bench.benchmark.runner"])
    return context


def _start(server, home, config, resume):
    options = {"device": "cpu", "progress": SilentProgress(), "resume": resume}
    process = server.Process(target=run_benchmark, args=(home, config), kwargs=options)
    process.start()
    return process


def _run_ids(home):
    return {path.parent.name for path in home.runs.glob("*/run.json")}


def _kill_once(server, home, config, resume, delay):
    """Start or resume, kill after `delay` seconds; the run's id and whether it had finished."""
    before = _run_ids(home)
    process = _start(server, home, config, resume)
    process.join(delay)
    finished = process.exitcode == 0
    process.kill()
    process.join()
    new = _run_ids(home) - before
    return resume or next(iter(new), None), finished


def _predictions(home, run_id):
    table = pd.read_parquet(home.runs / run_id / "predictions.parquet")
    return table.drop(columns="run_id")


def _in_work(folder):
    """Models whose fold was begun and not finished."""
    begun = folder.glob("folds/*/*")
    return [place.name for place in begun if not (place / "done.json").exists()]


def _check(server, home, config, kills, seed):
    """Kill so many runs, go on with each; returns what was in work when they were killed."""
    options = {"device": "cpu", "progress": SilentProgress()}
    run_benchmark(home, config, **options)  # compiles and caches what the first run has to
    started = time.monotonic()
    undisturbed = _predictions(home, run_benchmark(home, config, **options).record.run_id)
    length = time.monotonic() - started
    moments = np.random.default_rng(seed).uniform(0, 1.2 * length, kills)
    interrupted, in_work = 0, []
    for moment in moments:
        run_id, finished = _kill_once(server, home, config, None, moment)
        if run_id is None:
            continue  # killed before the run had a name: nothing to go on with
        folder = home.runs / run_id
        marks = {path: path.stat().st_mtime_ns for path in folder.glob("folds/*/*/done.json")}
        in_work += _in_work(folder)
        interrupted += not finished
        process = _start(server, home, config, run_id)
        process.join()
        assert process.exitcode == 0, f"killed after {moment:.2f} s, cannot go on"
        pd.testing.assert_frame_equal(_predictions(home, run_id), undisturbed)
        assert all(path.stat().st_mtime_ns == mark for path, mark in marks.items())
        stored = views.predictions(home, run_id).drop(columns="run_id")
        assert len(stored) == len(undisturbed)
    assert interrupted >= kills // 4
    return in_work


def test_killed_at_three_random_moments(server, new_home, clinical_config):
    home = new_home(FIVE, n=60)
    _check(server, home, clinical_config(split="five", models=MODELS), kills=3, seed=1)


@pytest.mark.slow
def test_killed_at_25_random_moments(server, new_home, clinical_config):
    home = new_home(FIVE, n=60)
    _check(server, home, clinical_config(split="five", models=MODELS), kills=25, seed=2)


@pytest.mark.slow
def test_killed_at_25_random_moments_of_a_run_with_a_network(
    server, tmp_path, home_with_bags, network_config
):
    home = home_with_bags(tmp_path, 30, 0, FIVE)
    config = network_config(
        ["crpnet", "ssign", "crpnet+ssign"], evaluation={"horizons_months": [36]}
    )
    in_work = _check(server, home, config, kills=25, seed=4)
    assert in_work.count("crpnet") >= 5  # while it was trained, locked or written


@pytest.mark.slow
def test_killed_again_and_again(server, new_home, clinical_config):
    """The same run is killed each time it goes on, until it gets through."""
    home = new_home(FIVE, n=60)
    config = clinical_config(split="five", models=MODELS)
    options = {"device": "cpu", "progress": SilentProgress()}
    undisturbed = _predictions(home, run_benchmark(home, config, **options).record.run_id)
    generator = np.random.default_rng(3)
    run_id, finished, tries = None, False, 0
    while not finished:
        tries += 1
        assert tries < 60
        delay = generator.uniform(0.3, 3) * (1 + tries / 8)
        run_id, finished = _kill_once(server, home, config, run_id, delay)
    pd.testing.assert_frame_equal(_predictions(home, run_id), undisturbed)
