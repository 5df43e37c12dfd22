"""Bags from feature files: read or mapped, the same numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.benchmark.bags import read_bags
from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.benchmark.inputs import cohort_data
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import InputError, RunError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views as registered
from crpnet_bench.slides.features import FeatureFile, read_features, write_features


def features(tiles, seed=0, *, views=0, context=(), dtype=np.float16, dim=8):
    random = np.random.default_rng(seed)
    return FeatureFile(
        features=random.normal(size=(tiles, dim)).astype(dtype),
        coords=random.integers(0, 10_000, (tiles, 2)),
        entropy=random.uniform(5, 8, tiles),
        grid_entropy=random.uniform(0, 8, (3, 4)),
        attrs={"entropy_threshold": 5.0},
        views=random.normal(size=(tiles, views, dim)).astype(np.float16) if views else None,
        context={factor: random.normal(size=(tiles, dim)).astype(dtype) for factor in context},
    )


def write(folder, counts, **options):
    """Feature files of patients with so many tiles on each slide."""
    files = {}
    for patient, own in enumerate(counts):
        files[f"p{patient}"] = []
        for number, tiles in enumerate(own):
            path = folder / f"{patient}-{number}.h5"
            write_features(path, features(tiles, seed=10 * patient + number, **options))
            files[f"p{patient}"].append((path.stem, path))
    return files


def equal(first, second):
    assert list(first) == list(second)
    for patient, bag in first.items():
        other = second[patient]
        assert bag.slide_ids == other.slide_ids
        for name in ("features", "slide", "coords", "views"):
            one, two = getattr(bag, name), getattr(other, name)
            assert (one is None) == (two is None)
            if one is not None:
                assert one.dtype == two.dtype
                assert np.array_equal(one, two)
        assert list(bag.context) == list(other.context)
        assert np.array_equal(bag.fields(list(bag.context)), other.fields(list(bag.context)))


@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=4),
    views=st.integers(0, 2),
    context=st.sampled_from([(), (2, 4)]),
    dtype=st.sampled_from([np.float16, np.float32]),
)
def test_mapped_bags_equal_those_read(tmp_path_factory, counts, views, context, dtype):
    folder = tmp_path_factory.mktemp("bags")
    files = write(folder, counts, views=views, context=context, dtype=dtype)
    read = read_bags(files, folder / "pack")
    assert all(tuple(bag.context) == context for bag in read.values())
    assert not (folder / "pack").exists()
    mapped = read_bags(files, folder / "pack", pack_above=0)
    equal(read, mapped)
    assert all(isinstance(bag.features, np.memmap) for bag in mapped.values())
    assert not any(isinstance(bag.features, np.memmap) for bag in read.values())
    [bag, *_] = read.values()
    parts = [read_features(path) for _, path in files["p0"]]
    assert np.array_equal(bag.features, np.concatenate([part.features for part in parts]))
    assert np.bincount(bag.slide).tolist() == counts[0]
    assert bag.view_count == views


@pytest.mark.parametrize("views", [0, 2])
def test_a_fit_on_mapped_bags_is_the_fit_on_those_read(tmp_path, views):
    files = write(tmp_path, [[4], [3, 2], [5], [6]], views=views)
    patients = pd.Index(list(files))
    outcomes = pd.DataFrame({"time": 1.0, "status": [0, 1, 0, 1], "label": [0, 1, 0, 1]}, patients)
    config = RunConfig.from_mapping({"train": {"iterations": 4, "inits": 2, "threads": 1}})
    weights = []
    for above in (0, 10**9):
        bags = read_bags(files, tmp_path / "pack", pack_above=above)
        data = CohortData(pd.DataFrame(index=patients), bags=bags, outcomes=outcomes)
        fitted = build_model("crpnet", config, "cpu").fit(data, seed=1, progress=SilentProgress())
        weights.append(fitted.members(data)["risk"].to_numpy().tobytes())
    assert weights[0] == weights[1]


def test_a_slide_of_two_patients_is_in_both_bags(tmp_path):
    files = write(tmp_path, [[3], [2]])
    files["p1"] = [*files["p1"], *files["p0"]]
    mapped = read_bags(files, tmp_path / "pack", pack_above=0)
    equal(read_bags(files, tmp_path / "pack"), mapped)
    assert len(mapped["p1"]) == 5


def test_a_pack_is_made_once_and_again_when_a_file_changes(tmp_path):
    files, pack = write(tmp_path, [[3], [2, 4]]), tmp_path / "pack"
    read_bags(files, pack, pack_above=0)
    [first] = pack.iterdir()
    before = (first / "features").stat().st_mtime_ns
    kept = read_bags(files, pack, pack_above=0)
    assert (first / "features").stat().st_mtime_ns == before
    write_features(files["p0"][0][1], features(5, seed=9))
    old = np.array(kept["p0"].features)
    equal(read_bags(files, pack), read_bags(files, pack, pack_above=0))
    [second] = pack.iterdir()  # the one that fits no more is gone
    assert second != first
    assert np.array_equal(kept["p0"].features, old)  # who has it open keeps it


def test_slides_of_two_encoders_are_not_packed(tmp_path):
    files, pack = write(tmp_path, [[3], [2]]), tmp_path / "pack"
    path = files["p1"][0][1]
    for other in (features(2, dim=9), features(2, dtype=np.float32), features(2, views=1)):
        write_features(path, other)
        with pytest.raises(InputError, match=f"{path.name}.*one encoder"):
            read_bags(files, pack, pack_above=0)
        assert list(pack.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    files = write(tmp_path, [[3]])
    (tmp_path / "pack").write_text("a file", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be packed"):
        read_bags(files, tmp_path / "pack", pack_above=0)


_PACK = """
import sys
from pathlib import Path
from crpnet_bench.benchmark.bags import read_bags
folder = Path(sys.argv[1])
files = {f"p{i}": [(f"{i}-0", folder / f"{i}-0.h5")] for i in range(2)}
read_bags(files, folder / "pack", pack_above=0)
"""


def test_a_killed_pack_leaves_nothing_that_is_read(tmp_path):
    files, pack = write(tmp_path, [[3], [2]]), tmp_path / "pack"
    last = files["p1"][0][1]
    last.unlink()
    os.mkfifo(last)  # reading it waits for ever
    process = subprocess.Popen([sys.executable, "-c", _PACK, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not list(pack.glob(".*.tmp/features")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    [left] = pack.iterdir()
    assert left.name.endswith(".tmp")
    last.unlink()
    files = write(tmp_path, [[3], [2]])
    equal(read_bags(files, pack), read_bags(files, pack, pack_above=0))
    [whole] = pack.iterdir()
    assert not whole.name.endswith(".tmp")


def test_a_cohorts_bags_come_from_its_slides(new_home):
    home = new_home()
    record = registered.cohort(home, "drawn")
    files = write(home.features / "tiling-encoder", [[4, 2], [3]], views=2)
    pairs = zip(["P000", "P001"], files.values(), strict=True)
    slides = [
        SlideOutcome(slide_id, patient, path, "done", feature_path=path)
        for patient, own in pairs
        for slide_id, path in reversed(own)
    ]
    slides.append(SlideOutcome("", "P002", Path("x.svs"), "failed", "mpp unknown"))
    data = cohort_data(home, record, slides)
    assert {patient: len(bag) for patient, bag in data.bags.items()} == {"P000": 6, "P001": 3}
    assert data.bags["P000"].slide_ids == ("0-0", "0-1")
    assert {bag.view_count for bag in data.bags.values()} == {2}
    assert data.bag_reasons["P002"] == "mpp unknown"
    assert data.bag_reasons["P003"] == "no slide registered"
    assert data.feature_fingerprint == "tiling-encoder"
    nobody = cohort_data(home, record, [])
    assert (nobody.bags, nobody.feature_fingerprint) == ({}, "")
