from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image

from crpnet_bench.benchmark.extract import extract_features
from crpnet_bench.benchmark.read_ahead import SlideJob
from crpnet_bench.benchmark.slide_colours import COLOUR_MODEL, with_colours
from crpnet_bench.config import EncoderConfig, RunConfig, TilingConfig
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import build_model, needs_bags
from crpnet_bench.progress import SilentProgress

COLUMNS = ["stain_red", "stain_green", "stain_blue"]


def test_colours_are_means_over_a_patients_usable_slides(tmp_path):
    generator = np.random.default_rng(0)
    jobs, expected = [], {}
    for name, patient, middle in (("a", "p1", 90), ("b", "p1", 130), ("c", "p2", 110)):
        pixels = generator.integers(middle - 60, middle + 60, (300, 300, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.tif")
        jobs.append(SlideJob(None, patient, tmp_path / f"{name}.tif", 0.5))
        light = np.maximum(pixels.reshape(-1, 3).astype(float), 1) / 255
        expected[name] = -np.log10(light).mean(axis=0)
    (tmp_path / "broken.tif").write_bytes(b"no slide")
    jobs.append(SlideJob(None, "p3", tmp_path / "broken.tif", 0.5))
    outcomes = extract_features(jobs, tmp_path / "features", TilingConfig(), EncoderConfig())
    patients = pd.DataFrame(index=pd.Index(["p1", "p2", "p3"], dtype=object))
    coloured = with_colours(CohortData(patients=patients), outcomes, SilentProgress()).patients
    np.testing.assert_allclose(
        coloured.loc["p1", COLUMNS].to_numpy(float), (expected["a"] + expected["b"]) / 2, atol=1e-3
    )
    np.testing.assert_allclose(
        coloured.loc["p2", COLUMNS].to_numpy(float), expected["c"], atol=1e-3
    )
    assert coloured.loc["p3"].isna().all()


def test_the_model_reads_colour_and_nothing_else():
    generator = np.random.default_rng(1)
    n = 120
    green = generator.normal(0.4, 0.05, n)
    event = (generator.random(n) < np.where(green > 0.4, 0.6, 0.2)).astype(int)
    index = pd.Index([f"p{i}" for i in range(n)], dtype=object)
    patients = pd.DataFrame(
        {
            "stain_red": generator.normal(0.2, 0.02, n),
            "stain_green": green,
            "stain_blue": generator.normal(0.3, 0.02, n),
            "age": generator.integers(30, 80, n),
        },
        index=index,
    )
    time = generator.uniform(1, 60, n)
    outcomes = pd.DataFrame({"time": time, "status": event, "label": event}, index=index)
    data = CohortData(patients=patients, outcomes=outcomes)
    fitted = build_model(COLOUR_MODEL, RunConfig()).fit(data, seed=0, progress=SilentProgress())
    assert set(fitted.coefficients) == set(COLUMNS)
    assert fitted.coefficients["stain_green"] > 0
    unknown = CohortData(patients=patients.assign(stain_blue=np.nan))
    assert set(fitted.predict(unknown)["reason"]) == {"missing: stain_blue"}
    assert needs_bags(COLOUR_MODEL)  # so that the slides are read before
