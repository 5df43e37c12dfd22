"""Karakiewicz nomogram from a point table that the user supplies.

The nomogram's points (Karakiewicz 2007, J Clin Oncol 25:1316-1322) were published as a
figure only, so this package holds none of them: who owns the article types the table into
a TOML file, with its citation. The table is validated, and its hash travels with each score.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from crpnet_bench.errors import ConfigError, InputError, Problem, ValidationError
from crpnet_bench.scores.components import (
    ClinicalInputs,
    ComponentValue,
    completions,
    domain,
)
from crpnet_bench.scores.definition import Score, undetermined
from crpnet_bench.scores.result import DEFAULT_OPTIONS, Component, ScoreOptions, ScoreResult
from crpnet_bench.scores.systems import UNKNOWN, parse_grading, parse_tnm_edition

__all__ = [
    "SURVIVAL_YEARS",
    "KarakiewiczTable",
    "karakiewicz",
    "karakiewicz_score",
    "load_karakiewicz_table",
    "parse_karakiewicz_table",
]

SURVIVAL_YEARS = (1, 2, 5, 10)

_NAME = "karakiewicz"
_CATEGORICAL = ("pT", "pN", "M", "grade", "symptoms")
_SIZE = "tumor_size_cm"
_PER_CM = {"cm": 1.0, "mm": 10.0}
_PER_FRACTION = {"fraction": 1.0, "percent": 100.0}
_SECTIONS = frozenset({"source", *_CATEGORICAL, "tumor_size", "survival"})


Ends = tuple[float, float]  # fewest and most points that a component leaves possible


@dataclass(frozen=True, slots=True, eq=False)
class KarakiewiczTable:
    """A validated point table.

    Args:
        citation: where the numbers were read.
        tnm_edition, grading: systems that the nomogram was made for.
        points: component -> full value -> points.
        sizes_cm: increasing sizes in cm, between which points are interpolated.
        size_points: their points.
        totals: increasing total points.
        survival: years -> cancer-specific survival as a fraction, one for each total.
        sha256: hash of the file's bytes.
    """

    citation: str
    tnm_edition: str
    grading: str
    points: Mapping[str, Mapping[ComponentValue, float]]
    sizes_cm: tuple[float, ...]
    size_points: tuple[float, ...]
    totals: tuple[float, ...]
    survival: Mapping[int, tuple[float, ...]]
    sha256: str

    @property
    def version(self) -> str:
        """The definition version of every score from this table."""
        return f"table sha256:{self.sha256}"

    def survival_at(self, total: float) -> dict[int, float] | None:
        """Cancer-specific survival at 1, 2, 5 and 10 years, as fractions.

        Args:
            total: total points.

        Returns:
            years -> survival, None beyond the totals that the table lists.
        """
        if not self.totals[0] <= total <= self.totals[-1]:
            return None
        return {year: _between(self.totals, self.survival[year], total) for year in SURVIVAL_YEARS}


def karakiewicz(
    inputs: ClinicalInputs,
    options: ScoreOptions = DEFAULT_OPTIONS,
    *,
    table: KarakiewiczTable,
) -> ScoreResult:
    """Total points of the nomogram.

    Args:
        inputs: uses pT, pN, M, tumor_size_cm, grade, symptoms.
        options: what is recorded.
        table: the points, from `load_karakiewicz_table`.

    Returns:
        Points with trace; bounds over every completion, for a missing size over the
        sizes that the table covers. A size beyond them is not computable.
        `table.survival_at(result.value)` gives the survival.
    """
    lines = [_category_line(table, name, getattr(inputs, name)) for name in _CATEGORICAL]
    lines.append(_size_line(table, inputs.tumor_size_cm))
    ranges = [ends for ends, _ in lines if ends is not None]
    computable = len(ranges) == len(lines)
    low = round(sum(least for least, _ in ranges), 9) if computable else None
    high = round(sum(most for _, most in ranges), 9) if computable else None
    value = low if low == high else None
    return ScoreResult(
        score=_NAME,
        value=value,
        group=None,
        minimum=low,
        maximum=high,
        min_group=None,
        max_group=None,
        possible=tuple(dict.fromkeys(end for end in (low, high) if end is not None)),
        risk=value,
        reason=None if value is not None else _why_not(inputs, lines),
        trace=tuple(line for _, line in lines),
        definition_version=table.version,
        citation=table.citation,
        tnm_edition=options.tnm_edition,
        grading=options.grading,
        warnings=_system_warnings(table, options),
    )


def karakiewicz_score(table: KarakiewiczTable) -> Score:
    """A row for the registry of scores, bound to one point table.

    Args:
        table: the points, from `load_karakiewicz_table`.
    """
    ends = [(min(points.values()), max(points.values())) for points in table.points.values()]
    ends.append((table.size_points[0], table.size_points[-1]))
    return Score(
        name=_NAME,
        title="Karakiewicz nomogram (point table supplied by the user)",
        function=partial(karakiewicz, table=table),
        range=(sum(low for low, _ in ends), sum(high for _, high in ends)),
        groups=(),
        citation=table.citation,
        definition_version=table.version,
    )


def _why_not(inputs: ClinicalInputs, lines: Sequence[tuple[Ends | None, Component]]) -> str:
    beyond = [line for ends, line in lines if ends is None]
    if beyond:
        return f"not computable: {beyond[0].input} is {beyond[0].value}, {beyond[0].note}"
    return undetermined(inputs, tuple(line.input for ends, line in lines if line.points is None))


def _category_line(
    table: KarakiewiczTable, name: str, value: ComponentValue | None
) -> tuple[Ends | None, Component]:
    points = table.points[name]
    full = tuple(points) if value is None else completions(name, value)
    ends = min(points[v] for v in full), max(points[v] for v in full)
    note = ("missing: " if value is None else "") + " or ".join(str(v) for v in full)
    return ends, _line(name, value, ends, note)


def _size_line(table: KarakiewiczTable, size: float | None) -> tuple[Ends | None, Component]:
    covered = f"{table.sizes_cm[0]:g} to {table.sizes_cm[-1]:g} cm"
    if size is None:
        ends = table.size_points[0], table.size_points[-1]
        return ends, _line(_SIZE, None, ends, f"missing: {covered}")
    if not table.sizes_cm[0] <= size <= table.sizes_cm[-1]:
        return None, Component(_SIZE, size, None, f"the table covers {covered}")
    points = _between(table.sizes_cm, table.size_points, size)
    return (points, points), _line(_SIZE, size, (points, points), f"{size:g} cm")


def _line(name: str, value: ComponentValue | None, ends: Ends, note: str) -> Component:
    if ends[0] == ends[1]:
        return Component(name, value, ends[0], note)
    return Component(name, value, None, f"{note} ({ends[0]:g} to {ends[1]:g} points)")


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Linear interpolation; x lies within xs."""
    right = min(bisect_right(xs, x), len(xs) - 1)
    left = right - 1
    share = (x - xs[left]) / (xs[right] - xs[left])
    return ys[left] + share * (ys[right] - ys[left])


