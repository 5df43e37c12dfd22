from __future__ import annotations

import hashlib

import pytest

from crpnet_bench.errors import SlideError
from crpnet_bench.slides.identity import content_hash, slide_parts


def test_a_single_file_has_the_sha256_of_its_bytes(tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"slide")
    assert content_hash(path) == hashlib.sha256(b"slide").hexdigest()


def mrxs(folder, name, index=b"index"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.mrxs"
    path.write_bytes(b"head")
    parts = folder / name
    parts.mkdir()
    (parts / "Slidedat.ini").write_bytes(index)
    (parts / "Data0000.dat").write_bytes(b"pixels")
    return path


def test_a_multi_file_slide_is_hashed_with_its_parts(tmp_path):
    first, renamed = mrxs(tmp_path / "a", "one"), mrxs(tmp_path / "b", "other")
    changed = mrxs(tmp_path / "c", "one", index=b"other index")
    assert len(slide_parts(first)) == 3
    assert content_hash(first) == content_hash(renamed)
    assert content_hash(first) != content_hash(changed)


def test_vms_takes_the_files_that_it_names(tmp_path):
    path = tmp_path / "a.vms"
    path.write_text("[Virtual Microscope Specimen]\nImageFile=a.jpg\nImageFile(1,0)=b.jpg\nNo=5\n")
    (tmp_path / "a.jpg").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"b")
    (tmp_path / "c.jpg").write_bytes(b"not of this slide")
    assert [part.name for part in slide_parts(path)] == ["a.vms", "a.jpg", "b.jpg"]


def test_dicom_takes_the_files_of_its_series(tmp_path):
    def write(name, series):
        uid = series.encode() + b"\0" * (len(series) % 2)
        tag = b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" + tag + name.encode())

    write("a.dcm", "1.2.3")
    write("b.dcm", "1.2.3")
    write("c.dcm", "1.2.34")
    assert [part.name for part in slide_parts(tmp_path / "b.dcm")] == ["a.dcm", "b.dcm"]
    assert content_hash(tmp_path / "a.dcm") == content_hash(tmp_path / "b.dcm")
    assert content_hash(tmp_path / "a.dcm") != content_hash(tmp_path / "c.dcm")


def test_what_cannot_be_hashed_says_why(tmp_path):
    with pytest.raises(SlideError, match="file not found"):
        content_hash(tmp_path / "absent.svs")
    with pytest.raises(SlideError, match="not a file"):
        content_hash(tmp_path)
