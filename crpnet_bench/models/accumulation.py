"""The gradient of a step whose bags do not fit in memory together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crpnet_bench.models.heads import Head

__all__ = ["accumulate"]

Forward = Callable[[Sequence[int]], Tensor]


def accumulate(
    forward: Forward, chunks: Sequence[Sequence[int]], targets: Tensor, head: Head
) -> Tensor:
    """Add the gradient of a step's mean loss to the parameters, a chunk of bags at a time.

    Where each bag's loss is its own, the chunks' gradients add up. Where it depends on the others
    (Cox), all outputs are computed first without keeping activations, then the gradient of the
    loss with respect to them, then chunk by chunk the same outputs again with that gradient sent
    back. The result is that of one large chunk; `forward` must give the same outputs twice.

    Args:
        forward: from positions in the step to outputs, (positions, members, outputs).
        chunks: the positions 0, 1, ... of the step's bags, cut to fit in memory.
        targets: what the loss wants of each bag of the step, (bags, ...).
        head: of the loss.

    Returns:
        The loss, mean over the step's bags, (members,).
    """
    if head.joint and len(chunks) > 1:
        return _twice(forward, chunks, targets, head)
    parts = []
    for chunk in chunks:
        loss = head.loss(forward(chunk), targets[list(chunk)]) / len(targets)
        # The members' losses share no parameter: the gradient of their sum is each one's own.
        loss.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        parts.append(loss.detach().float())
    return torch.stack(parts).sum(0)


def _twice(
    forward: Forward, chunks: Sequence[Sequence[int]], targets: Tensor, head: Head
) -> Tensor:
    with torch.no_grad():
        outputs = torch.cat([forward(chunk) for chunk in chunks])
    outputs.requires_grad_()
    order = [position for chunk in chunks for position in chunk]
    loss = head.loss(outputs, targets[order]) / len(targets)
    (gradient,) = torch.autograd.grad(loss.sum(), outputs)
    shares = torch.split(gradient, [len(chunk) for chunk in chunks])
    for chunk, share in zip(chunks, shares, strict=True):
        forward(chunk).backward(share)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return loss.detach().float()
