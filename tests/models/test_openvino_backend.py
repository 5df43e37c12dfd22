"""OpenVINO against torch on the shipped network; bounds are those of docs/slides.md."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from crpnet_bench.config import EncoderConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.encoders import load_encoder, resolve_precision
from crpnet_bench.models.openvino_backend import OpenVINONetwork

ABSENT_THEN_THERE = """
import sys
from crpnet_bench.config import EncoderConfig
from crpnet_bench.models.encoders import load_encoder
load_encoder(EncoderConfig())
print("openvino" in sys.modules)
asked = EncoderConfig(backend="openvino")
sys.modules["openvino"] = None  # as if it were not installed
try:
    load_encoder(asked)
except Exception as error:
    print(type(error).__name__, error)
del sys.modules["openvino"]
load_encoder(asked)
print(sys.modules["openvino_telemetry"])
"""


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
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


def config(precision, backend="openvino", **more):
    return EncoderConfig(precision=precision, backend=backend, **more)


@pytest.fixture(scope="module")
def reference():
    return load_encoder(config("float32", "torch", views=2))


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(config("float32", views=2))


@pytest.fixture(scope="module")
def exact(reference, tiles):
    """What torch gives in float32."""
    return reference.encode(tiles)


def differences(found, expected):
    """Norm of the difference over the norm, a tile."""
    return np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)


def test_float32_equals_torch(encoder, exact, tiles):
    """Left to itself OpenVINO computes in bfloat16 where the processor can."""
    assert (encoder.backend, encoder.precision) == ("openvino", "float32")
    found = encoder.encode(tiles)
    assert (found.shape, found.dtype) == ((5, 1024), np.float32)
    assert differences(found, exact).max() < 1e-5
    assert np.abs(found - exact).max() < 1e-5 * np.abs(exact).max()


@pytest.mark.skipif(
    resolve_precision("auto", "cpu") != "bfloat16", reason="no bfloat16 in this processor"
)
def test_bfloat16_is_as_near_to_float32_as_torch_s(exact, tiles):
    found = load_encoder(config("bfloat16")).encode(tiles)
    torchs = load_encoder(config("bfloat16", "torch")).encode(tiles)
    assert 1e-5 < differences(found, exact).max() < 0.02
    assert differences(found, torchs).max() < 0.02


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_features_are_the_same_bits_in_each_batch_and_number_of_threads(tiles, precision):
    small = np.ascontiguousarray(tiles[:, :96, :96])
    first = load_encoder(config(precision))
    found = first.encode(small)
    parts = [first.encode(small[:1]), first.encode(small[1:3]), first.encode(small[3:])]
    assert np.array_equal(found, np.concatenate(parts))
    torch.set_num_threads(1)
    assert np.array_equal(found, load_encoder(config(precision, batch_size=2)).encode(small))
    torch.set_num_threads(2)


def test_tiles_of_another_size_and_none_at_all(encoder, reference, tiles):
    small = np.ascontiguousarray(tiles[:2, :96, :96])
    assert differences(encoder.encode(small), reference.encode(small)).max() < 1e-5
    assert encoder.encode(tiles[:1]).shape == (1, 1024)
    assert encoder.encode(tiles[:0]).shape == (0, 1024)


def test_views_equal_those_of_torch(encoder, reference, tiles):
    small = np.ascontiguousarray(tiles[:1, :96, :96])
    found, expected = (
        one.encode_views(small, np.array([[0, 0]]), "slide")[0] for one in (encoder, reference)
    )
    assert differences(found, expected).max() < 1e-5


def test_it_counts_as_another_encoder(encoder, reference):
    assert encoder.fingerprint != reference.fingerprint


def test_it_does_not_run_elsewhere_than_on_a_cpu():
    with pytest.raises(ConfigError, match="runs on a CPU, the device is cuda; use --device cpu"):
        load_encoder(config("auto"), "cuda")


def test_a_network_that_cannot_be_converted_is_one_sentence():
    class Odd(torch.nn.Module):
        def forward(self, images):
            return torch.linalg.eigvals(images[:, 0]).real

    network = OpenVINONetwork(Odd().eval(), "float32", 1)
    with pytest.raises(ModelError, match=r"cannot compute this network .* use encoder.backend"):
        network(torch.zeros(1, 3, 8, 8))


def test_a_batch_that_came_back_short_is_out_of_memory():
    """Seen where memory ran out: fewer rows than images, and no error."""

    class Starved:
        def infer(self, inputs):
            return [np.zeros((1, 4), np.float32)]

    network = OpenVINONetwork(torch.nn.Identity().eval(), "float32", 1)
    network._own.requests = {(3, 8, 8): Starved()}
    with pytest.raises(torch.OutOfMemoryError, match="1 rows for 5 images"):
        network(torch.zeros(5, 3, 8, 8))


def test_it_is_loaded_only_when_asked_for_and_reports_to_nobody():
    done = subprocess.run(
        [sys.executable, "-c", ABSENT_THEN_THERE], capture_output=True, text=True, check=True
    )
    loaded, told, telemetry = done.stdout.splitlines()
    assert (loaded, telemetry) == ("False", "None")
    assert told.startswith("ModelError encoder.backend = 'openvino'")
    assert "pip install 'crpnet-bench[openvino]'" in told
