"""Tiles of a bag read from its slides, and a run that trains on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crpnet_bench.benchmark.bags import BagSource
from crpnet_bench.benchmark.extract import SlideJob, extract_features
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest, create_split
from crpnet_bench.benchmark.tile_pixels import SlideFile, SlidePixels
from crpnet_bench.benchmark.validate import validate_run
from crpnet_bench.config import EncoderConfig, RunConfig, TilingConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.slides.features import FeatureFile, write_features
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide
from crpnet_bench.slides.writer import SlideLayout, write_slide

TILING = TilingConfig(tile_px=64, entropy_threshold=4.0)


def texture(height, width, seed):
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 230, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """A patient with two slides, one of which tells its scale only in the manifest."""
    folder = tmp_path_factory.mktemp("slides")
    one = write_slide(folder / "one.svs", texture(200, 330, 0), SlideLayout())
    two = folder / "two.tif"
    Image.fromarray(texture(300, 270, 1)).save(two)
    jobs = [SlideJob(None, "p", one), SlideJob(None, "p", two, mpp=0.25)]
    return extract_features(jobs, folder / "features", TILING, EncoderConfig())


@pytest.fixture
def bag(outcomes, tmp_path):
    files = {"p": [(slide.slide_id, slide.feature_path) for slide in outcomes]}
    slides = {slide.slide_id: slide.path for slide in outcomes}
    return BagSource(files, tmp_path / "pack", slides).read()["p"]


def test_tiles_are_those_whose_features_were_extracted(bag, outcomes):
    expected = []
    for slide, mpp in zip(outcomes, (None, 0.25), strict=True):
        with open_slide(slide.path, mpp=mpp) as reader:
            expected += [block.pixels for block in tile_slide(reader, TILING).blocks()]
    expected = np.concatenate(expected)
    assert expected.shape == (len(bag), 64, 64, 3)
    assert set(bag.slide.tolist()) == {0, 1}
    drawn = np.random.default_rng(0)
    for count in (1, 5, len(bag)):  # of both slides, in any order
        chosen = drawn.permutation(len(bag))[:count]
        assert np.array_equal(bag.pixels.read(chosen), expected[chosen])


def test_a_slide_that_is_gone_is_named(bag, tmp_path):
    file = SlideFile(tmp_path / "gone.svs", bag.pixels.files[0].features)
    lost = SlidePixels((file,), bag.slide, bag.coords)
    with pytest.raises(ModelError, match=r"gone\.svs: its tiles cannot be read: file not found"):
        lost.read(np.array([0]))


def test_another_slide_in_its_place_is_refused(bag, tmp_path):
    other = write_slide(tmp_path / "one.svs", texture(210, 330, 0), SlideLayout())
    replaced = SlidePixels((SlideFile(other, bag.pixels.files[0].features),), bag.slide, bag.coords)
    with pytest.raises(ModelError, match=r"one\.svs.*\[330, 210\] pixels.*from \[330, 200\]"):
        replaced.read(np.array([0]))


def test_features_that_do_not_tell_their_tiles_are_named(bag, tmp_path):
    path = tmp_path / "foreign.h5"
    content = FeatureFile(
        np.zeros((1, 4), np.float32), np.zeros((1, 2), np.int64), np.zeros(1), np.zeros((1, 1)), {}
    )
    write_features(path, content)
    slides = (SlideFile(bag.pixels.files[0].path, path),)
    with pytest.raises(ModelError, match=r"foreign\.h5: does not tell how the tiles"):
        SlidePixels(slides, bag.slide, bag.coords).read(np.array([0]))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, drawn, write_cohort):
    """Registers a cohort with a slide of nine tiles a patient."""
    root = tmp_path_factory.mktemp("finetuned")

    def make(name, seed, n):
        patients = drawn(n, seed, prefix=name[0].upper())
        folder = write_cohort(root / name, name, patients)
        for number, patient in enumerate(patients["patient_id"]):
            slide = folder / f"{patient}.tif"
            Image.fromarray(texture(100, 100, 1000 * seed + number)).save(slide)
        slides = patients[["patient_id"]].assign(path=patients["patient_id"] + ".tif")
        slides.to_csv(folder / "slides.csv", index=False)
        with (folder / "cohort.toml").open("a") as file:
            file.write('\n[slides]\nfile = "slides.csv"\nmpp = 0.5\n')
        register_cohort(Home(root / "home"), folder)
        return Home(root / "home"), folder

    return make


def test_a_run_trains_on_tiles_and_is_validated_elsewhere(cohort):
    home, _ = cohort("here", 0, 14)
    _, there = cohort("there", 1, 6)
    create_split(home, "here", SplitRequest())
    config = RunConfig.from_mapping(
        {
            "cohort": "here",
            "models": ["crpnet-finetuned"],
            "tiling": {"tile_px": 32, "entropy_threshold": 3.0},
            "train": {"inits": 1, "inner_folds": 2, "threads": 1, "batch_bags": 8},
            "fine_tuning": {"iterations": 2, "tiles_per_bag": 2},
        }
    )
    run = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    assert not run.failures
    own = pd.read_parquet(run.folder / "predictions.parquet")
    assert set(own["status"]) == {"ok"}
    assert own["risk"].nunique() > 14
    place = run.folder / "folds" / "repeat0-fold0" / "crpnet-finetuned"
    looked = pd.read_parquet(place / "attention.parquet")
    assert (looked.groupby("patient_id").size() == 9).all()
    assert any("trained the last stage of resnet50-trunc" in note for note in run.notes)

    found = validate_run(home, run.record.run_id, "there", device="cpu", progress=SilentProgress())
    rows = pd.read_parquet(found.folder / "predictions.parquet")
    whole = rows[rows["member"].isna()].set_index("patient_id")["risk"]
    assert len(whole) == 6
    assert whole.notna().all()
    slide = pd.read_csv(there / "slides.csv").iloc[0]
    (there / slide["path"]).unlink()
    again = validate_run(home, run.record.run_id, "there", device="cpu", progress=SilentProgress())
    rows = pd.read_parquet(again.folder / "predictions.parquet").set_index("patient_id")
    lost = rows.loc[[slide["patient_id"]]]
    assert set(lost["status"]) == {"missing"}
    assert lost["reason"].str.contains(slide["path"], regex=False).all()
    rest = rows[rows["member"].isna()]["risk"].drop(slide["patient_id"])
    assert rest.equals(whole.drop(slide["patient_id"])[rest.index])
