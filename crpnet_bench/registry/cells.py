"""Cells of a clinical table to values of variables, with every bad cell listed.

The spellings of clinical components are those of `crpnet_bench.scores`, so that a table
means the same in the registry and in `crpnet-bench score`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from crpnet_bench.errors import InputError, Problem
from crpnet_bench.registry.tables import TextTable
from crpnet_bench.schema import CellValue, ColumnSource, formula_like
from crpnet_bench.scores.components import EXPECTED, is_missing, parse_component

__all__ = ["ColumnReader", "Parser", "parse_extra", "parser_of", "plain_number"]

Value = str | float | bool | None
LONGEST_TEXT = 128

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?")
_SEX = {"m": "male", "male": "male", "f": "female", "female": "female"}
_YEARS = {"years": 1.0, "months": 1 / 12, "days": 1 / 365.25}


@dataclass(frozen=True, slots=True)
class Parser:
    """How the cells of one variable are read, and what was expected where that fails."""

    parse: Callable[[CellValue], Value]
    expected: str


def parser_of(variable: str, unit: str | None = None) -> Parser:
    """The parser of a registry variable; `unit` is that of the column.

    Sizes become cm and ages years; times stay in their unit.
    """
    if variable in _TEXT_PARSERS:
        return _TEXT_PARSERS[variable]
    if variable == "tumor_size":
        return _component(f"tumor_size_{unit or 'cm'}")
    if variable == "age" and unit not in {None, "years"}:
        return _age_in(str(unit))
    return _component(variable)


@dataclass
class ColumnReader:
    """Reads columns of one table, collecting what is wrong with them."""

    table: TextTable
    missing_words: frozenset[str] = frozenset()
    problems: list[Problem] = field(default_factory=list)

    def read(self, variable: str, source: ColumnSource, parser: Parser) -> list[Value]:
        """One value a row; None where the cell is missing or bad (then it is listed)."""
        columns = [source.column, *([source.otherwise] if source.otherwise else [])]
        absent = [found for name in columns if (found := self.table.find(name, variable))]
        if absent:
            self.problems += absent
            return [None] * len(self.table)
        cells = [self._cells(name, source) for name in columns]
        known: dict[CellValue, Value | InputError] = {}
        return [
            self._value(
                place, next((cell for cell in row if cell is not None), None), source, parser, known
            )
            for place, row in enumerate(zip(*cells, strict=True))
        ]

    def _cells(self, column: str, source: ColumnSource) -> list[CellValue | None]:
        mapping = _canonical_map(source.map)
        pattern = re.compile(source.pattern) if source.pattern else None
        known: dict[str, CellValue | None] = {}
        for text in self.table.column(column):
            if text not in known:
                known[text] = self._translate(text, mapping, pattern)
        return [known[text] for text in self.table.column(column)]

    def _translate(
        self, text: str, mapping: Mapping[str, CellValue], pattern: re.Pattern[str] | None
    ) -> CellValue | None:
        if pattern is not None:
            found = pattern.search(text[:LONGEST_TEXT])
            text = (found[1] or "") if found else ""
        key = _canonical(text)
        if key in mapping:
            return None if mapping[key] == "" else mapping[key]
        if is_missing(text) or key in self.missing_words:
            return None
        return mapping.get("*", text)

    def _value(
        self,
        place: int,
        cell: CellValue | None,
        source: ColumnSource,
        parser: Parser,
        known: dict[CellValue, Value | InputError],
    ) -> Value:
        if cell is None:
            return None
        key = cell if not isinstance(cell, bool) else f"bool {cell}"
        if key not in known:
            known[key] = _attempt(parser, cell)
        value = known[key]
        if isinstance(value, InputError):
            row = self.table.row_numbers[place]
            self.problems.append(
                Problem(self.table.file, parser.expected, source.column, row, cell)
            )
            return None
        return value


def parse_extra(values: Sequence[Value]) -> list[Value]:
    """A further variable: numbers where every known cell is one, else text."""
    known = [value for value in values if value is not None]
    if known and all(_NUMBER.fullmatch(str(value)) for value in known):
        numbers = [None if value is None else float(value) for value in values]
        if all(number is None or math.isfinite(number) for number in numbers):
            return list(numbers)
    return list(values)


def plain_number(text: str) -> float | None:
    """A cell as a finite number, None where it is none."""
    try:
        return _number(text)
    except InputError:
        return None


def _attempt(parser: Parser, cell: CellValue) -> Value | InputError:
    try:
        return parser.parse(cell)
    except InputError as error:
        return error


def _canonical_map(mapping: Mapping[str, CellValue] | None) -> dict[str, CellValue]:
    return {_canonical(key): value for key, value in (mapping or {}).items()}


def _canonical(text: str) -> str:
    """The key of a cell in a map: case and a number's spelling (`1`, `1.0`) do not count."""
    word = text.strip().casefold()
    return repr(float(word)) if len(word) < 32 and _NUMBER.fullmatch(word) else word


def _component(name: str) -> Parser:
    return Parser(lambda cell: parse_component(name, cell), EXPECTED[name])


def _age_in(unit: str) -> Parser:
    def parse(cell: CellValue) -> Value:
        return parse_component("age", _number(cell) * _YEARS[unit])

    return Parser(parse, f"an age in {unit}, as a plain number; empty where not known")


def _number(cell: CellValue) -> float:
    text = str(cell).strip()
    if isinstance(cell, bool) or not _NUMBER.fullmatch(text):
        raise InputError(f"{text} is no plain number")
    number = float(text)
    if not math.isfinite(number):
        raise InputError(f"{text} is not finite")
    return number


def _text(cell: CellValue) -> str:
    text = str(cell).strip()
    if len(text) > LONGEST_TEXT or formula_like(text) or not text.isprintable():
        raise InputError("no plain text")
    return text


def _sex(cell: CellValue) -> str:
    try:
        return _SEX[str(cell).strip().casefold()]
    except KeyError:
        raise InputError("no sex") from None


def _status(cell: CellValue) -> float:
    status = _number(cell)
    if status not in {0.0, 1.0, 2.0}:
        raise InputError("no status")
    return status


_PLAIN = (
    f"plain text of at most {LONGEST_TEXT} characters, without a formula's sign (= + - @) in front"
)
_TEXT_PARSERS: Mapping[str, Parser] = {
    "patient_id": Parser(_text, _PLAIN),
    "tumor_no": Parser(_text, _PLAIN),
    "site": Parser(_text, _PLAIN),
    "extra": Parser(_text, _PLAIN),
    "sex": Parser(_sex, 'male or female (also M, F); a map says others: {"1" = "male"}'),
    "time": Parser(_number, "a plain finite number such as 14.5; empty where not known"),
    "event": Parser(
        _status,
        '0 censored, 1 event or 2 competing death; a map says others: {"yes" = 1, "no" = 0}',
    ),
    "component": Parser(lambda cell: parse_component("necrosis", cell), EXPECTED["necrosis"]),
}
