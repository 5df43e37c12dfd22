import dataclasses
import hashlib

import numpy as np
import openslide
import pandas as pd
import pytest
from PIL import Image

from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.errors import InputError
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.synthetic.cohort_design import CohortDesign, design_cohort
from crpnet_bench.synthetic.demo import DEMO_COHORTS, make_demo, write_cohort


def special_cases(design):
    """A few patients that show each special case, so that drawing takes seconds."""
    status = design.outcomes.status
    wanted = [
        next(i for i, p in enumerate(design.patients) if p.tiles == 0),
        next(i for i, p in enumerate(design.patients) if len(p.slides) == 2),
        next(i for i, p in enumerate(design.patients) if p.slides[0].pen),
        int(np.flatnonzero(status == 1)[0]),
        int(np.flatnonzero(status == 2)[0]),
    ]
    rows = sorted(set(wanted))

    def take(columns):
        names = [field.name for field in dataclasses.fields(columns)]
        return dataclasses.replace(columns, **{n: getattr(columns, n)[rows] for n in names})

    return CohortDesign(
        design.recipe,
        tuple(design.patients[i] for i in rows),
        take(design.clinical),
        take(design.outcomes),
        design.histology[rows],
        design.clinical_part[rows],
    )


@pytest.fixture(scope="module")
def design():
    return special_cases(design_cohort(DEMO_COHORTS["demo"], 0))


@pytest.fixture(scope="module")
def folder(design, tmp_path_factory):
    path = tmp_path_factory.mktemp("home") / "demo"
    path.mkdir()
    write_cohort(path, design, "synthetic, test", workers=2)
    return path


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folder_is_a_cohort_that_registers(folder, design, tmp_path):
    registration = register_cohort(Home(tmp_path / "home"), folder)
    assert registration.patients == len(design.patients)


def test_no_partial_file_stays_and_the_marker_is_there(folder):
    files = digests(folder)
    assert "complete" in files
    assert not [name for name in files if name.endswith(".partial")]


def test_every_slide_is_readable_at_20x_and_says_that_it_is_synthetic(folder, design):
    slides = pd.read_csv(folder / "slides.csv")
    assert len(slides) == sum(len(patient.slides) for patient in design.patients)
    for path in slides["path"]:
        with openslide.OpenSlide(folder / path) as slide:
            assert slide.dimensions == (1568, 1568)
            assert float(slide.properties["openslide.mpp-x"]) == 0.5
            assert "synthetic" in slide.properties["tiff.ImageDescription"]


def test_truth_of_tiles_fits_the_pictures_and_the_patients(folder):
    tiles = pd.read_parquet(folder / "truth" / "tiles.parquet")
    patients = pd.read_parquet(folder / "truth" / "patients.parquet").set_index("patient_id")
    assert (tiles.groupby("slide").size() == 49).all()
    wrong = 0
    for file, rows in tiles.groupby("slide"):
        with openslide.OpenSlide(folder / file) as slide:
            for row in rows.itertuples():
                tile = slide.read_region((row.x, row.y), 0, (224, 224)).convert("RGB")
                kept = tile.convert("L").entropy() >= 5
                wrong += kept != (row.tissue != "glass")
    assert wrong <= 0.01 * len(tiles)
    tissue = tiles[tiles["tissue"] != "glass"]
    fraction = tissue.groupby("patient_id")["planted"].mean().reindex(patients.index)
    pd.testing.assert_series_equal(fraction, patients["planted_fraction"], check_names=False)
    assert patients["planted_fraction"].isna().sum() == 1  # the slide without tissue


def test_the_full_predictor_is_the_sum_of_its_parts(folder):
    truth = pd.read_parquet(folder / "truth" / "patients.parquet").dropna()
    parts = truth["histology_linear_predictor"] + truth["clinical_linear_predictor"]
    np.testing.assert_allclose(truth["linear_predictor"], parts)
    assert (truth.loc[truth["planted_tiles"] == 0, "histology_linear_predictor"] == 0).all()


def test_an_interrupted_cohort_is_finished_with_the_same_bytes(folder, design, tmp_path):
    class InterruptionError(Exception):
        pass

    class Impatient(SilentProgress):
        def task(self, description, total, unit=""):
            raise InterruptionError

    with pytest.raises(InterruptionError):
        write_cohort(tmp_path, design, "synthetic, test", progress=Impatient())
    first = pd.read_csv(tmp_path / "slides.csv")["path"][0]
    (tmp_path / first).write_bytes((folder / first).read_bytes())
    (tmp_path / first).with_name(".left.svs.partial").write_bytes(b"half a slide")
    assert not (tmp_path / "complete").exists()
    before = (tmp_path / first).stat().st_mtime_ns
    write_cohort(tmp_path, design, "synthetic, test", workers=1)
    assert (tmp_path / first).stat().st_mtime_ns == before  # kept, not drawn again
    assert digests(tmp_path) == digests(folder)


def test_a_complete_cohort_is_left_alone(folder, design):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_cohort(folder, design, "synthetic, test")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_missing_cells_are_there_in_a_whole_cohort(tmp_path):
    class OnlyTables(SilentProgress):
        def task(self, description, total, unit=""):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demo(tmp_path / "demo", seed=4, progress=OnlyTables())
    clinical = pd.read_csv(tmp_path / "demo" / "clinical.csv")
    assert clinical["ecog"].isna().sum() == 15
    assert 1 <= clinical["grade"].isna().sum() <= 5
    assert clinical["months"].duplicated().sum() > 20
    assert set(clinical["outcome"].fillna("none")) == {"none", "recurrence", "death"}
    split = pd.read_csv(tmp_path / "demo" / "splits" / "random-70-30.csv")
    assert set(split["role"]) == {"train", "validation"}
    assert set(split["patient_id"]) == set(clinical["patient_id"])
    # A folder of one seed is not continued with another.
    with pytest.raises(InputError, match="seed"):
        make_demo(tmp_path / "demo", seed=5)


def test_what_cannot_be_made_is_refused(tmp_path):
    with pytest.raises(InputError, match="did you mean 'demo'"):
        make_demo(tmp_path / "x", name="demmo")
    with pytest.raises(InputError, match="seed -1"):
        make_demo(tmp_path / "x", seed=-1)
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="no synthetic cohort"):
        make_demo(tmp_path / "y")
    assert (tmp_path / "y" / "mine.txt").read_text() == "mine"


def test_the_pen_is_in_the_picture(folder):
    tiles = pd.read_parquet(folder / "truth" / "tiles.parquet")
    marked = tiles.loc[tiles["pen_slide"], "slide"].unique()
    assert len(marked) == 1
    with openslide.OpenSlide(folder / marked[0]) as slide:
        small = np.asarray(slide.get_thumbnail((392, 392)).convert("RGB"), int)
    assert ((small[..., 1] - small[..., 0]) > 60).mean() > 0.01


def test_glass_looks_like_glass(folder):
    tiles = pd.read_parquet(folder / "truth" / "tiles.parquet")
    empty = [file for file, rows in tiles.groupby("slide") if (rows["tissue"] == "glass").all()]
    assert len(empty) == 1
    with openslide.OpenSlide(folder / empty[0]) as slide:
        grey = slide.get_thumbnail((392, 392)).convert("L")
    assert Image.Image.getextrema(grey)[0] > 230
