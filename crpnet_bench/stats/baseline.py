"""Table 1: who the patients are, by outcome or by any other grouping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.stats.group_tests import GroupTest, count_test, mean_test, rank_test
from crpnet_bench.stats.inputs import Floats, Ints, codes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BaselineCell", "BaselineRow", "BaselineTable", "baseline_table"]

Summary = Literal["count", "mean", "median"]

_SUMMARIES = ("count", "mean", "median")
# A numeric variable with no more distinct values than this is counted (grades, 0/1 codes).
_MOST_LEVELS = 5
_NORMAL_P = 0.05
# Shapiro-Wilk is defined for 3 to 5000 values.
_SHAPIRO_SIZES = (3, 5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineCell:
    """One group in one row; the attributes that do not belong to the row's kind are None.

    Attributes:
        n: patients of the group with a known value.
        count, percent: patients at the level, and their share of `n` in per cent (of the whole
            group in a "missing" row).
        mean, sd: arithmetic mean and standard deviation.
        median, q1, q3: quartiles, type 7.
    """

    n: int
    count: int | None = None
    percent: float | None = None
    mean: float | None = None
    sd: float | None = None
    median: float | None = None
    q1: float | None = None
    q3: float | None = None

    @property
    def text(self) -> str:
        """The cell as it is printed.

        >>> BaselineCell(n=135, count=97, percent=100 * 97 / 135).text
        '97 (71.9 %)'
        """
        if self.count is not None:
            return (
                f"{self.count}" if self.percent is None else f"{self.count} ({self.percent:.1f} %)"
            )
        if self.mean is not None:
            spread = "n/a" if self.sd is None else f"{self.sd:.2f}"
            return f"{self.mean:.2f} ± {spread}"
        if self.median is not None:
            return f"{self.median:.4g} ({self.q1:.4g}, {self.q3:.4g})"
        return "n/a"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineRow:
    """One row of the table.

    Attributes:
        variable: its name.
        level: the category counted; "missing" for the row of missing values; None for a mean or
            median.
        kind: "count", "mean", "median" or "missing".
        cells: group label -> cell.
        overall: all groups together.
        test: on the first row of a variable, else None.
    """

    variable: str
    level: Any
    kind: Literal["count", "mean", "median", "missing"]
    cells: Mapping[Any, BaselineCell]
    overall: BaselineCell
    test: GroupTest | None = None

    @property
    def p_value(self) -> float | None:
        """P value of the variable's test, on its first row."""
        return None if self.test is None else self.test.p_value


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineTable:
    """The whole table.

    Attributes:
        rows: in the order of the variables.
        groups: label -> number of patients.
        n: patients in the table.
        left_out: patients without a known group, not in the table.
    """

    rows: tuple[BaselineRow, ...]
    groups: Mapping[Any, int]
    n: int
    left_out: int = 0

    def row(self, variable: str, level: Any = None) -> BaselineRow:  # noqa: ANN401 any label
        """The row of a variable (its first) or of one of its levels.

        Raises:
            InputError: there is no such row.
        """
        for row in self.rows:
            if row.variable == variable and level in (None, row.level):
                return row
        known = {row.variable for row in self.rows}
        raise InputError(
            f"{variable!r}, level {level!r}: no such row; {did_you_mean(variable, known)}"
        )

    def to_frame(self) -> pd.DataFrame:
        """The table as text: variable, level, one column a group, overall, p_value, test."""
        import pandas as pd  # noqa: PLC0415 only needed here

        return pd.DataFrame(
            [
                {
                    "variable": row.variable,
                    "level": "" if row.level is None else str(row.level),
                    **{str(label): cell.text for label, cell in row.cells.items()},
                    "overall": row.overall.text,
                    "p_value": row.p_value,
                    "test": "" if row.test is None else row.test.method,
                }
                for row in self.rows
            ]
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Variable:
    name: str
    values: list[Any]  # None where missing
    known: Ints  # positions with a value


def baseline_table(
    frame: pd.DataFrame,
    outcome: str | ArrayLike,
    variables: Sequence[str] | None = None,
    summaries: Mapping[str, Summary] | None = None,
) -> BaselineTable:
    """Describe patients by outcome, with a test a variable.

    Text, booleans, categories and numbers with at most five distinct values are counted. Other
    numbers show mean and SD when Shapiro-Wilk finds no departure from normality in any group
    (P >= 0.05), otherwise median and quartiles. Tests: `group_tests`. Missing values are a row of
    their own and take no part in percentages and tests.

    Args:
        frame: one row a patient.
        outcome: a column of `frame`, or a label a patient, shape (n,).
        variables: columns to show; all but the outcome by default.
        summaries: variable -> "count", "mean" or "median", where the rule is not wanted.

    Returns:
        The rows, with the groups' sizes and the number of patients left out.

    Raises:
        InputError: a column does not exist, lengths differ or a summary is unknown.
    """
    labels, names = _labels(frame, outcome, variables)
    chosen = _checked(dict(summaries or {}), names)
    known = np.array([label is not None for label in labels], dtype=np.bool_)
    code, groups = codes(np.array([label for label in labels if label is not None], dtype=object))
    kept = np.flatnonzero(known)
    rows: list[BaselineRow] = []
    for name in names:
        column = _plain(frame[name].tolist())
        variable = _variable(name, [column[i] for i in kept])
        rows.extend(_rows(variable, code, groups, chosen.get(name)))
    return BaselineTable(
        rows=tuple(rows),
        groups=MappingProxyType({label: int((code == k).sum()) for k, label in enumerate(groups)}),
        n=int(kept.size),
        left_out=int(known.size - kept.size),
    )


def _labels(
    frame: pd.DataFrame, outcome: str | ArrayLike, variables: Sequence[str] | None
) -> tuple[list[Any], list[str]]:
    columns = [str(column) for column in frame.columns]
    if isinstance(outcome, str):
        if outcome not in columns:
            raise InputError(
                f"outcome {outcome!r}: no such column; {did_you_mean(outcome, columns)}"
            )
        labels = _plain(frame[outcome].tolist())
    else:
        labels = _plain(np.asarray(outcome, dtype=object).tolist())
        if len(labels) != len(frame):
            raise InputError(
                f"lengths differ: outcome {len(labels)}, frame {len(frame)}; "
                "expected one row a patient in each"
            )
    names = [name for name in columns if name != outcome] if variables is None else list(variables)
    for name in names:
        if name not in columns:
            raise InputError(f"variable {name!r}: no such column; {did_you_mean(name, columns)}")
    return labels, names


def _checked(summaries: dict[str, Summary], names: list[str]) -> dict[str, Summary]:
    for name, summary in summaries.items():
        if name not in names:
            raise InputError(
                f"summaries: {name!r} is not in the table; {did_you_mean(name, names)}"
            )
        if summary not in _SUMMARIES:
            raise InputError(
                f"summaries[{name!r}]: found {summary!r}; {did_you_mean(str(summary), _SUMMARIES)}"
            )
    return summaries


def _plain(values: list[Any]) -> list[Any]:
    """Values with None for every kind of missing (None, NaN, NaT, pandas' NA)."""
    return [None if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:  # noqa: ANN401 any cell
    if value is None:
        return True
    equal = value == value  # noqa: PLR0124 NaN and NaT differ from themselves, NA has no answer
    return not isinstance(equal, bool | np.bool_) or not equal


def _variable(name: str, values: list[Any]) -> _Variable:
    return _Variable(name, values, np.flatnonzero([value is not None for value in values]))


def _is_number(value: Any) -> bool:  # noqa: ANN401 any cell
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _rows(
    variable: _Variable, code: Ints, groups: list[Any], summary: Summary | None
) -> list[BaselineRow]:
    if variable.known.size == 0:
        return [_missing_row(variable, code, groups, GroupTest("none", None, reason="all missing"))]
    values = [variable.values[i] for i in variable.known]
    numbers = all(_is_number(value) for value in values)
    if summary in {"mean", "median"} and not numbers:
        raise InputError(f"variable {variable.name!r}: found text; a {summary} needs numbers")
    if summary == "count" or not numbers or (summary is None and len(set(values)) <= _MOST_LEVELS):
        rows = _count_rows(variable, values, code, groups)
    else:
        rows = [_number_row(variable, np.array(values, dtype=np.float64), code, groups, summary)]
    if variable.known.size < len(variable.values):
        rows.append(_missing_row(variable, code, groups))
    return rows


def _count_rows(
    variable: _Variable, values: list[Any], code: Ints, groups: list[Any]
) -> list[BaselineRow]:
    known_code = code[variable.known]
    level_code, levels = codes(np.array(values, dtype=object), variable.name)
    shape = (len(levels), len(groups))
    table = np.bincount(level_code * shape[1] + known_code, minlength=shape[0] * shape[1])
    table = table.reshape(shape)
    sizes = table.sum(axis=0)
    test = count_test(table)
    return [
        BaselineRow(
            variable=variable.name,
            level=level,
            kind="count",
            cells=MappingProxyType(
                {label: _count(table[i, k], sizes[k]) for k, label in enumerate(groups)}
            ),
            overall=_count(table[i].sum(), sizes.sum()),
            test=test if i == 0 else None,
        )
        for i, level in enumerate(levels)
    ]


def _count(count: int, n: int) -> BaselineCell:
    return BaselineCell(n=int(n), count=int(count), percent=100 * count / n if n else None)


def _missing_row(
    variable: _Variable, code: Ints, groups: list[Any], test: GroupTest | None = None
) -> BaselineRow:
    gone = np.ones(len(variable.values), dtype=np.bool_)
    gone[variable.known] = False
    cells = {
        label: _count((gone & (code == k)).sum(), (code == k).sum())
        for k, label in enumerate(groups)
    }
    return BaselineRow(
        variable=variable.name,
        level="missing",
        kind="missing",
        cells=MappingProxyType(cells),
        overall=_count(gone.sum(), gone.size),
        test=test,
    )


def _number_row(
    variable: _Variable, values: Floats, code: Ints, groups: list[Any], summary: Summary | None
) -> BaselineRow:
    known_code = code[variable.known]
    parts = [values[known_code == k] for k in range(len(groups))]
    if summary is None:
        summary = "mean" if all(_looks_normal(part) for part in parts) else "median"
    if len(groups) < 2:
        test = GroupTest("none", None, reason="not estimable: one group only")
    else:
        test = mean_test(*parts) if summary == "mean" else rank_test(*parts)
    describe = _mean if summary == "mean" else _median
    return BaselineRow(
        variable=variable.name,
        level=None,
        kind="mean" if summary == "mean" else "median",
        cells=MappingProxyType(
            {label: describe(part) for label, part in zip(groups, parts, strict=True)}
        ),
        overall=describe(values),
        test=test,
    )


def _looks_normal(values: Floats) -> bool:
    low, high = _SHAPIRO_SIZES
    if not low <= values.size <= high or np.ptp(values) == 0:
        return False
    return bool(stats.shapiro(values).pvalue >= _NORMAL_P)


def _mean(values: Floats) -> BaselineCell:
    if values.size == 0:
        return BaselineCell(n=0)
    sd = float(values.std(ddof=1)) if values.size > 1 else None
    return BaselineCell(n=values.size, mean=float(values.mean()), sd=sd)


def _median(values: Floats) -> BaselineCell:
    if values.size == 0:
        return BaselineCell(n=0)
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return BaselineCell(n=values.size, median=median, q1=q1, q3=q3)
