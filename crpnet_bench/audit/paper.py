"""A paper's printed figures as data: the TOML format of `crpnet-bench audit`.

Every section is a list, every entry names its place in the paper, and printed numbers are
text, so that "0.50" keeps its zero. The format is described with examples in docs/audit.md.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from crpnet_bench.audit.printed import (
    CountCell,
    EstimateCell,
    MeanCell,
    MedianCell,
    NumberCell,
    Printed,
    RateCell,
    WholeCell,
)
from crpnet_bench.errors import NotFoundError, Problem, ValidationError, did_you_mean, shorten

__all__ = [
    "RATE_NAMES",
    "Baseline",
    "BaselineRow",
    "Bound",
    "Classifier",
    "Claim",
    "Concordance",
    "HazardRatio",
    "Order",
    "Paper",
    "Power",
    "Printing",
    "Rate",
    "Same",
    "SampleSize",
    "Statement",
    "Sum",
    "load_paper",
    "shipped_cohort",
]

RATE_NAMES = ("accuracy", "precision", "recall", "fpr", "fnr", "specificity", "npv", "f1")
COUNT_NAMES = ("tp", "fp", "tn", "fn")
Positive = Annotated[int, Field(ge=1, le=1_000_000)]


class Entry(BaseModel):
    """Base of all sections: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class About(Entry):
    """Which paper it is."""

    title: str = ""
    citation: str = ""


class Methods(Entry):
    """How the paper made its numbers, as far as one rule covers them all."""

    counts_test: Literal["any", "by expected count", "pearson", "yates", "fisher"] = Field(
        "any", description="test behind the P values of count tables; any: whichever fits"
    )


class Place(Entry):
    """One printing of a number."""

    value: NumberCell
    place: str = Field(min_length=1)


class Same(Entry):
    """One quantity that is printed several times."""

    what: str
    printed: tuple[Place, ...] = Field(min_length=2)


class Sum(Entry):
    """Parts that have to add up."""

    what: str
    place: str
    total: WholeCell
    parts: tuple[WholeCell, ...] = Field(min_length=2)


class Rate(Entry):
    """A percentage of so many; without a count, whether any count gives it."""

    what: str
    place: str
    count: WholeCell | None = None
    of: WholeCell
    printed: RateCell


class Bound(Entry):
    """A number that cannot be larger, or smaller, than another."""

    what: str
    place: str
    value: NumberCell
    at_most: NumberCell | None = None
    at_least: NumberCell | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_most is None and self.at_least is None:
            raise ValueError("at_most or at_least")
        return self


class Printing(Entry):
    """Cells of one classifier as one place prints them."""

    place: str = Field(min_length=1)
    auc: EstimateCell | None = None
    accuracy: RateCell | None = None
    precision: RateCell | None = None
    recall: RateCell | None = None
    fpr: RateCell | None = None
    fnr: RateCell | None = None
    specificity: RateCell | None = None
    npv: RateCell | None = None
    f1: RateCell | None = None
    tp: WholeCell | None = None
    fp: WholeCell | None = None
    tn: WholeCell | None = None
    fn: WholeCell | None = None

    def cells(self) -> dict[str, Printed]:
        """Name -> printed number, of the rates and counts that this place prints."""
        named = {name: getattr(self, name) for name in (*RATE_NAMES, *COUNT_NAMES)}
        return {name: cell for name, cell in named.items() if cell is not None}


class Classifier(Printing):
    """Two-class performance of one model in one group of patients."""

    model: str
    group: str
    n: Positive
    events: Annotated[int, Field(ge=0)]
    again: tuple[Printing, ...] = ()

    @model_validator(mode="after")
    def _events_within(self) -> Self:
        if self.events > self.n:
            raise ValueError(f"events: at most n = {self.n}")
        return self

    @property
    def printings(self) -> tuple[Printing, ...]:
        """All places, the table first."""
        return (self, *self.again)


