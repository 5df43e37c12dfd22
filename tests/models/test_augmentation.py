from __future__ import annotations

import numpy as np
import pytest
import torch

from crpnet_bench.config import EncoderConfig
from crpnet_bench.models.augmentation import Strength, augment
from crpnet_bench.models.encoders import load_encoder

NOTHING = Strength(noise=0, angle=0, stain=0, shift=0)


@pytest.fixture
def tiles():
    return torch.rand((4, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_equal_seeds_give_equal_views_and_others_differ(tiles):
    first = augment(tiles, generator())
    assert torch.equal(first, augment(tiles, generator()))
    assert not torch.equal(first, augment(tiles, generator(1)))
    assert first.shape == tiles.shape
    assert first.min() >= 0
    assert first.max() <= 1


def test_at_no_strength_a_view_is_the_tile_turned_or_mirrored(tiles):
    views = augment(tiles, generator(), NOTHING)
    for tile, view in zip(tiles, views, strict=True):
        turned = [torch.rot90(side, k, (1, 2)) for side in (tile, tile.flip(2)) for k in range(4)]
        assert min(float((one - view).abs().max()) for one in turned) < 1e-4


def test_all_eight_orientations_occur(tiles):
    one = tiles[:1].expand(64, -1, -1, -1)
    views = augment(one, generator(), NOTHING)
    assert len({tuple(np.round(view[0, 0, :3].numpy(), 3)) for view in views}) == 8


def test_stain_jitter_changes_colour_and_keeps_structure(tiles):
    views = augment(tiles, generator(), Strength(noise=0, angle=0, stain=0.2, shift=0))
    before, after = tiles.mean((2, 3)), views.mean((2, 3))
    assert 0.001 < float((before - after).abs().max()) < 0.3


def test_stored_views_depend_on_the_tile_and_not_on_the_batch():
    encoder = load_encoder(EncoderConfig(views=2, precision="float32"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    coords = np.array([[0, 0], [224, 0], [0, 224]])
    together = encoder.encode_views(pixels, coords, "slide")
    assert together.shape == (3, 2, 1024)
    assert np.array_equal(together[1:2], encoder.encode_views(pixels[1:2], coords[1:2], "slide"))
    assert not np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(together, encoder.encode_views(pixels, coords, "other"))
