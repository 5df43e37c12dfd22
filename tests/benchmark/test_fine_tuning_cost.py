from __future__ import annotations

import re

from crpnet_bench.benchmark.fine_tuning_cost import cost_notes
from crpnet_bench.config import RunConfig


def config(models, **fine_tuning):
    return RunConfig.from_mapping(
        {
            "models": models,
            "tiling": {"tile_px": 32},
            "train": {"batch_bags": 10, "inner_folds": 2, "threads": 1},
            "fine_tuning": {"trainable": "none"} | fine_tuning,
        }
    )


def test_a_run_on_a_processor_is_told_its_time_before_it_begins():
    [note] = cost_notes(config(["ssign", "crpnet-finetuned+ssign"], iterations=36), "cpu")
    assert "meant for a CUDA device" in note
    assert "a fold is 3 fits" in note
    seconds, hours = (float(found) for found in re.findall(r"([\d.e-]+) (?:s \(|hours)", note))
    assert seconds > 0
    assert abs(hours / (seconds * 10 * 64 * 36 / 3600) - 1) < 0.1  # both are rounded


def test_nobody_else_is_told_anything():
    assert not cost_notes(config(["crpnet-finetuned"]), "cuda")
    assert not cost_notes(config(["crpnet", "ssign"]), "cpu")
