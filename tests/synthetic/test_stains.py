import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from crpnet_bench.synthetic.stains import GLASS, Stain

amounts = st.floats(0, 2, width=32)


def colour(stain, *dyes):
    return stain.colour(*(np.array([dye], dtype=np.float32) for dye in dyes))[0]


def test_glass_without_dye():
    np.testing.assert_allclose(colour(Stain(), 0, 0, 0), GLASS, rtol=1e-6)


@given(amounts, amounts, amounts)
def test_dyes_multiply_the_light(haematoxylin, eosin, blood):
    together = colour(Stain(), haematoxylin, eosin, blood) / GLASS
    alone = (
        colour(Stain(), haematoxylin, 0, 0) / GLASS,
        colour(Stain(), 0, eosin, 0) / GLASS,
        colour(Stain(), 0, 0, blood) / GLASS,
    )
    np.testing.assert_allclose(together, np.prod(alone, axis=0), rtol=1e-4)


def test_nuclei_are_blue_and_cytoplasm_is_pink():
    red, green, blue = colour(Stain(), 1.2, 0, 0)
    assert blue > red > green
    red, green, blue = colour(Stain(), 0, 0.6, 0)
    assert red > blue > green


@given(st.floats(0.5, 2), st.floats(0.5, 2))
def test_a_thicker_section_is_a_stronger_stain(dye, thickness):
    thick = colour(Stain(thickness=thickness), 0, dye, 0)
    np.testing.assert_allclose(thick, colour(Stain(), 0, dye * thickness, 0), rtol=1e-3)
