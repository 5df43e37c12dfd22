from __future__ import annotations

import pytest

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import ConfigError


def test_magnifications_become_factors():
    assert TilingConfig().with_scales("20,10,5").context_factors == (2, 4)
    assert TilingConfig().with_scales("20").context_factors == ()
    assert TilingConfig(mpp=0.25).with_scales("40,20").context_factors == (2,)


@pytest.mark.parametrize("scales", ["10,5", "20,5,10", "20,20", "20,15", "20,0", "x", ""])
def test_magnifications_that_do_not_fit_say_what_would(scales):
    with pytest.raises(ConfigError, match="such as 20,10,5"):
        TilingConfig().with_scales(scales)
