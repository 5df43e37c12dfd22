"""How discrimination changed from a run's own patients to another cohort. Pure.

Both cohorts are independent, so variances add. Beside the index over all pairs stands that over
pairs of patients of one site: a risk that follows the site moves the first and not the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.reporting.validation_tables import change_in_words
from crpnet_bench.results import conform
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.stats.discrimination import roc_auc
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.proportions import normal_quantile

__all__ = ["TRANSPORT_COLUMNS", "change_remarks", "primary_rows", "training_rows", "transport"]

_NUMBERS = (
    "training", "training_low", "training_high",
    "internal", "internal_low", "internal_high",
    "external", "external_low", "external_high",
    "change", "change_low", "change_high",
    "training_change", "training_change_low", "training_change_high",
    "internal_within_sites", "internal_within_sites_low", "internal_within_sites_high",
    "external_within_sites", "external_within_sites_low", "external_within_sites_high",
    "level",
)  # fmt: skip
TRANSPORT_COLUMNS: Mapping[str, str] = {
    "model": "string",
    "metric": "string",  # auc | c_index
    **dict.fromkeys(_NUMBERS, "Float64"),
}
_FIT = ["repeat", "fold", "inner_fold"]
_NOTABLE = 0.05  # difference of an index that is worth a sentence


def primary_rows(own: pd.DataFrame, role: str) -> pd.DataFrame:
    """The run's own rows of that role that no model was fitted on; averaged models only."""
    return own[(own["role"] == role) & ~own["in_sample"] & own["member"].isna()]


def training_rows(own: pd.DataFrame) -> pd.DataFrame:
    """Out-of-fold rows of training patients, of a run with one fold.

    With several folds every patient is a validation patient in one of them, and these rows would
    be others of the same patients: then there are none.
    """
    rows = primary_rows(own, "train")
    return rows if len(own[["repeat", "fold"]].drop_duplicates()) == 1 else rows.iloc[:0]


def transport(
    training: pd.DataFrame,
    own: pd.DataFrame,
    external: pd.DataFrame,
    models: Sequence[str],
    level: float,
) -> pd.DataFrame:
    """Discrimination at home and in the other cohort, side by side.

    Args:
        training: out-of-fold rows of the run's training patients, with `time`, `event`, `site`.
        own: the same of its validation patients.
        external: the same of the other cohort.
        models: in order.
        level: confidence level.

    Returns:
        TRANSPORT_COLUMNS, a row a model and index (auc, c_index): the index in each set, over all
        pairs and over pairs of one site, and the changes, external minus `internal` (validation)
        and external minus `training`. What is not estimable is missing.
    """
    rows = []
    for model in models:
        parts = [table[table["model"] == model] for table in (training, own, external)]
        for metric in ("auc", "c_index"):
            learned, before, after = (_index(metric, part, level) for part in parts)
            row = {"model": model, "metric": metric, "level": level}
            for name, found in (
                ("training", learned),
                ("internal", before),
                ("external", after),
                ("change", _difference(before, after, level)),
                ("training_change", _difference(learned, after, level)),
                ("internal_within_sites", _index(metric, parts[1], level, within_site=True)),
                ("external_within_sites", _index(metric, parts[2], level, within_site=True)),
            ):
                row |= {
                    name: found.value,
                    f"{name}_low": found.ci_low,
                    f"{name}_high": found.ci_high,
                }
            rows.append(row)
    return conform(pd.DataFrame(rows), TRANSPORT_COLUMNS)


def _index(metric: str, rows: pd.DataFrame, level: float, *, within_site: bool = False) -> Estimate:
    rows = rows[rows["risk"].notna()]
    if within_site:
        rows = rows[rows["site"].notna()]
    keys = [*_FIT, *(["site"] if within_site else [])]
    fold = rows[keys].astype(object).where(rows[keys].notna(), -1).groupby(keys).ngroup()
    several = rows["patient_id"].duplicated().any()
    options: dict[str, Any] = {
        "fold": fold.to_numpy() if fold.nunique() > 1 else None,
        "cluster": rows["patient_id"].astype(str).to_numpy() if several else None,
        "level": level,
    }
    event, risk = rows["event"].to_numpy(np.bool_), rows["risk"].to_numpy(np.float64)
    if metric == "auc":
        return roc_auc(event, risk, **options)
    return concordance_index(rows["time"].to_numpy(np.float64), event, risk, **options)


def _difference(before: Estimate, after: Estimate, level: float) -> Estimate:
    """After minus before, of independent patients."""
    if before.value is None or after.value is None:
        return Estimate(value=None, level=level, reason=before.reason or after.reason)
    change = after.value - before.value
    if before.se is None or after.se is None:
        return Estimate(value=change, level=level, reason="one of both has no standard error")
    se = float(np.hypot(before.se, after.se))
    half = normal_quantile(level) * se
    return Estimate(
        value=change, se=se, ci_low=change - half, ci_high=change + half, level=level,
        method="normal, independent patients",
    )  # fmt: skip


def change_remarks(table: pd.DataFrame, primary: str, cohort: str) -> list[str]:
    """How the primary model and those that fell did elsewhere, and whether risks follow sites.

    Args:
        table: from `transport`.
        primary: the primary model.
        cohort: heading of the other cohort.
    """
    told = []
    for row in table[table["metric"] == "auc"].to_dict("records"):
        if pd.isna(row["change"]) or not (row["model"] == primary or row["change"] < -_NOTABLE):
            continue
        told.append(
            f"{row['model']}: AUC {row['internal']:.3f} in the run's own validation, "
            f"{row['external']:.3f} in {cohort}: {change_in_words(row)}"
            + (
                ""
                if pd.isna(row["training_change"])
                else f"; against the training patients out of fold ({row['training']:.3f}) it "
                f"{change_in_words(row, 'training_change')}"
            )
        )
        within, overall = row["external_within_sites"], row["external"]
        if pd.notna(within) and within - overall > _NOTABLE:
            told.append(
                f"{row['model']}: among patients of one site its AUC in {cohort} is {within:.3f}, "
                f"over all sites {overall:.3f}: its risk differs between sites against their event "
                "rates. That is what confounding by site (staining, scanner, referral) in the "
                "training cohort leads to; do not read the external figure as the value of the "
                "morphology alone."
            )
    return told
