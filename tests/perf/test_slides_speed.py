"""Ratios within one process on one slide, in CPU time of the thread that works.

Run with `pytest tests/perf -m perf -s`; the printed lines are those of docs/benchmarks.md.
"""

from __future__ import annotations

import subprocess
import sys
import time

import imagecodecs
import numpy as np
import openslide
import pytest
import tifffile
import torch
from PIL import Image
from skimage.measure import shannon_entropy

from crpnet_bench.benchmark.extract import SlideJob, extract_features
from crpnet_bench.config import EncoderConfig, TilingConfig
from crpnet_bench.models.encoders import load_encoder
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide
from crpnet_bench.slides.writer import SlideLayout, write_repeated_slide

pytestmark = pytest.mark.perf

SIDE = 20_000
CLOCKS = {"CPU time": time.process_time, "wall clock": time.perf_counter}
TILE = 224
LARGE = r"""
import re, sys
from pathlib import Path
from crpnet_bench.config import TilingConfig
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import audit_of, tile_slide
with open_slide(sys.argv[1]) as reader:
    tiles = tile_slide(reader, TilingConfig())
    audit = audit_of(tiles.grid, 5.0, tiles.blocks())
status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak
print(audit.n_kept, re.search(r"VmHWM:\s+(\d+)", status).group(1))
"""


