"""A fitted Cox model: its terms, and what it predicts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import InputError, ModelError, did_you_mean
from crpnet_bench.stats.baseline_hazard import BaselineHazard
from crpnet_bench.stats.covariates import CovariateInput, Covariates, covariate_table
from crpnet_bench.stats.inputs import Floats, survival_times

__all__ = ["CoxResult", "CoxTerm", "Ties"]

Ties = Literal["efron", "breslow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoxTerm:
    """One covariate of a Cox model.

    Attributes:
        name: the covariate.
        coef: log hazard ratio for one unit; None where not estimable.
        se: its standard error.
        hazard_ratio, ci_low, ci_high: exp(coef) and its limits.
        p_value: Wald, or penalised likelihood ratio for Firth.
        reason: why there is no estimate ("constant"); None when there is one.
        warning: what the reader has to know; None when nothing.
    """

    name: str
    coef: float | None = None
    se: float | None = None
    hazard_ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    p_value: float | None = None
    reason: str | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoxResult:
    """A fitted Cox model, or the reason why there is none.

    Attributes:
        terms: covariate name -> term, in the order given.
        covariance: of the estimable coefficients, in the order of `estimated`.
        estimated: names of the terms with a coefficient.
        means: subtracted from the covariates in `linear_predictor`.
        log_likelihood, log_likelihood_null: at the estimate and at 0; for Firth
            penalised, with the penalty of covariates in standard deviations, as `coxphf`.
        lrt_statistic, lrt_p_value: likelihood ratio test of all terms.
        wald_statistic, wald_p_value: Wald test of all terms.
        df: degrees of freedom of both.
        method: likelihood, ties, interval; says when Firth was chosen automatically.
        ties: the handling of ties that was used.
        firth: whether the likelihood was penalised.
        n, events: patients and events.
        level: confidence level.
        reason: why nothing could be fitted; None when something was.
        warning: what the reader has to know; None when nothing.
        baselines: baseline hazard a stratum, at covariates equal to `means`.
    """

    terms: Mapping[str, CoxTerm]
    covariance: Floats
    estimated: tuple[str, ...]
    means: Floats
    log_likelihood: float | None
    log_likelihood_null: float | None
    lrt_statistic: float | None
    lrt_p_value: float | None
    wald_statistic: float | None
    wald_p_value: float | None
    df: int
    method: str
    ties: Ties
    firth: bool
    n: int
    events: int
    level: float
    reason: str | None = None
    warning: str | None = None
    baselines: Mapping[Hashable, BaselineHazard]

    def linear_predictor(self, covariates: CovariateInput) -> Floats:
        """Sum of coef * (covariate - mean), shape (n,), as R's `fit$linear.predictors`.

        Means are those of the fitted patients; columns that held only -1, 0 and 1 are not
        centred. A term without coefficient adds nothing. Columns of a DataFrame or a mapping
        are matched by name, those of an array by position.

        Raises:
            ModelError: the model has no coefficients.
            InputError: a column is missing, or has missing values.
        """
        if self.reason is not None:
            raise ModelError(f"Cox model: nothing was fitted ({self.reason}), so nothing predicts")
        table = _matched(covariates, tuple(self.terms))
        coef = np.array([term.coef or 0.0 for term in self.terms.values()])
        return np.asarray((table.values - self.means) @ coef)

    def predict_survival(
        self,
        covariates: CovariateInput,
        times: ArrayLike,
        strata: ArrayLike | None = None,
    ) -> Floats:
        """Predicted survival, shape (n, number of times), as R's `survfit(fit, newdata)`.

        exp(-H0(t) exp(lp)) with a step-function baseline: Efron's where ties are Efron's, else
        Breslow's. Beyond the last follow-up the last value is carried forward.

        Args:
            covariates: as in `linear_predictor`.
            times: times from zero upwards, in the unit of the fit; a single one is allowed.
            strata: the stratum of each row, where the model has strata.

        Raises:
            ModelError: the model has no coefficients.
            InputError: bad covariates or times, strata missing or unknown.
        """
        risk = np.exp(self.linear_predictor(covariates))
        asked = survival_times(np.atleast_1d(np.asarray(times)), "times")
        labels = _stratum_labels(strata, risk.size, self.baselines)
        hazard = np.array([self.baselines[label].at(asked) for label in labels])
        return np.asarray(np.exp(-hazard.reshape(risk.size, asked.size) * risk[:, None]))


def _matched(covariates: CovariateInput, names: tuple[str, ...]) -> Covariates:
    """The columns of the model, by name where there are names, else by position."""
    table = covariate_table(covariates)
    if not (isinstance(covariates, Mapping) or hasattr(covariates, "columns")):
        if len(table.names) != len(names):
            raise InputError(
                f"covariates: found {len(table.names)} columns; expected {len(names)} "
                f"({', '.join(names)})"
            )
        return Covariates(table.values, names)
    missing = [name for name in names if name not in table.names]
    if missing:
        raise InputError(
            f"covariates: column {missing[0]!r} of the model is missing; "
            f"{did_you_mean(missing[0], table.names)}"
        )
    index = [table.names.index(name) for name in names]
    return Covariates(table.values[:, index], names)


def _stratum_labels(
    strata: ArrayLike | None, n: int, baselines: Mapping[Hashable, BaselineHazard]
) -> list[Hashable]:
    if strata is None:
        if len(baselines) > 1:
            raise InputError("strata: the model has strata; expected the stratum of each row")
        return list(baselines) * n
    labels: list[Hashable] = np.asarray(strata).tolist()
    if len(labels) != n:
        raise InputError(f"strata: found {len(labels)} labels for {n} rows; expected one each")
    unknown = [label for label in labels if label not in baselines]
    if unknown:
        raise InputError(
            f"strata: found {unknown[0]!r}; expected one of {', '.join(map(repr, baselines))}"
        )
    return labels
