from __future__ import annotations

import pytest

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.magnification import resolve_magnification


def test_the_slides_own_mpp_comes_first():
    found = resolve_magnification((0.25, 0.25), 40, 0.25)
    assert (found.mpp, found.source, found.warnings) == ((0.25, 0.25), "mpp", ())


@pytest.mark.parametrize(("power", "mpp"), [(40, 0.25), (20, 0.5), (10, 1.0), (5, 2.0)])
def test_objective_power_stands_in_for_mpp(power, mpp):
    found = resolve_magnification(None, power, None)
    assert (found.mpp, found.source) == ((mpp, mpp), "objective power")


def test_the_manifest_comes_last():
    assert resolve_magnification(None, None, 0.46).source == "manifest"
    assert resolve_magnification(None, 20, 0.46).source == "objective power"


def test_nothing_known_is_the_outcome_mpp_unknown_with_a_remedy():
    with pytest.raises(SlideError) as caught:
        resolve_magnification(None, None, None)
    assert caught.value.reason == "mpp unknown"
    assert "--mpp" in caught.value.remedy


@pytest.mark.parametrize("own", [(352.8, 352.8), (0.0, 0.0), (0.25, 0.0)])
def test_an_implausible_mpp_counts_as_absent_and_is_told(own):
    found = resolve_magnification(own, 20, None)
    assert found.mpp == (0.5, 0.5)
    assert "implausible" in found.warnings[0]
    with pytest.raises(SlideError) as caught:
        resolve_magnification(own, None, None)
    assert caught.value.reason == "mpp unknown"
    assert "implausible" in caught.value.remedy


def test_contradicting_fields_are_told_and_the_slides_own_is_used():
    found = resolve_magnification((0.25, 0.25), 20, 0.5, {"tiff.XResolution": 0.5})
    assert found.mpp == (0.25, 0.25)
    assert len(found.warnings) == 3
    assert any("objective power 20" in text for text in found.warnings)
    assert any("manifest" in text for text in found.warnings)
    assert any("tiff.XResolution" in text for text in found.warnings)


def test_usual_calibrations_do_not_contradict_the_power():
    for mpp, power in ((0.2282, 40), (0.2528, 40), (0.499, 20), (0.46, 20), (0.1725, 40)):
        assert resolve_magnification((mpp, mpp), power, None).warnings == ()


def test_pixels_that_are_not_square_are_told():
    found = resolve_magnification((0.5, 0.4), None, None)
    assert found.mpp == (0.5, 0.4)
    assert "not square" in found.warnings[0]


def test_an_impossible_manifest_value_is_the_slides_outcome():
    with pytest.raises(SlideError, match="500"):
        resolve_magnification(None, None, 500)
