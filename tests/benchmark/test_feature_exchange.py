from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from crpnet_bench.benchmark.extract import SlideJob, extract_features
from crpnet_bench.benchmark.feature_exchange import export_features, import_features
from crpnet_bench.config import EncoderConfig, TilingConfig
from crpnet_bench.errors import InputError
from crpnet_bench.slides.features import read_features
from crpnet_bench.slides.writer import SlideLayout, write_slide

TILING = TilingConfig(tile_px=64, entropy_threshold=4.0)


@pytest.fixture
def jobs(tmp_path):
    random = np.random.default_rng(0)
    paths = [
        write_slide(
            tmp_path / f"{name}.svs",
            random.integers(0, 256, (150, 200, 3), dtype=np.uint8),
            SlideLayout(),
        )
        for name in ("one", "two")
    ]
    return [SlideJob(None, f"patient-{path.stem}", path) for path in paths]


@pytest.mark.parametrize("layout", ["clam", "trident"])
def test_exported_features_come_back_and_serve_as_an_encoder(tmp_path, jobs, layout):
    first = extract_features(jobs, tmp_path / "f", TILING, EncoderConfig())
    files = [outcome.feature_path for outcome in first]
    export_features(files, tmp_path / "out", layout)
    if layout == "clam":  # as some share them: tensors and patches only
        tensor = torch.load(tmp_path / "out" / "pt_files" / "one.pt", weights_only=True)
        assert tensor.shape == (6, 1024)
        (tmp_path / "out" / "h5_files" / "one.h5").unlink()
    imported = import_features(jobs, tmp_path / "out", tmp_path / "f", "mine")
    assert [outcome.status for outcome in imported] == ["done", "done"]
    config = EncoderConfig(name="imported:mine")
    served = extract_features(jobs, tmp_path / "f", TILING, config)
    for before, after in zip(first, served, strict=True):
        old, new = read_features(before.feature_path), read_features(after.feature_path)
        assert after.feature_path.parent.name == "imported-mine"
        assert after.n_kept == 6
        assert np.array_equal(old.coords, new.coords)
        assert np.array_equal(old.features, new.features)
        for name in ("tile_px_level0", "mpp_source", "dimensions"):
            assert old.attrs[name] == new.attrs[name]
        assert new.attrs["warnings"] == []
    again = export_features(
        [outcome.feature_path for outcome in served], tmp_path / "again", layout
    )
    assert len(again) == 2


def test_slides_without_features_are_outcomes_with_a_reason(tmp_path, jobs):
    (tmp_path / "source").mkdir()
    with h5py.File(tmp_path / "source" / "one.h5", "w") as file:
        file["features"], file["coords"] = np.zeros((1, 4)), np.array([[5000, 0]])
    outside, absent = import_features(jobs, tmp_path / "source", tmp_path / "f", "mine")
    assert "coordinates reach to [5000, 0]" in outside.reason
    assert "no features of this slide" in absent.reason
    served = extract_features(jobs, tmp_path / "f", TILING, EncoderConfig(name="imported:mine"))
    assert {outcome.reason for outcome in served} == {"no features imported under 'mine'"}
    with pytest.raises(InputError, match="no such folder"):
        import_features(jobs, tmp_path / "absent", tmp_path / "f", "mine")


def test_features_of_two_encoders_do_not_mix(tmp_path, jobs):
    (tmp_path / "source").mkdir()
    for name, dim in (("one", 4), ("two", 5)):
        with h5py.File(tmp_path / "source" / f"{name}.h5", "w") as file:
            file["features"], file["coords"] = np.zeros((1, dim)), np.array([[0, 0]])
    one, two = import_features(jobs, tmp_path / "source", tmp_path / "f", "mine")
    assert (one.status, two.status) == ("done", "failed")
    assert two.reason == "features of 4 and 5 columns in one folder"
