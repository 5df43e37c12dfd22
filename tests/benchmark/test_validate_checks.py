"""What features of another tool tell of their tiles, held against those of the training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.benchmark.finished import FinishedRun
from crpnet_bench.benchmark.validate_checks import feature_differences
from crpnet_bench.config import RunConfig
from crpnet_bench.slides.features import FeatureFile, write_features

CONFIG = RunConfig.from_mapping({"encoder": {"name": "imported:uni"}})


@pytest.fixture
def imported(tmp_path):
    """Writes an imported feature file whose attributes are these."""

    def write(name, **attrs):
        nothing = np.empty((0, 4), np.float32)
        content = FeatureFile(
            features=nothing,
            coords=np.empty((0, 2), np.int64),
            entropy=np.empty(0),
            grid_entropy=np.empty((0, 0)),
            attrs=attrs,
        )
        path = tmp_path / "imported-uni" / f"{name}.h5"
        write_features(path, content)
        return path

    return write


@pytest.fixture
def differences(tmp_path):
    """What differs between training files and those of another cohort."""

    def find(trained, found):
        table = pd.DataFrame({"feature_path": [str(path) for path in trained]})
        table.to_parquet(tmp_path / "slides.parquet")
        run = FinishedRun(
            record=None,
            folder=tmp_path,
            metrics=pd.DataFrame(),
            titles={},
            notes=(),
            slide_failures=(),
        )
        slides = [SlideOutcome("s", "P", path, "done", feature_path=path) for path in found]
        return feature_differences(run, CONFIG, CONFIG, slides)

    return find


def test_another_magnification_or_tile_of_another_tool_is_refused(imported, differences):
    trained = [imported("a", mpp=0.5, tile_px=256), imported("b", mpp=0.505, tile_px=256)]
    refused, _ = differences(trained, [imported("c", mpp=0.25, tile_px=224)])
    assert refused == [
        "features: tile_px of training 256, of this cohort 224",
        "features: mpp of training 0.5, 0.505, of this cohort 0.25",
    ]


def test_scanners_of_one_magnification_are_alike_and_the_encoder_is_said(imported, differences):
    trained = [imported("a", mpp=0.4942, tile_px=256)]
    refused, said = differences(trained, [imported("c", mpp=0.5052, tile_px=256)])
    assert not refused
    assert len(said) == 1
    assert "rests on that name" in said[0]


def test_what_a_tool_does_not_tell_is_not_held_against_it(imported, differences):
    refused, said = differences([imported("a")], [imported("c", mpp=0.25, tile_px=256)])
    assert not refused
    assert said