class Claim(Entry):
    """What the text says of an order: the highest or lowest of some models."""

    says: str
    place: str
    group: str
    metric: Literal["auc", "accuracy", "precision", "recall", "fpr", "fnr"]
    among: tuple[str, ...] = Field(min_length=2)
    highest: str | None = None
    lowest: str | None = None

    @model_validator(mode="after")
    def _one_winner(self) -> Self:
        if (self.highest is None) == (self.lowest is None):
            raise ValueError("either highest or lowest")
        if self.winner not in self.among:
            raise ValueError(f"{self.winner!r} among the models compared")
        return self

    @property
    def winner(self) -> str:
        """The model that is said to be the best."""
        return self.highest or self.lowest or ""


class Order(Entry):
    """A printed ranking without numbers."""

    what: str
    group: str
    place: str
    highest_first: tuple[str, ...] = Field(min_length=2)


class Concordance(Entry):
    """A C-index with its interval."""

    model: str
    group: str
    place: str
    n: Positive
    events: Annotated[int, Field(ge=1)]
    value: EstimateCell


class HazardRatio(Entry):
    """A hazard ratio with its interval; `high_risk` is the size of the high-risk group."""

    variable: str
    group: str
    place: str
    value: EstimateCell
    n: Positive | None = None
    events: Annotated[int, Field(ge=2)] | None = None
    high_risk: WholeCell | None = None


class SampleSize(Entry):
    """A statement on the sample size; rules as in docs/audit.md."""

    what: str
    place: str
    rule: Literal["shrinkage", "events_per_variable"]
    n: Positive
    events: Annotated[int, Field(ge=1)]
    predictors: Positive = 1
    r2_cox_snell: float | None = Field(None, gt=0, lt=1)
    shrinkage: float = Field(0.9, gt=0, lt=1)
    events_per_variable: float = Field(10.0, gt=0)
    needed: WholeCell | None = None
    predictors_allowed: WholeCell | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.rule == "shrinkage" and self.r2_cox_snell is None:
            raise ValueError("r2_cox_snell, which the rule 'shrinkage' starts from")
        if (self.needed is None) == (self.predictors_allowed is None):
            raise ValueError("either needed or predictors_allowed")
        return self


class Power(Entry):
    """The power of a logistic regression for one standardised predictor (Hsieh 1998)."""

    what: str
    place: str
    odds_ratio: float = Field(gt=0)
    n: Positive
    events: Annotated[int, Field(ge=1)]
    alpha: float = Field(0.05, gt=0, lt=1)
    printed: RateCell


class Statement(Entry):
    """What a paper says without a number; kept so that readers find it beside what is computed."""

    what: str
    group: str
    place: str
    says: str


