"""The weighted sum of tiles: value and gradient, whatever the precision of the tiles."""

from __future__ import annotations

import pytest
import torch

from crpnet_bench.models.weighted_sum import weighted_sum


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiles", [1, 512, 1300])
def test_value_and_gradient_are_those_in_float32(dtype, tiles):
    generator = torch.Generator().manual_seed(tiles)
    bag = torch.randn((tiles, 6), generator=generator).to(dtype).requires_grad_()
    weights = torch.rand((tiles, 3), generator=generator).requires_grad_()
    upstream = torch.randn((3, 6), generator=generator)
    found = weighted_sum(weights, bag)
    assert found.dtype == torch.float32
    found.backward(upstream)
    torch.testing.assert_close(found, weights.detach().T @ bag.detach().float())
    torch.testing.assert_close(weights.grad, bag.detach().float() @ upstream.T)
    expected = (weights.detach() @ upstream).to(dtype)
    torch.testing.assert_close(bag.grad, expected)
