"""Leibovich 2003: metastasis after nephrectomy for localized clear cell RCC (M0 only)."""

from __future__ import annotations

from dataclasses import replace

from crpnet_bench.scores.components import ClinicalInputs
from crpnet_bench.scores.definition import (
    Definition,
    Factor,
    Score,
    SurvivalTable,
    band,
    evaluate,
    node_status,
    sum_of_points,
    threshold,
    yes_no,
)
from crpnet_bench.scores.result import DEFAULT_OPTIONS, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import MADE_FOR_FUHRMAN, PELVICALYCEAL_INVASION, SystemNote

__all__ = ["LEIBOVICH_2003", "POINTS_PER_COEFFICIENT", "leibovich_2003"]

_CITATION = "Leibovich BC et al. Cancer 2003;97:1663-1671"
_GROUPS = ("low", "intermediate", "high")
NOT_APPLICABLE = "not applicable: M1"

_LATE_STAGE = "T3b-T4"
_FACTORS = (
    Factor(
        "pT",
        # T3b, T3c and T4 share a coefficient; the letters of T2 do not matter.
        lambda pt: {"T2": "T2", "T4": _LATE_STAGE}.get(
            pt[:2], _LATE_STAGE if pt in {"T3b", "T3c"} else pt
        ),
        {"T1a": 0, "T1b": 2, "T2": 3, "T3a": 4, _LATE_STAGE: 4},
    ),
    Factor("pN", node_status, {"N0": 0, "N+": 2}),
    Factor("tumor_size_cm", threshold(10.0, "<10 cm", ">=10 cm"), {"<10 cm": 0, ">=10 cm": 1}),
    Factor("grade", lambda grade: f"G{max(grade, 2)}", {"G2": 0, "G3": 1, "G4": 3}),
    Factor("necrosis", yes_no, {"no": 0, "yes": 1}),
)
# Cox coefficients behind the points: points = round(coefficient * 4 / 2.014).
_COEFFICIENTS = {
    "pT": {"T1a": 0.0, "T1b": 1.243, "T2": 1.648, "T3a": 1.896, _LATE_STAGE: 2.014},
    "pN": {"N0": 0.0, "N+": 0.924},
    "tumor_size_cm": {"<10 cm": 0.0, ">=10 cm": 0.393},
    "grade": {"G2": 0.0, "G3": 0.640, "G4": 1.313},
    "necrosis": {"no": 0.0, "yes": 0.678},
}
POINTS_PER_COEFFICIENT = 4 / 2.014

_NO_LETTER = SystemNote(
    "pT1 has no letter in the 5th TNM edition; the score needs pT1a or pT1b",
    frozenset({"5"}),
    lambda inputs: inputs.pT == "T1",
)
_RENAL_VEIN = SystemNote(
    "renal vein invasion is T3a since the 7th TNM edition and was T3b, contiguous adrenal "
    "invasion the reverse (T4, was T3a): the linear predictor may differ, the points do not",
    frozenset({"7", "8"}),
    lambda inputs: inputs.pT in {"T3", "T3a", "T4"},
)

_DEFINITION = Definition(
    name="leibovich_2003",
    version="1",
    citation=_CITATION,
    factors=_FACTORS,
    rank=sum_of_points(_FACTORS),
    groups=_GROUPS,
    group_of=band(2, 5),
    additive=True,
    notes=(_NO_LETTER, _RENAL_VEIN, PELVICALYCEAL_INVASION, MADE_FOR_FUHRMAN),
)


def leibovich_2003(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """Leibovich score of 2003, 0 to 11 (2002 TNM), with its Cox linear predictor.

    pT1a 0, pT1b 2, pT2 3, pT3a-pT4 4; pN1/pN2 2; size >= 10 cm 1; grade 3 1, grade 4 3;
    necrosis 1. Low 0-2, intermediate 3-5, high from 6. The score was made for M0: M1 is
    "not applicable: M1" unless `options.outside_scope` asks for it all the same. M is
    not a component, so a missing M leaves the points as they are, with a warning.

    Args:
        inputs: uses pT, pN, tumor_size_cm, grade, necrosis; M for its scope.
        options: `outside_scope`, and what is recorded.

    >>> leibovich_2003(ClinicalInputs("T1b", "N0", "M0", 4, 6.0, necrosis=True)).value
    6
    >>> leibovich_2003(ClinicalInputs("T1b", "N0", "M1", 4, 6.0, necrosis=True)).reason
    'not applicable: M1'
    """
    result = evaluate(_DEFINITION, inputs, options)
    result = replace(
        result,
        linear_predictor=_linear_predictor(inputs),
        warnings=(*result.warnings, *_scope_warnings(inputs)),
        in_scope=inputs.M != "M1",
    )
    if result.in_scope or options.outside_scope:
        return result
    return replace(
        result,
        value=None,
        group=None,
        minimum=None,
        maximum=None,
        min_group=None,
        max_group=None,
        possible=(),
        risk=None,
        reason=NOT_APPLICABLE,
        linear_predictor=None,
        warnings=(),
    )


def _scope_warnings(inputs: ClinicalInputs) -> tuple[str, ...]:
    if inputs.M is None:
        return ("M is missing; the score holds for M0 only",)
    if inputs.M == "M1":
        return ("computed outside its scope: the score was made for M0",)
    return ()


def _linear_predictor(inputs: ClinicalInputs) -> float | None:
    """Sum of the coefficients; None where a component leaves more than one of them."""
    levels = [factor.possible(getattr(inputs, factor.name)) for factor in _FACTORS]
    if any(len(possible) > 1 for possible in levels):
        return None
    pairs = zip(_FACTORS, levels, strict=True)
    total = sum(_COEFFICIENTS[factor.name][level] for factor, (level,) in pairs)
    return round(total, 3)  # the coefficients have three decimals


_SOURCE = _CITATION
_BY_POINTS = SurvivalTable(
    endpoint="MFS",
    by="value",
    percent={
        "0": {1: 99.7, 3: 98.7, 5: 98.7, 7: 97.3, 10: 96.1},
        "1": {1: 99.7, 3: 98.7, 5: 98.7, 7: 97.3, 10: 96.1},
        "2": {1: 99.3, 3: 97.1, 5: 95.3, 7: 93.2, 10: 88.5},
        "3": {1: 96.1, 3: 87.8, 5: 84.2, 7: 81.9, 10: 78.6},
        "4": {1: 90.2, 3: 80.3, 5: 75.9, 7: 69.9, 10: 63.2},
        "5": {1: 86.1, 3: 72.7, 5: 63.0, 7: 57.8, 10: 54.8},
        "6": {1: 66.9, 3: 44.6, 5: 40.2, 7: 36.7, 10: 29.8},
        "7": {1: 59.3, 3: 40.1, 5: 31.6, 7: 24.7, 10: 24.7},
    },
    source=_SOURCE,
)
_BY_GROUP = SurvivalTable(
    endpoint="MFS",
    by="group",
    percent={"low": {5: 97.1}, "intermediate": {5: 73.8}, "high": {5: 31.2}},
    source=_SOURCE,
)

LEIBOVICH_2003 = Score(
    name="leibovich_2003",
    title="Leibovich 2003",
    function=leibovich_2003,
    range=(0, 11),
    groups=_GROUPS,
    citation=_CITATION,
    definition_version=_DEFINITION.version,
    survival=(_BY_POINTS, _BY_GROUP),
)
