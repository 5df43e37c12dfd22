"""What holds for every network that attends to tiles: order, packing, padding, members."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.models.crpnet import (
    BagNetwork,
    NetworkShape,
    TileTeacher,
    crpnet,
    member_generators,
)
from crpnet_bench.models.fitted_networks import POOLS, build_network, pool_context
from crpnet_bench.models.training import pack

MEMBERS = 3
ATTENTION = ["attention", "gated attention", "one attention a scale", "clam"]
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=5)
pools = pytest.mark.parametrize("pool", ATTENTION)


def network(pool: str, seed: int = 0, members: int = MEMBERS, budget: int = 20_000) -> BagNetwork:
    context = pool_context(pool)
    shape = NetworkShape(4 * (1 + len(context)), 5, 6, tile_budget=budget, context=context)
    return build_network(pool, shape, member_generators(seed, members), torch.device("cpu"))


def random_bags(model: BagNetwork, lengths: list[int], seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((n, model.shape.dimension), generator=generator) for n in lengths]


def labels(bags: int) -> torch.Tensor:
    return torch.tensor([[i % 2, 1.0] for i in range(bags)])


def step(
    model: BagNetwork, bags: list[torch.Tensor], chunks: list[list[int]] | None = None
) -> tuple[torch.Tensor, ...]:
    """Outputs and the gradient of a fixed function of them and of the tiles' own loss."""
    model.zero_grad()
    outputs, targets = [], labels(len(bags))
    for chunk in chunks or [list(range(len(bags)))]:
        tiles = torch.cat([bags[i] for i in chunk])
        lengths = [len(bags[i]) for i in chunk]
        outputs.append(model(tiles, lengths))
        loss = (outputs[-1] ** 2).sum()
        if isinstance(model.pool, TileTeacher):
            loss = loss + model.pool.tile_loss(tiles, lengths, targets[chunk]).sum()
        loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    gradient = torch.cat([each.flatten() for each in gradients if each is not None])
    return torch.cat(outputs).detach(), gradient


