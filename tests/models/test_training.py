"""Training: batches, packing, members, determinism."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import build_model, load_fitted
from crpnet_bench.models.crpnet import NetworkShape, crpnet, member_generators
from crpnet_bench.models.networks import NetworkModel
from crpnet_bench.models.tile_store import TileStore, ViewDraws
from crpnet_bench.models.training import (
    batches,
    pack,
    standardize,
    training_dtype,
)
from crpnet_bench.progress import SilentProgress

# A difference of 1e-5 in a probability near a half. Gradients are compared without the optimizer,
# which turns rounding into small steps of either sign, in test_accumulation.
LOG_ODDS = 4e-5
HEADS = ["crpnet", "crpnet-cox", "crpnet-hazard", "crpnet-ipcw", "crpnet-observed"]


def fitted(data, config, seed=3, name="crpnet"):
    return build_model(name, config, "cpu").fit(data, seed=seed, progress=SilentProgress())


@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), budget=st.integers(1, 120))
def test_chunks_hold_every_bag_once_within_the_budget(lengths: list[int], budget: int):
    chunks = pack(lengths, budget)
    assert [i for chunk in chunks for i in chunk] == list(range(len(lengths)))
    for chunk in chunks:
        assert sum(lengths[i] for i in chunk) <= budget or len(chunk) == 1


@settings(deadline=None, max_examples=30)
@given(bags=st.integers(1, 200), size=st.integers(1, 64), seed=st.integers(0, 9))
def test_an_epoch_shows_every_bag_once(bags: int, size: int, seed: int):
    steps = -(-bags // size)
    epoch = list(batches(bags, size, 2 * steps, seed))
    for half in (epoch[:steps], epoch[steps:]):
        assert sorted(np.concatenate(half)) == list(range(bags))
    sizes = {len(batch) for batch in epoch}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_few_bags_are_one_batch_in_their_own_order():
    for batch in batches(5, 64, 3, seed=1):
        assert batch.tolist() == [0, 1, 2, 3, 4]


def test_epochs_differ_in_order_and_seeds_too():
    first, second = (np.concatenate(list(batches(100, 10, 10, seed))) for seed in (0, 1))
    assert first.tolist() != second.tolist()
    longer = list(batches(100, 10, 20, 0))
    assert np.concatenate(longer[:10]).tolist() != np.concatenate(longer[10:]).tolist()


def test_members_trained_together_are_those_trained_one_by_one(training, validation, run_config):
    together = fitted(training, run_config(inits=3, iterations=20))
    alone = fitted(training, run_config(inits=1, iterations=20))
    members = together.members(validation)
    first = members.loc[members["member"] == 0, "probability"]
    expected = alone.predict(validation)["probability"]
    np.testing.assert_allclose(first, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "budget"),
    [("crpnet", 1), *((name, budget) for name in HEADS for budget in (25, 1000))],
)
def test_tile_budget_does_not_change_the_fit(name, budget, training, validation, run_config):
    reference = fitted(training, run_config(), name=name).predict(validation)["risk"]
    found = fitted(training, run_config(tile_budget=budget), name=name).predict(validation)["risk"]
    np.testing.assert_allclose(found, reference, atol=LOG_ODDS)


@pytest.mark.parametrize("name", HEADS)
def test_order_of_tiles_does_not_change_the_fit(name, training, validation, run_config):
    generator = np.random.default_rng(0)

    def shuffled(bag):
        order = generator.permutation(len(bag))
        return replace(bag, features=bag.features[order])

    other = replace(training, bags={key: shuffled(bag) for key, bag in training.bags.items()})
    reference = fitted(training, run_config(), name=name).predict(validation)["risk"]
    found = fitted(other, run_config(), name=name).predict(validation)["risk"]
    np.testing.assert_allclose(found, reference, atol=LOG_ODDS)


@pytest.mark.parametrize("name", HEADS)
def test_mini_batches_dropout_and_views_are_independent_of_packing(
    name, training, validation, run_config
):
    data = with_views(training)

    def risk(budget):
        config = run_config(batch_bags=8, iterations=9, tile_budget=budget)
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"dropout": 0.4})}
        )
        return fitted(data, config, name=name).predict(validation)["risk"]

    np.testing.assert_allclose(risk(20), risk(10_000), atol=LOG_ODDS)


def test_training_lowers_the_loss_and_seeds_differ(training, run_config):
    short = fitted(training, run_config(iterations=1, learning_rate=1e-3))
    long = fitted(training, run_config(iterations=60, learning_rate=1e-3))
    assert np.mean(long.card.final_loss) < np.mean(short.card.final_loss) - 0.05
    other = fitted(training, run_config(iterations=1, learning_rate=1e-3), seed=4)
    assert other.card.final_loss != short.card.final_loss


def test_global_random_state_and_threads_are_left_alone(training, run_config):
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state itself
    fitted(training, run_config())
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002
    assert torch.get_num_threads() == threads


_PROCESS = """
import sys, numpy as np, pandas as pd
from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import build_model, load_fitted
from crpnet_bench.progress import SilentProgress
from crpnet_bench.synthetic.sim_bags import simulate_bags
s = simulate_bags(1, 30, 10, dim=16, median_tiles=12)
bags = {p: Bag(f, np.zeros(len(f), np.int32), np.zeros((len(f), 2), np.int64))
        for p, f in zip(s.patient_ids, s.features)}
