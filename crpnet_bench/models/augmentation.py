"""Views of a tile: what the article does to tiles before each training iteration.

Noise, flips, rotation by 90 degrees and by a free angle, and jitter of the stains in
haematoxylin-eosin-DAB space (Ruifrok and Johnston 2001; matrix as published). All of it are
tensor operations, so it runs where the tiles are. Off at prediction.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Strength", "augment"]

# Optical density of the stains in red, green and blue; rows haematoxylin, eosin, DAB.
_STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
_DARKEST = 1e-3


@dataclass(frozen=True, slots=True)
class Strength:
    """How far views go from the tile.

    Attributes:
        noise: standard deviation of the pixel noise, 1 is white.
        angle: largest free rotation in degrees, either way.
        stain: largest relative change of each stain's amount, either way.
        shift: largest added optical density of each stain, either way.
    """

    noise: float = 0.02
    angle: float = 20.0
    stain: float = 0.15
    shift: float = 0.02

    def times(self, factor: float) -> Strength:
        """All of it stronger or weaker; 0 leaves flips and rotation by 90 degrees."""
        return Strength(*(factor * value for value in astuple(self)))


def augment(tiles: Tensor, generator: torch.Generator, strength: Strength | None = None) -> Tensor:
    """One random view of each tile.

    Args:
        tiles: (B, 3, size, size) in 0..1, square.
        generator: on the tiles' device; equal seeds give equal views.
        strength: how far views go; the defaults if None.

    Returns:
        (B, 3, size, size) in 0..1.
    """
    strength = strength or Strength()
    views = _jitter_stains(tiles, generator, strength)
    views = _turn(views, generator, strength.angle)
    noise = torch.randn(views.shape, generator=generator, device=views.device)
    return (views + strength.noise * noise).clamp(0, 1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform in -1..1."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device) - 1


def _jitter_stains(tiles: Tensor, generator: torch.Generator, strength: Strength) -> Tensor:
    stains = torch.tensor(_STAINS, device=tiles.device)
    stains = stains / stains.norm(dim=1, keepdim=True)  # (3 stains, 3 colours)
    density = -tiles.clamp(min=_DARKEST).log()  # (B, 3, h, w)
    amount = torch.einsum("bchw,cs->bshw", density, torch.linalg.inv(stains))
    shape = (len(tiles), 3, 1, 1)
    amount = amount * (1 + strength.stain * _uniform(shape, generator))
    amount = amount + strength.shift * _uniform(shape, generator)
    return torch.einsum("bshw,sc->bchw", amount, stains).neg().exp().clamp(0, 1)


def _turn(tiles: Tensor, generator: torch.Generator, largest: float) -> Tensor:
    """Flip, rotate by a quarter and by a free angle in one interpolation; edges are mirrored."""
    count = len(tiles)
    quarters = torch.randint(4, (count,), generator=generator, device=generator.device)
    mirrored = torch.randint(2, (count,), generator=generator, device=generator.device)
    free = _uniform((count,), generator) * math.radians(largest)
    angle = quarters * (math.pi / 2) + free
    sign = 1.0 - 2.0 * mirrored
    matrix = torch.zeros((count, 2, 3), device=tiles.device)
    matrix[:, 0, 0], matrix[:, 0, 1] = sign * angle.cos(), -angle.sin()
    matrix[:, 1, 0], matrix[:, 1, 1] = sign * angle.sin(), angle.cos()
    grid = functional.affine_grid(matrix, list(tiles.shape), align_corners=False)
    return functional.grid_sample(
        tiles, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
