"""KEYNOTE-564: who was offered adjuvant pembrolizumab, the decision that scores serve."""

from __future__ import annotations

from crpnet_bench.scores.components import ClinicalInputs
from crpnet_bench.scores.definition import (
    Definition,
    Factor,
    Levels,
    Score,
    evaluate,
    node_status,
    yes_no,
)
from crpnet_bench.scores.result import DEFAULT_OPTIONS, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import PELVICALYCEAL_INVASION, SystemNote

__all__ = ["KEYNOTE564", "keynote564"]

_CITATION = "Choueiri TK et al. N Engl J Med 2021;385:683-694 (risk categories of the trial)"
_GROUPS = ("not eligible", "intermediate-high", "high", "M1 NED")
_NOT_ELIGIBLE, _INTERMEDIATE_HIGH, _HIGH, _M1_NED = range(len(_GROUPS))

_FACTORS = (
    Factor("pT", lambda pt: pt[:2], dict.fromkeys(("T1", "T2", "T3", "T4"), 0)),
    Factor("pN", node_status, dict.fromkeys(("N0", "N+"), 0)),
    Factor("M", str, dict.fromkeys(("M0", "M1"), 0)),
    Factor("grade", lambda grade: "G4" if grade == 4 else "G1-3", dict.fromkeys(("G1-3", "G4"), 0)),
    Factor("sarcomatoid", yes_no, dict.fromkeys(("no", "yes"), 0)),
    Factor("m1_ned", yes_no, dict.fromkeys(("no", "yes"), 0)),
)
# N0M0 by stage and by whether the tumour is grade 4 or sarcomatoid.
_LOCALIZED = {
    ("T1", False): _NOT_ELIGIBLE,
    ("T1", True): _NOT_ELIGIBLE,
    ("T2", False): _NOT_ELIGIBLE,
    ("T2", True): _INTERMEDIATE_HIGH,
    ("T3", False): _INTERMEDIATE_HIGH,
    ("T3", True): _INTERMEDIATE_HIGH,
    ("T4", False): _HIGH,
    ("T4", True): _HIGH,
}
_ADRENAL_BEFORE_7 = SystemNote(
    "pT3a: contiguous adrenal invasion is T3a up to the 6th TNM edition and T4 (high risk) "
    "since the 7th; the stage is used as given",
    frozenset({"5", "6"}),
    lambda inputs: inputs.pT in {"T3", "T3a"},
)


def _category(levels: Levels) -> int:
    stage, nodes, metastasis, grade, sarcomatoid, resected = levels
    if metastasis == "M1":
        return _M1_NED if resected == "yes" else _NOT_ELIGIBLE
    if nodes == "N+":
        return _HIGH
    return _LOCALIZED[stage, grade == "G4" or sarcomatoid == "yes"]


_DEFINITION = Definition(
    name="keynote564",
    version="1",
    citation=_CITATION,
    factors=_FACTORS,
    rank=_category,
    groups=_GROUPS,
    group_of=int,
    additive=False,
    notes=(_ADRENAL_BEFORE_7, PELVICALYCEAL_INVASION),
)


def keynote564(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """Risk category of the KEYNOTE-564 trial.

    Intermediate-high: N0M0 with pT2 and grade 4 or sarcomatoid change, or with pT3. High:
    N0M0 with pT4, or any pT with N+ M0. M1 NED: metastases resected within a year. All
    others were not eligible. M1 is M1 NED only where `m1_ned` says so; where nothing is
    said, both "not eligible" and "M1 NED" remain possible.

    Args:
        inputs: uses pT, pN, M, grade, sarcomatoid, m1_ned.
        options: what is recorded.

    >>> keynote564(ClinicalInputs("T2", "N0", "M0", 4)).value
    'intermediate-high'
    """
    return evaluate(_DEFINITION, inputs, options)


KEYNOTE564 = Score(
    name="keynote564",
    title="KEYNOTE-564 risk",
    function=keynote564,
    range=(_GROUPS[0], _GROUPS[-1]),
    groups=_GROUPS,
    citation=_CITATION,
    definition_version=_DEFINITION.version,
)
