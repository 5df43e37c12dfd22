"""The whole evaluation in one call: 4 models, 2 splits, 8 subgroups, every interval."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.evaluation import evaluate
from crpnet_bench.results import PREDICTION_COLUMNS, conform

pytestmark = pytest.mark.perf


def _tables(n: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, set[str]]]:
    generator = np.random.default_rng(0)
    ids = np.array([f"p{i:05d}" for i in range(n)])
    signal = generator.normal(size=n)
    event_time = generator.exponential(80 * np.exp(-0.8 * signal))
    censoring = generator.uniform(12, 110, size=n)
    outcomes = pd.DataFrame(
        {
            "patient_id": ids,
            "time": np.ceil(np.minimum(event_time, censoring)),
            "status": (event_time <= censoring).astype(int),
        }
    )
    parts = []
    for model in range(4):
        risk = np.round(signal + generator.normal(size=n), 2 if model else 0)
        probability = 1 / (1 + np.exp(-risk))
        parts.append(
            pd.DataFrame(
                {
                    "run_id": "r",
                    "model": f"model {model}",
                    "cohort": "c",
                    "split": "s",
                    "role": np.where(np.arange(n) < 0.7 * n, "train", "validation"),
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
                    "risk_sd": 1.4,
                    "status": "ok",
                }
            )
        )
    group = generator.integers(0, 8, size=n)
    subgroups = {f"group {g}": set(ids[group == g]) for g in range(8)}
    return conform(pd.concat(parts, ignore_index=True), PREDICTION_COLUMNS), outcomes, subgroups


@pytest.mark.parametrize(("n", "seconds"), [(258, 3.0), (10_000, 20.0)])
def test_the_whole_evaluation_is_quick(n, seconds, capsys):
    predictions, outcomes, subgroups = _tables(n)
    evaluate(predictions.head(n), outcomes)  # imports and compiled code are not counted
    started, used = time.perf_counter(), time.process_time()
    metrics = evaluate(predictions, outcomes, subgroups=subgroups)
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    with capsys.disabled():
        print(f"\nn = {n}: {len(metrics)} numbers in {wall:.2f} s ({cpu:.2f} s of CPU time)")
    assert metrics["status"].eq("ok").mean() > 0.8
    assert cpu < seconds
