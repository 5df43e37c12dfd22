"""Every table-driven score of every patient, as rows for the registry."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from crpnet_bench.errors import InputError, Problem, did_you_mean
from crpnet_bench.schema import CohortManifest
from crpnet_bench.scores import DEFAULT_OPTIONS, SCORES, ClinicalInputs, ScoreOptions, ScoreResult

__all__ = ["compute_scores", "definitions", "score_options"]

_INPUTS = tuple(field.name for field in dataclasses.fields(ClinicalInputs))
# Setting of a score in `[scores.<name>]` -> field of `ScoreOptions`.
_SETTINGS: Mapping[tuple[str, str], str] = {
    ("ssign", "pt4_points"): "ssign_pt4_points",
    ("uiss_2002", "assume_ecog_0"): "assume_ecog_0",
    ("uiss_2001", "assume_ecog_0"): "assume_ecog_0",
    ("leibovich_2003", "outside_scope"): "outside_scope",
}


def score_options(manifest: CohortManifest, file: str) -> tuple[ScoreOptions, list[Problem]]:
    """The options that a manifest asks for, and what is wrong with them."""
    values: dict[str, Any] = {
        "tnm_edition": str(manifest.cohort.tnm_edition),
        "grading": manifest.cohort.grading,
    }
    problems = []
    for score, settings in manifest.scores.items():
        for key, value in settings.items():
            target = _SETTINGS.get((score, key))
            if target is None:
                known = [".".join(pair) for pair in _SETTINGS]
                hint = did_you_mean(f"{score}.{key}", known)
                problems.append(Problem(file, f"a known setting; {hint}", f"scores.{score}.{key}"))
            elif type(value) is not type(getattr(DEFAULT_OPTIONS, target)):
                kind = type(getattr(DEFAULT_OPTIONS, target)).__name__
                problems.append(
                    Problem(file, f"a value of type {kind}", f"scores.{score}.{key}", value=value)
                )
            else:
                values[target] = value
    try:
        return ScoreOptions(**values), problems
    except InputError as error:
        return ScoreOptions(), [*problems, Problem(file, str(error), "cohort")]


def definitions() -> dict[str, str]:
    """Name -> version of every definition; part of a cohort's fingerprint."""
    return {name: score.definition_version for name, score in SCORES.items()}


def compute_scores(
    patients: Iterable[Mapping[str, Any]], options: ScoreOptions
) -> list[dict[str, Any]]:
    """One record a patient and score.

    Args:
        patients: the fields of `schema.Patient`; absent ones are missing inputs.
        options: edition, grading and parameters, recorded with each result.
    """
    records = []
    for patient in patients:
        inputs = ClinicalInputs(**{name: patient.get(name) for name in _INPUTS})
        records += [
            _record(str(patient["patient_id"]), score.function(inputs, options))
            for score in SCORES.values()
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
