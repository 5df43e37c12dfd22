"""Do hospital and outcome go together? Sentences about it, for a run and for its validation.

Where they do, a model can learn what tells the hospitals apart (staining, scanner, referral) in
place of the disease, and no figure from those hospitals shows it. Pure: tables in, sentences out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.stats.rates_by_group import EventRates, event_rates

__all__ = ["run_site_remarks", "site_remark"]

_UNEQUAL = 0.15  # difference of event rates between sites that is worth a sentence
_SIGNIFICANT = 0.05
_NAMED = 8
_INDICES = {"auc": "AUC", "c_index": "C-index"}


def run_site_remarks(
    outcomes: pd.DataFrame, trained: Sequence[str], metrics: pd.DataFrame, model: str, role: str
) -> tuple[str, ...]:
    """What a run says about its sites; nothing where they are alike or not recorded.

    Args:
        outcomes: `patient_id`, `time`, `status`, `site`.
        trained: training patients.
        metrics: of the run.
        model: the primary one.
        role: of the primary patients.
    """
    own = outcomes[outcomes["patient_id"].isin(list(trained))]
    told = site_remark({"training patients": own})
    return (*told, *_within(metrics, model, role)) if told else ()


def site_remark(cohorts: Mapping[str, pd.DataFrame]) -> list[str]:
    """Event rates by site, where those of the first cohort's sites differ.

    Args:
        cohorts: heading -> patients with `time`, `status` and `site`; the training patients first.
    """
    rates = {name: _rates(rows) for name, rows in cohorts.items()}
    first = next(iter(rates.values()))
    if not _differ(first):
        return []
    words = "; ".join(f"{name}: {_listed(found)}" for name, found in rates.items() if found.groups)
    chance = (
        ""
        if first.p_value is None or first.p_value < _SIGNIFICANT
        else ", which is within chance but can be learned all the same"
    )
    return [
        f"event rates differ between the training sites{chance} ({words}): what tells the sites "
        "apart, such as staining, can be learned in place of the disease, and fails or misleads "
        "where the rates lie otherwise"
    ]


def _rates(rows: pd.DataFrame) -> EventRates:
    known = rows[rows["site"].notna() & rows["time"].notna()]
    return event_rates(
        known["time"].astype(float), known["status"].eq(1).astype(int), known["site"].astype(str)
    )


def _differ(rates: EventRates) -> bool:
    significant = rates.p_value is not None and rates.p_value < _SIGNIFICANT
    return len(rates.groups) > 1 and (significant or rates.spread > _UNEQUAL)


def _listed(rates: EventRates) -> str:
    """`A 12/30 (40 %), B 4/25 (16 %), log-rank P 0.041`; the highest rates first."""
    ordered = sorted(rates.groups, key=lambda one: (-one.rate, one.group))
    shown = [f"{one.group} {one.events}/{one.n} ({one.rate:.0%})" for one in ordered[:_NAMED]]
    if len(ordered) > _NAMED:
        shown.append(f"{len(ordered) - _NAMED} more sites")
    if rates.left_out:
        shown.append(f"{rates.left_out} patients of smaller sites not counted")
    if rates.p_value is not None:
        shown.append(f"log-rank P {format_p(rates.p_value)}")
    return ", ".join(shown)


def _within(metrics: pd.DataFrame, model: str, role: str) -> list[str]:
    """The primary model's indices over all pairs and over pairs of one site."""
    rows = metrics[
        (metrics["model"] == model)
        & metrics["member"].isna()
        & (metrics["role"] == role)
        & ~metrics["in_sample"].fillna(value=False)
        & (metrics["subgroup"] == "all")
    ]
    cells = {row["metric"]: row for row in rows.to_dict("records")}
    parts = [
        f"{title} {_cell(cells[name])}, among patients of one site {_cell(within)}"
        for name, title in _INDICES.items()
        if name in cells and (within := cells.get(f"{name}_within_sites")) is not None
    ]
    return [f"{model}, {role} patients: {'; '.join(parts)}"] if parts else []


def _cell(row: Mapping[Any, Any]) -> str:
    if row["status"] != "ok":
        return f"not estimable ({row['reason']})"
    return format_interval(row["value"], row["ci_low"], row["ci_high"])
