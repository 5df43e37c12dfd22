"""How long training on tiles would take on a processor, told before it begins."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from crpnet_bench.benchmark.line_up import expand
from crpnet_bench.config import RunConfig
from crpnet_bench.models.fine_tuning import FINE_TUNED, tile_encoder
from crpnet_bench.models.training import cpu_threads

__all__ = ["cost_notes"]

_TRIED = 8  # tiles


def cost_notes(config: RunConfig, device: str) -> Sequence[str]:
    """A sentence where a run trains an encoder without a GPU; none otherwise.

    The time is that of a trial with a few tiles on this machine, times the tiles of a fit.

    Raises:
        ModelError: the encoder cannot be had.
    """
    if torch.device(device).type != "cpu" or FINE_TUNED not in expand(config.models):
        return []
    settings, bags = config.fine_tuning, config.train.batch_bags
    seconds = _seconds_a_tile(config)
    hours = seconds * settings.tiles_per_bag * bags * settings.iterations / 3600
    return [
        f"{FINE_TUNED} trains on tiles and is meant for a CUDA device; on this CPU, as busy as it "
        f"is, a tile takes {seconds:.2g} s (tried on {_TRIED}), so the {settings.iterations} steps "
        f"of a fit take up to {_round(hours)} hours with {bags} bags a step and "
        f"{settings.tiles_per_bag} tiles a bag; a fold is {1 + config.train.inner_folds} fits. "
        "Less: fine_tuning.iterations, fine_tuning.tiles_per_bag, fine_tuning.trainable, "
        "train.inner_folds"
    ]


def _round(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _seconds_a_tile(config: RunConfig) -> float:
    """Of a training step, forward and backward; the first pass only warms up."""
    side = config.tiling.tile_px
    with cpu_threads(config.train.threads):
        encoder = tile_encoder(config, "cpu")
        tiles = torch.zeros((_TRIED, side, side, 3), dtype=torch.uint8)
        for _ in range(2):
            started = time.perf_counter()
            features = encoder(tiles, seed=0)
            if features.requires_grad:
                features.sum().backward()
        return (time.perf_counter() - started) / _TRIED
