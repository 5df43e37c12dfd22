"""How a score is defined, and the one engine that evaluates every table-driven score.

A definition cuts each component into the levels that the score tells apart, and maps one
level of each to a rank: the points of an additive score, the place in the order of groups
of a rule-based one. What is missing or known in part leaves several levels; the engine
takes the rank of every combination of them, so its bounds are exact and attained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, Protocol

from crpnet_bench.scores.components import ClinicalInputs, ComponentValue, completions
from crpnet_bench.scores.result import (
    DEFAULT_OPTIONS,
    Component,
    ScoreOptions,
    ScoreResult,
    ScoreValue,
)
from crpnet_bench.scores.systems import DEDIFFERENTIATION, SystemNote

__all__ = [
    "Definition",
    "Factor",
    "Levels",
    "Score",
    "ScoreFunction",
    "SurvivalTable",
    "band",
    "evaluate",
    "node_status",
    "sum_of_points",
    "threshold",
    "undetermined",
    "warnings_for",
    "yes_no",
]

Levels = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One component as a score sees it.

    Args:
        name: field of `ClinicalInputs`.
        level: full value of the component -> level.
        points: every level from good to bad, with its points (0 in rule-based scores).
    """

    name: str
    level: Callable[[Any], str]
    points: Mapping[str, int]

    def possible(self, value: ComponentValue | None) -> Levels:
        """The levels that agree with what is known of the component."""
        if value is None:
            return tuple(self.points)
        return tuple(dict.fromkeys(self.level(full) for full in completions(self.name, value)))


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A table-driven score.

    Args:
        name: as in the registry of scores.
        version: changes when the definition or a parameter does.
        citation: the publication.
        factors: its components.
        rank: one level of each factor -> integer that orders patients by risk.
        groups: from good to bad.
        group_of: rank -> place in `groups`.
        additive: whether the rank is a sum of points; its value is then the rank, and
            bounds are points. Otherwise values and bounds are groups.
        value_of_group: word that a rule-based score gives as its value.
        notes: what TNM editions and grading systems change for it.
    """

    name: str
    version: str
    citation: str
    factors: tuple[Factor, ...]
    rank: Callable[[Levels], int]
    groups: tuple[str, ...]
    group_of: Callable[[int], int]
    additive: bool
    value_of_group: Callable[[str], str] = str
    notes: tuple[SystemNote, ...] = ()

    def group(self, rank: int) -> str:
        """The group of a rank."""
        return self.groups[self.group_of(rank)]

    def bound(self, rank: int) -> ScoreValue:
        """A rank as it stands in `minimum` and `maximum`."""
        return rank if self.additive else self.group(rank)

    def value(self, rank: int) -> ScoreValue:
        """A rank as it stands in `value`."""
        return rank if self.additive else self.value_of_group(self.group(rank))


@dataclass(frozen=True, slots=True)
class SurvivalTable:
    """Published survival in percent, by stratum and by years after surgery.

    Args:
        endpoint: as in a cohort's manifest (DSS, MFS, OS).
        by: the field of `ScoreResult` that the strata are: `group` or `value`.
        percent: stratum -> years -> percent.
        source: the publication.
        confirmed: False where the attribution is not certain.
    """

    endpoint: str
    by: str
    percent: Mapping[str, Mapping[int, float]]
    source: str
    confirmed: bool = True


class ScoreFunction(Protocol):
    """A pure function from one patient's components to a score."""

    def __call__(
        self, inputs: ClinicalInputs, options: ScoreOptions = DEFAULT_OPTIONS
    ) -> ScoreResult:
        """The score of one patient."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """One row of the registry of scores.

    Args:
        name: column name in every table.
        title: how it is printed.
        function: `(inputs, options) -> ScoreResult`; pure.
        range: lowest and highest value (groups for rule-based scores).
        groups: risk groups from good to bad.
        citation: the publication.
        definition_version: at default options.
        survival: published survival; the first table that has the stratum counts.
        confirmed: False where the definition itself is not certain.
    """

    name: str
    title: str
    function: ScoreFunction
    range: tuple[ScoreValue, ScoreValue]
    groups: tuple[str, ...]
    citation: str
    definition_version: str
    survival: tuple[SurvivalTable, ...] = ()
    confirmed: bool = True

    @property
    def endpoint(self) -> str | None:
        """Endpoint of the published survival, None where none is published here."""
        return self.survival[0].endpoint if self.survival else None

    def as_risk(self, result: ScoreResult) -> float | None:
        """The number to rank patients by; None where the score is not determined."""
        return result.risk


def evaluate(definition: Definition, inputs: ClinicalInputs, options: ScoreOptions) -> ScoreResult:
    """Value, bounds and trace of a score for one patient.

    Args:
        definition: the score.
        inputs: what is known about the patient.
        options: recorded with the result.
    """
    read = [_read(definition, f, getattr(inputs, f.name)) for f in definition.factors]
    outcome = _outcome(definition, tuple(levels for levels, _ in read))
    return ScoreResult(
        score=definition.name,
        **outcome.fields,
        reason=undetermined(inputs, outcome.deciding) if outcome.deciding else None,
        trace=tuple(line for _, line in read),
        definition_version=definition.version,
        citation=definition.citation,
        tnm_edition=options.tnm_edition,
        grading=options.grading,
        warnings=warnings_for(definition.notes, inputs, options),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What follows from the levels alone: fields of the result, and what would decide."""

    fields: Mapping[str, Any]
    deciding: tuple[str, ...]


