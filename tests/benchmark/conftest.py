"""Small registered cohorts, without slides or with a few tiles, for runs that take seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crpnet_bench.benchmark.feature_exchange import import_features
from crpnet_bench.benchmark.inputs import cohort_jobs
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.splits import SplitRequest, create_split
from crpnet_bench.config import RunConfig
from crpnet_bench.home import Home
from crpnet_bench.registry import views

MANIFEST = """
[cohort]
name = "{name}"
title = "Drawn patients"
kind = "simulated"
tnm_edition = 8
grading = "who_isup"

[outcome]
endpoint = "RFS"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"

[clinical.columns]
patient_id = "patient_id"
time = "time"
event = {{column = "event", map = {{"no" = 0, "yes" = 1, "death" = 2}}}}
age = "age"
sex = "sex"
pT = "pT"
pN = "pN"
M = "M"
grade = "grade"
tumor_size = {{column = "size", unit = "mm"}}
necrosis = {{column = "necrosis", map = {{"yes" = true, "no" = false}}}}
ecog = "ecog"
site = "site"

[[further_outcomes]]
endpoint = "OS"
events = "death of any cause"
origin = "surgery"
time_unit = "months"
time = "os_time"
event = {{column = "os_event", map = {{"no" = 0, "yes" = 1}}}}
"""


def _draw_patients(n: int, seed: int, prefix: str = "P") -> pd.DataFrame:
    """Patients whose hazard rises with stage and grade; a few competing deaths."""
    generator = np.random.default_rng(seed)
    stage = generator.integers(0, 4, n)
    grade = generator.integers(1, 5, n)
    hazard = np.exp(0.7 * (stage - 1.5) + 0.5 * (grade - 2.5)) / 60
    event = generator.exponential(1 / hazard)
    death = generator.exponential(200, n)
    censoring = generator.uniform(12, 110, n)
    time = np.minimum.reduce([event, death, censoring])
    ended = np.select([time == event, time == death], ["yes", "death"], "no")
    return pd.DataFrame(
        {
            "patient_id": [f"{prefix}{i:03d}" for i in range(n)],
            "time": time.round(1),
            "event": ended,
            "age": generator.integers(40, 80, n),
            "sex": generator.choice(["male", "female"], n),
            "pT": np.array(["T1a", "T1b", "T2a", "T3a"])[stage],
            "pN": generator.choice(["N0", "NX"], n),
            "M": "M0",
            "grade": grade,
            "size": np.round(20 + 20 * stage + generator.uniform(0, 18, n), 0),
            "necrosis": np.where(generator.random(n) < 0.1 + 0.15 * stage, "yes", "no"),
            "ecog": generator.integers(0, 2, n),
            "site": generator.choice(["A", "B", "C"], n),
            "os_time": np.minimum(death, censoring).round(1),
            "os_event": np.where(death < censoring, "yes", "no"),
        }
    )


def _write_cohort(folder: Path, name: str, patients: pd.DataFrame) -> Path:
    """A cohort folder without slides."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = MANIFEST.format(name=name)
    (folder / "cohort.toml").write_text(manifest, encoding="utf-8")
    patients.to_csv(folder / "clinical.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def drawn() -> Callable[..., pd.DataFrame]:
    """Draws patients."""
    return _draw_patients


@pytest.fixture(scope="session")
def write_cohort() -> Callable[..., Path]:
    """Writes a cohort folder."""
    return _write_cohort


@pytest.fixture
def new_home(tmp_path: Path) -> Callable[..., Home]:
    """Makes a home with one registered cohort, `drawn`, and the splits asked for."""

    def make(
        *requests: SplitRequest, n: int = 80, seed: int = 0, patients: pd.DataFrame | None = None
    ) -> Home:
        home = Home(tmp_path / "home")
        table = _draw_patients(n, seed) if patients is None else patients
        folder = _write_cohort(tmp_path / "drawn", "drawn", table)
        register_cohort(home, folder)
        for request in requests or (SplitRequest(),):
            create_split(home, "drawn", request)
        return home

    return make


@pytest.fixture(scope="session")
def clinical_config() -> Callable[..., RunConfig]:
    """Settings of a run without tiles."""

    def make(**values: object) -> RunConfig:
        given = {
            "cohort": "drawn",
            "split": "random-70-30",
            "models": ["leibovich_2003", "ssign", "karakiewicz_refit"],
            "train": {"inner_folds": 3},
        }
        return RunConfig.from_mapping(given | values)

    return make


def _home_with_bags(root: Path, n: int, seed: int, *requests: SplitRequest) -> Home:
    """A home whose cohort `drawn` has a slide and a few tiles of 16 imported features a patient.

    Every third tile of a patient with an event lies off the others. The slides themselves are
    noise that nobody reads.
    """
    home, folder = Home(root / "home"), root / "drawn"
    patients = _draw_patients(n, seed)
    _write_cohort(folder, "drawn", patients)
    generator = np.random.default_rng(seed)
    source = root / "tiles"
    source.mkdir()
    for row in patients.to_dict("records"):
        name = str(row["patient_id"])
        pixels = generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.tif")
        tiles = int(generator.integers(4, 12))
        features = generator.normal(size=(tiles, 16)).astype(np.float32)
        features[::3] += 1.0 if row["event"] == "yes" else -0.3
        with h5py.File(source / f"{name}.h5", "w") as file:
            file["features"], file["coords"] = features, np.zeros((tiles, 2), np.int64)
    slides = patients[["patient_id"]].assign(path=patients["patient_id"] + ".tif")
    slides.to_csv(folder / "slides.csv", index=False)
    with (folder / "cohort.toml").open("a") as file:
        file.write('\n[slides]\nfile = "slides.csv"\nmpp = 0.5\n')
    register_cohort(home, folder)
    jobs = cohort_jobs(home, views.cohort(home, "drawn"))
    import_features(jobs, source, home.features, "tiny")
    for request in requests:
        create_split(home, "drawn", request)
    return home


@pytest.fixture(scope="session")
def home_with_bags() -> Callable[..., Home]:
    """Makes homes with bags of few tiles and features, for networks that train in a second."""
    return _home_with_bags


@pytest.fixture(scope="session")
def network_config() -> Callable[..., RunConfig]:
    """Settings of a run with a network on the bags of `home_with_bags`."""

    def make(models: Sequence[str], iterations: int = 20, **values: object) -> RunConfig:
        given = {
            "cohort": "drawn",
            "models": list(models),
            "encoder": {"name": "imported:tiny"},
            "model": {"attention_dim": 4, "hidden_dim": 4},
            "train": {"iterations": iterations, "inits": 1, "inner_folds": 2, "threads": 1},
        }
        return RunConfig.from_mapping(given | values)

    return make
