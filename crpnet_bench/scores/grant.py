"""GRANT: grade, age, nodes and tumour (Buti 2019), for overall survival."""

from __future__ import annotations

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
)
from crpnet_bench.scores.result import DEFAULT_OPTIONS, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import MADE_FOR_FUHRMAN, SystemNote

__all__ = ["GRANT", "grant"]

_CITATION = "Buti S et al. Sci Rep 2019;9:13218"
_GROUPS = ("favourable", "unfavourable")

_FACTORS = (
    Factor("grade", lambda grade: "G3-4" if grade >= 3 else "G1-2", {"G1-2": 0, "G3-4": 1}),
    Factor("age", lambda age: ">60" if age > 60 else "<=60", {"<=60": 0, ">60": 1}),
    Factor("pN", node_status, {"N0": 0, "N+": 1}),
    Factor(
        "pT",
        lambda pt: "T3b-T4" if pt in {"T3b", "T3c", "T4"} else "T1-T3a",
        {"T1-T3a": 0, "T3b-T4": 1},
    ),
)
_T3B_BY_EDITION = SystemNote(
    "pT3b or higher counts: renal vein invasion alone is T3b up to the 6th TNM edition and "
    "T3a since the 7th, contiguous adrenal invasion T3a before and T4 since; the stage is "
    "used as given",
    frozenset({"5", "6", "7", "8"}),
    lambda inputs: inputs.pT in {"T3", "T3a", "T3b", "T4"},
)

_DEFINITION = Definition(
    name="grant",
    version="1",
    citation=_CITATION,
    factors=_FACTORS,
    rank=sum_of_points(_FACTORS),
    groups=_GROUPS,
    group_of=band(1),
    additive=True,
    notes=(_T3B_BY_EDITION, MADE_FOR_FUHRMAN),
)


def grant(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """GRANT score, 0 to 4: one point each for age > 60, grade 3-4, pN+, pT3b or higher.

    0-1 is favourable, 2-4 unfavourable. Age is compared as given: 60 scores 0, 60.5
    scores 1.

    Args:
        inputs: uses age, grade, pN, pT.
        options: what is recorded.

    >>> grant(ClinicalInputs("T3a", "N0", grade=3, age=61)).value
    2
    """
    return evaluate(_DEFINITION, inputs, options)


GRANT = Score(
    name="grant",
    title="GRANT",
    function=grant,
    range=(0, 4),
    groups=_GROUPS,
    citation=_CITATION,
    definition_version=_DEFINITION.version,
    survival=(
        SurvivalTable(
            endpoint="OS",
            by="value",
            percent={"0": {5: 94}, "1": {5: 86}, "2": {5: 76}, "3": {5: 46}, "4": {5: 16}},
            source=_CITATION,
        ),
    ),
)
