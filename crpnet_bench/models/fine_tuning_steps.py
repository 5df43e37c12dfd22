"""Fitting encoder and bag network together, on tiles read from the slides.

Each iteration draws, for each bag of the batch, a random few of its tiles, reads them in threads
while the bags before are computed, augments them anew and adds up the gradients bag by bag. Memory
follows the tiles drawn from one bag and the chunks of the encoder, not the slides and not the
batch. Everything that is drawn follows from the seed.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import Bag, TilePixels
from crpnet_bench.models.crpnet import BagNetwork
from crpnet_bench.models.heads import Head
from crpnet_bench.models.tile_encoder import TileEncoder
from crpnet_bench.models.training import batches
from crpnet_bench.models.training_log import LossHistory
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["ahead", "fine_tune", "pixels_of", "reproducible_convolutions"]

_MOST_READERS = 8
_TILE_STREAM = 0x711E5

T = TypeVar("T")
R = TypeVar("R")


def ahead(read: Callable[[T], R], requests: Iterable[T]) -> Generator[R, None, None]:
    """`read` of each request, in order, a few of them in threads ahead of their use.

    Close the iterator to stop; what `read` raises is raised at its place.
    """
    readers = min(_MOST_READERS, os.cpu_count() or 1)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        try:
            for request in requests:
                waiting.append(pool.submit(read, request))
                if len(waiting) > readers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def reproducible_convolutions() -> Iterator[None]:
    """On CUDA, only algorithms of cuDNN that give the same bits each time."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield


def pixels_of(bag: Bag, name: str) -> TilePixels:
    """What reads the bag's tiles.

    Raises:
        ModelError: the bag has no slides at hand.
    """
    if bag.pixels is None:
        raise ModelError(
            f"{name}: slides {list(bag.slide_ids)} are not at hand, only their features; "
            "this model reads tiles from slides registered with the cohort"
        )
    return bag.pixels


@dataclass(frozen=True)
class _Shown:
    """The tiles of one bag in one step.

    Attributes:
        bag: position among the training bags.
        share: of the bag in the step's mean loss.
        tiles: positions in the bag, ascending.
        seed: of their augmentation.
        last: whether the step ends with this bag.
    """

    bag: int
    share: float
    tiles: NDArray[np.int64]
    seed: int
    last: bool


def _shown(bags: Sequence[Bag], config: RunConfig, seed: int) -> Iterator[_Shown]:
    """What every step shows, in order."""
    settings = config.fine_tuning
    generator = np.random.default_rng([seed, _TILE_STREAM])
    for batch in batches(len(bags), config.train.batch_bags, settings.iterations, seed):
        for place, bag in enumerate(batch.tolist()):
            count = len(bags[bag])
            drawn = generator.permutation(count)[: settings.tiles_per_bag]
            view = int(generator.integers(2**62))
            yield _Shown(bag, 1 / len(batch), np.sort(drawn), view, last=place == len(batch) - 1)


