"""What a score gives: its value or its exact bounds, and how it came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crpnet_bench.scores.components import ComponentValue
from crpnet_bench.scores.systems import UNKNOWN, parse_grading, parse_tnm_edition

__all__ = [
    "DEFAULT_OPTIONS",
    "Component",
    "PublishedSurvival",
    "ScoreOptions",
    "ScoreResult",
    "ScoreValue",
]

ScoreValue = int | float | str


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How scores are computed; recorded with each result.

    Args:
        tnm_edition: `5` to `8`, a year, or `unknown`; recorded, never converted.
        grading: `fuhrman`, `who_isup` or `unknown`; recorded, never converted.
        outside_scope: compute a score also for patients for whom it was not made
            (Leibovich 2003 in M1).
        ssign_pt4_points: points of pT4 in SSIGN; 0 is what the published range 0-15
            leaves room for, several public calculators use 4.
        assume_ecog_0: resolve a missing ECOG in UISS as 0; every result that needed it
            says so.

    Raises:
        InputError: an edition or grading system that does not exist.
    """

    tnm_edition: str = UNKNOWN
    grading: str = UNKNOWN
    outside_scope: bool = False
    ssign_pt4_points: int = 0
    assume_ecog_0: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "tnm_edition", parse_tnm_edition(self.tnm_edition))
        object.__setattr__(self, "grading", parse_grading(self.grading))


DEFAULT_OPTIONS = ScoreOptions()


@dataclass(frozen=True, slots=True)
class Component:
    """One line of a trace.

    Args:
        input: name of the component, a field of `ClinicalInputs`.
        value: what was given; None where it was missing.
        points: its points; None where several are possible, and in rule-based scores.
        note: the level or levels it stands for, and the points still possible.
    """

    input: str
    value: ComponentValue | None
    points: float | None
    note: str


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """One score of one patient.

    Args:
        score: name of the score.
        value: points, or the word of a rule-based score; None where not determined.
        group: risk group; known also where every value still possible falls into it.
        minimum, maximum: the extremes over every completion of what is missing, both
            attained, and equal to the value where it is determined. UISS and
            KEYNOTE-564 hold groups here. None where the score is not applicable.
        min_group, max_group: groups of the two bounds.
        possible: every value still possible, in order (groups for UISS, KEYNOTE-564).
        risk: the number to rank patients by (points; UISS: its six-level order 0-5).
        reason: why there is no value; None where there is one.
        trace: one line for each component.
        definition_version: version of the definition, with its parameters.
        citation: the publication of the score.
        tnm_edition, grading: systems of the inputs, as recorded.
        warnings: what a reader must know beside the value.
        linear_predictor: sum of the Cox coefficients, where they are published.
        in_scope: False when the score was made for other patients.
    """

    score: str
    value: ScoreValue | None
    group: str | None
    minimum: ScoreValue | None
    maximum: ScoreValue | None
    min_group: str | None
    max_group: str | None
    possible: tuple[ScoreValue, ...]
    risk: float | None
    reason: str | None
    trace: tuple[Component, ...]
    definition_version: str
    citation: str
    tnm_edition: str
    grading: str
    warnings: tuple[str, ...] = ()
    linear_predictor: float | None = None
    in_scope: bool = True

    @property
    def determined(self) -> bool:
        """Whether the score has one value."""
        return self.value is not None

    def trace_records(self) -> list[dict[str, object]]:
        """The trace as plain records, for JSON."""
        return [
            {"input": c.input, "value": c.value, "points": c.points, "note": c.note}
            for c in self.trace
        ]


@dataclass(frozen=True, slots=True)
class PublishedSurvival:
    """Survival that a publication gives for patients with this score.

    Args:
        score: name of the score.
        endpoint: endpoint of the publication, such as `MFS`.
        stratum: the value or group that the figures belong to.
        percent: survival in percent by years after surgery; None where `reason` says why.
        source: the publication.
        confirmed: False where the attribution is not certain.
        reason: why there are no figures, such as another endpoint.
    """

    score: str
    endpoint: str
    stratum: str | None
    percent: Mapping[int, float] | None
    source: str
    confirmed: bool
    reason: str | None
