"""Makes the synthetic cohorts `demo` and `demo-external`: a complete cohort folder from a seed."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.synthetic.cohort_design import (
    CohortDesign,
    CohortRecipe,
    PlannedPatient,
    design_cohort,
)
from crpnet_bench.synthetic.histology import draw_slide
from crpnet_bench.synthetic.layout import GRID, TILE, SlidePlan, Tissue, tile_shares
from crpnet_bench.synthetic.slide_writer import write_slide
from crpnet_bench.synthetic.staining import Site
from crpnet_bench.synthetic.stains import Stain

__all__ = ["DEMO_COHORTS", "make_demo", "write_cohort"]

SPLIT = "random-70-30"

DEMO_COHORTS: Mapping[str, CohortRecipe] = {
    recipe.name: recipe
    for recipe in (
        CohortRecipe(
            name="demo",
            title="Synthetic nephrectomies with a planted sign of recurrence",
            prefix="DEMO",
            sites=(
                Site("Site A", Stain(0.96, 1.14, 0.03, 1.02), events=0.36, others=0.19),
                Site("Site B", Stain(1.06, 1.03, 0.00, 1.00), events=0.27, others=0.23),
                Site("Site C", Stain(0.98, 0.95, -0.04, 0.98), events=0.20, others=0.27),
                Site("Site D", Stain(1.10, 0.88, 0.02, 1.00), events=0.17, others=0.31),
            ),
            planted=(61, 7, 7, 12, 12),
            two_slides=4,
            balanced_validation=True,
        ),
        CohortRecipe(
            name="demo-external",
            title="Synthetic nephrectomies at other sites, confounded in reverse",
            prefix="DEXT",
            sites=(
                # Beyond every site of `demo`: docs/demo.md has the reasons for these figures.
                Site("Site E", Stain(1.00, 1.50, 0.00, 1.00), events=0.08, others=0.50),
                Site("Site F", Stain(1.00, 1.00, 0.00, 1.00), events=0.27, others=0.33),
                Site("Site G", Stain(1.00, 0.67, 0.00, 1.00), events=0.65, others=0.17),
            ),
            planted=(55, 6, 6, 11, 11),
            two_slides=3,
            balanced_validation=False,
            edition=2,
        ),
    )
}


def make_demo(
    folder: Path,
    *,
    name: str = "demo",
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Make a synthetic cohort, or finish one that was interrupted.

    Slides are drawn side by side, each written under a temporary name and renamed; those that
    are there are kept. The file `complete` is written last. The same name and seed give the same
    bytes (on machines with the same versions of numpy, Pillow and imagecodecs).

    Args:
        folder: where the cohort lies afterwards; created if need be.
        name: `demo` or `demo-external`.
        seed: decides tissue, stains, patients and outcomes.
        workers: processes that draw.
        progress: told of each slide.

    Returns:
        `folder`.

    Raises:
        InputError: an unknown name, a negative seed, or a folder that holds something else.
    """
    recipe = DEMO_COHORTS.get(name)
    if recipe is None:
        hint = did_you_mean(name, DEMO_COHORTS)
        raise InputError(f"synthetic cohort {name!r} does not exist; {hint}")
    if seed < 0:
        raise InputError(f"seed {seed}: expected a whole number from 0 up")
    _claim(folder, recipe, seed)
    about = f"synthetic, {name}, seed {seed}"
    write_cohort(folder, design_cohort(recipe, seed), about, workers=workers, progress=progress)
    return folder


