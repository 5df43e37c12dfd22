"""Fixtures that every part uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real slides and clinical tables; tests that need them are skipped where they are absent."""
    folder = os.environ.get("CRPNET_BENCH_TEST_DATA")
    if not folder:
        pytest.skip("CRPNET_BENCH_TEST_DATA is not set: real slides and tables are not at hand")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"CRPNET_BENCH_TEST_DATA names {path}, which is not a folder")
    return path


class CohortFolder:
    """A small valid cohort folder on disk that a test changes as it likes."""

    def __init__(self, folder: Path, patients: int = 24) -> None:
        self.path = folder
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "wsi").mkdir(exist_ok=True)
        self.ids = [f"P{number:02d}" for number in range(patients)]
        rows = ["Case,Months,Recurrence,Age,Sex,T,N,Meta,ISUP,Diameter,Nec,PS,Centre"]
        slides = ["patient_id,path"]
        for number, patient in enumerate(self.ids):
            stage = ("1a", "1b", "2a", "3a")[number % 4]
            rows.append(
                f"{patient},{3 + 2.5 * (number % 40)},{('no', 'yes')[number % 3 == 0]},"
                f"{40 + number % 40},"
                f"{'MF'[number % 2]},pT{stage},N0,M0,{1 + number % 4},{20 + 5 * (number % 40)},"
                f"{('absent', 'present')[number % 5 == 0]},{number % 2},{'AB'[number % 2]}"
            )
            slide = self.path / "wsi" / f"{patient}.svs"
            slide.write_bytes(f"content of {patient}".encode())
            slides.append(f"{patient},wsi/{patient}.svs")
        self.write("clinical.csv", "\n".join(rows) + "\n")
        self.write("slides.csv", "\n".join(slides) + "\n")
        self.write(
            "cohort.toml",
            """
[cohort]
name = "small"
title = "A small cohort"
kind = "simulated"
tnm_edition = 8
grading = "who_isup"

[outcome]
endpoint = "RFS"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"

[clinical.columns]
patient_id = "Case"
time = "Months"
event = {column = "Recurrence", map = {"yes" = 1, "no" = 0}}
age = "Age"
sex = "Sex"
pT = "T"
pN = "N"
M = "Meta"
grade = "ISUP"
tumor_size = {column = "Diameter", unit = "mm"}
necrosis = {column = "Nec", map = {"present" = true, "absent" = false}}
ecog = "PS"
site = "Centre"

[slides]
file = "slides.csv"
""",
        )

    def write(self, name: str, text: str) -> None:
        """Write a file of the folder."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def read(self, name: str) -> str:
        """The text of a file of the folder."""
        return (self.path / name).read_text(encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Change a text in a file; it must be there."""
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def append(self, name: str, text: str) -> None:
        """Add text to the end of a file."""
        self.write(name, self.read(name) + text)


@pytest.fixture
def cohort_folder(tmp_path: Path) -> CohortFolder:
    """A valid cohort of 24 patients with a slide each."""
    return CohortFolder(tmp_path / "cohort")
