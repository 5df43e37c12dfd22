from __future__ import annotations

import functools
import pickle
import subprocess
import sys

import pytest

from crpnet_bench.benchmark.engines import (
    ClusterOptions,
    Job,
    LocalEngine,
    Shared,
    open_engine,
)
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.errors import ConfigError
from crpnet_bench.progress import SilentProgress


def _run(home, config, **options):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress(), **options)


def _open(name, options=None, device="cpu"):
    with open_engine(name, options or ClusterOptions(), device) as engine:
        return engine


class _LosesOneFold(LocalEngine):
    """An engine on which the workers of one task die again and again."""

    def __init__(self, name):
        self.name = name

    def run(self, jobs, folder, *, description, progress):
        return {
            job.name: job.lost("its worker died") if job.name == self.name else job.work(progress)
            for job in jobs
        }


def test_the_local_engine_calls_one_task_after_the_other(tmp_path):
    said = []
    jobs = [Job(word, functools.partial(_say, said, word), lost=str) for word in ("b", "a")]
    engine = _open("local")
    results = engine.run(jobs, tmp_path, description="words", progress=SilentProgress())
    assert list(results.items()) == [("b", 1), ("a", 2)]
    assert said == ["b", "a"]


def _say(said, word, progress):
    said.append(word)
    return len(said)


def test_what_is_shared_is_read_once_in_each_process():
    shared = Shared(functools.partial(sorted, "ba"), value=["here"])
    sent = pickle.dumps(shared)
    assert b"here" not in sent
    assert shared.get() == ["here"]
    one, other = pickle.loads(sent), pickle.loads(sent)  # noqa: S301
    assert one is other
    assert one.get() == ["a", "b"]
    pickle.loads(pickle.dumps(Shared(list)))  # noqa: S301
    assert pickle.loads(sent) is not one  # noqa: S301  the one before made room


@pytest.mark.parametrize(
    ("name", "options", "device", "words"),
    [
        ("rya", ClusterOptions(), "cpu", "engine 'rya': did you mean 'ray'"),
        ("local", ClusterOptions("auto"), "cpu", "need --engine ray"),
        ("ray", ClusterOptions(num_gpus=1), "cpu", "--num-gpus 1 does not fit --device cpu"),
        ("ray", ClusterOptions(num_gpus=0), "cuda", "--num-gpus 0 does not fit --device cuda"),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, device, words):
    with pytest.raises(ConfigError, match=words):
        _open(name, options, device)


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_ray_is_imported_only_when_it_is_asked_for_and_missed_in_one_sentence():
    code = (
        "import sys\n"
        "from crpnet_bench.benchmark import engines, extract, runner\n"
        "from crpnet_bench.cli import main\n"
        "print('ray' in sys.modules)\n"
        "sys.modules['ray'] = None\n"
        "try:\n"
        "    with engines.open_engine('ray', engines.ClusterOptions(), 'cpu'): pass\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = _python(code)
    assert done.stdout.splitlines() == [
        "False",
        "ConfigError engine 'ray': the package ray is not installed; "
        "pip install 'crpnet-bench[ray]'",
    ], done.stderr


def test_a_lost_fold_is_a_failure_and_tried_again_when_the_run_goes_on(new_home, clinical_config):
    home = new_home(SplitRequest(method="k-fold", folds=3, name="three"), n=60)
    config = clinical_config(models=["ssign", "leibovich_2003+ssign"], split="three")
    expected = _run(home, config).metrics.drop(columns="run_id")
    lost = _run(home, config, engine=_LosesOneFold("ssign repeat0-fold1"))
    assert lost.record.status == "done with failures"
    assert [failure.split(",")[0] for failure in lost.failures] == [
        "ssign repeat0-fold1: its worker died",
        "leibovich_2003+ssign repeat0-fold1: ssign",
    ]
    rows = lost.metrics.query("metric == 'n_missing' and role == 'validation' and model == 'ssign'")
    assert rows["value"].tolist() == [20]
    again = _run(home, config, resume=lost.record.run_id)
    assert again.record.status == "done"
    assert again.metrics.drop(columns="run_id").equals(expected)
