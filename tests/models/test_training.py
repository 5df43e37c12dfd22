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

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.crpnet import NetworkShape, crpnet, member_generators
from crpnet_bench.models.networks import NetworkModel
from crpnet_bench.models.training import TileStore, batches, pack, standardize, training_dtype
from crpnet_bench.progress import SilentProgress


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


@pytest.mark.parametrize("budget", [1, 25, 100_000])
def test_tile_budget_does_not_change_the_fit(budget, training, validation, run_config):
    reference = fitted(training, run_config()).predict(validation)["probability"]
    found = fitted(training, run_config(tile_budget=budget)).predict(validation)["probability"]
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_order_of_tiles_does_not_change_the_fit(training, validation, run_config):
    generator = np.random.default_rng(0)

    def shuffled(bag):
        order = generator.permutation(len(bag))
        return replace(bag, features=bag.features[order])

    other = replace(training, bags={key: shuffled(bag) for key, bag in training.bags.items()})
    reference = fitted(training, run_config()).predict(validation)["probability"]
    found = fitted(other, run_config()).predict(validation)["probability"]
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_mini_batches_and_dropout_are_independent_of_packing(training, validation, run_config):
    def probability(budget):
        config = run_config(batch_bags=8, iterations=9, tile_budget=budget)
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"dropout": 0.4})}
        )
        return fitted(training, config).predict(validation)["probability"]

    np.testing.assert_allclose(probability(20), probability(10_000), atol=1e-5)


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
from crpnet_bench.models.catalogue import build_model
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
