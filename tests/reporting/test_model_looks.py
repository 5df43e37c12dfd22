from __future__ import annotations

import pytest

from crpnet_bench.reporting.model_looks import _LOOKS, model_color, model_line, model_symbol

MANY = (
    "crpnet", "crpnet-cox", "crpnet-hazard", "crpnet-ipcw", "crpnet-observed", "crpnet-gated",
    "crpnet-ms", "crpnet-finetuned", "crpnet+clinical", "clam-sb", "meanpool", "maxpool",
    "uiss_2002", "ssign", "karakiewicz_refit", "leibovich_2003", "grant", "keynote564",
    "cox_clinical", "rsf_clinical", "oracle", "t_stage", "grade", "necrosis", "site_only",
    "mean_colour",
)  # fmt: skip


def luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_known_model_has_a_colour_of_its_own():
    assert len({model_color(name) for name in MANY}) == len(MANY)


@pytest.mark.parametrize("paper", ["#FFFFFF", "#12181F"])
def test_colours_are_seen_on_a_light_and_on_a_dark_page(paper: str):
    assert min(contrast(color, paper) for color, _ in _LOOKS.values()) > 2


def test_an_unknown_model_looks_the_same_every_time_and_like_no_known_one():
    name = "somebody else's model"
    assert model_line(name) == model_line(name)
    assert model_color(name) not in {color for color, _ in _LOOKS.values()}
    assert model_symbol(name)
