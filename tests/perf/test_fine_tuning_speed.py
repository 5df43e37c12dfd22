"""Training on tiles: what reading costs beside computing, and how memory follows the chunk.

Run with `pytest tests/perf/test_fine_tuning_speed.py -m perf -s`; the printed lines are those of
docs/benchmarks.md. Where a CUDA device is at hand the same is measured on it.
"""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from crpnet_bench.config import RunConfig, TilingConfig
from crpnet_bench.models.fine_tuning import tile_encoder
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide
from crpnet_bench.slides.writer import SlideLayout, write_repeated_slide

pytestmark = pytest.mark.perf

SIDE = 12_000
DRAWN = 64
PEAK = r"""
import re, sys
from pathlib import Path
import torch
from crpnet_bench.config import RunConfig
from crpnet_bench.models.fine_tuning import tile_encoder

def peak():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024

torch.set_num_threads(1)
tuning, train = {"trainable": "all", "chunk_tiles": 8}, {"precision": "float32"}
config = RunConfig.from_mapping({"fine_tuning": tuning, "train": train})
encoder = tile_encoder(config, "cpu")
tiles = torch.randint(0, 256, (int(sys.argv[1]), 224, 224, 3), dtype=torch.uint8)
before = peak()
torch.autograd.grad(encoder(tiles, seed=0).sum(), encoder.trained)
print(peak() - before)
"""


def texture(side: int) -> np.ndarray:
    """As busy as tissue."""
    random = np.random.default_rng(0)
    coarse = random.integers(60, 230, (side // 4, side // 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def seconds_of_a_tile(config: RunConfig, device: str, clock) -> float:
    encoder = tile_encoder(config, device)
    tiles = torch.randint(0, 256, (8, 224, 224, 3), dtype=torch.uint8)
    taken = []
    for _ in range(3):
        start = clock()
        features = encoder(tiles, seed=0)
        if features.requires_grad:
            torch.autograd.grad(features.sum(), encoder.trained)
        features.detach().cpu()  # waits for the device
        taken.append(clock() - start)
    return min(taken) / len(tiles)


def read(path, corners) -> None:
    with open_slide(path) as reader:
        tile_slide(reader, TilingConfig()).read(corners)


def seconds_of_reading(path) -> float:
    """A tile of a few drawn at random from the slide, opening included."""
    with open_slide(path) as reader:
        grid = tile_slide(reader, TilingConfig()).grid
    drawn = np.random.default_rng(0).permutation(grid.count)[:DRAWN]
    corners = np.array([grid.origin(*divmod(int(cell), grid.rows)) for cell in np.sort(drawn)])
    taken = []
    for _ in range(3):
        start = time.thread_time()
        read(path, corners)
        taken.append(time.thread_time() - start)
    return min(taken) / DRAWN


def test_reading_beside_computing(tmp_path):
    """One reading thread against one computing thread; a run reads in up to eight."""
    reading = {}
    for power, mpp in ((20, 0.5), (40, 0.25)):
        path = tmp_path / f"{power}.svs"
        write_repeated_slide(path, texture(1024), SIDE, SIDE, SlideLayout(mpp=mpp, power=power))
        reading[power] = seconds_of_reading(path)
        print(f"\nreading {DRAWN} tiles of a {power}x slide: {1e3 * reading[power]:.2f} ms a tile")
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for device in devices:
        clock = time.process_time if device == "cpu" else time.perf_counter
        for trainable in ("none", "last-stage", "all"):
            config = RunConfig.from_mapping({"fine_tuning": {"trainable": trainable}})
            taken = seconds_of_a_tile(config, device, clock)
            print(
                f"{device}, trained {trainable}: {1e3 * taken:.2f} ms a tile; "
                f"reading at 40x is {reading[40] / taken:.3f} of it"
            )
            if device == "cpu":
                assert reading[40] < 0.5 * taken
    torch.set_num_threads(threads)


def test_memory_follows_the_chunk_and_not_the_bag():
    peaks = {}
    for count in (16, 64):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(count)], capture_output=True, text=True, check=True
        )
        peaks[count] = int(done.stdout)
        print(f"\nbag of {count} tiles in chunks of 8: {peaks[count]} MB")
    assert peaks[64] < 1.2 * peaks[16]
