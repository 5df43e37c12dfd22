from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from crpnet_bench.benchmark.bags import read_bags
from crpnet_bench.benchmark.extract import SlideJob, extract_features
from crpnet_bench.benchmark.read_ahead import BlockRead, read_ahead
from crpnet_bench.config import EncoderConfig, TilingConfig
from crpnet_bench.errors import RunError
from crpnet_bench.slides.features import FeatureParts, is_complete, read_features
from crpnet_bench.slides.identity import content_hash
from crpnet_bench.slides.writer import SlideLayout, write_slide

TILING = TilingConfig(tile_px=64, entropy_threshold=4.0)
ENCODER = EncoderConfig()


def texture(height, width, seed):
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 230, (height // 6 + 1, width // 6 + 1, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def slides(tmp_path):
    """Five usable or unusable slides."""
    folder = tmp_path / "slides"
    folder.mkdir()
    write_slide(folder / "good.svs", texture(200, 330, 0), SlideLayout())
    write_slide(folder / "unscaled.svs", texture(200, 200, 1), SlideLayout(mpp=None, power=None))
    write_slide(folder / "blank.svs", np.full((200, 200, 3), 240, np.uint8), SlideLayout())
    write_slide(folder / "tiny.svs", texture(50, 60, 2), SlideLayout())
    whole = write_slide(folder / "cut.svs", texture(400, 300, 3), SlideLayout()).read_bytes()
    (folder / "cut.svs").write_bytes(whole[: len(whole) // 2])
    return folder


def extract(root, jobs, **options):
    return extract_features(jobs, root, TILING, ENCODER, **options)


def job(path, mpp=None, patient="p"):
    return SlideJob(None, patient, path, mpp)


def files_below(root):
    return sorted(path.name for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("workers", [1, 3])
def test_each_slide_has_its_outcome_and_the_run_goes_on(slides, tmp_path, workers):
    names = ["cut", "good", "unscaled", "absent", "blank", "tiny"]
    jobs = [job(slides / f"{name}.svs") for name in names]
    outcomes = dict(zip(names, extract(tmp_path / "f", jobs, workers=workers), strict=True))
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "cut": "failed", "good": "done", "unscaled": "failed", "absent": "failed",
        "blank": "no tiles", "tiny": "no tiles",
    }  # fmt: skip
    assert outcomes["cut"].reason.startswith("damaged file")
    assert outcomes["unscaled"].reason == "mpp unknown"
    assert outcomes["absent"].reason == "file not found"
    assert outcomes["blank"].reason.startswith("no tissue: none of 9 tiles")
    assert outcomes["tiny"].reason.startswith("smaller than one tile: 60 x 50")
    assert all(outcome.remedy for name, outcome in outcomes.items() if name != "good")
    good = outcomes["good"]
    assert (good.n_grid, good.n_masked, good.n_below, good.n_kept) == (15, 0, 0, 15)
    assert good.slide_id == content_hash(slides / "good.svs")
    finished = {outcomes[name].slide_id for name in ("good", "blank", "tiny")}
    assert files_below(tmp_path / "f") == sorted(f"{name}.h5" for name in finished)


def test_the_feature_file_says_what_it_holds(slides, tmp_path):
    [outcome] = extract(tmp_path / "f", [job(slides / "good.svs")])
    content = read_features(outcome.feature_path)
    assert content.features.shape == (15, 1024)
    assert content.features.dtype in (np.float16, np.float32)
    assert content.coords.tolist()[:2] == [[0, 0], [64, 0]]
    assert content.coords.dtype == np.int64
    assert (content.entropy >= 4).all()
    assert content.audit.n_kept == 15
    attrs = content.attrs
    assert attrs["slide_sha256"] == outcome.slide_id
    assert (attrs["mpp"], attrs["mpp_level0"], attrs["mpp_source"]) == (0.5, [0.5, 0.5], "mpp")
    assert (attrs["tile_px"], attrs["tile_px_level0"]) == (64, [64.0, 64.0])
    assert attrs["tiling_fingerprint"] == TILING.fingerprint()
    assert attrs["encoder"] == "resnet50-trunc"
    assert attrs["encoder_backend"] == "torch"
    assert attrs["precision"] in {"float32", "bfloat16"}
    assert set(attrs["versions"]) >= {"torch", "openslide-bin", "crpnet-bench"}


def test_stored_views_reach_the_bags(slides, tmp_path):
    asked = EncoderConfig(views=2, precision="float32")
    [outcome] = extract_features([job(slides / "good.svs")], tmp_path / "f", TILING, asked)
    files = {"p": [(outcome.slide_id, outcome.feature_path)]}
    bag = read_bags(files, tmp_path / "pack")["p"]
    assert bag.views.shape == (15, 2, 1024)
    assert bag.views.dtype == np.float16
    likeness = [np.corrcoef(plain, view)[0, 1] for plain, view in zip(
        bag.features, bag.views[:, 0].astype(np.float32), strict=True)]  # fmt: skip
    assert 0.5 < np.median(likeness) < 0.9999  # a view is like its tile, not equal to it


def test_finished_slides_are_skipped_and_both_runs_are_equal(slides, tmp_path):
    jobs = [job(slides / "good.svs"), job(slides / "blank.svs")]
    first = extract(tmp_path / "f", jobs)
    before = first[0].feature_path.stat().st_mtime_ns
    again = extract(tmp_path / "f", jobs)
    assert [outcome.reused for outcome in first] == [False, False]
    assert [outcome.reused for outcome in again] == [True, True]
    assert again[0].feature_path.stat().st_mtime_ns == before
    assert (again[0].n_kept, again[1].reason) == (first[0].n_kept, first[1].reason)
    elsewhere = extract(tmp_path / "g", jobs[:1])
    assert elsewhere[0].feature_path.read_bytes() == first[0].feature_path.read_bytes()


def test_an_interrupted_slide_goes_on_at_its_next_block(tmp_path):
    path = write_slide(tmp_path / "large.svs", texture(130, 1100, 5), SlideLayout())
    [whole] = extract(tmp_path / "whole", [job(path)])
    expected = read_features(whole.feature_path)

    class PowerCutError(Exception):
        """The power fails."""

    class StopAfterOneBlock:
        def task(self, *_, **__):
            return nullcontext(self)

        def advance(self, count=1, note=""):
            raise PowerCutError

    with pytest.raises(PowerCutError):
        extract(tmp_path / "f", [job(path)], progress=StopAfterOneBlock())
    target = tmp_path / "f" / whole.feature_path.parent.name / whole.feature_path.name
    parts = FeatureParts(target, "own")
    assert list(parts.finished()) == [0]
    (target.parent / f".{target.name}.1.tmp").touch()  # as if killed while it was written
    assert not is_complete(target)
    kept = (parts.folder / "00000000.npz").stat().st_mtime_ns

    remaining = [
        event.block.index
        for event in read_ahead([job(path)], target.parent, TILING, 1)
        if isinstance(event, BlockRead)
    ]
    assert remaining[0] == 1
    assert (parts.folder / "00000000.npz").stat().st_mtime_ns == kept
    [outcome] = extract(tmp_path / "f", [job(path)])
    assert outcome.status == "done"
    found = read_features(outcome.feature_path)
    assert np.array_equal(found.features, expected.features)
    assert np.array_equal(found.coords, expected.coords)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_two_jobs_of_one_content_share_a_file(slides, tmp_path):
    copy = slides / "copy.svs"
    copy.write_bytes((slides / "good.svs").read_bytes())
    outcomes = extract(
        tmp_path / "f", [job(slides / "good.svs", patient="a"), job(copy, patient="b")], workers=2
    )
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert [outcome.patient_id for outcome in outcomes] == ["a", "b"]
    assert [outcome.path.name for outcome in outcomes] == ["good.svs", "copy.svs"]
    assert outcomes[0].feature_path == outcomes[1].feature_path


def test_a_corrected_manifest_scale_is_not_served_from_old_features(slides, tmp_path):
    path = slides / "unscaled.svs"
    [coarse] = extract(tmp_path / "f", [job(path, 0.5)])
    [fine] = extract(tmp_path / "f", [job(path, 0.25)])
    [same] = extract(tmp_path / "f", [job(path, 0.25)])
    [unknown] = extract(tmp_path / "f", [job(path)])
    assert (coarse.n_grid, fine.n_grid, same.n_grid) == (9, 1, 1)
    assert (fine.reused, same.reused) == (False, True)
    assert unknown.reason == "mpp unknown"


def test_a_folder_that_cannot_be_written_is_one_sentence(slides, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="features cannot be written"):
        extract(tmp_path / "file", [job(slides / "good.svs")])


@pytest.mark.slide
def test_the_real_slides_give_features_or_a_reason(shared_data, tmp_path):
    folder = shared_data / "slides"
    jobs = [
        SlideJob(None, "p", folder / name, mpp)
        for name, mpp in (
            ("derived_ndpi/TCGA-B0-5698-01Z-00-DX1_992px.ndpi", None),
            ("test3-DAPI-2-387.ndpi", None),
            ("TCGA-CR-7395-01A-01-TS1.svs", None),
            ("histolab_broken.svs", None),
            ("openslide-python_unreadable.svs", None),
            ("kidney-48-5.tif", 0.5),
        )
    ]
    outcomes = extract_features(jobs, tmp_path, TilingConfig(), EncoderConfig())
    assert [outcome.status for outcome in outcomes] == [
        "done", "no tiles", "failed", "failed", "failed", "no tiles",
    ]  # fmt: skip
    assert outcomes[0].n_kept == 4
    assert outcomes[2].reason == "mpp unknown"
