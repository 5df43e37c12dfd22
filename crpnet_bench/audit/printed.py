"""Numbers as a paper prints them: the digits decide what each can still have been.

"88.0%" stands for everything from 87.95 % to 88.05 %, "< 0.001" for everything below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import PlainValidator

__all__ = [
    "CountCell",
    "EstimateCell",
    "MeanCell",
    "MedianCell",
    "Number",
    "NumberCell",
    "Printed",
    "PrintedCount",
    "PrintedEstimate",
    "PrintedMean",
    "PrintedMedian",
    "RateCell",
    "WholeCell",
]

_NUMBER = r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
_SINGLE = re.compile(rf"\s*(<=|>=|[<>≤≥=])?\s*({_NUMBER})\s*(%?)\s*")
_DASH = r"\s*(?:-|–|—|to|,|;)\s*"  # noqa: RUF001 papers print all of them
_RANGE = re.compile(
    rf"\s*({_NUMBER}%?)\s*[(\[]\s*(?:95\s*%\s*CI:?\s*)?({_NUMBER}%?){_DASH}({_NUMBER}%?)\s*[)\]]\s*"
)
_MEAN = re.compile(rf"\s*({_NUMBER})\s*(?:±|\+/?-|[(])\s*({_NUMBER})\s*\)?\s*")
_COUNT = re.compile(r"\s*(\d[\d,]*)\s*(?:[(]\s*([\d.]+\s*%?)\s*[)])?\s*")
# Two decimal numbers that were rounded in base 10 are compared in base 2.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Printed:
    """One printed number.

    Attributes:
        text: the digits as printed.
        value: their value; percentages as proportions.
        half_unit: half a unit of the last printed digit; 0 for a number known exactly.
        relation: "=" or, for "< 0.001", "<" or ">".
    """

    text: str
    value: float
    half_unit: float
    relation: Literal["=", "<", ">"] = "="

    def agrees(self, number: float) -> bool:
        """Whether `number`, rounded to the printed digits, is what was printed."""
        return self.meets(number, number)

    def meets(self, low: float, high: float) -> bool:
        """Whether anything between `low` and `high` could have been printed so."""
        if math.isnan(low) or math.isnan(high):
            return False
        slack = _SLACK * max(1.0, abs(self.value))
        if self.relation == "<":
            return low < self.value + slack
        if self.relation == ">":
            return high > self.value - slack
        return self.low - slack <= high and low <= self.high + slack

    @property
    def low(self) -> float:
        """The least number that is printed so."""
        return self.value - self.half_unit

    @property
    def high(self) -> float:
        """The largest number that is printed so."""
        return self.value + self.half_unit

    def like(self, number: float) -> str:
        """`number` with as many digits as were printed, and one more."""
        return _digits(number, self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PrintedEstimate:
    """An estimate with its confidence limits: "0.879 (0.783-0.943)"."""

    text: str
    value: Printed
    low: Printed
    high: Printed


@dataclass(frozen=True, slots=True)
class PrintedMean:
    """Mean and standard deviation: "61.37 ± 13.335"."""

    text: str
    mean: Printed
    sd: Printed


@dataclass(frozen=True, slots=True)
class PrintedMedian:
    """Median and quartiles: "30 (23.5, 40)"."""

    text: str
    median: Printed
    q1: Printed
    q3: Printed


@dataclass(frozen=True, slots=True)
class PrintedCount:
    """A count with its percentage: "97 (53%)"; the percentage may be absent."""

    text: str
    count: int
    percent: Printed | None


Number = Printed


def _digits(number: float, text: str) -> str:
    decimals = len(text.strip(" <>=%≤≥").partition(".")[2]) + 1
    percent = text.rstrip().endswith("%")
    return f"{number * 100:.{decimals}f}%" if percent else f"{number:.{decimals}f}"


def _text_of(value: Any, example: str) -> str:  # noqa: ANN401 whatever the file holds
    if isinstance(value, float):
        raise ValueError(  # noqa: TRY004 pydantic wants a ValueError
            f"the digits as printed, in quotes, such as {example}: a bare {value} loses zeros"
        )
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"text such as {example}")
    return str(value)


def _number(text: str) -> Printed | None:
    match = _SINGLE.fullmatch(text)
    if match is None or not any(character.isdigit() for character in match[2]):
        return None
    sign, digits, percent = match.groups()
    scale = 100.0 if percent else 1.0
    plain = digits.replace(",", "")
    decimals = len(plain.partition(".")[2])
    relation: Literal["=", "<", ">"] = "="
    if sign and sign[0] in "<≤":
        relation = "<"
    elif sign and sign[0] in ">≥":
        relation = ">"
    half_unit = 0.5 * 10.0**-decimals / scale
    return Printed(text.strip(), float(plain) / scale, half_unit, relation)


def _need(text: str, example: str) -> Printed:
    number = _number(text)
    if number is None:
        raise ValueError(f"a printed number such as {example}")
    return number


def _parse_number(value: Any) -> Printed:  # noqa: ANN401
    if isinstance(value, Printed):
        return value
    return _need(_text_of(value, "'0.128' or '< 0.001'"), "'0.128' or '< 0.001'")


def _parse_whole(value: Any) -> Printed:  # noqa: ANN401
    number = _parse_number(value)
    if number.value != round(number.value) or "." in number.text or "%" in number.text:
        raise ValueError("a whole number such as '183'")
    return Printed(number.text, number.value, 0.0, number.relation)


def _parse_rate(value: Any) -> Printed:  # noqa: ANN401
    number = _parse_number(value)
    if not 0 <= number.value <= 1:
        raise ValueError("a rate as '88.00%' or '0.8800', between 0 and 1")
    # A bare 0 or 1 in a column of percentages is meant exactly, not as 0 to 0.5.
    exact = number.text in {"0", "1"}
    return Printed(number.text, number.value, 0.0 if exact else number.half_unit, number.relation)


def _parse_estimate(value: Any) -> PrintedEstimate:  # noqa: ANN401
    example = "'0.879 (0.783-0.943)'"
    text = _text_of(value, example)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"an estimate with its limits such as {example}")
    return PrintedEstimate(text, *(_need(part, example) for part in match.groups()))


def _parse_mean(value: Any) -> PrintedMean:  # noqa: ANN401
    example = "'61.37 ± 13.335'"
    text = _text_of(value, example)
    match = _MEAN.fullmatch(text)
    if match is None:
        raise ValueError(f"mean and standard deviation such as {example}")
    return PrintedMean(text, *(_need(part, example) for part in match.groups()))


def _parse_median(value: Any) -> PrintedMedian:  # noqa: ANN401
    example = "'30 (23.5, 40)'"
    text = _text_of(value, example)
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError(f"median and quartiles such as {example}")
    return PrintedMedian(text, *(_need(part, example) for part in match.groups()))


def _parse_count(value: Any) -> PrintedCount:  # noqa: ANN401
    example = "'97 (53%)'"
    text = _text_of(value, example)
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"a count, with its percentage if there is one, such as {example}")
    percent = match[2]
    if percent is not None and not percent.endswith("%"):
        percent += "%"  # in "97 (53.0)" the bracket is a percentage all the same
    return PrintedCount(
        text, int(match[1].replace(",", "")), None if percent is None else _need(percent, example)
    )


def _cell(parse: Callable[[Any], Any]) -> PlainValidator:
    return PlainValidator(parse)


NumberCell = Annotated[Printed, _cell(_parse_number)]
WholeCell = Annotated[Printed, _cell(_parse_whole)]
RateCell = Annotated[Printed, _cell(_parse_rate)]
EstimateCell = Annotated[PrintedEstimate, _cell(_parse_estimate)]
MeanCell = Annotated[PrintedMean, _cell(_parse_mean)]
MedianCell = Annotated[PrintedMedian, _cell(_parse_median)]
CountCell = Annotated[PrintedCount, _cell(_parse_count)]
