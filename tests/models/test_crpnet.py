"""The network: its formula, its members, and what must not change its output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.models.crpnet import BagNetwork, NetworkShape, crpnet, member_generators
from crpnet_bench.models.training import pack

SHAPE = NetworkShape(dimension=7, attention_dim=5, hidden_dim=6)
MEMBERS = 3


def network(shape: NetworkShape = SHAPE, seed: int = 0, members: int = MEMBERS) -> BagNetwork:
    return crpnet(shape, member_generators(seed, members))


def random_bags(lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((n, SHAPE.dimension), generator=generator) for n in lengths]


def gradients(model: BagNetwork) -> torch.Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def whole(model: BagNetwork, bags: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and the gradient of a fixed function of them, all bags in one pack."""
    model.zero_grad()
    outputs = model(torch.cat(bags), [len(bag) for bag in bags])
    (outputs**2).sum().backward()
    return outputs.detach(), gradients(model)


def test_output_is_the_articles_formula():
    model = network(members=2)
    bag = random_bags([9])[0]
    outputs = model(bag, [9])[0]
    pool, classifier = model.pool, model.classifier
    for member in range(2):
        hidden = torch.tanh(bag @ pool.weight[member].T + pool.bias[member])
        weights = torch.softmax(hidden @ pool.score[member], dim=0)
        pooled = (weights[:, None] * bag).sum(0)
        hidden = torch.relu(classifier.weight[member] @ pooled + classifier.bias[member])
        expected = classifier.out_weight[member] @ hidden + classifier.out_bias[member]
        torch.testing.assert_close(outputs[member], expected, atol=1e-6, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), seed=st.integers(0, 99))
def test_order_of_tiles_changes_neither_output_nor_gradient(lengths: list[int], seed: int):
    model, bags = network(seed=seed), random_bags(lengths, seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [bag[torch.randperm(len(bag), generator=generator)] for bag in bags]
    for before, after in zip(whole(model, bags), whole(model, shuffled), strict=True):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    budget=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_packing_changes_neither_output_nor_gradient(lengths: list[int], budget: int, seed: int):
    model, bags = network(seed=seed), random_bags(lengths, seed)
    outputs, gradient = whole(model, bags)
    model.zero_grad()
    parts = []
    for chunk in pack(lengths, budget):
        part = model(torch.cat([bags[i] for i in chunk]), [lengths[i] for i in chunk])
        (part**2).sum().backward()
        parts.append(part.detach())
    torch.testing.assert_close(torch.cat(parts), outputs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients(model), gradient, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=15)
@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5), seed=st.integers(0, 99))
def test_padding_with_tiles_of_no_attention_changes_nothing(lengths: list[int], seed: int):
    # The reference is the way other tools do it: pad to the longest bag, mask before softmax.
    model, bags = network(seed=seed), random_bags(lengths, seed)
    padded = torch.nn.utils.rnn.pad_sequence(bags, batch_first=True, padding_value=3.0)
    scores = model.pool.scores(padded.flatten(0, 1)).view(len(bags), -1, MEMBERS)
    real = torch.arange(padded.shape[1])[None, :] < torch.tensor(lengths)[:, None]
    weights = torch.softmax(scores.masked_fill(~real[..., None], -torch.inf), dim=1)
    expected = model.classifier(torch.einsum("bnm,bnd->bmd", weights, padded))
    torch.testing.assert_close(model(torch.cat(bags), lengths), expected, atol=1e-5, rtol=1e-5)


def test_a_pack_beyond_the_tile_budget_gives_the_same_output_and_gradient():
    bags = random_bags([40, 3, 17])
    free, tight = network(), network(NetworkShape(7, 5, 6, tile_budget=8))
    for unlimited, bounded in zip(whole(free, bags), whole(tight, bags), strict=True):
        torch.testing.assert_close(unlimited, bounded, atol=1e-5, rtol=1e-5)


def test_first_members_do_not_depend_on_how_many_follow():
    few, many = network(members=2), network(members=5)
    for one, other in zip(few.parameters(), many.parameters(), strict=True):
        assert torch.equal(one, other[:2])


def test_members_and_seeds_start_from_different_weights():
    weights = [network(seed=seed, members=3).pool.weight for seed in range(3)]
    flat = torch.cat(weights).flatten(1)
    assert len(torch.unique(flat, dim=0)) == 9


def test_initialisation_leaves_the_global_random_state_alone():
    before = torch.random.get_rng_state()
    network()
    assert torch.equal(before, torch.random.get_rng_state())


def test_attention_sums_to_one_and_follows_the_tiles():
    model, bag = network(), random_bags([11])[0]
    weights = model.pool.weights(bag)
    torch.testing.assert_close(weights.sum(0), torch.ones(MEMBERS))
    reverse = model.pool.weights(bag.flip(0))
    torch.testing.assert_close(reverse.flip(0), weights)


def test_tile_output_is_the_output_of_a_bag_of_that_tile():
    model, bag = network(), random_bags([5])[0]
    alone = torch.cat([model(bag[i : i + 1], [1]) for i in range(5)])
    torch.testing.assert_close(model.tile_outputs(bag, part=2), alone, atol=1e-6, rtol=1e-5)


def test_prepare_standardises_in_float32():
    model = network()
    model.offset.fill_(2.0)
    model.scale.fill_(4.0)
    stored = torch.full((2, 7), 10.0, dtype=torch.float16)
    assert torch.equal(model.prepare(stored), torch.full((2, 7), 2.0))


@pytest.mark.parametrize("lengths", [[2, 3], [1, 1, 3]])
def test_lengths_must_fit_the_tiles(lengths: list[int]):
    with pytest.raises(RuntimeError):
        network()(torch.zeros((4, 7)), lengths)


def test_bfloat16_tiles_stay_close_to_float32():
    model, bags = network(), random_bags([30, 20])
    exact = model(torch.cat(bags), [30, 20])
    rough = model(torch.cat(bags).bfloat16(), [30, 20])
    assert rough.dtype == torch.float32
    assert np.abs((exact - rough).detach().numpy()).max() < 0.02
