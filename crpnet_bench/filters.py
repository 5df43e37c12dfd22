"""Rules over a table's columns: `M == 'M1' and age < 18`, read safely, never evaluated as code.

The same rules exclude patients (`[[exclude]] rule`) and choose subgroups (`--where`).

    rule       := term { "or" term }
    term       := factor { "and" factor }
    factor     := "not" factor | "(" rule ")" | comparison
    comparison := column ( == | = | != | < | <= | > | >= ) value
                | column [ "not" ] "in" "(" value { "," value } ")"
                | column "is" [ "not" ] "missing"
                | column                              (a yes/no column)

A value is a number, quoted text, a bare word such as M1, or true / false. Text is compared
without regard to case; `pT` without a letter stands for its letters (`T1`: T1, T1a, T1b).
A comparison with a missing cell is neither true nor false; a row for which the whole rule
is undetermined is not selected.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.errors import InputError, did_you_mean, shorten

__all__ = ["Filter", "parse_filter", "select"]

Value = str | float | bool
Mask = pd.arrays.BooleanArray
Test = Callable[[pd.DataFrame], Mask]

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])"
    r"|(?P<symbol>==|!=|<=|>=|[<>=(),\[\]])"
    r"|(?P<word>[^\W\d][\w.]*)"
    r"|(?P<column>`[^`]+`))"
)
_COMPARE: Mapping[str, Callable[[Any, Any], object]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_RESERVED = frozenset({"and", "or", "not", "in", "is", "missing", "true", "false"})
_STAGE_PREFIX = re.compile(r"^[cpy]+(?=[tnm])")  # pT1a and T1a are the same stage
_WHOLE_STAGE = re.compile(r"t[1-4]")  # T1 stands for T1a and T1b too
_LONGEST_RULE = 2_000
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text | number | symbol | word | end
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Filter:
    """A rule that was read: its text and the columns it asks for."""

    text: str
    columns: tuple[str, ...]
    _run: Test = field(repr=False, compare=False)

    def evaluate(self, frame: pd.DataFrame) -> Mask:
        """True, false or missing (undetermined) for each row.

        Raises:
            InputError: a column that the table does not have, or that cannot be compared so.
        """
        for column in self.columns:
            if column not in frame.columns:
                hint = did_you_mean(column, [str(name) for name in frame.columns])
                raise InputError(f"rule {self.text!r}: no column {column!r}; {hint}")
        return self._run(frame)


def parse_filter(text: str) -> Filter:
    """Read a rule.

    Raises:
        InputError: the text is no rule; the message shows where reading stopped.
    """
    if len(text) > _LONGEST_RULE:
        raise InputError(f"rule of {len(text)} characters; at most {_LONGEST_RULE} are read")
    reader = _Reader(text)
    run = reader.rule(0)
    reader.expect("end", "")
    return Filter(text, tuple(dict.fromkeys(reader.columns)), run)


def select(frame: pd.DataFrame, text: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """The rows of a frame for which the rule is true, as a boolean array of shape (rows,).

    Raises:
        InputError: no rule, an unknown column, or a comparison that cannot be made.

    >>> select(pd.DataFrame({"M": ["M0", "M1", None]}), "M == 'M1'").tolist()
    [False, True, False]
    """
    mask = parse_filter(text).evaluate(frame)
    return mask.to_numpy(dtype=bool, na_value=False)


class _Reader:
    """Recursive descent over the tokens of one rule."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.columns: list[str] = []
        self._tokens = list(_tokens(text))
        self._at = 0

    @property
    def next(self) -> _Token:
        return self._tokens[self._at]

    def take(self) -> _Token:
        token = self.next
        self._at += token.kind != "end"
        return token

    def accept(self, *words: str) -> bool:
        token = self.next
        found = token.kind in {"symbol", "word"} and token.text.lower() in words
        self._at += found
        return found

    def expect(self, kind: str, text: str) -> None:
        token = self.take()
        if token.kind != kind or (text and token.text != text):
            raise self.error(text or "the end of the rule", token)

    def error(self, expected: str, token: _Token) -> InputError:
        found = "the end" if token.kind == "end" else shorten(token.text)
        return InputError(
            f"rule {shorten(self.text)}, character {token.position + 1}: "
            f"found {found}, expected {expected}"
        )

    def rule(self, depth: int) -> Test:
        parts = [self.term(depth)]
        while self.accept("or"):
            parts.append(self.term(depth))
        return _joined(parts, operator.or_)

    def term(self, depth: int) -> Test:
        parts = [self.factor(depth)]
        while self.accept("and"):
            parts.append(self.factor(depth))
        return _joined(parts, operator.and_)

    def factor(self, depth: int) -> Test:
        if depth > _DEEPEST:
            raise InputError(f"rule {shorten(self.text)}: nested deeper than {_DEEPEST} levels")
        if self.accept("not"):
            inner = self.factor(depth + 1)
            return lambda frame: ~inner(frame)
        if self.accept("("):
            inner = self.rule(depth + 1)
            self.expect("symbol", ")")
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        column = self.column()
        if self.next.text in _COMPARE and self.next.kind == "symbol":
            sign = self.take().text
            value = self.value()
            return lambda frame: _compare(frame, column, sign, value)
        if self.accept("is"):
            return self.missing(column)
        negated = self.accept("not")
        if negated or self.next.text.lower() == "in":
            return self.membership(column, negated=negated)
        return lambda frame: _flag(frame, column)

    def missing(self, column: str) -> Test:
        present = self.accept("not")
        if not self.accept("missing"):
            raise self.error("'missing'", self.next)
        return lambda frame: _mask(frame[column].notna() if present else frame[column].isna())

    def membership(self, column: str, *, negated: bool) -> Test:
        if not self.accept("in"):
            raise self.error("'in'", self.next)
        closing = {"(": ")", "[": "]"}.get(self.next.text)
        if closing is None:
            raise self.error("'(' and a list of values", self.next)
        self.take()
        values = [self.value()]
        while self.accept(","):
            values.append(self.value())
        self.expect("symbol", closing)
        tests = [_equal_to(column, value) for value in values]
        found = _joined(tests, operator.or_)
        return (lambda frame: ~found(frame)) if negated else found

    def column(self) -> str:
        token = self.take()
        if token.kind == "column":
            name = token.text.strip("`")
        elif token.kind == "word" and token.text.lower() not in _RESERVED:
            name = token.text
        else:
            raise self.error("a column's name", token)
        self.columns.append(name)
        return name

    def value(self) -> Value:
        token = self.take()
        if token.kind == "number":
            return float(token.text)
        if token.kind == "text":
            return token.text[1:-1]
        if token.kind == "word" and token.text.lower() in {"true", "false"}:
            return token.text.lower() == "true"
        if token.kind == "word" and token.text.lower() not in _RESERVED:
            return token.text
        raise self.error("a number, a word or quoted text", token)


