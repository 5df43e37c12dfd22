import numpy as np
import openslide
import pytest

from crpnet_bench.synthetic.slide_writer import write_slide


@pytest.fixture(scope="module")
def pixels():
    """Smooth colour waves: a swapped channel or a shifted tile shows at once."""
    y, x = np.mgrid[:672, :448]
    waves = [np.sin(x / 40), np.sin(y / 60), np.sin((x + y) / 80)]
    return (128 + 100 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.fixture(scope="module")
def slide(pixels, tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "a.svs"
    write_slide(path, pixels, "synthetic, test")
    with openslide.OpenSlide(path) as opened:
        yield opened


def test_openslide_reads_an_aperio_pyramid_at_20x(slide):
    assert slide.properties["openslide.vendor"] == "aperio"
    assert float(slide.properties["openslide.mpp-x"]) == 0.5
    assert slide.properties["openslide.objective-power"] == "20"
    assert slide.level_dimensions == ((448, 672), (224, 336), (112, 168))
    assert slide.level_downsamples == (1, 2, 4)
    assert "synthetic" in slide.properties["tiff.ImageDescription"]


@pytest.mark.parametrize("level", [0, 1, 2])
def test_colours_are_those_that_were_given(slide, pixels, level):
    width, height = slide.level_dimensions[level]
    found = np.asarray(slide.read_region((0, 0), level, (width, height)).convert("RGB"), float)
    step = 2**level
    given = pixels.reshape(height, step, width, step, 3).mean(axis=(1, 3))
    assert np.abs(found - given).mean() < 1.5
    assert np.abs((found - given).mean(axis=(0, 1))).max() < 0.7


def test_the_same_pixels_give_the_same_bytes_and_no_partial_file_stays(pixels, tmp_path):
    for name in ("a.svs", "b.svs"):
        write_slide(tmp_path / name, pixels, "synthetic")
    assert (tmp_path / "a.svs").read_bytes() == (tmp_path / "b.svs").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svs", "b.svs"]


@pytest.mark.parametrize(
    ("shape", "about"),
    [((225, 224, 3), "x"), ((224, 224, 4), "x"), ((224, 224, 3), "a|b"), ((224, 224, 3), "a\nb")],
)
def test_what_would_break_the_slide_is_refused(shape, about, tmp_path):
    with pytest.raises(ValueError, match="not a slide"):
        write_slide(tmp_path / "a.svs", np.zeros(shape, dtype=np.uint8), about)
    assert not any(tmp_path.iterdir())
