from __future__ import annotations

import copy

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from crpnet_bench.config import EncoderConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.augmentation import Strength
from crpnet_bench.models.backbones import load_backbone
from crpnet_bench.models.encoders import load_encoder
from crpnet_bench.models.tile_encoder import TileEncoder

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture(scope="module")
def tiles():
    drawn = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3))
    return torch.from_numpy(drawn.astype(np.uint8))


def encoder(weights, **settings):
    backbone = load_backbone("resnet18", copy.deepcopy(weights))
    return TileEncoder(backbone, CPU, **settings)


def gradient(one, tiles, seed=None):
    one.zero_grad()
    features = one(tiles, seed)
    (features * torch.linspace(-1, 1, features.numel()).view_as(features)).sum().backward()
    return {name: weight.grad for name, weight in one.named_parameters()}


def test_chunks_with_checkpoints_give_the_plain_gradient(weights, tiles):
    plain = encoder(weights, trainable="all", chunk_tiles=7)
    chunked = encoder(weights, trainable="all", chunk_tiles=2)
    assert torch.allclose(plain(tiles), chunked(tiles), rtol=1e-5, atol=1e-5)
    expected = gradient(plain, tiles)
    found = gradient(chunked, tiles)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-3, atol=1e-5 * value.abs().max()), name


def test_what_is_computed_again_is_augmented_as_before(weights, tiles):
    """The gradient under checkpoints is that of the very views that the features were of."""
    one = encoder(weights, trainable="last-stage", chunk_tiles=3)
    parts = [encoder(weights, trainable="last-stage", chunk_tiles=7) for _ in range(3)]
    features = one(tiles, seed=5)
    views = [
        part(chunk, seed=5 + number)
        for number, (part, chunk) in enumerate(zip(parts, tiles.split(3), strict=True))
    ]
    assert torch.allclose(features, torch.cat(views), rtol=1e-5, atol=1e-5)
    features.sum().backward()
    for view in views:
        view.sum().backward()
    total = sum(part.network.layer4[0].conv1.weight.grad for part in parts)
    assert torch.allclose(
        one.network.layer4[0].conv1.weight.grad, total, rtol=1e-3, atol=1e-5 * total.abs().max()
    )


def test_views_follow_the_seed(weights, tiles):
    one = encoder(weights)
    plain = one(tiles)
    assert torch.equal(one(tiles, seed=1), one(tiles, seed=1))
    assert not torch.allclose(one(tiles, seed=1), one(tiles, seed=2))
    assert not torch.allclose(one(tiles, seed=1), plain)


def test_without_strength_only_flips_and_turns_are_left(weights, tiles):
    """Eight views of a tile, each a rearrangement of its pixels."""
    still = Strength().times(0)
    assert still == Strength(0, 0, 0, 0)
    one = encoder(weights, strength=still)
    square = tiles[:1]
    known = {
        tuple(np.round(one(torch.rot90(flipped, turns, (1, 2)))[0, :4].tolist(), 3))
        for flipped in (square, square.flip(2))
        for turns in range(4)
    }
    assert len(known) == 8
    for seed in range(12):
        assert tuple(np.round(one(square, seed)[0, :4].tolist(), 3)) in known


@pytest.mark.parametrize(
    ("trainable", "trained"), [("all", {""}), ("last-stage", {"layer4"}), ("none", set())]
)
def test_the_weights_asked_for_are_trained_and_no_statistics(weights, tiles, trainable, trained):
    one = encoder(weights, trainable=trainable, chunk_tiles=3)
    before = copy.deepcopy(one.network.state_dict())
    names = {name for name, weight in one.network.named_parameters() if weight.requires_grad}
    wanted = {
        name
        for name, _ in one.network.named_parameters()
        if any(name.startswith(prefix) for prefix in trained)
    }
    assert names == wanted
    assert bool(one.trained) == bool(trained)
    if one.trained:
        optimizer = torch.optim.Adam(one.trained, lr=1e-3)
        gradient(one, tiles, seed=0)
        optimizer.step()
    for name, value in one.network.state_dict().items():
        changed = not torch.equal(value, before[name])
        assert changed == (name in wanted), name


def test_features_are_those_of_the_encoder_that_extracts(tiles):
    shipped = TileEncoder(load_backbone("resnet50-trunc"), CPU)
    folded = load_encoder(EncoderConfig(precision="float32"))
    with torch.inference_mode():
        found = shipped(tiles[:2]).numpy()
    expected = folded.encode(tiles[:2].numpy())
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_network_without_stages_has_no_last_one(tmp_path):
    timm = pytest.importorskip("timm")
    path = tmp_path / "weights.safetensors"
    network = timm.create_model("mobilenetv3_small_050", num_classes=0)
    safetensors.torch.save_file(network.state_dict(), path)
    backbone = load_backbone(f"timm:mobilenetv3_small_050={path}")
    with pytest.raises(ModelError, match="no stages of a ResNet"):
        TileEncoder(backbone, CPU, trainable="last-stage")
    assert TileEncoder(backbone, CPU, trainable="all").trained


def test_half_the_chunk_until_one_tile(weights):
    one = encoder(weights, chunk_tiles=3)
    one.halve_chunks(torch.OutOfMemoryError("full"))
    assert one.chunk_tiles == 1
    with pytest.raises(ModelError, match="one tile does not fit"):
        one.halve_chunks(torch.OutOfMemoryError("full"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_memory_follows_the_chunk_on_a_gpu():
    device = torch.device("cuda")
    peaks = []
    for count in (64, 256):
        one = TileEncoder(
            load_backbone("resnet50-trunc"), device,
            trainable="all", chunk_tiles=16, precision=torch.bfloat16,
        )  # fmt: skip
        tiles = torch.randint(0, 256, (count, 224, 224, 3), dtype=torch.uint8)
        torch.cuda.reset_peak_memory_stats()
        one(tiles, seed=0).sum().backward()
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 1.1 * peaks[0]
