"""Hazard ratios as rows of a forest plot: alone, beside each other, in subgroups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.reporting.clinical_groups import level_order
from crpnet_bench.reporting.clinical_models import risk_of
from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.survival import FEWEST_EVENTS, FEWEST_PATIENTS, p_with_sign
from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxTerm
from crpnet_bench.stats.inputs import Bools, Floats
from crpnet_bench.stats.subgroups import SubgroupEffect, subgroup_effects

__all__ = [
    "MULTIVARIABLE",
    "ForestRow",
    "forest_rows",
    "interval_methods",
    "multivariable_rows",
    "subgroup_forest",
    "subgroup_rows",
]

# Events by group as `evaluate` tells them beside the hazard ratio of high against low.
_SPLIT = re.compile(r"high (?P<high>\d+/\d+), low (?P<low>\d+/\d+)")
_UNSTABLE = "unstable"
_SUBGROUP_VARIABLES = (
    "T stage",
    "Grade group",
    "Necrosis",
    "Age group",
    "Sex",
    "Diameter group",
    "Site",
)


@dataclass(frozen=True, slots=True)
class ForestRow:
    """A row of a forest plot; `heading` rows carry a title only.

    Attributes:
        label: what it is about.
        value, low, high: hazard ratio with limits; None where not estimable.
        text: the same as text, or the reason.
        p_text: P value as printed.
        counts: n and events as printed.
        model: the model whose colour it gets, or None.
        notes: Firth, unstable.
        heading: a title between rows.
    """

    label: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str = ""
    p_text: str = ""
    counts: str = ""
    model: str | None = None
    notes: tuple[str, ...] = ()
    heading: bool = False


def forest_rows(metrics: pd.DataFrame, models: Sequence[str], metric: str) -> tuple[ForestRow, ...]:
    """Univariable hazard ratios, a row a model or variable.

    Args:
        metrics: the `metrics` table of one set of patients.
        models: which rows, in this order.
        metric: "hr_per_sd" or "hr_high_low".
    """
    cells: dict[tuple[str, str], Mapping[Any, Any]] = {
        (row["model"], row["metric"]): row for row in metrics.to_dict("records")
    }
    rows = []
    for model in models:
        found, p = cells.get((model, metric)), cells.get((model, f"{metric}_p"))
        if found is not None:
            rows.append(_forest_row(model, metric, found, p))
    return tuple(rows)


def _forest_row(
    model: str, metric: str, found: Mapping[Any, Any], p: Mapping[Any, Any] | None
) -> ForestRow:
    ok = found["status"] == "ok" and found["events"] >= FEWEST_EVENTS
    reason = found["reason"] if found["status"] != "ok" else f"{found['events']} events"
    firth = "Firth's method" if "irth" in str(found["ci_method"]) else ""
    split = _SPLIT.search(str(found["reason"])) if metric == "hr_high_low" else None
    unstable = (
        "Unstable, fewer than 5 events in a group" if _UNSTABLE in str(found["reason"]) else ""
    )
    return ForestRow(
        label=model_title(model),
        value=float(found["value"]) if ok else None,
        low=_number(found["ci_low"]) if ok else None,
        high=_number(found["ci_high"]) if ok else None,
        text=format_interval(found["value"], found["ci_low"], found["ci_high"], digits=2)
        if ok
        else "not estimable",
        p_text=format_p(p["value"]) if ok and p is not None and p["status"] == "ok" else "",
        counts=f"{split['high']} v {split['low']}" if split else f"{found['events']}/{found['n']}",
        model=model,
        notes=tuple(part for part in (firth, unstable if ok else str(reason)) if part),
    )


def interval_methods(metrics: pd.DataFrame, metric: str) -> str:
    """How the intervals of a hazard ratio were made, for the caption."""
    rows = metrics[(metrics["metric"] == metric) & (metrics["status"] == "ok")]
    methods = "; ".join(dict.fromkeys(rows["ci_method"].dropna().astype(str)))
    return f"95 % intervals: {methods}." if methods else ""


def _number(value: Any) -> float | None:  # noqa: ANN401 a cell
    return None if pd.isna(value) else float(value)


def multivariable_rows(
    sample: Sample, model: str, variables: Sequence[str]
) -> tuple[tuple[ForestRow, ...], str]:
    """One Cox model of a risk (per SD of the training risk) beside clinical variables.

    Returns:
        A row a covariate, and a sentence on the model.
    """
    rows = sample.of_model(model)
    columns = _per_sd(rows, model) | _design(rows, variables)
    frame = pd.DataFrame(columns, index=rows.index)
    complete: Bools = frame.notna().all(axis=1).to_numpy(np.bool_)
    status = rows["status"].to_numpy(int)[complete]
    events, missing = int((status == 1).sum()), len(frame) - int(complete.sum())
    if events < FEWEST_EVENTS or frame.empty:
        return (), f"No model: {events} events, fewer than {FEWEST_EVENTS}."
    fit = cox_ph(rows["time"].to_numpy(float)[complete], status == 1, frame[complete])
    found = tuple(
        ForestRow(
            label=name,
            value=term.hazard_ratio,
            low=term.ci_low,
            high=term.ci_high,
            text="not estimable"
            if term.hazard_ratio is None
            else format_interval(term.hazard_ratio, term.ci_low, term.ci_high, digits=2),
            p_text="" if term.p_value is None else format_p(term.p_value),
            counts=f"{fit.events}/{fit.n}",
            model=model if name.startswith(model_title(model)) else None,
            notes=(str(term.reason or fit.reason),)
            if term.hazard_ratio is None
            else ("Firth's method",)
            if fit.firth
            else (),
        )
        for name, term in fit.terms.items()
    )
    per = events / max(len(found), 1)
    few = " Fewer than 10 events a covariate: unstable." if per < 10 else ""
    left = f" {missing} patients with a missing value are left out." if missing else ""
    return found, (
        f"Cox model of {len(found)} covariates, {fit.n} patients, {fit.events} events "
        f"({per:.1f} a covariate); {fit.method}.{few}{left}"
    )


def _per_sd(rows: pd.DataFrame, model: str) -> dict[str, Floats]:
    known = rows["risk_sd"].dropna()
    if known.empty or float(known.iloc[0]) <= 0:
        return {}
    return {f"{model_title(model)}, per SD": rows["risk"].to_numpy(float) / float(known.iloc[0])}


def _above(column: str, limit: float) -> Callable[[pd.DataFrame], pd.Series[Any]]:
    def covariate(rows: pd.DataFrame) -> pd.Series[Any]:
        values = risk_of(rows, column)
        return (values > limit).astype(float).where(values.notna())

    return covariate


def _female(rows: pd.DataFrame) -> pd.Series[Any]:
    return (rows["sex"] == "female").astype("Float64").where(rows["sex"].notna())


# What a reader may put beside the model: name -> column, row label, covariate.
MULTIVARIABLE: Mapping[str, tuple[str, str, Callable[[pd.DataFrame], pd.Series[Any]]]] = {
    "T stage": ("pT", "T3-4 against T1-2", _above("pT", 2)),
    "Grade": ("grade", "Grade III-IV against I-II", _above("grade", 2)),
    "Necrosis": ("necrosis", "Necrosis, yes against no", _above("necrosis", 0)),
    "Diameter": ("tumor_size_cm", "Diameter, per cm", lambda r: risk_of(r, "tumor_size_cm")),
    "Age": ("age", "Age, per 10 years", lambda rows: risk_of(rows, "age") / 10),
    "Sex": ("sex", "Female against male", _female),
}


def _design(rows: pd.DataFrame, variables: Sequence[str]) -> dict[str, Floats]:
    made: dict[str, Floats] = {}
    for variable in variables:
        column, label, covariate = MULTIVARIABLE[variable]
        if column in rows and rows[column].notna().any():
            values = covariate(rows).astype("Float64")
            made[label] = np.asarray(values.to_numpy(np.float64, na_value=np.nan))
    return made


def subgroup_forest(sample: Sample, model: str) -> tuple[SubgroupEffect, ...]:
    """Hazard ratio of the model's locked high against low group in every clinical subgroup."""
    rows = sample.of_model(model)
    rows = rows[rows["risk_group"].notna()]
    names = [name for name in _SUBGROUP_VARIABLES if name in sample.groups]
    if rows.empty or not names:
        return ()
    groups = sample.groups[names].reindex(rows["patient_id"])
    return subgroup_effects(
        rows["time"].to_numpy(float),
        (rows["status"] == 1).to_numpy(),
        (rows["risk_group"] == "high").to_numpy(),
        {name: groups[name].where(groups[name].notna(), None).to_numpy(object) for name in names},
        level=sample.settings.level,
    )


