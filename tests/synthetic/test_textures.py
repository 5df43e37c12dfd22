import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from crpnet_bench.synthetic.textures import Mosaic, ramp, smooth_noise


@pytest.mark.parametrize("grain", [1, 2, 18, 300])
def test_noise_has_mean_0_and_deviation_1(grain):
    noise = smooth_noise(np.random.default_rng(0), 512, grain)
    assert noise.shape == (512, 512)
    assert abs(noise[::7, ::7].mean()) < 0.01
    assert abs(noise[::7, ::7].std() - 1) < 0.01


def test_coarse_noise_changes_slowly():
    def step(grain):
        return np.abs(np.diff(smooth_noise(np.random.default_rng(1), 512, grain), axis=1)).mean()

    assert step(60) < 0.2 * step(6) < 0.2 * step(1)


def test_ramp_rises_from_0_to_1_or_falls():
    values = np.linspace(-1, 3, 41, dtype=np.float32)
    rising = ramp(values, 0, 2)
    assert rising[values <= 0].max() == 0
    assert rising[values >= 2].min() == 1
    assert (np.diff(rising) >= 0).all()
    np.testing.assert_allclose(ramp(values, 2, 0), 1 - rising, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    spacing=st.tuples(st.floats(8, 40), st.floats(8, 40)),
)
def test_each_position_belongs_to_its_nearest_centre(seed, spacing):
    rng = np.random.default_rng(seed)
    mosaic = Mosaic(rng, (300, 300), spacing)
    x, y = rng.uniform(0, 300, (2, 2000)).astype(np.float32)
    cells = mosaic.cells(x, y)
    centre_x, centre_y = x - cells.dx, y - cells.dy
    # All positions of a cell agree on where its centre is ...
    for values in (centre_x, centre_y):
        sums = np.bincount(cells.index, values, mosaic.count)
        mean = sums[cells.index] / np.bincount(cells.index, minlength=mosaic.count)[cells.index]
        np.testing.assert_allclose(values, mean, atol=1e-2)
    # ... and no other centre is nearer, measured in spacings as the mosaic does.
    seen = np.unique(cells.index, return_index=True)[1]
    across = (x[:, None] - centre_x[seen][None]) / spacing[0]
    down = (y[:, None] - centre_y[seen][None]) / spacing[1]
    nearest = np.hypot(across, down).min(axis=1)
    own = np.hypot(cells.dx / spacing[0], cells.dy / spacing[1])
    assert (own <= nearest + 1e-3).all()
    assert (cells.edge >= 0).all()


def test_positions_outside_the_extent_still_have_a_cell():
    mosaic = Mosaic(np.random.default_rng(0), (100, 100), (20, 20))
    far = np.array([-500, 1e4], dtype=np.float32)
    assert (
        (mosaic.cells(far, far).index >= 0) & (mosaic.cells(far, far).index < mosaic.count)
    ).all()