ids = pd.Index(s.patient_ids)
out = pd.DataFrame({"time": s.time, "status": s.status, "label": s.label}, index=ids)
data = CohortData(patients=pd.DataFrame(index=ids), bags=bags, outcomes=out)
for precision in ("float32", "bfloat16"):
    config = RunConfig.from_mapping(
        {"train": {"iterations": 10, "batch_bags": 16, "precision": precision}})
    fitted = build_model("crpnet", config, "cpu").fit(data, seed=5, progress=SilentProgress())
    frame = fitted.members(data)
    sys.stdout.write(frame[["risk", "probability"]].to_numpy().tobytes().hex() + " ")
"""


def test_same_seed_gives_the_same_bytes_in_two_processes():
    command = [sys.executable, "-c", _PROCESS]
    first, second = (
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        for _ in range(2)
    )
    assert first == second
    exact, rough = first
    assert exact != rough


def test_standardisation_uses_the_training_bags_alone(training, validation, run_config):
    model = fitted(training, run_config())
    every_bag = [bag.features.astype(np.float64) for bag in training.bags.values()]
    mean = np.mean([bag.mean(axis=0) for bag in every_bag], axis=0)
    second = np.mean([(bag**2).mean(axis=0) for bag in every_bag], axis=0)
    np.testing.assert_allclose(model.network.offset, mean, rtol=1e-5)
    np.testing.assert_allclose(model.network.scale, np.sqrt(second - mean**2), rtol=1e-4)
    before = model.network.offset.clone()
    model.predict(validation)
    assert torch.equal(before, model.network.offset)


def test_a_constant_feature_is_only_centred(bag_of):
    features = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    features[:, 1] = 7.0
    network = crpnet(NetworkShape(3), member_generators(0, 1))
    standardize(network, [bag_of(features)])
    assert network.scale[1] == 1.0
    assert network.offset[1] == pytest.approx(7.0)


def test_tiles_that_do_not_fit_in_memory_are_read_chunk_by_chunk(training):
    network = crpnet(NetworkShape(16), member_generators(0, 1))
    bags = list(training.bags.values())
    resident = TileStore(bags, network, torch.float32)
    from_bags = TileStore(bags, network, torch.float32, resident_bytes=0)
    assert torch.equal(resident.pack([3, 0, 7]), from_bags.pack([3, 0, 7]))
    assert torch.equal(resident.pack([2, 3, 4]), from_bags.pack([2, 3, 4]))
    assert torch.equal(resident.pack(range(len(bags))), from_bags.pack(range(len(bags))))


def test_memory_mapped_half_precision_features_train_alike(
    tmp_path, training, validation, run_config
):
    halves, mapped = {}, {}
    for patient, bag in training.bags.items():
        half = bag.features.astype(np.float16)
        np.save(tmp_path / f"{patient}.npy", half)
        halves[patient] = replace(bag, features=half)
        stored = np.load(tmp_path / f"{patient}.npy", mmap_mode="r")
        mapped[patient] = replace(bag, features=stored)
    first, second = (
        fitted(replace(training, bags=bags), run_config()).predict(validation)
        for bags in (halves, mapped)
    )
    pd.testing.assert_frame_equal(first, second)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_features_that_are_no_numbers_are_an_error_naming_the_patient(training, run_config, value):
    patient = training.patient_ids[0]
    features = training.bags[patient].features.copy()
    features[0, 0] = value
    bags = {**training.bags, patient: replace(training.bags[patient], features=features)}
    with pytest.raises(ModelError, match=f"{patient}.*NaN or infinity"):
        fitted(replace(training, bags=bags), run_config())


def test_progress_counts_every_step(training, run_config):
    class Counting:
        def __init__(self):
            self.total, self.done, self.notes = 0, 0, []

        def task(self, description, total, unit=""):
            self.total = total
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def advance(self, count=1, note=""):
            self.done += count
            self.notes.append(note)

    progress = Counting()
    model = NetworkModel("crpnet", "CRPNet", "attention", run_config(iterations=12))
    model.fit(training, seed=0, progress=progress)
    assert progress.done == progress.total == 12
    assert any("loss" in note for note in progress.notes)


def test_precision_is_what_was_asked_and_auto_follows_the_device():
    cpu = torch.device("cpu")
    assert training_dtype("float32", cpu) is torch.float32
    assert training_dtype("bfloat16", cpu) is torch.bfloat16
    assert training_dtype("auto", cpu) in {torch.float32, torch.bfloat16}


def test_bfloat16_training_stays_close_to_float32(training, validation, run_config):
    exact = fitted(training, run_config(iterations=20)).predict(validation)["probability"]
    config = run_config(iterations=20, precision="bfloat16")
    rough = fitted(training, config).predict(validation)["probability"]
    np.testing.assert_allclose(rough, exact, atol=0.02)
    assert not np.array_equal(rough, exact)


@pytest.mark.gpu
def test_a_cuda_device_fits_alike(training, validation, run_config):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    on_cpu = fitted(training, run_config(iterations=20)).predict(validation)["probability"]
    model = build_model("crpnet", run_config(iterations=20), "cuda")
    on_gpu = model.fit(training, seed=3, progress=SilentProgress()).predict(validation)
    np.testing.assert_allclose(on_gpu["probability"], on_cpu, atol=1e-3)


def with_views(data, views=3, shift=1.0):
    """Each tile with views that are shifted copies of it, none equal to another."""
    steps = shift * np.arange(1, views + 1)[:, None]
    bags = {
        patient: replace(bag, views=(bag.features[:, None] + steps).astype(np.float16))
        for patient, bag in data.bags.items()
    }
    return replace(data, bags=bags)


def weights_of(fit):
    return b"".join(tensor.numpy().tobytes() for tensor in fit.network.state_dict().values())


def test_views_change_training_and_the_same_seed_gives_the_same_bytes(training, run_config):
    data, config = with_views(training), run_config()
    plain, first = fitted(training, config), fitted(data, config)
    assert weights_of(first) != weights_of(plain)
    assert weights_of(first) == weights_of(fitted(data, config))
    assert weights_of(first) != weights_of(fitted(data, config, seed=4))
    assert torch.equal(first.network.offset, plain.network.offset)  # of the plain features


def test_fits_say_whether_views_were_used(training, run_config, tmp_path):
    config = run_config(iterations=1)
    fit = fitted(with_views(training, 3), config)
    assert fit.notes == (
        "trained with augmented views: each step drew, for each tile, its features or one of "
        "3 stored views",
    )
    fit.save(tmp_path / "fit")
    assert load_fitted(tmp_path / "fit").notes == fit.notes
    assert fitted(training, config).notes == ()
    asked = config.model_copy(update={"encoder": config.encoder.model_copy(update={"views": 2})})
    assert "encoder.views is 2, but the feature files hold none" in fitted(training, asked).notes[0]


def test_predictions_ignore_views(training, validation, run_config):
    fit = fitted(with_views(training), run_config())
    plain = fit.predict(validation)
    pd.testing.assert_frame_equal(plain, fit.predict(with_views(validation)), check_exact=True)


def test_views_equal_to_their_tile_train_as_no_views(training, run_config):
    bags = {
        patient: replace(bag, features=bag.features.astype(np.float16))
        for patient, bag in training.bags.items()
    }
    data = replace(training, bags=bags)
    expected = weights_of(fitted(data, run_config()))
    assert weights_of(fitted(with_views(data, shift=0), run_config())) == expected


def test_every_version_is_drawn_equally_often_and_bags_without_views_stay(bag_of):
    plain = bag_of(np.zeros((500, 2), np.float32))
    rich = replace(plain, views=np.zeros((500, 3, 2), np.float16))
    draws = ViewDraws([plain, rich], seed=1)
    steps = [draws.draw([1, 0]) for _ in range(20)]
    assert not any(of_plain.any() for _, of_plain in steps)
    counts = np.bincount(np.concatenate([of_rich for of_rich, _ in steps]), minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert not np.array_equal(steps[0][0], steps[1][0])
    assert ViewDraws([plain], seed=1).draw([0]) is None


@pytest.mark.parametrize("resident_bytes", [None, 0])
def test_a_step_reads_the_drawn_version_of_each_tile(resident_bytes, training):
    plain, rich = list(with_views(training.take(training.patient_ids[:2])).bags.values())
    bags = [replace(plain, views=None), rich]
    network = crpnet(NetworkShape(dimension=16), member_generators(0, 1))
    standardize(network, bags)
    store = TileStore(bags, network, torch.float32, resident_bytes)
    version = np.arange(len(rich)) % 4
    versions = np.concatenate([rich.features[:, None], rich.views], axis=1)
    expected = np.concatenate([versions[np.arange(len(rich)), version], plain.features])
    found = store.pack([1, 0], [version, np.zeros(len(plain), np.int64)])
    assert torch.equal(found, network.prepare(torch.from_numpy(expected)))


@pytest.mark.parametrize("budget", [1, 25])
def test_tile_budget_and_members_do_not_change_the_draws(budget, training, validation, run_config):
    data = with_views(training)
    reference = fitted(data, run_config()).predict(validation)["probability"]
    found = fitted(data, run_config(tile_budget=budget)).predict(validation)["probability"]
    np.testing.assert_allclose(found, reference, atol=1e-5)
    members = fitted(data, run_config(inits=3)).members(validation).query("member < 2")
    mean = members.groupby(level=0)["probability"].mean().loc[reference.index]
    np.testing.assert_allclose(mean, reference, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 2, 15), (2, 2, 16), (3, 16)])
def test_views_of_another_shape_are_refused(shape, bag_of):
    bag = bag_of(np.zeros((3, 16), np.float32))
    with pytest.raises(ValueError, match="views"):
        replace(bag, views=np.zeros(shape, np.float16))
