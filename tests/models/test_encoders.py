from __future__ import annotations

import hashlib
import sys
from importlib import resources

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

from crpnet_bench.config import EncoderConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.backbones import fold_batch_norms
from crpnet_bench.models.encoders import load_encoder, resolve_precision

SHIPPED_SHA256 = "b48a61b3539f007e98b26c8b98e11862bb746b0aeb25b8db465f215c6be40333"


def shipped_bytes():
    return (
        resources.files("crpnet_bench.models")
        .joinpath("weights", "resnet50_trunc_layer3_1024d.safetensors")
        .read_bytes()
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiles():
    y, x = np.mgrid[:224, :224]
    images = [
        np.stack([128 + 99 * np.sin(x / (3 + n)), 128 + 90 * np.cos(y / (5 + n)), x / 2 + y / 3], 2)
        for n in range(5)
    ]
    return np.stack(images).astype(np.uint8)


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(EncoderConfig(precision="float32"))


@pytest.fixture(scope="module")
def rough():
    return load_encoder(EncoderConfig(precision="bfloat16"))


def test_the_shipped_weights_are_those_of_the_readme():
    assert hashlib.sha256(shipped_bytes()).hexdigest() == SHIPPED_SHA256
    readme = resources.files("crpnet_bench.models").joinpath("weights", "README.md").read_text()
    assert SHIPPED_SHA256 in readme
    state = safetensors.torch.load(shipped_bytes())
    for name, value in state.items():
        assert value.dtype == (torch.float16 if value.ndim == 4 else torch.float32), name


def test_the_encoder_is_a_resnet_v1_with_imagenet_preprocessing(encoder, tiles):
    """Against the plain network, unfolded, with the strides where version 1 has them."""
    network = torchvision.models.resnet50(weights=None)
    for stage in (network.layer2, network.layer3):
        stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    state = {name: value.float() for name, value in safetensors.torch.load(shipped_bytes()).items()}
    left = network.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert all(
        name.startswith(("layer4", "fc")) or name.endswith("num_batches_tracked")
        for name in left.missing_keys
    )
    network.eval()
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        x = network.maxpool(network.relu(network.bn1(network.conv1((images - mean) / std))))
        expected = network.layer3(network.layer2(network.layer1(x))).mean((2, 3)).numpy()
    found = encoder.encode(tiles)
    assert found.shape == (5, 1024)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()


def test_features_are_the_same_bits_in_every_run_and_batch(encoder, rough, tiles):
    for one in (encoder, rough):
        first = one.encode(tiles)
        assert np.array_equal(first, load_encoder(one.config).encode(tiles))
        parts = [one.encode(tiles[:1]), one.encode(tiles[1:3]), one.encode(tiles[3:])]
        assert np.array_equal(first, np.concatenate(parts))


def test_bfloat16_stays_near_float32(encoder, rough, tiles):
    exact = encoder.encode(tiles)
    error = np.linalg.norm(rough.encode(tiles) - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert 0 < error.max() < 0.02


def test_the_fingerprint_tells_what_decides_the_output(encoder, rough):
    auto = load_encoder(EncoderConfig())
    same = encoder if auto.precision == "float32" else rough
    assert auto.fingerprint == same.fingerprint
    larger = load_encoder(EncoderConfig(precision="float32", batch_size=16))
    assert len({encoder.fingerprint, rough.fingerprint, larger.fingerprint}) == 3


def test_auto_precision_is_a_property_of_the_machine():
    assert resolve_precision("auto", "cpu") in {"float32", "bfloat16"}
    assert resolve_precision("float32", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"


def test_no_tiles_are_no_features(encoder):
    assert encoder.encode(np.empty((0, 224, 224, 3), np.uint8)).shape == (0, 1024)


def test_running_out_of_memory_halves_the_batch(encoder, tiles):
    class Small(torch.nn.Module):
        def forward(self, images):
            if len(images) > 2:
                raise torch.OutOfMemoryError("too many")
            return images.mean((2, 3))

    small = load_encoder(EncoderConfig(precision="float32", batch_size=6))
    small._network, small.dim = Small(), 3
    assert small.encode(tiles).shape == (5, 3)
    assert small.batch_size == 1

    class Never(torch.nn.Module):
        def forward(self, images):
            raise torch.OutOfMemoryError("too many")

    small._network = Never()
    with pytest.raises(ModelError, match="one tile does not fit"):
        small.encode(tiles)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101"])
def test_a_local_checkpoint_is_recognised_by_its_tensors(tmp_path, name, tiles):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    path = tmp_path / "local.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    local = load_encoder(EncoderConfig(name=str(path), precision="float32"))
    assert local.dim == network.fc.in_features
    images = torch.from_numpy(tiles[:1]).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    network.fc = torch.nn.Identity()
    with torch.inference_mode():
        expected = network((images - mean) / std).numpy()
    assert np.allclose(local.encode(tiles[:1]), expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_weights_that_fit_nothing_and_names_that_do_not_exist(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"layer4.0.weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="fit none"):
        load_encoder(EncoderConfig(name=str(path)))
    safetensors.torch.save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="fit none"):
        load_encoder(EncoderConfig(name=str(path)))
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="not readable as safetensors"):
        load_encoder(EncoderConfig(name=str(path)))
    with pytest.raises(ModelError, match="not readable"):
        load_encoder(EncoderConfig(name=str(tmp_path / "absent.safetensors")))
    with pytest.raises(ConfigError, match="did you mean 'resnet50-trunc'"):
        load_encoder(EncoderConfig(name="resnet50-trunk"))


def test_folding_leaves_no_batch_norm_behind():
    network = torchvision.models.resnet18(weights=None).eval()
    fold_batch_norms(network)
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]


@pytest.mark.slide
def test_the_features_tell_clear_cell_from_papillary_carcinoma(shared_data, encoder):
    """Nearest class mean, each slide judged by the other slides."""
    features, labels, slides = [], [], []
    for number, path in enumerate(sorted((shared_data / "tiles").glob("TCGA-*.png"))):
        image = np.asarray(Image.open(path).convert("RGB").reduce(2))
        cut = np.stack([image[y : y + 224, x : x + 224] for y in (0, 250) for x in (0, 250)])
        features.append(encoder.encode(cut))
        labels += ["TCGA-B0" in path.name] * 4
        slides += [number] * 4
    stacked, labels, slides = np.concatenate(features), np.array(labels), np.array(slides)
    stacked = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    right = 0
    for slide in set(slides.tolist()):
        means = [stacked[(slides != slide) & (labels == label)].mean(0) for label in (False, True)]
        held = stacked[slides == slide]
        guess = np.linalg.norm(held - means[1], axis=1) < np.linalg.norm(held - means[0], axis=1)
        right += int((guess == labels[slides == slide]).sum())
    assert right >= 20  # of 24


def test_the_bits_do_not_depend_on_the_number_of_threads(rough, tiles):
    torch.set_num_threads(3)
    several = load_encoder(EncoderConfig(precision="bfloat16", batch_size=2))
    found = several.encode(tiles)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    assert np.array_equal(found, rough.encode(tiles))


def random_weights(path, network):
    """Weights drawn at random, in a file, with statistics that are not the initial ones."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    safetensors.torch.save_file(network.state_dict(), path)
    return network.eval()


def plain_features(network, tiles):
    images = torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        return network((images - mean) / std).numpy()


def test_torchvision_weights_come_from_its_cache(tmp_path, monkeypatch, tiles):
    """A file in torch's cache is read as it is; what it holds is part of the fingerprint."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    file = cache / torchvision.models.ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[1]
    fingerprints = set()
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = torchvision.models.resnet18(weights=None).eval()
        torch.save(network.state_dict(), file)
        encoder = load_encoder(EncoderConfig(name="resnet18", precision="float32"))
        fingerprints.add(encoder.fingerprint)
        network.fc = torch.nn.Identity()
        assert np.allclose(encoder.encode(tiles[:1]), plain_features(network, tiles[:1]), atol=1e-3)
    assert len(fingerprints) == 2


@pytest.mark.parametrize("name", ["resnet18", "resnet26d", "ghostnet_050"])
def test_a_local_file_serves_a_network_of_timm(tmp_path, name, tiles):
    """Its classifier is left out; stems and shortcuts that torchvision does not know are kept."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    network = random_weights(path, timm.create_model(name, num_classes=1000))
    encoder = load_encoder(EncoderConfig(name=f"timm:{name}={path}", precision="float32"))
    network.reset_classifier(0)
    expected = plain_features(network, tiles[:2])
    assert encoder.dim == expected.shape[1]
    assert np.allclose(encoder.encode(tiles[:2]), expected, atol=1e-4 * np.abs(expected).max())


def test_weights_of_another_network_are_refused_by_timm(tmp_path):
    timm = pytest.importorskip("timm")
    path = tmp_path / "weights.safetensors"
    random_weights(path, timm.create_model("resnet26d", num_classes=0))
    with pytest.raises(ModelError, match="not those of that network"):
        load_encoder(EncoderConfig(name=f"timm:resnet18={path}"))
    with pytest.raises(ModelError, match=r"timm:no_such: could not be made .*list_models"):
        load_encoder(EncoderConfig(name="timm:no_such"))


def test_without_timm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not there
    with pytest.raises(ModelError, match="timm is not installed; pip install"):
        load_encoder(EncoderConfig(name="timm:resnet18"))
