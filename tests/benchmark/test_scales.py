"""A model that reads several scales: run and validation extract what it needs by themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.line_up import load_model, with_wider_fields
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest, create_split
from crpnet_bench.benchmark.validate import validate_run
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.home import Home
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.slides.features import read_features

SETTINGS = {
    "cohort": "here",
    "split": "random-70-30",
    "models": ["crpnet-ms"],
    "model": {"attention_dim": 4, "hidden_dim": 4},
    "train": {"iterations": 3, "inits": 2, "inner_folds": 2, "threads": 1},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, drawn, write_cohort) -> Home:
    """Two cohorts of slides of one tile; their wider fields reach beyond the slide."""
    home = Home(tmp_path_factory.mktemp("scales") / "home")
    for seed, (name, count) in enumerate({"here": 16, "there": 8}.items()):
        folder = home.root.parent / name
        patients = drawn(count, seed, prefix=name[0].upper())
        write_cohort(folder, name, patients)
        generator = np.random.default_rng(seed)
        for patient in patients["patient_id"]:
            pixels = generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{patient}.tif")
        table = patients[["patient_id"]].assign(path=patients["patient_id"] + ".tif")
        table.to_csv(folder / "slides.csv", index=False)
        with (folder / "cohort.toml").open("a") as file:
            file.write('\n[slides]\nfile = "slides.csv"\nmpp = 0.5\n')
        register_cohort(home, folder)
    create_split(home, "here", SplitRequest())
    return home


def one_patient(home: Home, patient: str, *, context: bool) -> CohortData:
    """A patient's bag straight from the feature file."""
    slides = views.slides(home, "there").set_index("patient_id")
    (path,) = home.features.glob(f"*/{slides.loc[patient, 'slide_id']}.h5")
    tiles = read_features(path)
    bag = Bag(
        features=tiles.features,
        slide=np.zeros(len(tiles.coords), dtype=np.int32),
        coords=tiles.coords,
        context=tiles.context if context else {},
    )
    return CohortData(pd.DataFrame(index=pd.Index([patient])), bags={patient: bag})


def test_run_and_validation_of_three_scales(home):
    config = RunConfig.from_mapping(SETTINGS)
    finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    assert not finished.record.failures
    assert finished.record.config["tiling"]["context_factors"] == [2, 4]
    found = validate_run(
        home, finished.record.run_id, "there", device="cpu", progress=SilentProgress()
    )
    assert not found.failures
    rows = views.predictions(home, finished.record.run_id)
    rows = rows[(rows["role"] == "external") & rows["member"].isna()].set_index("patient_id")
    assert (rows["status"] == "ok").sum() == 8
    model = load_model(fold_folder(finished.folder, "repeat0-fold0", "crpnet-ms") / "model")
    patient = str(rows.index[0])
    data = one_patient(home, patient, context=True)
    risk = model.predict(data)["risk"].iloc[0]
    assert rows.loc[patient, "risk"] == pytest.approx(risk, abs=1e-6)
    bag = data.bags[patient]
    other = replace(bag, context={**bag.context, 4: np.zeros_like(bag.context[4])})
    assert model.predict(replace(data, bags={patient: other}))["risk"].iloc[0] != risk
    with pytest.raises(ModelError, match=r"lack the fields \[2, 4\] times as wide"):
        model.predict(one_patient(home, patient, context=False))


def test_the_settings_take_what_the_models_need_and_no_more():
    def factors(*models, own=()):
        given = {"models": list(models), "tiling": {"context_factors": list(own)}}
        return with_wider_fields(RunConfig.from_mapping(given)).tiling.context_factors

    assert factors("crpnet", "ssign") == ()
    assert factors("crpnet", own=(3,)) == (3,)
    assert factors("crpnet-ms-cox", own=(3,)) == (2, 3, 4)
    assert factors("crpnet-ms+clinical") == (2, 4)
    outside = RunConfig.from_mapping({"models": ["crpnet-ms"], "encoder": {"name": "imported:uni"}})
    with pytest.raises(ConfigError, match=r"'crpnet-ms' reads wider fields.*imported:uni"):
        with_wider_fields(outside)
