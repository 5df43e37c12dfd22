"""UISS: the UCLA integrated staging system, as published in 2002 and in 2001."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from crpnet_bench.scores.components import ClinicalInputs
from crpnet_bench.scores.definition import (
    Definition,
    Factor,
    Levels,
    Score,
    SurvivalTable,
    evaluate,
)
from crpnet_bench.scores.result import DEFAULT_OPTIONS, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import (
    ADRENAL_INVASION,
    MADE_FOR_FUHRMAN,
    PELVICALYCEAL_INVASION,
    SystemNote,
)

__all__ = ["UISS_2001", "UISS_2002", "uiss_2001", "uiss_2002"]

_CITATION_2002 = "Zisman A et al. J Clin Oncol 2002;20:4559-4566"
_CITATION_2001 = "Zisman A et al. J Clin Oncol 2001;19:1649-1657"

# pT1a and pT1b, and ECOG 1 to 4, do not differ here.
_FACTORS = (
    Factor("pT", lambda pt: pt[:2], dict.fromkeys(("T1", "T2", "T3", "T4"), 0)),
    Factor("pN", str, dict.fromkeys(("N0", "N1", "N2"), 0)),
    Factor("M", str, dict.fromkeys(("M0", "M1"), 0)),
    Factor("grade", lambda grade: f"G{grade}", dict.fromkeys(("G1", "G2", "G3", "G4"), 0)),
    Factor("ecog", lambda ecog: "0" if ecog == 0 else ">=1", dict.fromkeys(("0", ">=1"), 0)),
)


@dataclass(frozen=True, slots=True)
class _Box:
    """One box of a published decision table; an empty field takes any level."""

    disease: str
    group: str
    stages: str = ""
    grades: str = ""
    ecog: str = ""

    def holds(self, disease: str, stage: str, grade: str, ecog: str) -> bool:
        return (
            self.disease == disease
            and (not self.stages or stage in self.stages.split())
            and (not self.grades or grade in self.grades.split())
            and self.ecog in {"", ecog}
        )


_BOXES_2002 = (
    _Box("N0M0", "localized-low", "T1", "G1 G2", "0"),
    _Box("N0M0", "localized-intermediate", "T1", "G1 G2", ">=1"),
    _Box("N0M0", "localized-intermediate", "T1", "G3 G4"),
    _Box("N0M0", "localized-intermediate", "T2"),
    _Box("N0M0", "localized-intermediate", "T3", "G1"),
    _Box("N0M0", "localized-intermediate", "T3", "G2 G3 G4", "0"),
    _Box("N0M0", "localized-high", "T3", "G2 G3 G4", ">=1"),
    _Box("N0M0", "localized-high", "T4"),
    _Box("N1M0", "metastatic-low"),
    _Box("N2M0 or M1", "metastatic-low", grades="G1 G2", ecog="0"),
    _Box("N2M0 or M1", "metastatic-intermediate", grades="G1 G2", ecog=">=1"),
    _Box("N2M0 or M1", "metastatic-intermediate", grades="G3"),
    _Box("N2M0 or M1", "metastatic-intermediate", grades="G4", ecog="0"),
    _Box("N2M0 or M1", "metastatic-high", grades="G4", ecog=">=1"),
)
_GROUPS_2002 = tuple(dict.fromkeys(box.group for box in _BOXES_2002))

_BOXES_2001 = (
    _Box("stage I", "I", grades="G1 G2", ecog="0"),
    _Box("stage I", "II", grades="G1 G2", ecog=">=1"),
    _Box("stage I", "II", grades="G3 G4"),
    _Box("stage II", "II"),
    _Box("stage III", "II", ecog="0"),
    _Box("stage III", "II", grades="G1", ecog=">=1"),
    _Box("stage III", "III", grades="G2 G3 G4", ecog=">=1"),
    _Box("stage IV", "III", grades="G1 G2", ecog="0"),
    _Box("stage IV", "IV", grades="G3 G4", ecog="0"),
    _Box("stage IV", "IV", grades="G1 G2 G3", ecog=">=1"),
    _Box("stage IV", "V", grades="G4", ecog=">=1"),
)
_GROUPS_2001 = ("I", "II", "III", "IV", "V")


def _disease_2002(_stage: str, nodes: str, metastasis: str) -> str:
    if metastasis == "M1" or nodes == "N2":
        return "N2M0 or M1"
    return f"{nodes}M0"


def _stage_group_1997(stage: str, nodes: str, metastasis: str) -> str:
    """Stage grouping of the 1997 TNM."""
    if metastasis == "M1" or nodes == "N2" or stage == "T4":
        return "stage IV"
    if nodes == "N1" or stage == "T3":
        return "stage III"
    return "stage I" if stage == "T1" else "stage II"


def _rank_in(
    boxes: tuple[_Box, ...], groups: tuple[str, ...], disease_of: Callable[[str, str, str], str]
) -> Callable[[Levels], int]:
    def rank(levels: Levels) -> int:
        stage, nodes, metastasis, grade, ecog = levels
        disease = disease_of(stage, nodes, metastasis)
        (group,) = {box.group for box in boxes if box.holds(disease, stage, grade, ecog)}
        return groups.index(group)

    return rank


_NO_N2 = SystemNote(
    "pN2 does not exist since the 7th TNM edition: a pN1 there may be the pN2 of 1997, which "
    "the score ranks higher; the stage is used as given",
    frozenset({"7", "8"}),
    lambda inputs: inputs.pN in {"N1", "N+"} and inputs.M != "M1",
)
_NOTES = (_NO_N2, ADRENAL_INVASION, PELVICALYCEAL_INVASION, MADE_FOR_FUHRMAN)

_DEFINITION_2002 = Definition(
    name="uiss_2002",
    version="1",
    citation=_CITATION_2002,
    factors=_FACTORS,
    rank=_rank_in(_BOXES_2002, _GROUPS_2002, _disease_2002),
    groups=_GROUPS_2002,
    group_of=int,
    additive=False,
    value_of_group=lambda group: group.split("-")[1],
    notes=_NOTES,
)
_DEFINITION_2001 = Definition(
    name="uiss_2001",
    version="1 (unconfirmed)",
    citation=_CITATION_2001,
    factors=_FACTORS,
    rank=_rank_in(_BOXES_2001, _GROUPS_2001, _stage_group_1997),
    groups=_GROUPS_2001,
    group_of=int,
    additive=False,
    notes=_NOTES,
)
_UNCONFIRMED = "the layout of UISS 2001 is unconfirmed"


def uiss_2002(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """UISS risk group of 2002 (1997 TNM, Fuhrman grade, ECOG).

    The value is the bare word low, intermediate or high, which means 91 % in localized
    and 32 % in metastatic disease; the group says which, and `risk` is its place in the
    order localized-low < localized-intermediate < localized-high < metastatic-low <
    metastatic-intermediate < metastatic-high (0 to 5), the only thing to rank by.
    Bounds are groups.

    Args:
        inputs: uses pT, pN, M, grade, ecog.
        options: `assume_ecog_0` resolves a missing ECOG where it matters.

    >>> uiss_2002(ClinicalInputs("T3", "N0", "M0", 1, ecog=1)).group
    'localized-intermediate'
    >>> uiss_2002(ClinicalInputs("T1a", "N0", "M0", 2)).possible
    ('localized-low', 'localized-intermediate')
    """
    return _with_ecog_policy(_DEFINITION_2002, inputs, options)


def uiss_2001(inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS) -> ScoreResult:
    """UISS category I to V of 2001 (1997 TNM stage groups); its layout is **unconfirmed**.

    Args:
        inputs: uses pT, pN, M, grade, ecog.
        options: `assume_ecog_0` resolves a missing ECOG where it matters.

    >>> uiss_2001(ClinicalInputs("T3", "N0", "M0", 1, ecog=1)).group
    'II'
    """
    result = _with_ecog_policy(_DEFINITION_2001, inputs, options)
    return replace(result, warnings=(_UNCONFIRMED, *result.warnings))


def _with_ecog_policy(
    definition: Definition, inputs: ClinicalInputs, options: ScoreOptions
) -> ScoreResult:
    result = evaluate(definition, inputs, options)
    needed = not result.determined and inputs.ecog is None
    if not (options.assume_ecog_0 and needed):
        return result
    assumed = evaluate(definition, replace(inputs, ecog=0), options)
    trace = tuple(
        replace(line, value=None, note="missing: assumed 0") if line.input == "ecog" else line
        for line in assumed.trace
    )
    warnings = (*assumed.warnings, "ECOG is missing and was assumed to be 0")
    return replace(
        assumed,
        trace=trace,
        warnings=warnings,
        definition_version=f"{definition.version} (ECOG assumed 0)",
    )


UISS_2002 = Score(
    name="uiss_2002",
    title="UISS 2002",
    function=uiss_2002,
    range=(_GROUPS_2002[0], _GROUPS_2002[-1]),
    groups=_GROUPS_2002,
    citation=_CITATION_2002,
    definition_version=_DEFINITION_2002.version,
    survival=(
        SurvivalTable(
            endpoint="DSS",
            by="group",
            percent={
                "localized-low": {5: 91.1},
                "localized-intermediate": {5: 80.4},
                "localized-high": {5: 54.7},
                "metastatic-low": {5: 32.0},
                "metastatic-intermediate": {5: 19.5},
                "metastatic-high": {5: 0.0},
            },
            source=_CITATION_2002,
        ),
    ),
)
UISS_2001 = Score(
    name="uiss_2001",
    title="UISS 2001 (unconfirmed)",
    function=uiss_2001,
    range=(_GROUPS_2001[0], _GROUPS_2001[-1]),
    groups=_GROUPS_2001,
    citation=_CITATION_2001,
    definition_version=_DEFINITION_2001.version,
    confirmed=False,
)
