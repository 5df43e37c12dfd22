from __future__ import annotations

import logging
import os
from contextlib import suppress

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import SlideError
from crpnet_bench.slides.direct import directly
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import tile_slide
from crpnet_bench.slides.writer import SlideLayout, write_repeated_slide, write_slide

REAL = [
    ("CMU-1-Small-Region.svs", None, "aperio", (2220, 2967), (0.499, 0.499)),
    ("TCGA-CR-7395-01A-01-TS1.svs", 0.5, "aperio", (4443, 3567), (0.5, 0.5)),
    ("test3-DAPI-2-387.ndpi", None, "hamamatsu", (3968, 4864), (0.2282, 0.2282)),
    (
        "derived_ndpi/TCGA-B0-5698-01Z-00-DX1_992px.ndpi",
        None,
        "hamamatsu",
        (992, 992),
        (0.252, 0.252),
    ),
    ("openslide-python_boxes.tiff", 0.5, "generic-tiff", (300, 250), (0.5, 0.5)),
    ("kidney-48-5.tif", 0.5, "plain TIFF", (1493, 901), (0.5, 0.5)),
]


@pytest.mark.slide
@pytest.mark.parametrize(("name", "mpp", "vendor", "dimensions", "scale"), REAL)
def test_real_slides_open(shared_data, name, mpp, vendor, dimensions, scale):
    with open_slide(shared_data / "slides" / name, mpp=mpp) as reader:
        assert (reader.vendor, reader.dimensions) == (vendor, dimensions)
        assert reader.mpp == pytest.approx(scale, rel=1e-3)


@pytest.mark.slide
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("TCGA-CR-7395-01A-01-TS1.svs", "mpp unknown"),
        ("kidney-48-5.tif", "mpp unknown"),
        ("openslide-python_boxes.tiff", "mpp unknown"),
        ("openslide-python_unreadable.svs", "damaged file"),
        ("histolab_broken.svs", "not a slide or image"),
    ],
)
def test_real_slides_that_cannot_be_used_say_why(shared_data, name, reason):
    with pytest.raises(SlideError) as caught:
        open_slide(shared_data / "slides" / name)
    assert caught.value.reason.startswith(reason)
    assert caught.value.remedy


@pytest.mark.slide
def test_a_real_slide_is_the_same_on_both_paths(shared_data):
    path = shared_data / "slides" / "CMU-1-Small-Region.svs"
    with open_slide(path) as fast, open_slide(path, backend="reference") as reference:
        assert (fast.backend, reference.backend) == ("direct", "openslide")
        for x, y in ((0, 0), (1500, 2100), (2100, 2900), (-50, -20)):
            assert np.array_equal(fast.read(0, x, y, 300, 200), reference.read(0, x, y, 300, 200))


def test_files_that_are_no_slides(tmp_path):
    empty = tmp_path / "empty.svs"
    empty.touch()
    words = tmp_path / "words.ndpi"
    words.write_text("these are words " * 100)
    for path, reason in (
        (tmp_path / "absent.svs", "file not found"),
        (empty, "empty file"),
        (words, "not a slide or image"),
        (tmp_path, "not a file"),
    ):
        with pytest.raises(SlideError) as caught:
            open_slide(path)
        assert caught.value.reason == reason
        assert caught.value.remedy


def test_a_file_that_may_not_be_read(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels[:256, :256], SlideLayout())
    path.chmod(0)
    before = os.geteuid()
    if before == 0:  # root may read everything
        os.seteuid(65_534)
    try:
        with pytest.raises(SlideError) as caught:
            open_slide(path)
    finally:
        os.seteuid(before)
    assert caught.value.reason == "permission denied"
    assert str(path) in caught.value.remedy


def test_a_wrong_suffix_does_not_matter(tmp_path, tissue_pixels):
    picture = tmp_path / "picture.svs"
    Image.fromarray(tissue_pixels[:300, :400]).save(picture, format="PNG")
    with open_slide(picture, mpp=0.5) as reader:
        assert (reader.backend, reader.dimensions) == ("pillow", (400, 300))
        assert np.array_equal(reader.read(0, 10, 20, 30, 40), tissue_pixels[20:60, 10:40])
        assert reader.read(0, -10, 290, 20, 20)[-1, 0].tolist() == [255, 255, 255]
    slide = write_slide(tmp_path / "slide.jpg", tissue_pixels[:256, :256], SlideLayout())
    with open_slide(slide) as reader:
        assert reader.vendor == "aperio"


