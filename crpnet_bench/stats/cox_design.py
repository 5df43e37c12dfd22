"""What enters a Cox likelihood: checked rows, usable covariates, standardised."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.stats.covariates import CovariateInput, Covariates, covariate_table
from crpnet_bench.stats.inputs import (
    Bools,
    Floats,
    Ints,
    codes,
    event_indicator,
    same_length,
    survival_times,
)
from crpnet_bench.stats.partial_likelihood import PartialLikelihood

__all__ = ["CoxDesign", "cox_design"]

# Of a standardised covariate, the share of information left when the others are known.
_COLLINEAR = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class CoxDesign:
    """What enters the likelihood: standardised covariates without the unusable ones.

    Attributes:
        time, event, stratum: shapes (n,).
        strata: stratum labels, in the order of their codes.
        table: the covariates as given.
        kept: indices of the usable columns.
        X: the usable columns, centred and in standard deviations, shape (n, kept).
        scale: their standard deviations.
        reasons: column name -> why it is not usable.
    """

    time: Floats
    event: Bools
    stratum: Ints
    strata: tuple[Hashable, ...]
    table: Covariates
    kept: Ints
    X: Floats
    scale: Floats
    reasons: dict[str, str]

    def likelihood(self, *, efron: bool) -> PartialLikelihood:
        """Partial likelihood of the usable columns."""
        return PartialLikelihood(self.time, self.event, self.X, self.stratum, efron=efron)

    def why_not_fitted(self) -> str | None:
        """Why there is nothing to fit; None when there is."""
        if not self.time.size:
            return "no patients"
        if not self.event.any():
            return "no events"
        if not self.kept.size:
            return "; ".join(f"{name}: {why}" for name, why in self.reasons.items())
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the usable columns."""
        return tuple(self.table.names[i] for i in self.kept)


def cox_design(
    time: ArrayLike, event: ArrayLike, covariates: CovariateInput, strata: ArrayLike | None
) -> CoxDesign:
    """Check the input and set aside constant and collinear covariates, as R does.

    Of several collinear columns the first ones stay.

    Raises:
        InputError: bad times, events, covariates or strata, or unequal lengths.
    """
    times, events = survival_times(time), event_indicator(event)
    table = covariate_table(covariates)
    n = same_length(time=times, event=events, covariates=table.values)
    stratum, labels = (np.zeros(n, dtype=np.int64), ["all"])
    if strata is not None:
        stratum, labels = codes(strata, "strata")
        same_length(time=times, strata=stratum)
    values = table.values
    centred = values - values.mean(axis=0) if n else values
    scale = centred.std(axis=0, ddof=1) if n > 1 else np.zeros(values.shape[1])
    constant = scale <= _COLLINEAR * np.maximum(np.abs(values).max(axis=0, initial=0.0), 1e-300)
    standard = np.where(constant, 0.0, centred / np.where(constant, 1.0, scale))
    reasons = {table.names[i]: "constant" for i in np.flatnonzero(constant)}
    design = CoxDesign(
        times,
        events,
        stratum,
        tuple(labels),
        table,
        np.arange(scale.size),
        standard,
        scale,
        reasons,
    )
    return _without_collinear(design)


def _without_collinear(design: CoxDesign) -> CoxDesign:
    information = (
        design.likelihood(efron=False).derivatives(np.zeros(design.scale.size)).information
    )
    kept: list[int] = []
    for column, name in enumerate(design.table.names):
        if name in design.reasons:
            continue
        if _information_left(information, kept, column) > _COLLINEAR * design.event.sum():
            kept.append(column)
        else:
            design.reasons[name] = _why_collinear(information, kept, column, design.table.names)
    index = np.array(kept, dtype=np.int64)
    return replace(design, kept=index, X=design.X[:, index], scale=design.scale[index])


def _information_left(information: Floats, kept: list[int], column: int) -> float:
    """Information on a column when the kept ones are known."""
    own = float(information[column, column])
    if not kept:
        return own
    cross = information[kept, column]
    return own - float(cross @ np.linalg.solve(information[np.ix_(kept, kept)], cross))


def _why_collinear(
    information: Floats, kept: list[int], column: int, names: tuple[str, ...]
) -> str:
    if information[column, column] <= _COLLINEAR or not kept:
        return "does not vary among patients at risk at any event time"
    weights = np.linalg.solve(information[np.ix_(kept, kept)], information[kept, column])
    others = [names[kept[i]] for i in np.flatnonzero(np.abs(weights) > 1e-6)]
    return f"collinear with {', '.join(others)}"
