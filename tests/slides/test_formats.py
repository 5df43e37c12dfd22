from __future__ import annotations

import h5py
import numpy as np
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.slides.features import FeatureFile, read_features, write_features
from crpnet_bench.slides.formats import (
    detect_format,
    feature_file_of,
    find_foreign,
    read_foreign,
)
from crpnet_bench.slides.formats_export import export_clam, export_trident

FEATURES = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
COORDS = np.array([[0, 0], [448, 0], [896, 448], [0, 896], [448, 1344]])


def h5(path, datasets, attrs=None, coords_attrs=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
        file.attrs.update(attrs or {})
        file["coords"].attrs.update(coords_attrs or {})
    return path


def clam(folder):
    return h5(folder / "h5_files" / "s.h5", {"features": FEATURES, "coords": COORDS.astype("i4")})


def trident(folder):
    attrs = {
        "patch_size": 224, "patch_size_level0": 448, "level0_magnification": 40,
        "target_magnification": 20, "overlap": 0, "name": "s", "savetodir": "None",
    }  # fmt: skip
    path = folder / "20x_224px_0px_overlap" / "features_x" / "s.h5"
    return h5(path, {"features": FEATURES, "coords": COORDS}, coords_attrs=attrs)


def stamp(folder):
    attrs = {"unit": "um", "tile_size_um": 112.0, "tile_size_px": 224, "extractor": "x"}
    datasets = {"feats": FEATURES.astype("f2"), "coords": (COORDS * 0.25).astype("f4")}
    return h5(folder / "s.h5", datasets, attrs)


def atlas(folder):
    sizes = np.tile([448, 448, 0], (5, 1))
    datasets = {"coords": np.hstack([COORDS, sizes]).astype("i4"), "features/x": FEATURES}
    return h5(folder / "s.h5", datasets)


def torchmil(folder):
    for name, data in (("features", FEATURES), ("coords", COORDS)):
        (folder / name).mkdir(parents=True)
        np.save(folder / name / "s.npy", data)
    return folder / "features" / "s.npy"


def own_layout(foreign):
    return feature_file_of(
        foreign, slide_id="id", slide_name="s.svs", mpp=(0.25, 0.25), mpp_source="mpp",
        dimensions=(9000, 8000),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("write", "tool"),
    [(clam, "CLAM"), (trident, "TRIDENT"), (stamp, "STAMP"), (atlas, "AtlasPatch"),
     (torchmil, "torchmil")],
)  # fmt: skip
def test_each_tool_is_recognised_and_read_to_level_0_pixels(tmp_path, write, tool):
    path = write(tmp_path)
    assert find_foreign(tmp_path, "s") == path
    assert find_foreign(tmp_path, "other") is None
    assert detect_format(path) == tool
    content = own_layout(read_foreign(path))
    assert content.coords.tolist() == COORDS.tolist()
    assert np.allclose(content.features, FEATURES, atol=2e-3)
    assert content.attrs["imported_from"] == tool
    assert content.attrs["tile_px_level0"] == [448.0, 448.0]
    if tool in {"TRIDENT", "STAMP"}:
        assert (content.attrs["tile_px"], content.attrs["mpp"]) == (224, 0.5)
        assert content.attrs["warnings"] == []
    else:
        assert (content.attrs["tile_px"], content.attrs["mpp"]) == (448, 0.25)
        assert "448 pixels, the distance between them" in content.attrs["warnings"][0]
    write_features(tmp_path / "own.h5", content)
    assert read_features(tmp_path / "own.h5").attrs["n_kept"] == 5


def test_what_fits_no_layout_says_what_was_found(tmp_path):
    path = h5(tmp_path / "a.h5", {"coords": COORDS, "other": FEATURES})
    with pytest.raises(InputError, match="found coords, other; expected `features`"):
        read_foreign(path)
    path = h5(tmp_path / "b.h5", {"features": FEATURES[:3], "coords": COORDS})
    with pytest.raises(InputError, match=r"\(3, 8\) and coordinates of shape \(5, 2\)"):
        read_foreign(path)
    path = h5(tmp_path / "c.h5", {"features": FEATURES * np.nan, "coords": COORDS})
    with pytest.raises(InputError, match="NaN"):
        read_foreign(path)
    (tmp_path / "d.h5").write_text("words")
    with pytest.raises(InputError, match="not readable as HDF5"):
        read_foreign(tmp_path / "d.h5")
    path = h5(tmp_path / "e.h5", {"coords": COORDS, "features/x": FEATURES, "features/y": FEATURES})
    with pytest.raises(InputError, match=r"2 encoders \(x, y\)"):
        read_foreign(path)
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "f.npy", FEATURES)
    with pytest.raises(InputError, match="coordinates are missing"):
        read_foreign(tmp_path / "features" / "f.npy")


