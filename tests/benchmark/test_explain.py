from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from crpnet_bench.benchmark.explain import effective_share, explain_run
from crpnet_bench.cli import app
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import NotFoundError, RunError
from crpnet_bench.home import Home
from crpnet_bench.results import RunRecord, write_record
from crpnet_bench.slides.features import FeatureFile, write_features
from crpnet_bench.synthetic.slide_writer import write_slide

RUN, TILE = "r", 224
SLIDE = "ab" * 32
TILES = [(x * TILE, y * TILE) for y in range(3) for x in range(4)]
HOT = 5  # this tile is red on the slide and gets the attention


def _slide(path: Path) -> None:
    pixels = np.full((3 * TILE, 4 * TILE, 3), 225, np.uint8)
    x, y = TILES[HOT]
    pixels[y : y + TILE, x : x + TILE] = (200, 30, 60)
    write_slide(path, pixels, "a red tile")


def _attention(weights: np.ndarray, role: str = "validation", slide: str = SLIDE) -> pd.DataFrame:
    x, y = np.array(TILES).T
    return pd.DataFrame(
        {
            "patient_id": "P1",
            "slide_id": slide,
            "role": role,
            "x": x,
            "y": y,
            "attention": weights / weights.sum(),
            "tile_logit": np.where(np.arange(len(TILES)) == HOT, 2.0, -1.0),
        }
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a run of one slide whose attention is on one tile."""
    where = Home(tmp_path / "home")
    folder = where.runs / RUN
    _slide(tmp_path / "P1.svs")
    record = RunRecord(
        run_id=RUN, created="2026-01-01T00:00:00+00:00", status="done", cohort="c",
        cohort_version=1, cohort_kind="synthetic", endpoint="RFS", split="s",
        split_sha256="0" * 64, models=("crpnet",), primary_model="crpnet", primary_metric="auc",
        seed=0, device="cpu", config_fingerprint="f", config=RunConfig().model_dump(mode="json"),
        environment={},
    )  # fmt: skip
    write_record(record, folder)
    slides = pd.DataFrame({"slide_id": [SLIDE], "path": [str(tmp_path / "P1.svs")]})
    slides.to_parquet(folder / "slides.parquet")
    weights = np.ones(len(TILES))
    weights[HOT] = 40.0
    _store(where, _attention(weights))
    return where


def _store(home: Home, table: pd.DataFrame, fold: str = "repeat0-fold0") -> None:
    place = home.runs / RUN / "folds" / fold / "crpnet"
    place.mkdir(parents=True, exist_ok=True)
    table.to_parquet(place / "attention.parquet")


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_attended_tile_is_bright_where_it_lies_on_the_slide(home):
    (drawn,) = explain_run(home, RUN)
    folder = home.runs / RUN / "explain" / "crpnet" / SLIDE
    assert drawn.folder == str(folder)
    assert drawn.warning is None
    shown = _pixels(folder / "attention.png")
    assert shown.shape[:2] == _pixels(folder / "thumbnail.jpg").shape[:2] == (600, 800)
    scale = 800 / (4 * TILE)
    x, y = TILES[HOT]
    center = (
        slice(round((y + 60) * scale), round((y + 160) * scale)),
        slice(round((x + 60) * scale), round((x + 160) * scale)),
    )
    added = shown - _pixels(folder / "thumbnail.jpg")
    hot = added[center].mean()
    assert hot > added[:100, :100].mean() + 30  # the least attended tiles are darkened
    evidence = _pixels(folder / "evidence.png")
    red, blue = evidence[center][..., 0].mean(), evidence[center][..., 2].mean()
    assert red > blue + 60


def test_the_most_attended_tile_is_cut_out_of_the_slide(home):
    explain_run(home, RUN)
    folder = home.runs / RUN / "explain" / "crpnet" / SLIDE
    first = _pixels(folder / "high-1.jpg")
    assert first.shape == (TILE, TILE, 3)
    np.testing.assert_allclose(first.mean(axis=(0, 1)), (200, 30, 60), atol=12)
    low = _pixels(folder / "low-1.jpg")
    np.testing.assert_allclose(low.mean(axis=(0, 1)), 225, atol=12)


def test_geojson_holds_every_tile_in_level_0_pixels(home):
    explain_run(home, RUN)
    path = home.runs / RUN / "explain" / "crpnet" / SLIDE / "tiles.geojson"
    features = json.loads(path.read_text())["features"]
    assert len(features) == len(TILES)
    x, y = TILES[HOT]
    ring = features[HOT]["geometry"]["coordinates"][0]
    assert ring[0] == ring[-1] == [x, y]
    assert ring[2] == [x + TILE, y + TILE]
    assert features[HOT]["properties"]["objectType"] == "tile"
    assert features[HOT]["properties"]["measurements"]["attention"] == pytest.approx(40 / 51)
    assert len({feature["id"] for feature in features}) == len(TILES)


def test_uniform_attention_is_warned_of(home):
    _store(home, _attention(np.ones(len(TILES))))
    (drawn,) = explain_run(home, RUN)
    assert drawn.effective_share == pytest.approx(1.0)
    assert "nearly uniform" in drawn.warning
    told = json.loads((Path(drawn.folder) / "explain.json").read_text())
    assert "nearly uniform" in told["warning"]


def test_a_fold_that_did_not_train_on_the_patient_is_preferred(home):
    flat = _attention(np.ones(len(TILES)), role="train")
    _store(home, flat)
    peaked = np.ones(len(TILES))
    peaked[HOT] = 40
    _store(home, _attention(peaked), fold="repeat0-fold1")
    (drawn,) = explain_run(home, RUN)
    assert (drawn.fold, drawn.role, drawn.warning) == ("repeat0-fold1", "validation", None)


def _validated(home: Home, cohort: str, weights: np.ndarray) -> Path:
    """A validation of the run on another cohort, with the same slide."""
    folder = home.runs / RUN / "external" / cohort
    (folder / "crpnet").mkdir(parents=True)
    (folder / "validation.json").write_text(json.dumps({"cohort": cohort}))
    table = _attention(weights, role="external").assign(fold="mean of 3 folds")
    table.to_parquet(folder / "crpnet" / "attention.parquet")
    slides = pd.read_parquet(home.runs / RUN / "slides.parquet")
    slides.to_parquet(folder / "slides.parquet")
    return folder


def test_slides_of_another_cohort_are_drawn_beside_their_validation(home):
    explain_run(home, RUN)
    own = home.runs / RUN / "explain" / "crpnet" / SLIDE / "attention.png"
    before = own.read_bytes()
    weights = np.ones(len(TILES))
    weights[0] = 40.0
    folder = _validated(home, "there@2", weights)
    _validated(home, "there@1", np.ones(len(TILES)))
    (drawn,) = explain_run(home, RUN, cohort="there")
    assert drawn.folder == str(folder / "explain" / "crpnet" / SLIDE)
    assert (drawn.fold, drawn.role) == ("mean of 3 folds", "external")
    first = _pixels(Path(drawn.folder) / "high-1.jpg")
    np.testing.assert_allclose(first.mean(axis=(0, 1)), 225, atol=12)  # tile 0 is not the red one
    assert own.read_bytes() == before
    (named,) = explain_run(home, RUN, cohort="there@1")
    assert "nearly uniform" in named.warning


def test_a_cohort_that_was_not_looked_at_is_named(home):
    _validated(home, "there@1", np.ones(len(TILES)))
    with pytest.raises(NotFoundError, match="was not validated on 'their'.*'there@1'"):
        explain_run(home, RUN, cohort="their")
    (own,) = explain_run(home, RUN, cohort="c@1")  # the run's own cohort
    assert own.role == "validation"


def test_one_slide_is_chosen_by_the_beginning_of_its_id(home):
    assert len(explain_run(home, RUN, slide="abab", model="crpnet")) == 1
    with pytest.raises(NotFoundError, match="no slide 'ff'"):
        explain_run(home, RUN, slide="ff")
    with pytest.raises(NotFoundError, match="no attention of 'meanpool'"):
        explain_run(home, RUN, model="meanpool")


def test_a_slide_file_that_is_gone_is_a_recorded_failure(home, tmp_path):
    (tmp_path / "P1.svs").unlink()
    (drawn,) = explain_run(home, RUN)
    assert "is gone" in drawn.failure
    assert drawn.folder == ""


def test_features_that_do_not_tell_their_tiles_are_a_recorded_failure(home, tmp_path):
    features = tmp_path / "one.h5"
    content = FeatureFile(
        features=np.zeros((1, 4), np.float32),
        coords=np.zeros((1, 2), np.int64),
        entropy=np.full(1, np.nan),
        grid_entropy=np.empty((0, 0)),
        attrs={"imported_from": "CLAM", "mpp_level0": [0.5, 0.5], "mpp_source": "mpp"},
    )
    write_features(features, content)
    path = home.runs / RUN / "slides.parquet"
    pd.read_parquet(path).assign(feature_path=str(features)).to_parquet(path)
    (drawn,) = explain_run(home, RUN)
    assert "do not tell the size of their tiles" in drawn.failure


def test_a_run_without_attention_or_no_run_is_named(home):
    with pytest.raises(NotFoundError, match="run 'x' does not exist"):
        explain_run(home, "x")
    for path in home.runs.glob("*/folds/*/*/attention.parquet"):
        path.unlink()
    with pytest.raises(RunError, match="none of its models reads tiles"):
        explain_run(home, RUN)


def test_the_command_tells_failures_by_its_exit_code(home, tmp_path):
    arguments = ["explain", RUN, "--home", str(home.root), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert [one["slide_id"] for one in json.loads(done.stdout)["slides"]] == [SLIDE]
    (tmp_path / "P1.svs").unlink()
    assert CliRunner().invoke(app, arguments).exit_code == 3


def test_the_effective_share_counts_tiles():
    weights = np.zeros(10)
    weights[:3] = 1 / 3
    assert effective_share(weights) == pytest.approx(0.3)
