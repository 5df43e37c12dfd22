"""Fitting a bag network: batches, packed chunks, Adam.

An iteration is one optimizer step on up to `batch_bags` bags. The bags of a step are packed into
chunks under a tile budget and their gradients added, so that memory follows the budget and not
the slides; how they are packed does not change the step. Nothing here touches a global random
state: initial weights, order of bags, dropout and augmented views come from generators made from
the seed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crpnet_bench.config import TrainConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.accumulation import accumulate
from crpnet_bench.models.base import Bag
from crpnet_bench.models.crpnet import BagNetwork, TileTeacher
from crpnet_bench.models.early_stopping import CHECK_EVERY, EarlyStopping
from crpnet_bench.models.heads import Head
from crpnet_bench.models.tile_store import TileStore, ViewDraws
from crpnet_bench.models.training_log import LossHistory
from crpnet_bench.progress import Progress, SilentProgress

__all__ = [
    "batches",
    "cpu_threads",
    "pack",
    "standardize",
    "train",
    "training_dtype",
]

_NOTE_EVERY = 10
_ORDER_STREAM = 0x0BDE
_DROPOUT_STREAM = 0xD40


@contextmanager
def cpu_threads(threads: int) -> Iterator[None]:
    """Use this many CPU threads inside, as many as before afterwards.

    The number of threads decides how sums are split, hence their last bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def _bfloat16_is_fast(device_type: str) -> bool:
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without one of these, bfloat16 on a CPU is emulated and slower than float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)


def training_dtype(
    precision: Literal["auto", "float32", "bfloat16"], device: torch.device
) -> torch.dtype:
    """The precision in which training multiplies tiles with the attention layer."""
    if precision == "auto":
        precision = "bfloat16" if _bfloat16_is_fast(device.type) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def pack(lengths: Sequence[int], tile_budget: int) -> list[list[int]]:
    """Positions of consecutive bags, in chunks of at most `tile_budget` tiles.

    A bag longer than the budget is a chunk of its own.

    >>> pack([3, 4, 9, 2], 8)
    [[0, 1], [2], [3]]
    """
    chunks: list[list[int]] = []
    filled = 0
    for position, length in enumerate(lengths):
        if not chunks or filled + length > tile_budget:
            chunks.append([])
            filled = 0
        chunks[-1].append(position)
        filled += length
    return chunks


