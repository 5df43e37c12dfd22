"""The demo cohort from slides to pages: the heatmap lies on the planted nests, every page opens."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from crpnet_bench.benchmark.explain import Explained, explain_run
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.config import RunConfig
from crpnet_bench.home import HOME_VARIABLE, Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.stats.discrimination import roc_auc

pytestmark = pytest.mark.slow

DASHBOARD = Path(__file__).parents[2] / "dashboard"
TILE, SIDE, SMALL = 224, 1568, 800  # pixels of a tile, of a demo slide, of its picture


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, tuple[Explained, ...]]:
    """A run of the demo cohort with the pictures of its attention."""
    home = Home(tmp_path_factory.mktemp("demo"))
    config = RunConfig(cohort="demo", models=("crpnet", "ssign", "leibovich_2003"))
    finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    return home, explain_run(home, finished.record.run_id)


@pytest.fixture(scope="module")
def tiles(demo: tuple[Home, tuple[Explained, ...]]) -> pd.DataFrame:
    """Every drawn tile: evidence in the GeoJSON, redness in the picture, the planted truth."""
    home, drawn = demo
    folder = views.cohort(home, "demo").folder
    truth = pd.read_parquet(folder / "truth" / "tiles.parquet")
    slides = views.slide_outcomes(home, "demo").set_index("slide_id")["path"]
    parts = []
    for one in drawn:
        place = Path(one.folder)
        features = json.loads((place / "tiles.geojson").read_text())["features"]
        pixels = np.asarray(Image.open(place / "evidence.png").convert("RGB")).astype(int)
        thumbnail = np.asarray(Image.open(place / "thumbnail.jpg").convert("RGB")).astype(int)
        tint = pixels - thumbnail
        for feature in features:
            x, y = feature["geometry"]["coordinates"][0][0]
            row, column = (round((at + TILE / 2) * SMALL / SIDE) for at in (y, x))
            around = tint[row - 20 : row + 20, column - 20 : column + 20]
            parts.append(
                {
                    "slide_id": one.slide_id,
                    "patient_id": one.patient_id,
                    "slide": str(Path(slides[one.slide_id]).relative_to(folder)),
                    "x": int(x),
                    "y": int(y),
                    "evidence": feature["properties"]["measurements"]["evidence"],
                    "redness": float((around[..., 0] - around[..., 2]).mean()),
                }
            )
    kinds = truth[["slide", "x", "y", "planted"]]
    return pd.DataFrame(parts).merge(kinds, on=["slide", "x", "y"], validate="one_to_one")


def _median_overlap(tiles: pd.DataFrame, score: str) -> float:
    """Median over slides of the AUC of a tile's score for its being planted."""
    found = [
        roc_auc(rows["planted"].to_numpy(bool), rows[score].to_numpy(float)).value
        for _, rows in tiles.groupby("slide_id")
        if 0 < rows["planted"].sum() < len(rows)
    ]
    assert len(found) > 20
    return float(np.median(found))


def test_the_heatmap_lies_on_the_planted_nests(tiles: pd.DataFrame):
    overlap = _median_overlap(tiles, "evidence")
    print(f"median within-slide AUC of evidence for planted tiles: {overlap:.3f}")
    assert overlap >= 0.85


def test_the_picture_shows_what_the_numbers_say(tiles: pd.DataFrame):
    assert _median_overlap(tiles, "redness") >= 0.80


@pytest.fixture
def app(
    demo: tuple[Home, tuple[Explained, ...]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[AppTest]:
    monkeypatch.syspath_prepend(str(DASHBOARD))
    monkeypatch.setenv(HOME_VARIABLE, str(demo[0].root))
    before = sys.modules["__main__"]
    yield AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=120).run()
    sys.modules["__main__"] = before


def test_every_page_opens_on_the_demo_run(app: AppTest):
    for path in sorted((DASHBOARD / "app_pages").glob("*.py")):
        if path.stem == "published":
            continue  # has a test of its own
        app.switch_page(f"app_pages/{path.name}").run()
        assert not app.exception, [error.value for error in app.exception]
        assert not app.error, [error.value for error in app.error]
        for group in app.button_group:
            if group.key and group.key.endswith("_part"):
                for part in group.options[1:]:
                    app.button_group(key=group.key).set_value(part).run()
                    assert not app.exception, (path.stem, part)


def test_a_patients_slides_are_shown_with_their_attention(app: AppTest):
    app.switch_page("app_pages/patients.py").run()
    assert len(app.get("image")) == 3 + 12
    assert "synthetic" in " ".join(str(info.value).lower() for info in app.info)
