"""SSIGN: stage, size, grade and necrosis (Frank 2002), for clear cell RCC of any stage."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

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
from crpnet_bench.scores.systems import (
    ADRENAL_INVASION,
    MADE_FOR_FUHRMAN,
    PELVICALYCEAL_INVASION,
)

__all__ = ["SSIGN", "ssign"]

_CITATION = "Frank I et al. J Urol 2002;168:2395-2400"
_GROUPS = ("0-2", "3-4", "5-6", "7-9", ">=10")

# Highest possible sum with pT4 at 0: 2 + 2 + 4 + 2 + 3 + 2 = 15, the published range.
_FACTORS = (
    Factor("pN", node_status, {"N0": 0, "N+": 2}),
    Factor("M", str, {"M0": 0, "M1": 4}),
    Factor("tumor_size_cm", threshold(5.0, "<5 cm", ">=5 cm"), {"<5 cm": 0, ">=5 cm": 2}),
    Factor("grade", lambda grade: f"G{max(grade, 2)}", {"G2": 0, "G3": 1, "G4": 3}),
    Factor("necrosis", yes_no, {"no": 0, "yes": 2}),
)


@lru_cache(maxsize=16)
def _definition(pt4_points: int) -> Definition:
    stage = Factor("pT", lambda pt: pt[:2], {"T1": 0, "T2": 1, "T3": 2, "T4": pt4_points})
    factors = (stage, *_FACTORS)
    return Definition(
        name="ssign",
        version=f"1 (pT4={pt4_points})",
        citation=_CITATION,
        factors=factors,
        rank=sum_of_points(factors),
        groups=_GROUPS,
        group_of=band(2, 4, 6, 9),
        additive=True,
        notes=(ADRENAL_INVASION, PELVICALYCEAL_INVASION, MADE_FOR_FUHRMAN),
    )


def ssign(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """SSIGN score, 0 to 15 (Frank 2002, 1997 TNM).

    pT1 0, pT2 1, pT3 2; pN1/pN2 2; M1 4; size >= 5 cm 2; grade 3 1, grade 4 3; necrosis 2.
    The points of pT4 are *unconfirmed*: `options.ssign_pt4_points` is 0 by default, since
    the published range leaves room for 2 at most; several public calculators use 4
    (range 0-17). Every result with pT4 says which was used. At 0 the score is not
    monotone in pT.

    Args:
        inputs: uses pT, pN, M, tumor_size_cm, grade, necrosis.
        options: `ssign_pt4_points`, and what is recorded.

    >>> ssign(ClinicalInputs("T3a", "N0", "M1", 3, 7.0, necrosis=True)).value
    11
    >>> ssign(ClinicalInputs("T1", "NX", "M0", 2, 4.0)).reason
    'not determined: necrosis is missing'
    """
    result = evaluate(_definition(options.ssign_pt4_points), inputs, options)
    if inputs.pT != "T4":
        return result
    warning = f"pT4 counted {options.ssign_pt4_points} points; sources disagree (0 or 4)"
    return replace(result, warnings=(*result.warnings, warning))


_SURVIVAL = SurvivalTable(
    endpoint="DSS",
    by="group",
    percent={
        "0-2": {1: 99.7, 3: 98.7, 5: 97.3, 7: 96.0, 10: 93.6},
        "3-4": {1: 98.1, 3: 93.4, 5: 89.8, 7: 84.0, 10: 77.9},
        "5-6": {1: 92.9, 3: 83.8, 5: 74.1, 7: 65.0, 10: 57.3},
        "7-9": {1: 76.5, 3: 46.9, 5: 38.6, 7: 29.0, 10: 25.9},
        ">=10": {1: 43.3, 3: 21.9, 5: 19.2, 7: 19.2, 10: 19.2},
    },
    source="probably Zigeuner R et al. Eur Urol 2010;57:102-109 (attribution unconfirmed)",
    confirmed=False,
)

SSIGN = Score(
    name="ssign",
    title="SSIGN",
    function=ssign,
    range=(0, 15),
    groups=_GROUPS,
    citation=_CITATION,
    definition_version=_definition(0).version,
    survival=(_SURVIVAL,),
)