def tissue(side: int) -> np.ndarray:
    """Texture as busy as tissue at 20x: 25-30 kB for a JPEG tile of 256 px at quality 85."""
    random = np.random.default_rng(0)
    field = np.zeros((side, side))
    for cell, weight in ((40, 1.0), (12, 0.8), (4, 0.7), (2, 0.5)):
        coarse = random.normal(size=(side // cell + 2, side // cell + 2)).astype(np.float32)
        field += weight * np.asarray(
            Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        )
    share = 1 / (1 + np.exp(-1.5 * field[..., None]))
    colour = np.array([232, 170, 200.0]) * share + np.array([95, 60, 130.0]) * (1 - share)
    return (colour + random.normal(0, 4, (side, side, 1))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("perf") / "tissue.svs"
    return write_repeated_slide(path, tissue(1024), SIDE, SIDE, SlideLayout())


def rate(tiles: float, work) -> float:
    """Tiles a second of CPU time in this thread; the best of three."""
    best = np.inf
    for _ in range(3):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
    return tiles / best


def told(name: str, value: float, unit: str = "tiles/s") -> None:
    print(f"\n{name}: {value:,.2f} {unit}" if value < 10 else f"\n{name}: {value:,.0f} {unit}")


def tile_all(path) -> int:
    with open_slide(path) as reader:
        assert reader.backend == "direct"
        return sum(len(block.coords) for block in tile_slide(reader, TilingConfig()).blocks())


def test_tiling_against_openslide_and_against_raw_decoding(slide):
    grid = (SIDE // TILE) ** 2
    assert tile_all(slide) == grid
    tiling = rate(grid, lambda: tile_all(slide))

    with tifffile.TiffFile(slide) as file:
        page = file.pages.first
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    out = np.empty((256, 256, 3), np.uint8)
    with slide.open("rb") as file:

        def decode() -> None:
            for offset, count in places:
                file.seek(offset)
                imagecodecs.jpeg8_decode(file.read(count), outcolorspace=2, out=out)

        raw = rate(SIDE**2 / TILE**2, decode)

    with openslide.OpenSlide(slide) as reference:

        def loop() -> None:
            for number in range(300):
                corner = (number % 80 * TILE, number // 80 * TILE)
                region = reference.read_region(corner, 0, (TILE, TILE)).convert("L")
                shannon_entropy(np.asarray(region), base=2)

        plain = rate(300, loop)

    told("tiling with entropy", tiling)
    told("raw decoding of the same JPEG tiles", raw)
    told("OpenSlide tile loop with skimage's entropy", plain)
    told("tiling against the OpenSlide loop", tiling / plain, "times")
    told("tiling against raw decoding", tiling / raw, "times")
    assert tiling >= 5 * plain
    assert tiling >= 0.45 * raw


def test_extraction_keeps_the_encoder_busy(slide, tmp_path_factory):
    """End to end against the encoder alone on the same tiles in memory.

    The loading of the encoder, which does not grow with the slides, is measured and taken off.
    """
    folder = tmp_path_factory.mktemp("extract")
    path = write_repeated_slide(folder / "small.svs", tissue(1024), 4480, 4480, SlideLayout())
    config = EncoderConfig()
    with open_slide(path) as reader:
        pixels = np.concatenate(
            [block.pixels for block in tile_slide(reader, TilingConfig()).blocks()]
        )
    encoder = load_encoder(config)
    encoder.encode(pixels[:32])
    found = {clock: {"load": np.inf, "alone": np.inf, "whole": np.inf} for clock in CLOCKS}

    def measure(name, work) -> None:
        before = {clock: read() for clock, read in CLOCKS.items()}
        work()
        for clock, read in CLOCKS.items():
            found[clock][name] = min(found[clock][name], read() - before[clock])

    def extract(run: int) -> None:
        job = SlideJob(None, "p", path)
        [outcome] = extract_features([job], folder / str(run), TilingConfig(), config)
        assert outcome.n_kept == len(pixels) == 400

    for run in range(3):  # in turn, so that a busy machine slows all
        measure("load", lambda: load_encoder(config))
        measure("alone", lambda: encoder.encode(pixels))
        measure("whole", lambda run=run: extract(run))
    ratios = {}
    for clock, seconds in found.items():
        whole = seconds["whole"] - seconds["load"]
        ratios[clock] = seconds["alone"] / whole
        told(f"encoder alone, {clock}", 400 / seconds["alone"])
        told(f"extraction, {clock}", 400 / whole)
        told(f"extraction against the encoder alone, {clock}", ratios[clock], "times")
    assert ratios["CPU time"] >= 0.9
    assert ratios["wall clock"] >= 0.9


def test_backends_of_the_encoder_on_a_cpu():
    """In turn on the same tiles, one thread each; bounds on features are in tests/models."""
    pixels = np.stack([tissue(TILE + number)[:TILE, :TILE] for number in range(32)])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    encoders = {
        (backend, precision): load_encoder(EncoderConfig(backend=backend, precision=precision))
        for precision in ("float32", "bfloat16")
        for backend in ("torch", "openvino")
    }
    torch.set_num_threads(before)
    seconds = dict.fromkeys(encoders, np.inf)
    features = {name: encoder.encode(pixels) for name, encoder in encoders.items()}
    for _ in range(4):
        for name, encoder in encoders.items():
            start = time.process_time()
            encoder.encode(pixels)
            seconds[name] = min(seconds[name], time.process_time() - start)
    exact = features["torch", "float32"]
    for (backend, precision), found in features.items():
        told(f"{backend}, {precision}, CPU time", len(pixels) / seconds[backend, precision])
        change = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(exact, axis=1)
        print(f"its features against torch, float32: at most {change.max():.2g} apart")
    for precision in ("float32", "bfloat16"):
        assert seconds["openvino", precision] < 1.5 * seconds["torch", precision]


def test_memory_of_tiling_does_not_grow_with_the_slide(slide, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.svs"
    write_repeated_slide(path, tissue(1024), 100_000, 100_000, SlideLayout())
    peaks = {}
    for name, one, side in (("20,000", slide, SIDE), ("100,000", path, 100_000)):
        output = subprocess.run(
            [sys.executable, "-c", LARGE, str(one)], capture_output=True, check=True, text=True
        ).stdout.split()
        assert int(output[0]) == (side // TILE) ** 2
        peaks[name] = int(output[1]) / 1024
        told(f"peak memory, slide of {name} px", peaks[name], "MB")
    assert peaks["100,000"] < 2000
    assert peaks["100,000"] < peaks["20,000"] + 300


@pytest.mark.gpu
def test_encoding_on_cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 224, 224, 3), dtype=np.uint8)
    encoder = load_encoder(EncoderConfig(batch_size=256), "cuda")
    encoder.encode(pixels)
    start = time.perf_counter()
    encoder.encode(pixels)
    told("encoder on CUDA", len(pixels) / (time.perf_counter() - start))