def assert_same(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pools
@settings(deadline=None, max_examples=8)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_order_of_tiles_changes_neither_output_nor_gradient(pool, lengths, seed):
    model = network(pool, seed)
    bags = random_bags(model, lengths, seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled = [bag[torch.randperm(len(bag), generator=generator)] for bag in bags]
    assert_same(step(model, shuffled), step(model, bags))


@pools
@settings(deadline=None, max_examples=8)
@given(lengths=LENGTHS, budget=st.integers(1, 30), seed=st.integers(0, 99))
def test_packing_changes_neither_output_nor_gradient(pool, lengths, budget, seed):
    model = network(pool, seed)
    bags = random_bags(model, lengths, seed)
    assert_same(step(model, bags, pack(lengths, budget)), step(model, bags))


@pools
def test_a_pack_beyond_the_tile_budget_gives_the_same_output_and_gradient(pool):
    free, tight = network(pool), network(pool, budget=8)
    bags = random_bags(free, [40, 3, 17])
    assert_same(step(tight, bags), step(free, bags))


@pools
def test_padding_with_tiles_of_no_attention_changes_nothing(pool):
    # The reference is the way other tools do it: pad to the longest bag, mask before softmax.
    model, lengths = network(pool), [3, 9, 1]
    bags = random_bags(model, lengths)
    padded = torch.nn.utils.rnn.pad_sequence(bags, batch_first=True, padding_value=3.0)
    real = torch.arange(padded.shape[1])[None, :] < torch.tensor(lengths)[:, None]

    def pooled(one, fields):
        flat = fields.flatten(0, 1)
        scores = (one._score_tiles(flat) if pool == "clam" else one.scores(flat)).unflatten(
            0, fields.shape[:2]
        )
        weights = torch.softmax(scores.masked_fill(~real[..., None], -torch.inf), dim=1)
        values = one.embed(flat).unflatten(0, fields.shape[:2])
        return (weights[..., None] * values).sum(1)

    def outputs():
        if pool == "one attention a scale":
            pairs = zip(model.pool.scales, padded.chunk(3, dim=2), strict=True)
            return model.classifier(torch.cat([pooled(*pair) for pair in pairs], dim=-1))
        return model.classifier(pooled(model.pool, padded))

    found, expected = model(torch.cat(bags), lengths), outputs()
    gradients = []
    for some in (found, expected):
        model.zero_grad()
        (some**2).sum().backward()
        parameters = (p.grad for p in model.parameters() if p.grad is not None)
        gradients.append(torch.cat([gradient.flatten() for gradient in parameters]))
    assert_same((found, gradients[0]), (expected, gradients[1]))


@pools
def test_a_member_alone_is_what_it_is_among_others(pool):
    together, alone = network(pool), network(pool, members=1)
    bags = random_bags(together, [7, 4])
    outputs, _ = step(together, bags)
    single, _ = step(alone, bags)
    torch.testing.assert_close(outputs[:, :1], single, atol=1e-6, rtol=1e-5)
    names = dict(alone.named_parameters())
    step(together, bags)
    for name, parameter in together.named_parameters():
        assert torch.equal(parameter[:1], names[name])
        torch.testing.assert_close(parameter.grad[:1], names[name].grad, atol=1e-5, rtol=1e-4)


@pools
def test_attention_sums_to_one_and_a_tile_alone_is_judged_as_a_bag(pool):
    model = network(pool)
    bag = random_bags(model, [11])[0]
    weights = model.pool.weights(bag)
    assert weights.shape == (11, MEMBERS)
    torch.testing.assert_close(weights.sum(0), torch.ones(MEMBERS))
    alone = torch.cat([model(bag[i : i + 1], [1]) for i in range(11)])
    torch.testing.assert_close(model.tile_outputs(bag, part=4), alone, atol=1e-6, rtol=1e-5)


@pools
def test_bfloat16_tiles_stay_close_to_float32(pool):
    model = network(pool)
    bags = random_bags(model, [30, 700])
    exact, rough = model(torch.cat(bags), [30, 700]), model(torch.cat(bags).bfloat16(), [30, 700])
    assert rough.dtype == torch.float32
    assert (exact - rough).abs().max() < 0.02


@pytest.mark.parametrize("pool", POOLS)
def test_pooled_vectors_have_the_pools_dimension(pool):
    model = network(pool)
    bags = random_bags(model, [3, 2])
    found = model.pool(torch.cat(bags), [3, 2])
    assert found.shape[0] == 2
    assert found.shape[1] in {1, MEMBERS}
    assert found.shape[2] == model.pool.dimension == model.pool.embed(bags[0]).shape[2]


def test_gated_attention_is_its_formula_and_begins_where_crpnet_does():
    model = network("gated attention", members=2)
    plain = crpnet(model.shape, member_generators(0, 2)).pool
    pool, bag = model.pool, random_bags(model, [9])[0]
    for name in ("weight", "bias", "score"):
        assert torch.equal(getattr(pool, name), getattr(plain, name))
    for member in range(2):
        content = torch.tanh(bag @ pool.weight[member].T + pool.bias[member])
        gate = torch.sigmoid(bag @ pool.gate_weight[member].T + pool.gate_bias[member])
        weights = torch.softmax((content * gate) @ pool.score[member], dim=0)
        torch.testing.assert_close(pool.weights(bag)[:, member], weights)


def test_each_scale_has_an_attention_of_its_own():
    model = network("one attention a scale")
    bag = random_bags(model, [9])[0]
    changed = bag.clone()
    changed[:, 4:8] = 0  # the field twice as wide
    before, after = model.pool(bag, [9])[0], model.pool(changed, [9])[0]
    torch.testing.assert_close(before[:, :4], after[:, :4])
    torch.testing.assert_close(before[:, 8:], after[:, 8:])
    assert not torch.allclose(before[:, 4:8], after[:, 4:8])
    with pytest.raises(ValueError, match="multiple of 3"):
        POOLS["one attention a scale"](NetworkShape(7), member_generators(0, 1))


def test_pseudo_labels_go_to_the_tiles_of_most_and_least_attention():
    pool = network("clam", members=1).pool
    bag = random_bags(network("clam"), [20])[0]
    order = pool.weights(bag)[:, 0].argsort(descending=True)
    compressed = torch.relu(bag @ pool.weight[0].T + pool.bias[0])
    chosen = torch.cat([compressed[order[:8]], compressed[order[-8:]]])
    wanted = torch.tensor([1] * 8 + [0] * 8)
    for label in (0, 1):
        logits = chosen @ pool.tile_weight[0, label].T + pool.tile_bias[0, label]
        expected = 3 / 7 * torch.nn.functional.cross_entropy(logits, wanted)
        found = pool.tile_loss(bag, [20], torch.tensor([[float(label), 1.0]]))
        torch.testing.assert_close(found[0], expected)
    assert pool.tile_loss(bag[:1], [1], labels(1)) == 0
