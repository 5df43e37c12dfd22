"""External validation of a network: features by the run's settings, weights as they were."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from crpnet_bench.benchmark.explain import explain_run
from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.fold import read_locked
from crpnet_bench.benchmark.line_up import load_model
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest, create_split
from crpnet_bench.benchmark.validate import validate_run
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import InputError, RunError
from crpnet_bench.home import Home
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.encoders import fingerprints_by_arithmetic, resolve_precision
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.slides.features import read_features

CONFIG = RunConfig.from_mapping(
    {
        "cohort": "here",
        "split": "random-70-30",
        "models": ["crpnet", "ssign", "crpnet+ssign"],
        "model": {"attention_dim": 4, "hidden_dim": 4},
        "train": {"iterations": 5, "inits": 2, "inner_folds": 3, "threads": 1},
    }
)
MANIFEST = '\n[slides]\nfile = "slides.csv"\nmpp = 0.5\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    """A home without cohorts."""
    return Home(tmp_path_factory.mktemp("networks") / "home")


@pytest.fixture(scope="module")
def cohort(home, drawn, write_cohort):
    """Registers a cohort with a slide of one tile a patient."""

    def make(name, seed, n=36, copied=()):
        folder = home.root.parent / name
        patients = drawn(n, seed, prefix=name[0].upper())
        write_cohort(folder, name, patients)
        generator = np.random.default_rng(seed)
        for patient in patients["patient_id"]:
            pixels = generator.integers(0, 256, (300, 300, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{patient}.tif")
        for patient, source in zip(patients["patient_id"], copied, strict=False):
            shutil.copy(source, folder / f"{patient}.tif")
        table = patients[["patient_id"]].assign(path=patients["patient_id"] + ".tif")
        table.to_csv(folder / "slides.csv", index=False)
        with (folder / "cohort.toml").open("a") as file:
            file.write(MANIFEST)
        register_cohort(home, folder)

    return make


@pytest.fixture(scope="module")
def finished(home, cohort):
    """A run on the cohort `here`; `there` is registered beside it."""
    cohort("here", 0)
    cohort("there", 1)
    create_split(home, "here", SplitRequest())
    return run_benchmark(home, CONFIG, device="cpu", progress=SilentProgress())


def _validate(home, finished, cohort="there", **options):
    return validate_run(
        home, finished.record.run_id, cohort, device="cpu", progress=SilentProgress(), **options
    )


def test_the_locked_network_predicts(home, finished):
    found = _validate(home, finished)
    assert not found.failures
    model = load_model(fold_folder(finished.folder, "repeat0-fold0", "crpnet") / "model")
    rows = views.predictions(home, finished.record.run_id)
    rows = rows[(rows["role"] == "external") & (rows["model"] == "crpnet")]
    whole = rows[rows["member"].isna()].set_index("patient_id")
    assert len(whole) == 36
    assert sorted(rows["member"].dropna().unique()) == [0, 1]
    patient = str(whole.index[0])
    expected = model.predict(_one_patient(home, patient))
    assert whole.loc[patient, "risk"] == pytest.approx(expected["risk"].iloc[0], abs=1e-6)
    assert set(found.metrics["model"]) == {"crpnet", "ssign", "crpnet+ssign"}


def test_attention_lies_beside_the_predictions(home, finished):
    found = _validate(home, finished)
    table = pd.read_parquet(found.folder / "crpnet" / "attention.parquet")
    assert set(table["patient_id"]) == set(views.patients(home, "there")["patient_id"])
    assert set(table["role"]) == {"external"}
    assert set(table["fold"]) == {"repeat0-fold0"}
    slides = pd.read_parquet(found.folder / "slides.parquet")
    assert set(table["slide_id"]) == set(slides["slide_id"])
    model = load_model(fold_folder(finished.folder, "repeat0-fold0", "crpnet") / "model")
    patient = str(table["patient_id"].iloc[0])
    looked = model.attention(_one_patient(home, patient).bags[patient])
    own = table[table["patient_id"] == patient]
    np.testing.assert_allclose(own["attention"], looked.weights, atol=1e-6)
    np.testing.assert_allclose(own["tile_logit"], looked.tile_logit, atol=1e-5)
    assert not (found.folder / "ssign").exists()
    drawn = explain_run(home, finished.record.run_id, cohort="there", slide=own["slide_id"].iloc[0])
    assert [one.failure for one in drawn] == [None]


def test_attention_of_folds_is_averaged_as_their_risks_are(home, finished):
    create_split(home, "here", SplitRequest(method="k-fold", folds=2, name="two"))
    config = CONFIG.model_copy(update={"split": "two", "models": ("crpnet",)})
    folds = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    found = _validate(home, folds)
    table = pd.read_parquet(found.folder / "crpnet" / "attention.parquet")
    assert set(table["fold"]) == {"mean of 2 folds"}
    patient = str(table["patient_id"].iloc[0])
    bag = _one_patient(home, patient).bags[patient]
    each = [
        load_model(fold_folder(folds.folder, f"repeat0-fold{fold}", "crpnet") / "model")
        for fold in range(2)
    ]
    logits = np.mean([model.attention(bag).tile_logit for model in each], axis=0)
    own = table[table["patient_id"] == patient]
    np.testing.assert_allclose(own["tile_logit"], logits, atol=1e-5)


def test_each_fold_gives_a_risk_its_own_locked_probability(home, finished):
    create_split(home, "here", SplitRequest(method="k-fold", folds=2, name="two-cox", seed=1))
    config = CONFIG.model_copy(update={"split": "two-cox", "models": ("crpnet-cox",)})
    folds = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    _validate(home, folds)
    rows = views.predictions(home, folds.record.run_id)
    rows = rows[(rows["role"] == "external") & rows["member"].isna()].set_index("patient_id")
    places = [fold_folder(folds.folder, f"repeat0-fold{i}", "crpnet-cox") for i in range(2)]
    patient = str(rows.index[0])
    expected = [
        read_locked(place).link.probability(
            load_model(place / "model").predict(_one_patient(home, patient))["risk"]
        )[0]
        for place in places
    ]
    assert rows.loc[patient, "probability"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert rows.loc[patient, "predicted_class"] == int(np.mean(expected) >= 0.5)


def _one_patient(home, patient):
    slides = views.slides(home, "there").set_index("patient_id")
    (path,) = home.features.glob(f"*/{slides.loc[patient, 'slide_id']}.h5")
    tiles = read_features(path)
    bag = Bag(
        features=tiles.features,
        slide=np.zeros(len(tiles.coords), dtype=np.int32),
        coords=tiles.coords,
        slide_ids=("s",),
    )
    return CohortData(patients=pd.DataFrame(index=pd.Index([patient])), bags={patient: bag})


def test_a_slide_of_a_training_patient_is_an_error(home, finished, cohort):
    split = pd.read_csv(finished.folder / "split.csv")
    trained = split.loc[split["role"] == "train", "patient_id"].iloc[0]
    cohort("leak", 5, n=6, copied=[home.root.parent / "here" / f"{trained}.tif"])
    with pytest.raises(InputError, match="shares 1 slide with the training patients"):
        _validate(home, finished, "leak", force=True)
    assert "leak" not in set(views.ledger(home)["cohort"])


def test_other_magnification_is_refused_unless_told(home, finished, tmp_path):
    settings = tmp_path / "other.toml"
    settings.write_text("[tiling]\nmpp = 0.6\n")
    with pytest.raises(RunError, match="trained with 0.5, validated with 0.6"):
        _validate(home, finished, other_settings=settings)
    found = _validate(home, finished, other_settings=settings, force=True)
    assert "tiling.mpp: trained with 0.5, validated with 0.6" in found.remarks
    missing = found.metrics.query("model == 'crpnet' and metric == 'n_missing'")
    assert missing["value"].iloc[0] == 0


def test_another_numeric_precision_is_said_and_not_refused(home, finished, tmp_path):
    here = resolve_precision("auto", "cpu")
    other = {"float32": "bfloat16", "bfloat16": "float32"}[here]
    settings = tmp_path / "other.toml"
    settings.write_text(f'[encoder]\nprecision = "{other}"\n')
    found = _validate(home, finished, other_settings=settings)
    assert (
        f"features: computed in {here} on cpu in training, in {other} on cpu here; encoder, "
        "weights and tiling are the same"
    ) in found.remarks
    missing = found.metrics.query("model == 'crpnet' and metric == 'n_missing'")
    assert missing["value"].tolist()[0] == 0


def _trained_on(finished, folder):
    """The run as if its features lay in that folder."""
    path = finished.folder / "slides.parquet"
    slides = pd.read_parquet(path)
    slides["feature_path"] = [f"/x/{folder}/{name}.h5" for name in slides["slide_id"]]
    slides.to_parquet(path)


def test_features_of_another_device_are_said_those_of_other_weights_refused(home, finished):
    path = finished.folder / "slides.parquet"
    before = path.read_bytes()
    known = fingerprints_by_arithmetic(CONFIG.encoder)
    (gpu,) = (key for key, words in known.items() if words == "bfloat16 on cuda")
    tiling = CONFIG.tiling.fingerprint()
    try:
        _trained_on(finished, f"{tiling}-{gpu}")
        found = _validate(home, finished)
        assert any("computed in bfloat16 on cuda in training" in text for text in found.remarks)
        for folder, what in ((f"{tiling}-{'0' * 16}", "the encoder"), (f"x-{gpu}", "the tiling")):
            _trained_on(finished, folder)
            with pytest.raises(RunError, match=rf"which is not what {what}.* gives here"):
                _validate(home, finished)
    finally:
        path.write_bytes(before)


def test_no_look_is_spent_on_slides_without_features(home, finished, cohort):
    cohort("blank", 9, n=6)
    for path in (home.root.parent / "blank").glob("*.tif"):
        path.unlink()
    with pytest.raises(RunError, match=r"none of its 6 slides has features \(B00\d.tif: .*--force"):
        _validate(home, finished, "blank")
    assert "blank" not in set(views.ledger(home)["cohort"])
    assert _validate(home, finished, "blank", force=True).failures


def test_a_run_does_not_go_on_with_other_slides(home, finished):
    path = finished.folder / "slides.parquet"
    before = path.read_bytes()
    pd.read_parquet(path).iloc[:-1].to_parquet(path)
    options = {"device": "cpu", "progress": SilentProgress(), "resume": finished.record.run_id}
    with pytest.raises(RunError, match="slides or their features are not those it began with"):
        run_benchmark(home, CONFIG, **options)
    path.write_bytes(before)
    assert run_benchmark(home, CONFIG, **options).record.status == "done"