def test_features_of_two_encoders_side_by_side_are_not_chosen_from(tmp_path):
    for encoder in ("uni", "conch"):
        h5(tmp_path / f"features_{encoder}" / "s.h5", {"features": FEATURES, "coords": COORDS})
    told = r"features_conch.s.h5 and features_uni.s.h5\); name the folder of one"
    with pytest.raises(InputError, match=told):
        find_foreign(tmp_path, "s")
    assert find_foreign(tmp_path / "features_uni", "s") is not None


def test_a_single_tile_of_unknown_size_is_imported_but_not_exported(tmp_path):
    path = h5(tmp_path / "s.h5", {"features": FEATURES[:1], "coords": COORDS[:1]})
    content = own_layout(read_foreign(path))
    assert content.attrs["warnings"] == ["CLAM does not tell the size of its tiles"]
    for export in (export_clam, export_trident):
        with pytest.raises(InputError, match="s: the size of its tiles is not known, since CLAM"):
            export(content, tmp_path)


def own_features(count=5, dim=8, seed=0, name="s.svs"):
    random = np.random.default_rng(seed)
    return FeatureFile(
        features=random.normal(size=(count, dim)).astype(np.float32),
        coords=random.integers(0, 10_000, (count, 2)),
        entropy=random.uniform(5, 8, count),
        grid_entropy=random.uniform(0, 8, (3, 4)),
        attrs={
            "slide_sha256": "id", "slide_name": name, "mpp": 0.5, "tile_px": 224,
            "tile_px_level0": [448.0, 448.0], "mpp_level0": [0.25, 0.25], "encoder": "x",
            "entropy_threshold": 5.0, "dimensions": [9000, 8000], "warnings": [],
        },
    )  # fmt: skip


@pytest.mark.parametrize(("export", "tool"), [(export_clam, "CLAM"), (export_trident, "TRIDENT")])
def test_what_is_exported_reads_back_the_same(tmp_path, export, tool):
    content = own_features()
    path = export(content, tmp_path)
    assert find_foreign(tmp_path, "s") == path
    found = read_foreign(path)
    assert found.tool == tool
    assert np.array_equal(found.features, content.features)
    assert np.array_equal(found.coords, content.coords)
    with h5py.File(next(tmp_path.rglob("patches/*.h5"))) as file:
        attrs = dict(file["coords"].attrs)
        assert np.array_equal(file["coords"], content.coords)
    if tool == "TRIDENT":
        assert (attrs["patch_size_level0"], attrs["level0_magnification"]) == (448, 40)
        assert path.relative_to(tmp_path).parts[0] == "20x_224px_0px_overlap"
    else:
        assert (attrs["patch_size"], attrs["patch_level"]) == (448, 0)


def test_feature_files_are_contiguous_and_complete_or_absent(tmp_path):
    content = own_features()
    path = tmp_path / "f" / "id.h5"
    write_features(path, content)
    with h5py.File(path) as file:
        assert file["features"].chunks is None
    found = read_features(path)
    for name in ("features", "coords", "entropy", "grid_entropy"):
        assert np.array_equal(getattr(found, name), getattr(content, name))
    assert found.attrs == content.attrs
    assert [child.name for child in path.parent.iterdir()] == ["id.h5"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="not readable as a feature file"):
        read_features(path)
    with pytest.raises(InputError, match="crpnet-bench extract"):
        read_features(tmp_path / "absent.h5")
    with pytest.raises(InputError, match="features import"):
        read_features(clam(tmp_path))