def batches(bags: int, batch_bags: int, iterations: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """The bags of each iteration.

    Up to `batch_bags` bags are one batch, the same in every iteration. More are shuffled anew
    each epoch and cut into batches of nearly equal size, so that no step rests on a few
    left-over bags.
    """
    parts = -(-bags // batch_bags)
    order = np.arange(bags, dtype=np.int64)
    generator = np.random.default_rng([seed, _ORDER_STREAM])
    for iteration in range(iterations):
        if parts > 1 and iteration % parts == 0:
            order = generator.permutation(bags)
        yield np.array_split(order, parts)[iteration % parts]


def standardize(network: BagNetwork, bags: Sequence[Bag]) -> None:
    """Set the network's offset and scale to mean and standard deviation over these bags' tiles.

    Every bag weighs the same whatever its number of tiles, as it does in the loss. A feature
    that does not vary is only centred. Augmented views do not count: predictions do not see them.
    """
    total = np.zeros(network.shape.dimension)
    squares = np.zeros(network.shape.dimension)
    for bag in bags:
        features = np.asarray(bag.fields(network.shape.context), dtype=np.float64)
        total += features.mean(axis=0)
        squares += (features**2).mean(axis=0)
    mean = total / len(bags)
    variance = np.maximum(squares / len(bags) - mean**2, 0.0)
    deviation = np.sqrt(variance)
    varies = deviation > 1e-6 * (1.0 + np.abs(mean))
    network.offset.copy_(torch.from_numpy(mean))
    network.scale.copy_(torch.from_numpy(np.where(varies, deviation, 1.0)))


@dataclass(frozen=True)
class _Dropout:
    """Masks from one generator a member, drawn a step at a time, whatever the packing."""

    share: float
    hidden: int
    generators: Sequence[torch.Generator]

    def masks(self, bags: int) -> Tensor | None:
        """(bags, members, hidden), scaled so that the expected sum stays."""
        if self.share == 0:
            return None
        drawn = [
            torch.rand((bags, self.hidden), generator=generator) for generator in self.generators
        ]
        return (torch.stack(drawn, dim=1) >= self.share).float() / (1 - self.share)


def train(
    network: BagNetwork,
    bags: Sequence[Bag],
    targets: Tensor,
    head: Head,
    config: TrainConfig,
    *,
    seed: int,
    generators: Sequence[torch.Generator],
    held_out: Sequence[int] = (),
    description: str = "training",
    progress: Progress | None = None,
) -> LossHistory:
    """Fit all members of the network, in place.

    Args:
        network: on the device where the work is done.
        bags: the training bags, none empty. Where they hold augmented views, each step draws for
            each tile its features or one of its views.
        targets: what the head's loss wants of each bag.
        head: loss and reading of the outputs.
        config: learning rate, iterations and the like.
        seed: decides the order of the bags and the views.
        generators: one a member; they go on with dropout after the initial weights.
        held_out: positions of bags that no step sees. Where there are any, a member stops once its
            loss on them has not fallen for `config.patience` steps, and keeps the weights of its
            lowest; they are judged without dropout, on plain features.
        description: words beside the progress bar.
        progress: reports steps and loss.

    Returns:
        The losses, and whose weights are of which step.

    Raises:
        ModelError: the loss is not finite.
    """
    device = network.offset.device
    store = TileStore(bags, network, training_dtype(config.precision, device))
    optimizer = torch.optim.Adam(
        network.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    dropout = _Dropout(network.shape.dropout, network.shape.hidden_dim, generators)
    views = ViewDraws(bags, seed)
    targets = targets.to(device)
    losses = _Losses(config.iterations, network.members, device)
    seen = np.setdiff1d(np.arange(len(bags)), np.asarray(held_out, dtype=np.int64))
    stopping = EarlyStopping(network, config.patience) if len(held_out) else None
    order = batches(len(seen), config.batch_bags, config.iterations, seed)
    with (progress or SilentProgress()).task(description, config.iterations, "steps") as task:
        for places in order:
            if stopping is not None and len(losses) % CHECK_EVERY == 0:
                loss = _loss_of(network, store, held_out, targets, head, config)
                if stopping.look(len(losses), loss):
                    task.advance(config.iterations - len(losses), "stopped early")
                    break
            batch = seen[places]
            optimizer.zero_grad()
            masks = dropout.masks(len(batch))
            drawn = views.draw(batch.tolist())
            losses.append(_accumulate(network, store, batch, targets, head, masks, drawn, config))
            optimizer.step()
            task.advance(1, losses.note())
    if stopping is None:
        return _history(losses, description, (len(losses),) * network.members)
    if stopping.steps[-1] < len(losses):
        stopping.look(len(losses), _loss_of(network, store, held_out, targets, head, config))
    stopping.restore()
    kept = tuple(int(step) for step in stopping.best_step)
    history = _history(losses, description, kept)
    return replace(history, set_aside=np.stack(stopping.losses), looks=tuple(stopping.steps))


class _Losses:
    """The loss of each step, in one tensor.

    A small tensor a step, kept among large ones that come and go, would hold on to their memory:
    some 100 kB a step.
    """

    def __init__(self, iterations: int, members: int, device: torch.device) -> None:
        self._all = torch.empty((iterations, members), device=device)
        self._steps = 0

    def __len__(self) -> int:
        return self._steps

    def append(self, loss: Tensor) -> None:
        """Take the loss of the next step, (members,)."""
        self._all[self._steps] = loss
        self._steps += 1

    def read(self) -> NDArray[np.float32]:
        """Of all steps so far, (steps, members)."""
        return self._all[: self._steps].cpu().numpy()

    def note(self) -> str:
        """Words for the progress bar."""
        # Reading a loss waits for the device: now and then is enough.
        if self._steps % _NOTE_EVERY:
            return ""
        return f"loss {float(self._all[self._steps - 1].mean()):.3f}"


def _history(losses: _Losses, description: str, kept: tuple[int, ...]) -> LossHistory:
    training = losses.read()
    if not np.isfinite(training).all():
        step = int(np.argmin(np.isfinite(training).all(axis=1)))
        raise ModelError(
            f"{description}: the loss is not finite at iteration {step + 1}; "
            "look for infinite features, or lower train.learning_rate"
        )
    return LossHistory(training, kept)


def _loss_of(
    network: BagNetwork,
    store: TileStore,
    chosen: Sequence[int],
    targets: Tensor,
    head: Head,
    config: TrainConfig,
) -> Tensor:
    """Mean loss of these bags on plain features, without dropout or gradient, (members,)."""
    lengths = [store.lengths[bag] for bag in chosen]
    outputs = []
    with torch.no_grad():
        for chunk in pack(lengths, config.tile_budget):
            plain = [np.zeros(lengths[position], np.int64) for position in chunk]
            tiles = store.pack([chosen[position] for position in chunk], plain)
            outputs.append(network(tiles, [lengths[position] for position in chunk]))
        return head.loss(torch.cat(outputs), targets[list(chosen)]) / len(chosen)


def _accumulate(
    network: BagNetwork,
    store: TileStore,
    batch: NDArray[np.int64],
    targets: Tensor,
    head: Head,
    masks: Tensor | None,
    drawn: Sequence[NDArray[np.int64]] | None,
    config: TrainConfig,
) -> Tensor:
    """Add the gradient of the batch's mean loss; returns that loss, (members,)."""
    lengths = [store.lengths[bag] for bag in batch]
    own_targets = targets[torch.from_numpy(batch)]

    def packed(chunk: Sequence[int]) -> tuple[Tensor, list[int]]:
        versions = None if drawn is None else [drawn[position] for position in chunk]
        tiles = store.pack([int(batch[position]) for position in chunk], versions)
        return tiles, [lengths[position] for position in chunk]

    def forward(chunk: Sequence[int]) -> Tensor:
        keep = None if masks is None else masks[list(chunk)].to(targets.device)
        outputs: Tensor = network(*packed(chunk), keep)
        return outputs

    chunks = pack(lengths, config.tile_budget)
    loss = accumulate(forward, chunks, own_targets, head)
    if isinstance(network.pool, TileTeacher):
        for chunk in chunks:
            of_tiles = network.pool.tile_loss(*packed(chunk), own_targets[chunk]) / len(batch)
            of_tiles.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            loss = loss + of_tiles.detach()
    return loss