def write_cohort(
    folder: Path,
    design: CohortDesign,
    about: str,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> None:
    """Write the tables of a design, and draw the slides that are not there yet.

    Args:
        folder: exists; `complete` in it is written last.
        design: the cohort.
        about: a few words for each slide's image description.
        workers: processes that draw.
        progress: told of each slide.
    """
    for part in ("slides", "splits", "truth"):
        (folder / part).mkdir(exist_ok=True)
    slides = {file: plan for _, file, plan in _slides(design)}
    missing = {file: plan for file, plan in slides.items() if not (folder / file).exists()}
    if not missing and (folder / "complete").exists():
        return
    _write_tables(folder, design)
    _draw(folder, missing, about, workers, progress or SilentProgress())
    for leftover in (folder / "slides").glob(".*.partial"):
        leftover.unlink()
    _write(folder / "complete", f"{len(slides)} slides\n".encode())


def _claim(folder: Path, wanted: CohortRecipe, seed: int) -> None:
    """Make the folder this cohort's, or check that it already is."""
    recipe = {"cohort": wanted.name, "seed": seed, "drawing": wanted.edition}
    file = folder / "recipe.json"
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if found != recipe:
            raise InputError(
                f"{folder} holds a synthetic cohort made from {found}, wanted {recipe}; "
                "remove the folder or name another"
            )
        return
    if folder.is_dir() and any(folder.glob("[!.]*")):
        raise InputError(
            f"{folder} holds files that are no synthetic cohort; expected an empty or new folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write(file, json.dumps(recipe).encode())


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _slides(design: CohortDesign) -> Iterator[tuple[PlannedPatient, str, SlidePlan]]:
    """Every slide with its patient and its path inside the folder."""
    for patient in design.patients:
        for number, plan in enumerate(patient.slides, start=1):
            yield patient, f"slides/{patient.patient_id}-{number}.svs", plan


# --- pixels ---------------------------------------------------------------------------------


def _draw_one(path: Path, plan: SlidePlan, about: str) -> None:
    write_slide(path, draw_slide(plan), about)


def _draw(
    folder: Path, slides: Mapping[str, SlidePlan], about: str, workers: int, progress: Progress
) -> None:
    with progress.task("drawing synthetic slides", len(slides), "slides") as task:
        if workers <= 1 or len(slides) <= 1:
            for file, plan in slides.items():
                _draw_one(folder / file, plan, about)
                task.advance()
            return
        # Spawned, not forked: the caller may hold threads and locks.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            jobs = [
                pool.submit(_draw_one, folder / file, plan, about) for file, plan in slides.items()
            ]
            for job in as_completed(jobs):
                job.result()
                task.advance()


# --- tables ---------------------------------------------------------------------------------


def _write_tables(folder: Path, design: CohortDesign) -> None:
    patients = design.patients
    _write(folder / "cohort.toml", _manifest(design.recipe).encode())
    _write(folder / "clinical.csv", _csv(_CLINICAL, _clinical_rows(design)))
    _write(
        folder / "slides.csv",
        _csv(("patient_id", "path"), ((p.patient_id, file) for p, file, _ in _slides(design))),
    )
    _write(
        folder / "splits" / f"{SPLIT}.csv",
        _csv(
            ("patient_id", "repeat", "fold", "role"),
            ((p.patient_id, 0, 0, p.role) for p in patients),
        ),
    )
    _parquet(folder / "truth" / "patients.parquet", _patient_truth(design))
    _parquet(folder / "truth" / "tiles.parquet", _tile_truth(design))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(path: Path, columns: Mapping[str, Sequence[object]]) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    _write(path, buffer.getvalue())


def _manifest(recipe: CohortRecipe) -> str:
    return f"""\
# Made by a program from random numbers: no patient, no slide of a patient.
[cohort]
name = "{recipe.name}"
title = "{recipe.title}"
kind = "synthetic"
licence = "synthetic, no patient data; free to use"
tnm_edition = 8
grading = "who_isup"
default_split = "{SPLIT}"

[outcome]
endpoint = "TTR"
events = "recurrence (simulated); death without recurrence competes"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"

[clinical.columns]
patient_id = "patient_id"
time = "months"
event = {{column = "outcome", map = {{"none" = 0, "recurrence" = 1, "death" = 2}}}}
age = "age"
sex = "sex"
pT = "pT"
pN = "pN"
M = "M"
grade = "grade"
tumor_size = {{column = "tumor_size_mm", unit = "mm"}}
necrosis = {{column = "necrosis", map = {{"yes" = true, "no" = false}}}}
sarcomatoid = {{column = "sarcomatoid", map = {{"yes" = true, "no" = false}}}}
ecog = "ecog"
symptoms = "symptoms"
site = "site"

[slides]
file = "slides.csv"
"""


_CLINICAL = (
    "patient_id", "months", "outcome", "age", "sex", "pT", "pN", "M", "grade", "tumor_size_mm",
    "necrosis", "sarcomatoid", "ecog", "symptoms", "site",
)  # fmt: skip

# Share of cells left empty: ECOG is what clinical tables lack most.
_MISSING = {"ecog": 0.15, "symptoms": 0.04, "grade": 0.03, "necrosis": 0.03, "tumor_size_mm": 0.01}


def _clinical_rows(design: CohortDesign) -> Iterator[list[object]]:
    clinical, outcomes = design.clinical, design.outcomes
    yes_no = np.array(["no", "yes"])
    columns: dict[str, Sequence[object]] = {
        "patient_id": [patient.patient_id for patient in design.patients],
        "months": outcomes.months.tolist(),
        "outcome": np.array(["none", "recurrence", "death"])[outcomes.status].tolist(),
        "age": clinical.age.tolist(),
        "sex": clinical.sex.tolist(),
        "pT": clinical.pT.tolist(),
        "pN": clinical.pN.tolist(),
        "M": ["M0"] * len(design.patients),
        "grade": clinical.grade.tolist(),
        "tumor_size_mm": clinical.tumor_size_mm.tolist(),
        "necrosis": yes_no[clinical.necrosis.astype(int)].tolist(),
        "sarcomatoid": yes_no[clinical.sarcomatoid.astype(int)].tolist(),
        "ecog": clinical.ecog.tolist(),
        "symptoms": clinical.symptoms.tolist(),
        "site": [patient.site for patient in design.patients],
    }
    rng = np.random.default_rng([len(design.patients), *outcomes.months.tolist()])
    for column, share in _MISSING.items():
        empty = rng.choice(len(design.patients), round(share * len(design.patients)), replace=False)
        columns[column] = [
            "" if i in set(empty.tolist()) else value for i, value in enumerate(columns[column])
        ]
    for row in zip(*(columns[name] for name in _CLINICAL), strict=True):
        yield list(row)


def _patient_truth(design: CohortDesign) -> dict[str, Sequence[object]]:
    histology = [None if np.isnan(value) else float(value) for value in design.histology]
    fraction = [_or_none(p.fraction(Tissue.SPINDLED)) for p in design.patients]
    clinical = design.clinical_part.tolist()
    return {
        "patient_id": [p.patient_id for p in design.patients],
        "tissue_tiles": [p.tiles for p in design.patients],
        "planted_tiles": [sum(s.count(Tissue.SPINDLED) for s in p.slides) for p in design.patients],
        "planted_fraction": fraction,
        "decoy_fraction": [_or_none(p.fraction(Tissue.GRANULAR)) for p in design.patients],
        "histology_linear_predictor": histology,
        "clinical_linear_predictor": clinical,
        "linear_predictor": [
            None if h is None else h + c for h, c in zip(histology, clinical, strict=True)
        ],
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _tile_truth(design: CohortDesign) -> dict[str, Sequence[object]]:
    """One row a tile of each slide's 7 x 7 grid, glass included."""
    columns: dict[str, list[object]] = {
        name: []
        for name in (
            "patient_id", "slide", "x", "y", "tissue", "planted", "decoy", "spindled_share",
            "granular_share", "glass_share", "pen_slide",
        )
    }  # fmt: skip
    for patient, file, plan in _slides(design):
        shares = tile_shares(plan)
        for row in range(GRID):
            for column in range(GRID):
                tissue = plan.tissue[row][column]
                values = (
                    patient.patient_id,
                    file,
                    column * TILE,
                    row * TILE,
                    tissue.name.lower(),
                    tissue is Tissue.SPINDLED,
                    tissue is Tissue.GRANULAR,
                    float(shares[Tissue.SPINDLED][row, column]),
                    float(shares[Tissue.GRANULAR][row, column]),
                    float(shares[Tissue.GLASS][row, column]),
                    plan.pen,
                )
                for name, value in zip(columns, values, strict=True):
                    columns[name].append(value)
    return dict(columns)