def fine_tune(
    network: BagNetwork,
    encoder: TileEncoder,
    bags: Sequence[Bag],
    targets: Tensor,
    head: Head,
    config: RunConfig,
    *,
    seed: int,
    generators: Sequence[torch.Generator],
    description: str = "fine-tuning",
    progress: Progress | None = None,
) -> LossHistory:
    """Fit all members of the network and the encoder that they share, in place.

    Args:
        network: on the encoder's device.
        encoder: with gradients where it is to be trained.
        bags: the training bags, none empty, each with `pixels`.
        targets: what the head's loss wants of each bag.
        head: its loss must not be joint.
        config: `train` and `fine_tuning`.
        seed: decides order of bags, tiles and augmentation.
        generators: one a member; they go on with dropout after the initial weights.
        description: words beside the progress bar.
        progress: reports steps and loss.

    Raises:
        ModelError: a slide cannot be read, the loss is not finite, or one tile does not fit into
            memory.
    """
    step = _Step(network, encoder, head, targets, generators)
    optimizer = _optimizer(network, encoder, config)
    readers = [pixels_of(bag, description) for bag in bags]

    def read(shown: _Shown) -> tuple[_Shown, Tensor]:
        return shown, torch.from_numpy(readers[shown.bag].read(shown.tiles))

    history: list[NDArray[np.float32]] = []
    with (
        (progress or SilentProgress()).task(
            description, config.fine_tuning.iterations, "steps"
        ) as task,
        closing(ahead(read, _shown(bags, config, seed))) as stream,
        reproducible_convolutions(),
    ):
        total = torch.zeros(network.members, device=network.offset.device)
        for shown, tiles in stream:
            total += step.add_gradient(shown, tiles)
            if shown.last:
                optimizer.step()
                optimizer.zero_grad()
                history.append(_finite(total, len(history), description))
                total.zero_()
                task.advance(1, f"loss {history[-1].mean():.3f}")
    return LossHistory(np.stack(history), kept=(len(history),) * network.members)


class _Step:
    """Adds up gradients bag by bag."""

    def __init__(
        self,
        network: BagNetwork,
        encoder: TileEncoder,
        head: Head,
        targets: Tensor,
        generators: Sequence[torch.Generator],
    ) -> None:
        self._network, self._encoder, self._head = network, encoder, head
        self._targets = targets.to(network.offset.device)
        self._generators = generators
        self._weights = [*network.parameters(), *encoder.trained]

    def add_gradient(self, shown: _Shown, tiles: Tensor) -> Tensor:
        """Add the gradient of one bag's share of the loss; returns that share, (members,)."""
        keep = self._keep()
        while True:
            try:
                loss, gradients = self._gradients(shown, tiles, keep)
                break
            except torch.OutOfMemoryError as error:
                self._encoder.halve_chunks(error)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad.add_(gradient)
        return loss

    def _gradients(
        self, shown: _Shown, tiles: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Sequence[Tensor]]:
        network = self._network
        features = self._encoder(tiles, shown.seed)  # (tiles, dimension)
        if features.requires_grad:
            # The members share the encoder: it learns from the mean of their losses, while each
            # member's own weights learn from its own.
            features.register_hook(lambda gradient: gradient / network.members)
        outputs = network(network.prepare(features), [len(tiles)], keep)  # (1, members, outputs)
        target = self._targets[shown.bag : shown.bag + 1]
        loss = self._head.loss(outputs, target) * shown.share
        # Not backward(): what was added before a chunk ran out of memory would stay added.
        return loss.detach(), torch.autograd.grad(loss.sum(), self._weights)

    def _keep(self) -> Tensor | None:
        """Dropout mask of one bag, (1, members, hidden)."""
        shape = self._network.shape
        if shape.dropout == 0:
            return None
        drawn = [torch.rand((shape.hidden_dim,), generator=own) for own in self._generators]
        kept = (torch.stack(drawn) >= shape.dropout).float() / (1 - shape.dropout)
        return kept.unsqueeze(0).to(self._targets.device)


def _optimizer(
    network: BagNetwork, encoder: TileEncoder, config: RunConfig
) -> torch.optim.Optimizer:
    groups = [
        {"params": list(network.parameters()), "lr": config.train.learning_rate},
        {"params": encoder.trained, "lr": config.fine_tuning.encoder_learning_rate},
    ]
    trained = [group for group in groups if group["params"]]
    return torch.optim.Adam(trained, weight_decay=config.train.weight_decay, fused=True)


def _finite(loss: Tensor, step: int, description: str) -> NDArray[np.float32]:
    values: NDArray[np.float32] = loss.cpu().numpy()
    if not np.isfinite(values).all():
        raise ModelError(
            f"{description}: the loss is not finite at iteration {step + 1}; lower "
            "fine_tuning.encoder_learning_rate or train.learning_rate"
        )
    return values.copy()
