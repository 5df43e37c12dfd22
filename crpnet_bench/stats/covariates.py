"""The gate through which a table of covariates enters the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError
from crpnet_bench.stats.inputs import Floats, finite

__all__ = ["CovariateInput", "Covariates", "covariate_table"]

# A DataFrame counts as array-like.
CovariateInput: TypeAlias = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Covariates as numbers.

    Attributes:
        values: shape (n, p).
        names: p distinct names.
    """

    values: Floats
    names: tuple[str, ...]


def covariate_table(covariates: CovariateInput) -> Covariates:
    """Covariates from a DataFrame, a mapping of columns, a Series or an array.

    Rows are matched by position, never by index. An array of shape (n, p) names its columns
    x1, x2, ...; one column without a name is "x".

    Raises:
        InputError: no column, a name twice, a column with missing values or with text (code
            categories as 0/1 columns first).
    """
    columns = _columns(covariates)
    names = [str(name) for name, _ in columns]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"covariates: {repeated[0]!r} names several columns; expected one each")
    if not columns:
        raise InputError("covariates: found no column; expected at least one")
    arrays = [finite(values, f"covariate {name!r}") for name, values in columns]
    if len({array.size for array in arrays}) > 1:
        told = ", ".join(f"{name} {a.size}" for name, a in zip(names, arrays, strict=True))
        raise InputError(f"covariates: lengths differ: {told}; expected one row a patient in each")
    return Covariates(np.column_stack(arrays), tuple(names))


def _columns(covariates: CovariateInput) -> list[tuple[Any, Any]]:
    if isinstance(covariates, Mapping):
        return list(covariates.items())
    if hasattr(covariates, "columns"):  # a DataFrame, told without importing pandas
        frame: Any = covariates
        return [(name, frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
    array = np.asarray(covariates)
    if array.ndim == 1:
        name = getattr(covariates, "name", None)
        return [("x" if name is None else name, array)]
    if array.ndim != 2:
        raise InputError(f"covariates: expected shape (n, p), found {array.shape}")
    return [(f"x{i + 1}", array[:, i]) for i in range(array.shape[1])]