class BaselineRow(Entry):
    """One characteristic: counts by level, means with SD, or medians with quartiles."""

    name: str
    p: NumberCell | None = None
    levels: dict[str, tuple[CountCell, ...]] | None = None
    mean_sd: tuple[MeanCell, ...] | None = None
    median_iqr: tuple[MedianCell, ...] | None = None
    whole_numbers: bool = Field(
        False, description="each patient's value is whole, so that few means are possible"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = [self.levels, self.mean_sd, self.median_iqr]
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("one of levels, mean_sd and median_iqr")
        return self

    def widths(self) -> set[int]:
        """How many columns each line of this row has."""
        if self.levels is not None:
            return {len(cells) for cells in self.levels.values()}
        return {len(self.mean_sd or self.median_iqr or ())}


class Baseline(Entry):
    """A table of characteristics by group."""

    group: str
    place: str
    columns: tuple[str, ...] = Field(min_length=1)
    n: tuple[WholeCell, ...]
    percent_of: Literal["all", "column", "either"] = "either"
    row: tuple[BaselineRow, ...] = ()

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        width = len(self.columns)
        if len(self.n) != width:
            raise ValueError(f"n: {width} numbers, one a column")
        for row in self.row:
            if row.widths() - {width}:
                raise ValueError(f"row {row.name!r}: {width} cells a line, one a column")
        return self


class Paper(Entry):
    """All printed figures of one paper."""

    paper: About = About()
    methods: Methods = Methods()
    same: tuple[Same, ...] = ()
    sum: tuple[Sum, ...] = ()
    rate: tuple[Rate, ...] = ()
    bound: tuple[Bound, ...] = ()
    classifier: tuple[Classifier, ...] = ()
    claim: tuple[Claim, ...] = ()
    concordance: tuple[Concordance, ...] = ()
    order: tuple[Order, ...] = ()
    hazard_ratio: tuple[HazardRatio, ...] = ()
    sample_size: tuple[SampleSize, ...] = ()
    power: tuple[Power, ...] = ()
    statement: tuple[Statement, ...] = ()
    baseline: tuple[Baseline, ...] = ()

    def classifier_of(self, model: str, group: str) -> Classifier | None:
        """The entry of a model in a group, or None."""
        found = (c for c in self.classifier if c.model == model and c.group == group)
        return next(found, None)

    def statement_of(self, what: str, group: str) -> Statement | None:
        """What is said of a quantity in a group, or None."""
        found = (s for s in self.statement if s.what == what and s.group == group)
        return next(found, None)

    def baseline_of(self, group: str) -> Baseline:
        """The baseline table of a group.

        Raises:
            NotFoundError: the paper prints none.
        """
        for table in self.baseline:
            if table.group == group:
                return table
        hint = did_you_mean(group, [table.group for table in self.baseline])
        raise NotFoundError(f"no baseline table of group {group!r}; {hint}")


def load_paper(path: Path) -> Paper:
    """Read and check a file of printed figures.

    Raises:
        NotFoundError: there is no such file.
        ValidationError: it is no TOML, or holds unknown keys or unreadable numbers; all are listed.
    """
    try:
        values = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError(f"{path}: no such file; expected a TOML file of figures") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        problem = Problem(path.name, f"TOML in UTF-8; {error}")
        raise ValidationError([problem], str(path)) from error
    try:
        return Paper.model_validate(values)
    except pydantic.ValidationError as error:
        raise ValidationError(_problems(error, path.name), str(path)) from error


def shipped_cohort(name: str) -> Path:
    """The folder of a cohort that comes with the program.

    Raises:
        NotFoundError: there is none of that name.
    """
    package = Path(__file__).resolve().parents[1]
    for root in (package / "_cohorts", package.parent / "cohorts"):
        if (root / name).is_dir():
            return root / name
    raise NotFoundError(f"cohort {name!r} does not come with this installation")


def _problems(error: pydantic.ValidationError, file: str) -> Iterable[Problem]:
    for detail in error.errors():
        where = _where(detail["loc"])
        if detail["type"] == "extra_forbidden":
            hint = did_you_mean(str(detail["loc"][-1]), _known_keys(detail["loc"][:-1]))
            yield Problem(file, f"a known key; {hint}", column=where)
        elif detail["type"] == "missing":
            yield Problem(file, "this key, it is required", column=where)
        else:
            simple = isinstance(detail["input"], str | int | float)
            expected = detail["msg"].removeprefix("Value error, ")
            found = shorten(detail["input"]).strip("'") if simple else None
            yield Problem(file, expected.removeprefix("Input should be "), where, value=found)


def _where(location: tuple[int | str, ...]) -> str:
    """`classifier 2: again 1: fpr`: entries counted from 1, as a reader counts them."""
    words: list[str] = []
    for part in location:
        if isinstance(part, int) and words:
            words[-1] += f" {part + 1}"
        else:
            words.append(str(part))
    return ": ".join(words)


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Paper
    for part in location:
        fields = getattr(section, "model_fields", {})
        if isinstance(part, str) and part in fields:
            section = _entry_in(fields[part].annotation)
    return list(getattr(section, "model_fields", {}))


def _entry_in(annotation: Any) -> Any:  # noqa: ANN401 an annotation is of any kind
    if isinstance(annotation, type) and issubclass(annotation, Entry):
        return annotation
    inner = (_entry_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found is not None), None)
