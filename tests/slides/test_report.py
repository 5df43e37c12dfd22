from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crpnet_bench.cli.slide import app
from crpnet_bench.errors import InputError
from crpnet_bench.slides.report import slide_info, slide_overview, slide_tiles
from crpnet_bench.slides.writer import SlideLayout, write_slide


@pytest.fixture(scope="module")
def path(tmp_path_factory, half_tissue_pixels):
    folder = tmp_path_factory.mktemp("report")
    return write_slide(folder / "slide.svs", half_tissue_pixels, SlideLayout(levels=4))


def test_info_tells_scale_levels_and_grid(path):
    found = slide_info(path, None)
    assert found["mpp"] == [0.5, 0.5]
    assert found["mpp_source"] == "mpp"
    assert found["grid"] == [11, 12]
    assert found["read_by"] == "direct"
    assert len(found["levels"]) == 4


def test_info_of_a_file_without_scale_tells_the_rest_and_the_remedy(tmp_path):
    path = tmp_path / "plain.tif"
    Image.new("RGB", (300, 200)).save(path)
    found = CliRunner().invoke(app, ["info", str(path), "--json"])
    assert found.exit_code == 1
    told = json.loads(found.stdout)
    assert told["dimensions"] == [300, 200]
    assert told["mpp"] is None
    assert "--mpp" in told["problem"]
    assert "error: mpp unknown" in found.stderr
    known = CliRunner().invoke(app, ["info", str(path), "--json", "--mpp", "0.5"])
    assert known.exit_code == 0
    assert json.loads(known.stdout)["grid"] == [1, 0]


def test_the_table_and_the_histogram_agree_with_the_counts(path, tmp_path):
    table, picture = tmp_path / "tiles.csv", tmp_path / "entropy.png"
    found = slide_tiles(path, None, 5.0, table=table, picture=picture)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["n_grid"] - found["n_masked"]
    kept = [row for row in rows if row["kept"] == "1"]
    assert len(kept) == found["n_kept"] == sum(float(row["entropy"]) >= 5 for row in rows)
    assert all(float(row["sharpness"]) > 0 for row in kept)
    assert sum(found["entropy_histogram"].values()) == len(rows)
    with Image.open(picture) as image:
        assert image.size == (512, 272)


def test_the_overview_keeps_colour_where_tiles_are_kept(path, tmp_path):
    found = slide_overview(path, None, 5.0, tmp_path / "overview.png")
    with Image.open(tmp_path / "overview.png") as image:
        picture = np.asarray(image).astype(int)
    assert max(picture.shape) == 1024
    colour = picture.max(axis=2) - picture.min(axis=2)
    share = (colour > 8).mean() / ((224 * 0.5 / 0.5) ** 2 * found["n_kept"] / (2700 * 2500))
    assert 0.8 < share <= 1.05
    assert colour[:20, :20].max() == 0


def test_a_picture_that_cannot_be_written_is_one_sentence(path, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        slide_overview(path, None, 5.0, tmp_path / "absent" / "overview.png")
    with pytest.raises(InputError, match="cannot be written"):
        slide_tiles(path, None, 5.0, table=tmp_path / "absent" / "tiles.csv")


def test_the_commands(path, tmp_path):
    run = CliRunner().invoke
    result = run(app, ["info", str(path), "--json"])
    assert json.loads(result.stdout)["vendor"] == "aperio"
    result = run(app, ["tiles", str(path), "--json"])
    assert json.loads(result.stdout)["n_grid"] == 132
    result = run(app, ["overview", str(path), "--out", str(tmp_path / "o.png")])
    assert "tiles kept" in result.stdout
    assert (tmp_path / "o.png").is_file()
