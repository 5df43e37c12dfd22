from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from crpnet_bench.benchmark.builtin import ensure_cohort
from crpnet_bench.benchmark.published_run import evaluate_published
from crpnet_bench.benchmark.published_store import keep_document, keep_run
from crpnet_bench.cli import app
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.reporting.published import PUBLISHED_RUN, published_results
from crpnet_bench.synthetic.changhai import COHORT_NAME, simulate_changhai


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    where = Home(tmp_path_factory.mktemp("published"))
    ensure_cohort(where, COHORT_NAME, SilentProgress())
    keep_run(where, simulate_changhai(0), clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    return where


def test_the_kept_run_has_the_published_confusion_matrices(home):
    metrics = views.metrics(home, PUBLISHED_RUN)
    cells = metrics[(metrics["model"] == "crpnet") & (metrics["role"] == "validation")].set_index(
        "metric"
    )["value"]
    assert [int(cells[name]) for name in ("tp", "fp", "fn", "tn")] == [12, 2, 7, 54]


def test_its_metrics_are_those_of_the_comparison(home):
    metrics = views.metrics(home, PUBLISHED_RUN)
    expected = evaluate_published(simulate_changhai(0))
    row = metrics[
        (metrics["model"] == "crpnet")
        & (metrics["role"] == "validation")
        & (metrics["metric"] == "c_index")
    ].iloc[0]
    value, low, high = expected.estimate("validation", "CRPNet", "c_index")
    assert (row["value"], row["ci_low"], row["ci_high"]) == (value, low, high)


def test_training_rows_are_apparent(home):
    predictions = views.predictions(home, PUBLISHED_RUN)
    training = predictions["role"] == "train"
    assert predictions.loc[training, "in_sample"].all()
    assert not predictions.loc[~training, "in_sample"].any()
    record = views.runs(home)[0]
    assert (record.run_id, record.created) == (PUBLISHED_RUN, "2026-01-01T00:00:00+00:00")


def test_keeping_again_replaces(home):
    before = len(views.predictions(home, PUBLISHED_RUN))
    keep_run(home, simulate_changhai(0))
    assert len(views.predictions(home, PUBLISHED_RUN)) == before


def test_the_document_is_read_back_by_the_dashboard(tmp_path):
    where = Home(tmp_path)
    row = {"part": "p", "group": "g", "what": "w"}
    keep_document(where, {"what": "x", "summary": {"m": 1}, "rows": [row]})
    found = published_results(where)
    assert found.what == "x"
    assert found.rows.to_dict("records") == [row]


def test_the_command_fills_the_page(tmp_path):
    done = CliRunner().invoke(app, ["reproduce", "--home", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "published" / "reproduce.json").read_text())
    assert kept["summary"] == json.loads(done.stdout)["summary"]
    assert [run.run_id for run in views.runs(Home(tmp_path))] == [PUBLISHED_RUN]
