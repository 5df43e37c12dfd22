"""Prognostic scores for clear cell renal cell carcinoma: pure, table-driven, with a trace.

>>> from crpnet_bench.scores import SCORES, ClinicalInputs
>>> result = SCORES["ssign"].function(ClinicalInputs("T3a", "N0", "M0", 4, 3.0, necrosis=True))
>>> result.value, result.group
(7, '7-9')
"""

from crpnet_bench.scores.catalogue import SCORES, get_score, published_survival
from crpnet_bench.scores.components import ClinicalInputs, parse_component
from crpnet_bench.scores.definition import Score
from crpnet_bench.scores.result import (
    DEFAULT_OPTIONS,
    Component,
    PublishedSurvival,
    ScoreOptions,
    ScoreResult,
)

__all__ = [
    "DEFAULT_OPTIONS",
    "SCORES",
    "ClinicalInputs",
    "Component",
    "PublishedSurvival",
    "Score",
    "ScoreOptions",
    "ScoreResult",
    "get_score",
    "parse_component",
    "published_survival",
]
