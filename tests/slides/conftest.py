"""Pixels that look enough like tissue: texture, glass, a gradient; made from a seed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


def tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Pink and purple texture with detail at several scales, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    field = np.zeros((height, width))
    for cell, weight in ((64, 1.0), (16, 0.8), (5, 0.5)):
        coarse = random.normal(size=(height // cell + 2, width // cell + 2)).astype(np.float32)
        field += weight * np.asarray(
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        )
    share = 1 / (1 + np.exp(-1.5 * field[..., None]))
    pink, purple = np.array([232, 170, 200.0]), np.array([95, 60, 130.0])
    return (pink * share + purple * (1 - share)).clip(0, 255).astype(np.uint8)


def glass(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Bright and almost flat."""
    noise = np.random.default_rng(seed).integers(-1, 2, (height, width, 3))
    return (243 + noise).astype(np.uint8)


def half_tissue(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Tissue in a disc, glass around it."""
    y, x = np.mgrid[:height, :width]
    inside = ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) < 0.33**2
    return np.where(inside[..., None], tissue(height, width, seed), glass(height, width, seed))


@pytest.fixture(scope="session")
def tissue_pixels() -> np.ndarray:
    return tissue(1500, 1400)


@pytest.fixture(scope="session")
def half_tissue_pixels() -> np.ndarray:
    return half_tissue(2700, 2500)
