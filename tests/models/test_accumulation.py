"""The gradient of a step does not depend on how its bags are cut into chunks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crpnet_bench.config import RunConfig
from crpnet_bench.models.accumulation import accumulate
from crpnet_bench.models.crpnet import NetworkShape, crpnet, member_generators
from crpnet_bench.models.heads import HEADS
from crpnet_bench.models.training import pack


def gradient(training, head, budget, bags_order=None):
    """Loss and gradient of one step on all bags, dropout masks among them."""
    data = training if bags_order is None else training.take(bags_order)
    lesson = HEADS[head].learn(data, data.patient_ids, "m", RunConfig())
    bags = [torch.from_numpy(data.bags[patient].features) for patient in lesson.patients]
    shape = NetworkShape(16, outputs=lesson.head.outputs, tile_budget=budget)
    network = crpnet(shape, member_generators(1, 2))
    own = {patient: i for i, patient in enumerate(training.patient_ids)}
    masks = torch.rand((len(own), 2, 128), generator=torch.Generator().manual_seed(0)) > 0.3

    def forward(chunk):
        tiles = torch.cat([bags[position] for position in chunk])
        rows = [own[lesson.patients[position]] for position in chunk]
        lengths = [len(bags[position]) for position in chunk]
        return network(tiles, lengths, masks[rows].float())

    chunks = pack([len(bag) for bag in bags], budget)
    loss = accumulate(forward, chunks, lesson.targets, lesson.head)
    return len(chunks), loss, [parameter.grad for parameter in network.parameters()]


@pytest.mark.parametrize("budget", [25, 150])
@pytest.mark.parametrize("head", HEADS)
def test_chunks_change_neither_loss_nor_gradient(head, budget, training):
    one, expected_loss, expected = gradient(training, head, 100_000)
    many, loss, found = gradient(training, head, budget)
    assert one == 1 < many
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert any(part.abs().max() > 1e-4 for part in expected)
    for part, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, own, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_order_of_patients_changes_neither_loss_nor_gradient(head, training):
    _, expected_loss, expected = gradient(training, head, 60)
    _, loss, found = gradient(training, head, 60, training.patient_ids[::-1])
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    for part, own in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, own, atol=1e-5)


def test_a_joint_loss_sees_the_whole_step_and_keeps_one_chunk_at_a_time(training):
    graphs = []

    def forward(chunk):
        outputs = torch.ones((len(chunk), 1, 1), requires_grad=True) * 1.0
        graphs.append((len(chunk), torch.is_grad_enabled()))
        return outputs

    lesson = HEADS["Cox partial likelihood"].learn(training, training.patient_ids, "m", RunConfig())
    chunks = [range(0, 10), range(10, 30)]
    found = accumulate(forward, chunks, lesson.targets, lesson.head)
    assert graphs == [(10, False), (20, False), (10, True), (20, True)]
    outputs = torch.ones((30, 1, 1))
    np.testing.assert_allclose(found, lesson.head.loss(outputs, lesson.targets) / 30, rtol=1e-6)