def _system_warnings(table: KarakiewiczTable, options: ScoreOptions) -> tuple[str, ...]:
    pairs = (
        ("TNM edition", table.tnm_edition, options.tnm_edition),
        ("grading system", table.grading, options.grading),
    )
    return tuple(
        f"the point table is for {what} {made}, the inputs are of {given}; used as given"
        for what, made, given in pairs
        if UNKNOWN not in {made, given} and made != given
    )


# ---------------------------------------------------------------- the file


def load_karakiewicz_table(path: Path) -> KarakiewiczTable:
    """Read and validate a point table.

    Args:
        path: a TOML file; `docs/scores.md` shows its sections.

    Raises:
        InputError: the file cannot be read.
        ConfigError: not TOML.
        ValidationError: a level is missing or unknown, points or survival are not
            monotone, a unit is not stated; everything is listed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a TOML file"
        ) from error
    return parse_karakiewicz_table(data, str(path))


def parse_karakiewicz_table(data: bytes, file: str) -> KarakiewiczTable:
    """As `load_karakiewicz_table`, from the file's bytes.

    Args:
        data: the TOML document.
        file: how messages name it.

    Raises:
        ConfigError: not TOML.
        ValidationError: everything that is wrong with the table.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not a TOML document in UTF-8 ({error})") from error
    reader = _Reader(document, file)
    fields = {
        **reader.source(),
        "points": {name: reader.categorical(name) for name in _CATEGORICAL},
        **reader.sizes(),
        **reader.survival(),
    }
    if reader.problems:
        raise ValidationError(reader.problems, f"{file} is not a valid point table")
    return KarakiewiczTable(**fields, sha256=hashlib.sha256(data).hexdigest())


