from __future__ import annotations

import pytest
import torch

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.determinism import deterministic_algorithms
from crpnet_bench.progress import SilentProgress

CUDA = torch.device("cuda")


def test_algorithms_are_restricted_inside_and_free_afterwards(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with deterministic_algorithms(CUDA, wanted=True):
        assert torch.are_deterministic_algorithms_enabled()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(("device", "wanted"), [("cpu", True), ("cuda", False)])
def test_nothing_changes_where_nothing_was_asked_or_needed(device, wanted):
    with deterministic_algorithms(torch.device(device), wanted=wanted):
        assert not torch.are_deterministic_algorithms_enabled()


def test_a_process_that_began_without_the_variable_is_refused(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with (
        pytest.raises(ModelError, match="is not set; expected :4096:8"),
        deterministic_algorithms(CUDA, wanted=True),
    ):
        pass


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["crpnet", "crpnet-cox", "crpnet-hazard", "maxpool"])
def test_a_cuda_device_gives_the_same_bytes_again(name, training, run_config, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    config = run_config(iterations=20, deterministic=True, precision="bfloat16")

    def weights():
        model = build_model(name, config, "cuda")
        fitted = model.fit(training, seed=1, progress=SilentProgress())
        tensors = fitted.network.state_dict().values()
        return b"".join(tensor.cpu().numpy().tobytes() for tensor in tensors)

    assert weights() == weights()
