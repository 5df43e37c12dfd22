"""Every table-driven score of every patient, as rows for the registry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from crpnet_bench.errors import InputError, Problem, ValidationError, did_you_mean
from crpnet_bench.schema import CellValue, CohortManifest
from crpnet_bench.scores import (
    DEFAULT_OPTIONS,
    SCORES,
    ClinicalInputs,
    Score,
    ScoreOptions,
    ScoreResult,
)
from crpnet_bench.scores.karakiewicz import karakiewicz_score, load_karakiewicz_table

__all__ = ["ScorePlan", "compute_scores", "plan_scores"]

_POINT_TABLE = ("karakiewicz", "table")

_INPUTS = tuple(field.name for field in dataclasses.fields(ClinicalInputs))
# Setting of a score in `[scores.<name>]` -> field of `ScoreOptions`.
_SETTINGS: Mapping[tuple[str, str], str] = {
    ("ssign", "pt4_points"): "ssign_pt4_points",
    ("uiss_2002", "assume_ecog_0"): "assume_ecog_0",
    ("uiss_2001", "assume_ecog_0"): "assume_ecog_0",
    ("leibovich_2003", "outside_scope"): "outside_scope",
}


@dataclasses.dataclass(frozen=True, slots=True)
class ScorePlan:
    """Which scores a cohort gets, and how they are computed."""

    scores: tuple[Score, ...]
    options: ScoreOptions

    def versions(self) -> dict[str, str]:
        """Name -> version of every definition; part of a cohort's fingerprint."""
        return {score.name: score.definition_version for score in self.scores}


def plan_scores(
    manifest: CohortManifest, folder: Path, file: str
) -> tuple[ScorePlan, list[Problem]]:
    """The scores that a manifest asks for, and what is wrong with its `[scores]`.

    Args:
        manifest: its `[scores]` names parameters and the Karakiewicz point table.
        folder: of the manifest; paths are relative to it.
        file: the manifest's name in messages.
    """
    values: dict[str, Any] = {
        "tnm_edition": str(manifest.cohort.tnm_edition),
        "grading": manifest.cohort.grading,
    }
    scores = list(SCORES.values())
    problems: list[Problem] = []
    for name, settings in manifest.scores.items():
        for key, value in settings.items():
            place = f"scores.{name}.{key}"
            if (name, key) == _POINT_TABLE:
                scores += _from_point_table(folder / str(value), problems)
            else:
                _take_setting(
                    (name, key), value, values, Problem(file, "", place, value=value), problems
                )
    return ScorePlan(tuple(scores), ScoreOptions(**values)), problems


def _from_point_table(path: Path, problems: list[Problem]) -> list[Score]:
    try:
        return [karakiewicz_score(load_karakiewicz_table(path))]
    except ValidationError as error:
        problems += error.problems
    except InputError as error:
        problems.append(Problem(path.name, "a point table", value=str(error)))
    return []


def _take_setting(
    key: tuple[str, str],
    value: CellValue,
    values: dict[str, Any],
    place: Problem,
    problems: list[Problem],
) -> None:
    target = _SETTINGS.get(key)
    if target is None:
        known = [".".join(pair) for pair in (*_SETTINGS, _POINT_TABLE)]
        expected = f"a known setting; {did_you_mean('.'.join(key), known)}"
    else:
        kind = type(getattr(DEFAULT_OPTIONS, target))
        if type(value) is kind:
            values[target] = value
            return
        expected = f"a value of type {kind.__name__}"
    problems.append(dataclasses.replace(place, expected=expected))


def compute_scores(patients: Iterable[Mapping[str, Any]], plan: ScorePlan) -> list[dict[str, Any]]:
    """One record a patient and score.

    Args:
        patients: the fields of `schema.Patient`; absent ones are missing inputs.
        plan: scores, edition, grading and parameters; recorded with each result.
    """
    records = []
    for patient in patients:
        inputs = ClinicalInputs(**{name: patient.get(name) for name in _INPUTS})
        records += [
            _record(str(patient["patient_id"]), score.function(inputs, plan.options))
            for score in plan.scores
        ]
    return records


def _record(patient_id: str, result: ScoreResult) -> dict[str, Any]:
    return {
        "patient_id": patient_id,
        "score": result.score,
        "value": _text(result.value),
        "group": result.group,
        "min": _text(result.minimum),
        "max": _text(result.maximum),
        "reason": result.reason,
        "risk": result.risk,
        "linear_predictor": result.linear_predictor,
        "in_scope": result.in_scope,
        "trace": json.dumps(result.trace_records(), ensure_ascii=False),
        "warnings": json.dumps(list(result.warnings), ensure_ascii=False),
        "definition_version": result.definition_version,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
