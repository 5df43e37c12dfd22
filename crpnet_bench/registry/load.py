"""A cohort folder to validated rows: all of it or a list of everything that is wrong.

Nothing here writes, and nothing opens a slide: `benchmark.onboarding` hashes contents and
reads headers, `registry.store` writes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.errors import Problem, ValidationError
from crpnet_bench.registry.frames import frame_of
from crpnet_bench.registry.manifest import find_manifest, parse_manifest
from crpnet_bench.registry.outcomes import endpoints_of, read_outcomes
from crpnet_bench.registry.patients import Exclusion, PatientRows, apply_rules, read_patients
from crpnet_bench.registry.score_rows import ScorePlan, compute_scores, plan_scores
from crpnet_bench.registry.slide_list import read_slides
from crpnet_bench.registry.split_files import read_all_splits
from crpnet_bench.registry.suspicions import Evidence, suspicions
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.schema import CohortManifest

__all__ = ["PENDING", "TABLE_COLUMNS", "LoadedCohort", "load_cohort", "pending_id"]

PENDING = "pending-"
_LOADER_VERSION = 1  # part of the fingerprint: another reading of the same files is a new version

_PATIENT_COLUMNS: Mapping[str, str] = {
    "patient_id": "string",
    "tumor_no": "string",
    "age": "Float64",
    "sex": "string",
    "pT": "string",
    "pN": "string",
    "M": "string",
    "m1_ned": "boolean",
    "grade": "Int64",
    "tumor_size_cm": "Float64",
    "necrosis": "boolean",
    "sarcomatoid": "boolean",
    "rhabdoid": "boolean",
    "ecog": "Int64",
    "symptoms": "string",
    "site": "string",
    "extra": "string",  # JSON
    "excluded": "boolean",
    "reason": "string",
}
_OUTCOME_COLUMNS: Mapping[str, str] = {
    "patient_id": "string",
    "endpoint": "string",
    "primary": "boolean",
    "time": "Float64",  # months
    "status": "Int64",  # 0 censored, 1 event, 2 competing death
    "origin": "string",
    "time_original": "Float64",
    "time_unit": "string",
    "components": "string",  # JSON
}
_SLIDE_COLUMNS: Mapping[str, str] = {
    "slide_id": "string",
    "patient_id": "string",
    "path": "string",
    "mpp": "Float64",
    "specimen": "string",
    "preparation": "string",
    "tumor_no": "string",
    "size": "Int64",
    "mtime_ns": "Int64",
    "excluded": "boolean",
    "reason": "string",
}
_SCORE_COLUMNS: Mapping[str, str] = {
    "patient_id": "string",
    "score": "string",
    "value": "string",
    "group": "string",
    "min": "string",
    "max": "string",
    "reason": "string",
    "risk": "Float64",
    "linear_predictor": "Float64",
    "in_scope": "boolean",
    "trace": "string",  # JSON
    "warnings": "string",  # JSON
    "definition_version": "string",
}
_EXCLUSION_COLUMNS: Mapping[str, str] = {
    "level": "string",
    "patient_id": "string",
    "item": "string",
    "reason": "string",
}
_SPLIT_COLUMNS: Mapping[str, str] = {
    "split": "string",
    "sha256": "string",
    "patient_id": "string",
    "repeat": "Int64",
    "fold": "Int64",
    "role": "string",
}
TABLE_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "patients": _PATIENT_COLUMNS,
    "outcomes": _OUTCOME_COLUMNS,
    "slides": _SLIDE_COLUMNS,
    "scores": _SCORE_COLUMNS,
    "exclusions": _EXCLUSION_COLUMNS,
    "splits": _SPLIT_COLUMNS,
}


@dataclass(frozen=True)
class LoadedCohort:
    """A whole cohort, checked, ready to be written in one transaction.

    Attributes:
        manifest: `cohort.toml`.
        folder: where it lies; slide paths are relative to it.
        fingerprint: sha256 of everything that decides the rows.
        patients: one row a patient, excluded ones with their reason; `extra` is JSON.
        outcomes: one row a patient and endpoint; `time` in months.
        slides: one row a file, excluded ones with their reason. `slide_id` begins with
            `pending-` until the content was hashed.
        scores: one row a patient and score.
        exclusions: tumours, patients and slides that leave, each with its reason.
        splits: rows of all split files.
        warnings: what the user should look at; stored with the cohort.
    """

    manifest: CohortManifest
    folder: Path
    fingerprint: str
    patients: pd.DataFrame
    outcomes: pd.DataFrame
    slides: pd.DataFrame
    scores: pd.DataFrame
    exclusions: pd.DataFrame
    splits: pd.DataFrame
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        """The cohort's name."""
        return self.manifest.cohort.name

    def with_warnings(self, more: Iterable[str]) -> LoadedCohort:
        """The same cohort with further warnings."""
        return replace(self, warnings=(*self.warnings, *more))


def load_cohort(path: Path) -> LoadedCohort:
    """Read and check a cohort folder.

    Args:
        path: the folder, or its `cohort.toml`.

    Raises:
        ValidationError: lists everything that is wrong, with file, row, column and value.
    """
    manifest_path = find_manifest(path)
    name = manifest_path.name
    try:
        content = manifest_path.read_bytes()
    except OSError as error:
        wanted = "a cohort folder with cohort.toml (`crpnet-bench cohort init` writes one)"
        found = error.strerror or type(error).__name__
        raise ValidationError(
            [Problem(str(manifest_path), wanted, value=found)], "cohort"
        ) from error
    manifest, problems = parse_manifest(content, name)
    if manifest is None:
        raise ValidationError(problems, "cohort")
    return _load(manifest, content, manifest_path)