class _Reader:
    """Takes the sections of a document apart and collects what is wrong with them."""

    def __init__(self, document: Mapping[str, Any], file: str) -> None:
        self.problems: list[Problem] = []
        self._document, self._file = document, file
        for section in document.keys() - _SECTIONS:
            self._wrong(section, section, f"only the sections {', '.join(sorted(_SECTIONS))}")

    def _wrong(self, place: str, value: object, expected: str) -> None:
        self.problems.append(Problem(self._file, expected, column=place, value=value))

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self._document.get(name)
        if not isinstance(section, dict):
            self._wrong(name, section, f"a section [{name}]")
            return {}
        return section

    def source(self) -> dict[str, str]:
        section = self._section("source")
        citation = section.get("citation")
        if not isinstance(citation, str) or not citation.strip():
            self._wrong("source.citation", citation, "where the numbers were read")
        systems = {"tnm_edition": UNKNOWN, "grading": UNKNOWN}
        for key, parse in (("tnm_edition", parse_tnm_edition), ("grading", parse_grading)):
            try:
                systems[key] = parse(section.get(key))
            except InputError as error:
                self._wrong(f"source.{key}", section.get(key), str(error).split("expected ")[-1])
        return {"citation": str(citation), **systems}

    def categorical(self, name: str) -> dict[ComponentValue, float]:
        """Points of every full value; a key such as T1 or N+ stands for its completions."""
        points: dict[ComponentValue, float] = {}
        for key, value in self._section(name).items():
            for full in self._levels(name, key):
                if full in points:
                    self._wrong(f"{name}.{key}", value, f"{full} once only")
                points[full] = self._number(f"{name}.{key}", value)
        missing = [str(full) for full in domain(name) if full not in points]
        if missing:
            self._wrong(name, None, f"points for every level; missing: {', '.join(missing)}")
            return points
        ordered = {full: points[full] for full in domain(name)}
        self._check_monotone(name, list(ordered.values()), rising=True)
        return ordered

    def _levels(self, name: str, key: str) -> tuple[ComponentValue, ...]:
        known = domain(name)
        full = completions(name, int(key) if name == "grade" and key.isdigit() else key)
        if key == "NX" or not set(full) <= set(known):
            self._wrong(f"{name}.{key}", key, f"one of {', '.join(map(str, known))}")
            return ()
        return full

    def sizes(self) -> dict[str, tuple[float, ...]]:
        section = self._section("tumor_size")
        per_cm = self._unit("tumor_size", section, _PER_CM)
        sizes = [size / per_cm for size in self._numbers("tumor_size.size", section.get("size"))]
        points = self._numbers("tumor_size.points", section.get("points"), length=len(sizes))
        self._check_axis("tumor_size.size", sizes)
        self._check_monotone("tumor_size.points", points, rising=True)
        return {"sizes_cm": tuple(sizes), "size_points": tuple(points)}

    def survival(self) -> dict[str, Any]:
        section = self._section("survival")
        unit = self._unit("survival", section, _PER_FRACTION)
        totals = self._numbers("survival.total_points", section.get("total_points"))
        self._check_axis("survival.total_points", totals)
        curves: dict[int, tuple[float, ...]] = {}
        for year in SURVIVAL_YEARS:
            place = f"survival.year_{year}"
            values = self._numbers(place, section.get(f"year_{year}"), length=len(totals))
            if any(not 0 <= value <= unit for value in values):
                self._wrong(place, values, f"survival between 0 and {unit:g}")
            self._check_monotone(place, values, rising=False)
            curves[year] = tuple(value / unit for value in values)
        for total, *by_year in zip(totals, *curves.values(), strict=False):
            place = f"survival at {total:g} points"
            self._check_monotone(place, by_year, rising=False)
        return {"totals": tuple(totals), "survival": curves}

    def _unit(self, place: str, section: Mapping[str, Any], known: Mapping[str, float]) -> float:
        unit = section.get("unit")
        if unit not in known:
            self._wrong(f"{place}.unit", unit, f"one of {', '.join(known)}")
            return 1.0
        return known[str(unit)]

    def _number(self, place: str, value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            self._wrong(place, value, "a finite number")
            return 0.0
        return float(value)

    def _numbers(self, place: str, value: object, length: int | None = None) -> list[float]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            count = "a list of numbers" if length is None else f"a list of {length} numbers"
            self._wrong(place, value, count)
            return []
        return [self._number(f"{place}[{i}]", number) for i, number in enumerate(value)]

    def _check_axis(self, place: str, values: Sequence[float]) -> None:
        if len(values) < 2 or any(a >= b for a, b in pairwise(values)):
            self._wrong(place, list(values), "at least two numbers, each above the one before")

    def _check_monotone(self, place: str, values: Sequence[float], *, rising: bool) -> None:
        steps = list(self._steps(values))
        if any(step < 0 for step in steps) if rising else any(step > 0 for step in steps):
            direction = "never falling" if rising else "never rising"
            self._wrong(place, list(values), f"values {direction} from good to bad")

    @staticmethod
    def _steps(values: Sequence[float]) -> Iterator[float]:
        return (after - before for before, after in pairwise(values))
