from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import torchvision

from crpnet_bench.benchmark.tuning import tune
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.backbones import load_backbone
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import build_model, load_fitted
from crpnet_bench.models.fine_tuning_steps import ahead
from crpnet_bench.models.tile_encoder import TileEncoder
from crpnet_bench.progress import SilentProgress

SIDE = 32
RED, BLUE = np.array([200, 90, 130]), np.array([130, 90, 200])


@dataclass
class Pixels:
    """A bag's tiles in memory, and which were asked for."""

    tiles: np.ndarray
    asked: list[np.ndarray]
    broken: bool = False

    def read(self, tiles):
        if self.broken:
            raise ModelError("/slides/seven.svs: its tiles cannot be read: truncated")
        self.asked.append(tiles)
        return self.tiles[tiles]


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    """A ResNet-18 with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder") / "resnet18.safetensors"
    safetensors.torch.save_file(torchvision.models.resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def settings(encoder_file):
    """Settings of a short, exact fit."""

    def make(**fine_tuning) -> RunConfig:
        train = {"inits": 2, "threads": 1, "precision": "float32", "learning_rate": 1e-3}
        return RunConfig.from_mapping(
            {
                "encoder": {"name": str(encoder_file)},
                "train": train | {"batch_bags": 4},
                "fine_tuning": {"iterations": 2, "tiles_per_bag": 3, "chunk_tiles": 4}
                | {"encoder_learning_rate": 1e-4}
                | fine_tuning,
            }
        )

    return make


@pytest.fixture(scope="module")
def cohort(encoder_file):
    """Eight patients; half the tiles of those with an event are red, all others blue."""
    encoder = TileEncoder(load_backbone(str(encoder_file)), torch.device("cpu"))
    drawn = np.random.default_rng(0)
    ids = [f"P{number}" for number in range(8)]
    labels = [number % 2 for number in range(8)]
    bags = {}
    for patient, label in zip(ids, labels, strict=True):
        count = int(drawn.integers(5, 9))
        red = (drawn.random(count) < 0.5 * label) | (np.arange(count) < label)
        colour = np.where(red[:, None], RED, BLUE)[:, None, None]
        noise = drawn.integers(-30, 31, (count, SIDE, SIDE, 3))
        tiles = (colour + noise).clip(0, 255).astype(np.uint8)
        with torch.inference_mode():
            features = encoder(torch.from_numpy(tiles)).numpy()
        bags[patient] = Bag(
            features=features,
            slide=np.zeros(count, np.int32),
            coords=np.stack([np.arange(count) * SIDE, np.zeros(count)], 1).astype(np.int64),
            slide_ids=(f"slide of {patient}",),
            pixels=Pixels(tiles, []),
        )
    outcomes = pd.DataFrame({"time": 10.0, "status": labels, "label": labels}, index=pd.Index(ids))
    return CohortData(
        patients=pd.DataFrame(index=pd.Index(ids)),
        bags=bags,
        outcomes=outcomes,
        cohort="colours",
        feature_fingerprint="abc",
    )


def fit(config, data, seed=0):
    return build_model("crpnet-finetuned", config).fit(data, seed=seed)


@pytest.fixture(scope="module")
def fitted(settings, cohort):
    """On all patients."""
    return fit(settings(), cohort)


def weights_of(fitted):
    return fitted.encoder.network.state_dict() | fitted.network.network.state_dict()


def test_the_loss_falls_and_the_colour_is_found(settings, cohort):
    """Trained through the encoder on four patients, the other four are told apart."""
    train = cohort.take(cohort.patient_ids[:4])
    fitted = fit(settings(iterations=6, trainable="all", tiles_per_bag=5), train)
    assert max(fitted.network.card.final_loss) < 0.5 * np.log(2)  # that of knowing nothing
    risk = fitted.predict(cohort)["risk"]
    labels = cohort.outcomes["label"]
    assert risk[labels == 1].min() > risk[labels == 0].max()
    for patient in cohort.patient_ids[5::2]:  # of their tiles, the red ones speak for the event
        bag = cohort.bags[patient]
        red = bag.pixels.tiles.mean((1, 2))[:, 0] > 165
        logit = fitted.attention(bag).tile_logit
        assert 0 < red.sum() < len(bag)
        assert logit[red].min() > logit[~red].max()


def test_a_seed_names_the_fit(settings, cohort):
    train = cohort.take(["P0", "P1"])
    one, again, other = (fit(settings(), train, seed) for seed in (3, 3, 4))
    assert one.network.card.final_loss == again.network.card.final_loss
    for name, value in weights_of(one).items():
        assert torch.equal(value, weights_of(again)[name]), name
    assert one.predict(cohort).equals(again.predict(cohort))
    assert one.network.card.final_loss != other.network.card.final_loss


def test_each_step_draws_tiles_anew(settings, cohort):
    data = cohort.take(cohort.patient_ids)
    bags = {
        patient: replace(bag, pixels=Pixels(bag.pixels.tiles, []))
        for patient, bag in data.bags.items()
    }
    fit(settings(iterations=4, trainable="none"), replace(data, bags=bags))
    for bag in bags.values():
        tried, *steps = bag.pixels.asked
        assert len(tried) == 1
        assert len(steps) == 2  # eight bags, four a step
        assert all(len(set(step.tolist())) == 3 for step in steps)
    drawn = [bag.pixels.asked[1:] for bag in bags.values()]
    assert any(not np.array_equal(*steps) for steps in drawn)


def test_a_short_bag_is_shown_whole_and_each_time_in_another_view(settings, cohort):
    """No weight moves, so the loss changes by the views alone."""
    train = cohort.take(["P0", "P1"])
    still = settings(trainable="none", iterations=3, tiles_per_bag=99)
    values = still.model_dump(mode="json")
    values["train"] |= {"learning_rate": 1e-12, "weight_decay": 0.0}
    losses = {
        fit(
            RunConfig.from_mapping(values | {"fine_tuning": values["fine_tuning"] | changed}), train
        ).network.card.final_loss
        for changed in ({"iterations": 1}, {"iterations": 2}, {"iterations": 3})
    }
    assert len(losses) == 3


def test_only_what_is_asked_for_is_trained(settings, cohort, encoder_file):
    start = load_backbone(str(encoder_file)).network.state_dict()
    for trainable, prefix in (("none", "nothing"), ("last-stage", "layer4"), ("all", "")):
        fitted = fit(settings(trainable=trainable, iterations=1), cohort.take(["P0", "P1"]))
        now = fitted.encoder.network.state_dict()
        changed = {name for name in start if not torch.equal(start[name], now[name])}
        assert bool(changed) == (trainable != "none")
        assert all(name.startswith(prefix) for name in changed)
        assert not any("running" in name for name in changed)


def test_members_share_the_encoder_and_are_averaged(fitted, cohort):
    members = fitted.members(cohort)
    assert sorted(members["member"].unique()) == [0, 1]
    mean = members.groupby(level=0)["probability"].mean()
    predicted = fitted.predict(cohort)
    assert list(predicted.index) == cohort.patient_ids
    assert np.allclose(mean.loc[predicted.index], predicted["probability"], atol=1e-6)
    looked = fitted.attention(cohort.bags["P0"])
    assert looked.weights.shape == (len(cohort.bags["P0"]),)
    assert looked.weights.sum() == pytest.approx(1)


def test_a_bag_is_read_once_and_does_not_depend_on_the_others(fitted, cohort):
    fitted._looks.clear()
    reader = cohort.bags["P4"].pixels
    reader.asked.clear()
    whole = fitted.predict(cohort)
    fitted.members(cohort)
    fitted.attention(cohort.bags["P4"])
    assert np.array_equal(np.concatenate(reader.asked), np.arange(len(cohort.bags["P4"])))
    fitted._looks.clear()
    alone = fitted.predict(cohort.take(["P4"]))
    assert alone.loc["P4", "risk"] == whole.loc["P4", "risk"]


def test_it_is_read_back_as_it_was_saved(fitted, cohort, tmp_path, encoder_file):
    fitted.save(tmp_path / "model")
    encoder_file.rename(encoder_file.with_suffix(".moved"))  # the checkpoint is all it needs
    try:
        loaded = load_fitted(tmp_path / "model")
    finally:
        encoder_file.with_suffix(".moved").rename(encoder_file)
    assert loaded.network.card == fitted.network.card
    assert loaded.predict(cohort).equals(fitted.predict(cohort))
    assert loaded.members(cohort).equals(fitted.members(cohort))
    with pytest.raises(ModelError, match="fitted on abc"):
        loaded.predict(replace(cohort, feature_fingerprint="other"))


def test_patients_without_readable_slides_are_missing(fitted, cohort):
    bags = dict(cohort.bags)
    bags["P1"] = replace(bags["P1"], pixels=Pixels(bags["P1"].pixels.tiles, [], broken=True))
    bags["P2"] = replace(bags["P2"], pixels=None)
    del bags["P3"]
    predicted = fitted.predict(replace(cohort, bags=bags))
    assert list(predicted.index) == cohort.patient_ids
    missing = predicted[predicted["status"] == "missing"]["reason"]
    assert list(missing.index) == ["P1", "P2", "P3"]
    assert "/slides/seven.svs" in missing["P1"]
    assert "slide of P2" in missing["P2"]
    assert missing["P3"] == "no slide with usable tiles"
    members = fitted.members(replace(cohort, bags=bags))
    assert len(members) == 16
    assert (members["status"] == "ok").sum() == 10
    with pytest.raises(ModelError, match="seven.svs"):
        fitted.attention(bags["P1"])


def test_a_slide_that_cannot_be_read_is_told_before_training(settings, cohort):
    bags = dict(cohort.bags)
    bags["P1"] = replace(bags["P1"], pixels=Pixels(bags["P1"].pixels.tiles, [], broken=True))
    with pytest.raises(ModelError, match=r"/slides/seven\.svs: its tiles cannot be read"):
        fit(settings(), replace(cohort, bags=bags))
    bags["P1"] = replace(bags["P1"], pixels=None)
    with pytest.raises(ModelError, match="slide of P1.*not at hand"):
        fit(settings(), replace(cohort, bags=bags))


def test_losses_are_kept_and_what_is_not_done_is_said(settings, cohort):
    values = settings(trainable="none", iterations=3).model_dump(mode="json")
    values["train"] |= {"patience": 2}
    fitted = fit(RunConfig.from_mapping(values), cohort)
    assert fitted.history.training.shape == (3, 2)
    assert np.isfinite(fitted.history.training).all()
    assert fitted.history.final_loss == fitted.network.card.final_loss
    assert any("train.patience = 2 ignored" in note for note in fitted.notes)
    values["train"] |= {"log": False}
    assert fit(RunConfig.from_mapping(values), cohort).history is None


def test_it_is_tuned_like_any_network(settings, cohort):
    values = settings(trainable="none", iterations=1).model_dump(mode="json")
    values["train"] |= {"inner_folds": 2}
    values["tune"] = {"fine_tuning.tiles_per_bag": [1, 3]}
    fitted = tune("crpnet-finetuned", RunConfig.from_mapping(values), "cpu").fit(
        cohort, seed=0, progress=SilentProgress()
    )
    assert any("chosen fine_tuning.tiles_per_bag" in note for note in fitted.notes)


def test_features_of_another_tool_have_no_encoder():
    config = RunConfig.from_mapping({"encoder": {"name": "imported:uni"}})
    with pytest.raises(ConfigError, match="stands for features of another tool"):
        build_model("crpnet-finetuned", config)


def test_what_is_read_ahead_comes_in_order_and_stops():
    started = []

    def read(number):
        started.append(number)
        if number == 30:
            raise ModelError("thirty")
        return number

    stream = ahead(read, iter(range(1000)))
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    stream.close()
    assert len(started) < 30
    with pytest.raises(ModelError, match="thirty"):
        list(ahead(read, range(40)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_seed_gives_the_same_fit_on_a_gpu(settings, cohort):
    one, again = (
        build_model("crpnet-finetuned", settings(), "cuda").fit(cohort, seed=0) for _ in range(2)
    )
    assert one.network.card.final_loss == again.network.card.final_loss
    assert one.predict(cohort).equals(again.predict(cohort))