def _tokens(text: str) -> Iterable[_Token]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise InputError(
                f"rule {shorten(text)}, character {position + 1}: found "
                f"{shorten(text[position:].strip()[:1])}, expected a column, a value or a sign"
            )
        kind = str(match.lastgroup)
        yield _Token(kind, match[kind], match.start(kind))
        position = match.end()
    yield _Token("end", "", len(text))


def _equal_to(column: str, value: Value) -> Test:
    return lambda frame: _compare(frame, column, "==", value)


def _joined(parts: Sequence[Test], join: Callable[[Mask, Mask], Mask]) -> Test:
    def run(frame: pd.DataFrame) -> Mask:
        result = parts[0](frame)
        for part in parts[1:]:
            result = join(result, part(frame))
        return result

    return run if len(parts) > 1 else parts[0]


def _mask(values: object) -> Mask:
    mask = pd.array(values, dtype="boolean")  # type: ignore[call-overload] # any array-like
    return mask if isinstance(mask, pd.arrays.BooleanArray) else pd.array([], dtype="boolean")


def _flag(frame: pd.DataFrame, column: str) -> Mask:
    return _compare(frame, column, "==", True)  # noqa: FBT003 a value of the rule


def _compare(frame: pd.DataFrame, column: str, sign: str, value: Value) -> Mask:
    series = frame[column]
    known = series.dropna()
    cells: Sequence[Any]
    wanted: Any
    if isinstance(value, bool) or pd.api.types.is_bool_dtype(known.dtype):
        cells, wanted = _as_flags(known, column, sign, value)
    elif isinstance(value, float):
        cells, wanted = _as_numbers(known, column, value)
    else:
        wanted = _text(value, column)
        cells = [_text(cell, column) for cell in known]
        if column == "pT" and _WHOLE_STAGE.fullmatch(wanted):
            cells = [cell[:2] for cell in cells]
    outcome = pd.Series(pd.NA, index=range(len(series)), dtype="boolean")
    places = np.flatnonzero(series.notna().to_numpy())
    compared = [bool(_COMPARE[sign](cell, wanted)) for cell in cells]
    outcome.iloc[places] = pd.array(compared, dtype="boolean")
    return _mask(outcome)


def _text(cell: object, column: str) -> str:
    text = f"{cell:g}" if isinstance(cell, float) else str(cell).casefold()
    return _STAGE_PREFIX.sub("", text) if column in {"pT", "pN", "M"} else text


def _as_numbers(known: pd.Series, column: str, value: float) -> tuple[list[float], float]:
    try:
        return [float(cell) for cell in known], value
    except (TypeError, ValueError):
        example = next((cell for cell in known if not _is_number(cell)), "")
        raise InputError(
            f"column {column!r} holds text such as {shorten(str(example))}; "
            f"it cannot be compared with the number {value:g}; quote the value"
        ) from None


def _as_flags(known: pd.Series, column: str, sign: str, value: Value) -> tuple[list[bool], bool]:
    wanted = {"yes": True, "no": False, "1": True, "0": False}.get(
        f"{value:g}" if isinstance(value, float) else str(value).casefold(), value
    )
    flags = known.isin([True, False]).all()
    if sign not in {"==", "=", "!="} or not isinstance(wanted, bool) or not flags:
        raise InputError(f"column {column!r}: {sign} {value!r} is no yes/no comparison")
    return [bool(cell) for cell in known], wanted


def _is_number(cell: object) -> bool:
    try:
        float(str(cell))
    except ValueError:
        return False
    return True