@pytest.mark.parametrize(
    "kind", ["grey", "rgba", "palette", "cmyk", "inverted", "strips", "planes"]
)
def test_plain_tiffs_of_every_colour(tmp_path, tissue_pixels, kind):
    pixels = tissue_pixels[:64, :80]
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    path = tmp_path / "plain.tif"
    if kind == "rgba":
        alpha = np.full((*grey.shape, 1), 255, np.uint8)
        alpha[:, :40] = 0
        tifffile.imwrite(path, np.concatenate([pixels, alpha], axis=2), extrasamples=["unassalpha"])
        expected = pixels.copy()
        expected[:, :40] = 255
    elif kind in {"palette", "cmyk"}:
        image = Image.fromarray(pixels)
        image = image.quantize(16) if kind == "palette" else image.convert("CMYK")
        image.save(path)
        expected = np.asarray(image.convert("RGB"))
    elif kind == "planes":
        planes = np.moveaxis(pixels, 2, 0)
        tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
        expected = pixels
    else:
        expected = np.repeat(grey[..., None], 3, axis=2) if kind != "strips" else pixels
        data = {"grey": grey, "inverted": 255 - grey, "strips": pixels}[kind]
        photometric = {"grey": "minisblack", "inverted": "miniswhite", "strips": "rgb"}[kind]
        tifffile.imwrite(path, data, photometric=photometric)
    with open_slide(path, mpp=0.5) as reader:
        assert np.array_equal(reader.read(0, 0, 0, 80, 64), expected)


def test_sixteen_bits_are_refused_with_a_remedy(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.zeros((32, 32, 3), np.uint16), photometric="rgb")
    with pytest.raises(SlideError, match="uint16; convert the image to 8 bits"):
        open_slide(path, mpp=0.5)
    Image.fromarray(np.full((32, 32), 9999, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SlideError, match="I;16; convert the image to 8 bits"):
        open_slide(tmp_path / "deep.png", mpp=0.5)


@pytest.mark.parametrize("compression", ["jpeg2000", "webp"])
def test_tiles_in_a_coding_that_openslide_lacks_are_a_plain_image(
    tmp_path, tissue_pixels, compression
):
    pixels = tissue_pixels[:300, :400]
    path = tmp_path / "slide.tif"
    coding = {"compression": compression, "compressionargs": {"level": 100}}
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), metadata=None, **coding)
    with open_slide(path, mpp=0.5) as reader:
        assert reader.backend == "tifffile"
        assert np.abs(reader.read(0, 0, 0, 400, 300).astype(int) - pixels).mean() < 3


def test_damage_in_a_plain_jpeg_is_found(tmp_path, tissue_pixels):
    path = tmp_path / "picture.jpg"
    Image.fromarray(tissue_pixels[:300, :400]).save(path)
    with open_slide(path, mpp=0.5) as reader, Image.open(path) as image:
        assert np.array_equal(reader.read(0, 0, 0, 400, 300), np.asarray(image))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(SlideError, match="damaged file: Corrupt JPEG data"):
        open_slide(path, mpp=0.5)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "slide.svs")
    with pytest.raises(SlideError, match="not a file.* is a pipe"):
        open_slide(tmp_path / "slide.svs")


