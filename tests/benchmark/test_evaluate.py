from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.evaluate import evaluate_table
from crpnet_bench.errors import ValidationError


def _table(n: int = 120) -> pd.DataFrame:
    generator = np.random.default_rng(4)
    signal = generator.normal(size=n)
    time = generator.exponential(50 * np.exp(-signal))
    censoring = generator.uniform(12, 90, size=n)
    event = (time <= censoring).astype(int)
    return pd.DataFrame(
        {
            "patient_id": [f"{i:03d}" for i in range(n)],
            "split": np.where(np.arange(n) < 80, "train", "validation"),
            "label": event,
            "time": np.minimum(time, censoring).round(2),
            "event": event,
            "probability": (1 / (1 + np.exp(-signal))).round(4),
            "points": np.clip(np.round(signal * 2 + 4), 0, 11),
        }
    )


def _find(metrics: pd.DataFrame, model: str, role: str, metric: str) -> pd.Series:
    rows = metrics.query("model == @model and role == @role and metric == @metric")
    assert len(rows) == 1
    return rows.iloc[0]


def test_numbers_are_those_of_the_statistics(tmp_path):
    table = _table()
    table.to_csv(tmp_path / "p.csv", index=False)
    evaluated = evaluate_table(tmp_path / "p.csv")
    shown = table[table["split"] == "validation"]
    auc = stats.roc_auc(shown["label"], shown["points"])
    row = _find(evaluated.metrics, "points", "validation", "auc")
    assert (row["value"], row["ci_low"]) == (auc.value, auc.ci_low)
    expected = stats.confusion(shown["label"], (shown["probability"] >= 0.5).astype(int))
    assert _find(evaluated.metrics, "probability", "validation", "tp")["value"] == expected.tp
    assert any("logistic regression on 80 training rows" in note for note in evaluated.notes)


def test_the_cutoff_comes_from_the_training_rows(tmp_path):
    table = _table()
    table.to_csv(tmp_path / "p.csv", index=False)
    evaluated = evaluate_table(tmp_path / "p.csv")
    cutoff = table.loc[table["split"] == "train", "points"].median()
    shown = table[table["split"] == "validation"]
    high = (shown["points"] > cutoff).astype(int)
    expected = stats.logrank(shown["time"], shown["event"], high).p_value
    row = _find(evaluated.metrics, "points", "validation", "logrank_p")
    assert row["value"] == pytest.approx(expected, rel=1e-12)


def test_days_are_turned_into_months(tmp_path):
    table = _table()
    table.to_csv(tmp_path / "months.csv", index=False)
    table.assign(time=table["time"] * 30.4375).to_csv(tmp_path / "days.csv", index=False)
    months = evaluate_table(tmp_path / "months.csv").metrics
    days = evaluate_table(tmp_path / "days.csv", time_unit="days").metrics
    np.testing.assert_allclose(
        months["value"].astype(float), days["value"].astype(float), rtol=1e-6
    )


def test_an_empty_cell_of_a_model_is_a_missing_prediction(tmp_path):
    table = _table()
    table.loc[100, "points"] = np.nan
    table.to_csv(tmp_path / "p.csv", index=False)
    metrics = evaluate_table(tmp_path / "p.csv").metrics
    assert _find(metrics, "points", "validation", "n_missing")["value"] == 1
    assert _find(metrics, "probability", "validation", "n_missing")["value"] == 0


def test_every_bad_cell_is_listed_with_row_and_column(tmp_path):
    table = _table().astype(object)
    table.loc[0, "split"] = "Training"
    table.loc[1, "event"] = 3
    table.loc[2, "time"] = -1
    table.loc[3, "points"] = "high"
    table.loc[4, "patient_id"] = "000"
    table.to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValidationError) as caught:
        evaluate_table(tmp_path / "p.csv")
    told = {(problem.row, problem.column) for problem in caught.value.problems}
    assert told == {
        (2, "split"), (3, "event"), (4, "time"), (5, "points"), (6, "patient_id")
    }  # fmt: skip


def test_the_command_needs_neither_registry_nor_torch(tmp_path):
    _table().to_csv(tmp_path / "p.csv", index=False)
    code = (
        "import sys; sys.argv = ['crpnet-bench', 'evaluate', '--csv', 'p.csv', '--json']\n"
        "from crpnet_bench.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('torch' in sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)["metrics"]) > 50
    assert done.stderr.strip().splitlines()[-1] == "False"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv"]