def subgroup_rows(effects: Sequence[SubgroupEffect], model: str) -> tuple[ForestRow, ...]:
    """Forest rows with a heading a variable that tells its interaction P."""
    rows: list[ForestRow] = []
    for variable in dict.fromkeys(effect.variable for effect in effects):
        own = [effect for effect in effects if effect.variable == variable]
        rows.append(ForestRow(label=variable, p_text=_interaction(own[0]), heading=True))
        order = level_order(pd.Series([str(effect.level) for effect in own]))
        for effect in sorted(own, key=lambda effect: order.index(str(effect.level))):
            if effect.n >= FEWEST_PATIENTS:
                rows.append(_subgroup_row(effect, model))
            else:
                rows.append(
                    ForestRow(f"  {effect.level}", text=f"fewer than {FEWEST_PATIENTS} patients")
                )
    return tuple(rows)


def _interaction(effect: SubgroupEffect) -> str:
    found = effect.interaction
    if found.p_value is None:
        return "interaction not estimable"
    told = ", approximate" if "infinite" in str(found.warning) else ""
    return f"interaction {p_with_sign(found.p_value)}{told}"


def _subgroup_row(effect: SubgroupEffect, model: str) -> ForestRow:
    term = effect.effect
    known = term.hazard_ratio is not None
    return ForestRow(
        label=f"  {effect.level}",
        value=term.hazard_ratio,
        low=term.ci_low,
        high=term.ci_high,
        text=format_interval(term.hazard_ratio or 0.0, term.ci_low, term.ci_high, digits=2)
        if known
        else "suppressed"
        if str(term.reason).startswith("suppressed")
        else "not estimable",
        p_text="" if effect.adjusted_p_value is None else format_p(effect.adjusted_p_value),
        counts=f"{effect.events}/{effect.n}",
        model=model,
        notes=_remarks(term),
    )


def _remarks(term: CoxTerm) -> tuple[str, ...]:
    if term.hazard_ratio is None:
        reason = str(term.reason)
        return () if reason.startswith("suppressed") else (reason,)
    if _UNSTABLE in str(term.warning):
        return ("Unstable, fewer than 5 events in a risk group",)
    return (term.warning,) if term.warning else ()
