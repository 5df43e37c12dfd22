"""Who is in which group: by a model's risk and a cut-off, or by a clinical variable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.reporting.clinical_groups import level_order
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.stats.cutpoint import maximally_selected_cutpoint

__all__ = ["CUT_OFFS", "HIGH", "LOW", "Grouping", "by_risk", "by_variable"]

LOW, _MIDDLE, HIGH = "Low risk", "Intermediate risk", "High risk"

# Key -> what a reader sees.
CUT_OFFS: Mapping[str, str] = {
    "training-median": "Training median, locked",
    "class-threshold": "Class threshold, locked",
    "cohort-median": "Median of the patients shown (as in the article)",
    "tertiles": "Tertiles of the patients shown",
    "own": "Own value",
    "best": "Best cut-point of the patients shown (P corrected)",
}


@dataclass(frozen=True, eq=False)
class Grouping:
    """Which patient is in which group.

    Attributes:
        title: what makes the groups.
        table: one row a patient: `patient_id`, `time`, `status`, `group`.
        levels: groups from good to bad.
        note: where the cut-off comes from, and what that means.
        p_value: replaces the log-rank P where the cut-off was searched; None else.
        tested: whether a test of these groups means anything.
        locked_model: the model whose locked risk groups these are, if they are.
        missing: patients without a group.
        clinical: the groups are levels of a variable; small ones are not drawn.
    """

    title: str
    table: pd.DataFrame
    levels: tuple[str, ...]
    note: str = ""
    p_value: float | None = None
    tested: bool = True
    locked_model: str | None = None
    missing: int = 0
    clinical: bool = False


def by_variable(sample: Sample, variable: str) -> Grouping:
    """Groups by a clinical variable or a score's published groups.

    Raises:
        InputError: the patients have no such grouping.
    """
    if variable not in sample.groups:
        hint = did_you_mean(variable, list(sample.groups.columns))
        raise InputError(f"no grouping {variable!r}; {hint}")
    labels = sample.groups[variable].to_numpy(object)
    table = sample.patients[["patient_id", "time", "status"]].assign(group=labels)
    known = table[table["group"].notna()].reset_index(drop=True)
    return Grouping(
        title=variable,
        table=known,
        levels=tuple(level_order(known["group"])),
        missing=len(table) - len(known),
        clinical=True,
    )


def by_risk(sample: Sample, model: str, cut_off: str, own: float | None = None) -> Grouping:
    """Groups by a model's risk.

    Args:
        sample: the patients.
        model: whose risk.
        cut_off: a key of `CUT_OFFS`.
        own: the value for "own".

    Raises:
        InputError: an unknown cut-off, or "own" without a value.
    """
    if cut_off not in CUT_OFFS:
        raise InputError(f"no cut-off {cut_off!r}; {did_you_mean(cut_off, CUT_OFFS)}")
    rows = sample.of_model(model)
    labels, extra = _RULES[cut_off](rows, own)
    if cut_off == "training-median" and not sample.out_of_fold:
        extra["note"] = "Risk groups as the run recorded them; it has no out-of-fold risks."
    table = rows[["patient_id", "time", "status"]].assign(group=labels)
    known = table[table["group"].notna()].reset_index(drop=True)
    present = set(known["group"])
    return Grouping(
        title=model,
        table=known,
        levels=tuple(level for level in (LOW, _MIDDLE, HIGH) if level in present),
        missing=sample.n - len(known),
        locked_model=model if cut_off == "training-median" else None,
        **extra,
    )


_Labels = tuple[Any, dict[str, Any]]


def _locked(rows: pd.DataFrame, _own: float | None) -> _Labels:
    labels = rows["risk_group"].map({"high": HIGH, "low": LOW})
    cutoff = rows["cutoff"].dropna()
    value = f" ({cutoff.iloc[0]:.3g})" if cutoff.nunique() == 1 else ""
    note = f"Cut-off{value}: median of the training patients' out-of-fold risks, locked."
    return labels.to_numpy(object), {"note": note}


def _classes(rows: pd.DataFrame, _own: float | None) -> _Labels:
    labels = rows["predicted_class"].map({1: HIGH, 0: LOW})
    threshold = rows["threshold"].dropna()
    value = f" {threshold.iloc[0]:.3g}" if threshold.nunique() == 1 else ""
    note = f"Groups are the predicted classes: probability at or above{value}, locked."
    return labels.to_numpy(object), {"note": note}


def _above(rows: pd.DataFrame, value: float) -> Any:  # noqa: ANN401 an array of labels
    return np.where(rows["risk"].to_numpy(float) > value, HIGH, LOW).astype(object)


def _cohort_median(rows: pd.DataFrame, _own: float | None) -> _Labels:
    value = float(rows["risk"].median()) if len(rows) else float("nan")
    note = (
        f"Cut-off {value:.3g}: median of the patients shown, as in the article. It was not fixed "
        "before these patients were seen."
    )
    return _above(rows, value), {"note": note}


def _tertiles(rows: pd.DataFrame, _own: float | None) -> _Labels:
    risk = rows["risk"].to_numpy(float)
    low, high = np.quantile(risk, [1 / 3, 2 / 3]) if risk.size else (np.nan, np.nan)
    labels = np.select([risk > high, risk > low], [HIGH, _MIDDLE], LOW).astype(object)
    note = f"Cut-offs {low:.3g} and {high:.3g}: tertiles of the patients shown."
    return labels, {"note": note}


def _own_value(rows: pd.DataFrame, own: float | None) -> _Labels:
    if own is None:
        raise InputError("the cut-off 'own' needs a value")
    note = f"Cut-off {own:.3g}: chosen by the reader, so there is no P value."
    return _above(rows, own), {"note": note, "tested": False}


def _best(rows: pd.DataFrame, _own: float | None) -> _Labels:
    found = maximally_selected_cutpoint(
        rows["time"].to_numpy(float),
        (rows["status"] == 1).to_numpy(),
        rows["risk"].to_numpy(float),
    )
    if found.cutpoint is None:
        return np.full(len(rows), None), {"note": found.reason or "", "tested": False}
    note = (
        f"Cut-off {found.cutpoint:.3g}: the one that separates these patients best. Hazard ratio "
        "and curves are too good; P counts the search (maximally selected log-rank statistic)."
    )
    return _above(rows, found.cutpoint), {"note": note, "p_value": found.p_value}


_RULES: Mapping[str, Callable[[pd.DataFrame, float | None], _Labels]] = {
    "training-median": _locked,
    "class-threshold": _classes,
    "cohort-median": _cohort_median,
    "tertiles": _tertiles,
    "own": _own_value,
    "best": _best,
}