@lru_cache(maxsize=65536)  # ten thousand patients have few combinations of levels
def _outcome(definition: Definition, levels: tuple[Levels, ...]) -> _Outcome:
    ranks, deciding = _ranks(definition, levels)
    low, high = ranks[0], ranks[-1]
    determined = low == high
    min_group, max_group = definition.group(low), definition.group(high)
    fields = {
        "value": definition.value(low) if determined else None,
        "group": min_group if min_group == max_group else None,
        "minimum": definition.bound(low),
        "maximum": definition.bound(high),
        "min_group": min_group,
        "max_group": max_group,
        "possible": tuple(definition.bound(rank) for rank in ranks),
        "risk": float(low) if determined else None,
    }
    return _Outcome(fields, () if determined else deciding)


def _ranks(
    definition: Definition, levels: tuple[Levels, ...]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Every rank still possible, in order, and the components that decide among them."""
    rank_of = {combination: definition.rank(combination) for combination in product(*levels)}
    deciding = tuple(
        factor.name
        for place, factor in enumerate(definition.factors)
        if len(levels[place]) > 1 and _decides(rank_of, place)
    )
    return tuple(sorted(set(rank_of.values()))), deciding


def _decides(rank_of: Mapping[Levels, int], place: int) -> bool:
    """Whether changing one factor alone changes the rank somewhere."""
    seen: dict[Levels, int] = {}
    return any(
        seen.setdefault(combination[:place] + combination[place + 1 :], rank) != rank
        for combination, rank in rank_of.items()
    )


@lru_cache(maxsize=65536)  # ten thousand patients repeat few values
def _read(
    definition: Definition, factor: Factor, value: ComponentValue | None
) -> tuple[Levels, Component]:
    """The levels that a component leaves, and its line of the trace."""
    levels = factor.possible(value)
    points = {factor.points[level] for level in levels}
    note = ("missing: " if value is None else "") + " or ".join(levels)
    if definition.additive and len(points) > 1:
        note += f" ({min(points)} to {max(points)} points)"
    if value == "NX":
        note += " (NX counts as N0)"
    known = definition.additive and len(points) == 1
    return levels, Component(factor.name, value, points.pop() if known else None, note)


def undetermined(inputs: ClinicalInputs, deciding: tuple[str, ...]) -> str:
    """Why a score has no single value, naming the components that would decide it.

    >>> undetermined(ClinicalInputs(pT="T3"), ("pT", "grade"))
    'not determined: pT is known only as T3; grade is missing'
    """
    return "not determined: " + "; ".join(
        f"{name} is missing"
        if getattr(inputs, name) is None
        else f"{name} is known only as {getattr(inputs, name)}"
        for name in deciding
    )


def warnings_for(
    notes: tuple[SystemNote, ...], inputs: ClinicalInputs, options: ScoreOptions
) -> tuple[str, ...]:
    """The sentences due for one patient under the recorded edition and grading."""
    return tuple(
        note.text
        for note in _notes_due(notes, options.tnm_edition, options.grading)
        if note.concerns(inputs)
    )


@lru_cache(maxsize=1024)
def _notes_due(
    notes: tuple[SystemNote, ...], tnm_edition: str, grading: str
) -> tuple[SystemNote, ...]:
    systems = {tnm_edition, grading}
    return tuple(note for note in (DEDIFFERENTIATION, *notes) if note.systems & systems)


# ---------------------------------------------------------------- levels that scores share


def sum_of_points(factors: tuple[Factor, ...]) -> Callable[[Levels], int]:
    """The rank of an additive score."""

    def total(levels: Levels) -> int:
        return sum(factor.points[level] for factor, level in zip(factors, levels, strict=True))

    return total


def band(*upper: int) -> Callable[[int], int]:
    """The place of the band that holds a rank, by the highest rank of each band but the last.

    >>> band(2, 5)(3)
    1
    """
    return lambda rank: sum(rank > limit for limit in upper)


def node_status(value: str) -> str:
    """N0 or N+ (pN1 and pN2 count the same)."""
    return "N0" if value == "N0" else "N+"


def yes_no(value: bool) -> str:  # noqa: FBT001 - a component's value, not a switch
    """A finding as a level."""
    return "yes" if value else "no"


def threshold(limit: float, below: str, reached: str) -> Callable[[float], str]:
    """Two levels of a number: below a limit, or at and above it."""
    return lambda value: reached if value >= limit else below