def read_all(path, **options):
    with open_slide(path, **options) as reader:
        return sum(len(block.coords) for block in tile_slide(reader, TilingConfig()).blocks())


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("harm", ["tile zeroed", "tile cut", "noise in a tile", "file cut"])
def test_damage_in_the_middle_is_found_on_both_paths(tmp_path, tissue_pixels, backend, harm):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels, SlideLayout())
    assert read_all(path) == 36
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[7]
        size = file.pages.first.databytecounts[7]
    data = bytearray(path.read_bytes())
    if harm == "tile zeroed":
        data[start : start + size] = bytes(size)
    elif harm == "tile cut":
        data[start + size // 2 : start + size] = bytes(size - size // 2)
    elif harm == "noise in a tile":
        data[start + 700 : start + 1400] = np.random.default_rng(0).bytes(700)
    else:
        del data[len(data) // 2 :]
    path.write_bytes(data)
    with pytest.raises(SlideError, match="damaged file") as caught:
        read_all(path, backend=backend)
    assert "copy it again" in caught.value.remedy


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_whatever_damage_openslide_finds_is_found(tmp_path_factory, tissue_pixels, data):
    """The direct path either says what OpenSlide says or gives the same pixels."""
    path = tmp_path_factory.mktemp("damage") / "slide.svs"
    colour = data.draw(st.sampled_from(["rgb", "ycbcr"]))
    write_slide(path, tissue_pixels[:640, :768], SlideLayout(tile=128, colour=colour))
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        number = data.draw(st.integers(0, len(page.dataoffsets) - 1))
        start, size = page.dataoffsets[number], page.databytecounts[number]
    harm = data.draw(st.one_of(st.binary(min_size=1, max_size=200), st.integers(1, 200).map(bytes)))
    at = start + data.draw(st.integers(0, max(0, size - len(harm))))
    content = bytearray(path.read_bytes())
    content[at : at + len(harm)] = harm
    path.write_bytes(content)

    def read(backend):
        try:
            with open_slide(path, backend=backend) as reader:
                return reader.read(0, 0, 0, 768, 640)
        except SlideError as error:
            return error.reason

    found, expected = read("auto"), read("reference")
    assert isinstance(found, str) == isinstance(expected, str)
    assert np.array_equal(found, expected)


def test_a_cut_slide_is_not_taken_for_a_plain_image(tmp_path, tissue_pixels):
    """OpenSlide refuses it, and the pixels before the cut can still be read."""
    for vendor in ("aperio", "generic"):
        layout = SlideLayout(levels=3, mpp=None, power=None, vendor=vendor)
        path = write_slide(tmp_path / f"{vendor}.svs", tissue_pixels, layout)
        content = path.read_bytes()
        for length in (len(content) - 2000, len(content) * 6 // 10, len(content) // 10):
            path.write_bytes(content[:length])
            with pytest.raises(SlideError, match="damaged"):
                open_slide(path, mpp=0.5)


def test_a_header_that_asks_for_a_monstrous_tile_does_not_end_the_process(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels[:300, :300], SlideLayout())
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["TileWidth"].overwrite(1 << 29)
    with pytest.raises(SlideError, match="tiles of 536870912 x 256 pixels"):
        open_slide(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_escapes_as_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 280, 3), dtype=np.uint8)
    kind = data.draw(st.sampled_from(["svs", "generic", "strips", "png"]))
    path = folder / "slide.bin"
    if kind == "png":
        Image.fromarray(pixels).save(path, format="PNG")
    elif kind == "strips":
        tifffile.imwrite(path, pixels, photometric="rgb")
    else:
        vendor = {"svs": "aperio"}.get(kind, kind)
        write_slide(path, pixels, SlideLayout(levels=2, vendor=vendor))
    content = bytearray(path.read_bytes())
    places = st.one_of(st.integers(0, 600), st.integers(0, len(content) - 1))
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(places)] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with suppress(SlideError), open_slide(path, mpp=0.5) as reader:
        list(tile_slide(reader, TilingConfig()).blocks())


class Tinted:
    """An OpenSlide reader whose colours are not those of the file."""

    def __init__(self, reader):
        self.reader = reader
        self.notes = ()

    def __getattr__(self, name):
        return getattr(self.reader, name)

    def read(self, *region):
        return self.reader.read(*region) // 2


def test_direct_decoding_is_given_up_when_it_differs(tmp_path, tissue_pixels, caplog):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels, SlideLayout())
    with open_slide(path, backend="reference") as reference, caplog.at_level(logging.WARNING):
        tinted = Tinted(reference)
        assert directly(tinted) is tinted
        assert "differs from OpenSlide" in tinted.notes[0]
        assert "differs from OpenSlide" in caplog.text


def test_tiles_that_the_file_lacks_come_from_openslide(tmp_path, tissue_pixels):
    path = write_slide(tmp_path / "slide.svs", tissue_pixels, SlideLayout())
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("TileOffsets", "TileByteCounts"):
            values = list(file.pages.first.tags[tag].value)
            values[7] = 0
            file.pages.first.tags[tag].overwrite(values)
    with open_slide(path) as fast, open_slide(path, backend="reference") as reference:
        assert fast.backend == "direct"
        assert np.array_equal(fast.read(0, 0, 0, 900, 900), reference.read(0, 0, 0, 900, 900))


def test_a_repeated_slide_shows_its_patch_everywhere(tmp_path, tissue_pixels):
    patch = tissue_pixels[:512, :512]
    path = write_repeated_slide(tmp_path / "large.svs", patch, 20_000, 30_000, SlideLayout())
    assert path.stat().st_size < 1_000_000
    with open_slide(path) as reader:
        assert reader.dimensions == (20_000, 30_000)
        shown = reader.read(0, 512 * 30, 512 * 50, 512, 512).astype(int)
    assert np.abs(shown - patch).mean() < 4