def _load(manifest: CohortManifest, content: bytes, manifest_path: Path) -> LoadedCohort:
    folder, name = manifest_path.parent.absolute(), manifest_path.name
    plan, problems = plan_scores(manifest, folder, name)
    table, found = _read_clinical(folder, manifest, name)
    problems += found.problems
    known = [row["patient_id"] for row in found.rows]
    excluded, outcomes = ({}, []) if problems else _follow_up(found, manifest, name, problems)
    slides, slide_problems, slide_warnings = read_slides(folder, manifest.slides, known)
    splits, split_problems = read_all_splits(folder, known)
    if not found.rows and problems:  # without patients every slide and split row is unknown
        slide_problems, split_problems = [], []
    problems += [*slide_problems, *split_problems]
    if problems or table is None:
        raise ValidationError(dict.fromkeys(problems), f"cohort {manifest.cohort.name}")
    exclusions = [*found.exclusions, *_patients_out(excluded), *_slides_out(slides)]
    scores = compute_scores(found.rows, plan)
    patients = [_patient_record(row, excluded) for row in found.rows]
    return LoadedCohort(
        manifest=manifest,
        folder=folder,
        fingerprint=_fingerprint(folder, manifest, content, slides, plan),
        patients=frame_of(patients, _PATIENT_COLUMNS),
        outcomes=frame_of(outcomes, _OUTCOME_COLUMNS),
        slides=frame_of([_slide_record(row) for row in slides], _SLIDE_COLUMNS),
        scores=frame_of(scores, _SCORE_COLUMNS),
        exclusions=frame_of([asdict(gone) for gone in exclusions], _EXCLUSION_COLUMNS),
        splits=splits,
        warnings=(
            *found.warnings,
            *slide_warnings,
            *_all_split_remarks(splits, manifest, known, excluded),
            *suspicions(Evidence(table, manifest, found.rows, outcomes, excluded, slides, scores)),
        ),
    )


def pending_id(path: str) -> str:
    """What stands for a slide's identity until its content was hashed."""
    return PENDING + hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:32]


def _read_clinical(
    folder: Path, manifest: CohortManifest, name: str
) -> tuple[TextTable | None, PatientRows]:
    clinical = manifest.clinical
    table, problems = read_text_table(
        folder / clinical.file,
        name=clinical.file,
        skip_rows=clinical.skip_rows,
        encoding=clinical.encoding,
        sheet=clinical.sheet,
    )
    if table is None:
        return None, PatientRows(problems=problems)
    found = read_patients(table, manifest, name)
    found.problems[:0] = problems
    return table, found


def _follow_up(
    found: PatientRows, manifest: CohortManifest, name: str, problems: list[Problem]
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Exclusions, then outcomes; new problems are added to the list."""
    before = len(found.problems)
    units = {columns.time: columns.time_unit for columns in endpoints_of(manifest)}
    excluded = apply_rules(found, manifest.exclude, units, name)
    outcomes = read_outcomes(found, manifest, excluded, manifest.clinical.file)
    new = found.problems[before:]
    if not new and len(excluded) == len(found.rows):
        new.append(Problem(name, "at least one patient who is not excluded", "exclude"))
    problems += new
    return excluded, outcomes


def _all_split_remarks(
    splits: pd.DataFrame,
    manifest: CohortManifest,
    known: Sequence[str],
    excluded: Mapping[str, str],
) -> list[str]:
    default = manifest.cohort.default_split
    remarks = []
    if default is not None and default not in set(splits["split"]):
        remarks.append(
            f"default_split {default!r} has no file in splits/ yet: `crpnet-bench split create`"
        )
    for name, split in splits.groupby("split"):
        remarks += _split_remarks(str(name), split, known, excluded)
    return remarks


def _split_remarks(
    name: str, split: pd.DataFrame, known: Sequence[str], excluded: Mapping[str, str]
) -> list[str]:
    named = set(split["patient_id"])
    gone = len(named & set(excluded))
    left_out = len(set(known) - set(excluded) - named)
    remarks = []
    if gone:
        remarks.append(
            f"split {name}: {gone} of its patients are excluded, their rows are not used"
        )
    if left_out:
        remarks.append(f"split {name}: {left_out} patients of the cohort are in no fold")
    return remarks


def _patients_out(excluded: Mapping[str, str]) -> list[Exclusion]:
    return [Exclusion("patient", who, who, reason) for who, reason in excluded.items()]


def _slides_out(slides: Sequence[Mapping[str, Any]]) -> list[Exclusion]:
    return [
        Exclusion("slide", row["patient_id"], row["path"], row["reason"])
        for row in slides
        if row["excluded"]
    ]


def _patient_record(row: Mapping[str, Any], excluded: Mapping[str, str]) -> dict[str, Any]:
    reason = excluded.get(row["patient_id"])
    extra = json.dumps(row["extra"], ensure_ascii=False)
    return {**row, "extra": extra, "excluded": reason is not None, "reason": reason}


def _slide_record(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "slide_id": pending_id(row["path"])}


def _fingerprint(
    folder: Path,
    manifest: CohortManifest,
    content: bytes,
    slides: Sequence[Mapping[str, Any]],
    plan: ScorePlan,
) -> str:
    digest = hashlib.sha256()
    files = [manifest.clinical.file]
    if manifest.slides is not None and manifest.slides.file:
        files.append(manifest.slides.file)
    parts = [content, *((folder / file).read_bytes() for file in files)]
    found = "\n".join(sorted(f"{row['patient_id']}\t{row['path']}" for row in slides))
    meaning = {"loader": _LOADER_VERSION, "scores": plan.versions()}
    for part in (*parts, found.encode(), json.dumps(meaning, sort_keys=True).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
