"""How discrimination changed from a run's own patients to another cohort. Pure.

Both cohorts are independent, so variances add. Beside the index over all pairs stands that over
pairs of patients of one site: a risk that follows the site moves the first and not the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.reporting.validation_tables import TRANSPORT_COLUMNS, change_in_words
from crpnet_bench.results import conform
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.stats.discrimination import roc_auc
from crpnet_bench.stats.estimate import Estimate
from crpnet_bench.stats.proportions import normal_quantile
from crpnet_bench.stats.within_groups import concordance_within

__all__ = ["change_remarks", "primary_rows", "training_rows", "transport"]

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
        pairs and over pairs of one site, their difference on the same patients (`_site_gain`),
        and the changes, external minus `internal` (validation) and external minus `training`.
        What is not estimable is missing.
    """
    rows = []
    for model in models:
        parts = [table[table["model"] == model] for table in (training, own, external)]
        for metric in ("auc", "c_index"):
            learned, before, after = (_index(metric, part, level) for part in parts)
            row: dict[str, float | str | None] = {"model": model, "metric": metric, "level": level}
            for name, found in (
                ("training", learned),
                ("internal", before),
                ("external", after),
                ("change", _difference(before, after, level)),
                ("training_change", _difference(learned, after, level)),
                ("internal_within_sites", _index(metric, parts[1], level, within_site=True)),
                ("external_within_sites", _index(metric, parts[2], level, within_site=True)),
                ("training_site_gain", _site_gain(metric, parts[0], level)),
                ("internal_site_gain", _site_gain(metric, parts[1], level)),
                ("external_site_gain", _site_gain(metric, parts[2], level)),
            ):
                row |= {
                    name: found.value,
                    f"{name}_low": found.ci_low,
                    f"{name}_high": found.ci_high,
                }
            rows.append(row)
    return conform(pd.DataFrame(rows), TRANSPORT_COLUMNS)


def _index(metric: str, rows: pd.DataFrame, level: float, *, within_site: bool = False) -> Estimate:
    rows = _usable(rows, sites=within_site)
    options = _pairs(rows, [*_FIT, "site"] if within_site else _FIT)
    event, risk = rows["event"].to_numpy(np.bool_), rows["risk"].to_numpy(np.float64)
    if metric == "auc":
        return roc_auc(event, risk, **options, level=level)
    return concordance_index(rows["time"].to_numpy(np.float64), event, risk, **options, level=level)


def _site_gain(metric: str, rows: pd.DataFrame, level: float) -> Estimate:
    """Index over all pairs minus that over pairs of one site, of patients whose site is known."""
    rows = _usable(rows, sites=True)
    event = rows["event"].to_numpy(np.bool_)
    # The AUC as an index: events at once, all others later.
    time = np.where(event, 0.0, 1.0) if metric == "auc" else rows["time"].to_numpy(np.float64)
    risk, site = rows["risk"].to_numpy(np.float64), rows["site"].astype(str).to_numpy()
    return concordance_within(time, event, risk, site, **_pairs(rows, _FIT), level=level).gain


def _usable(rows: pd.DataFrame, *, sites: bool) -> pd.DataFrame:
    known = rows[rows["risk"].notna()]
    return known[known["site"].notna()] if sites else known


def _pairs(rows: pd.DataFrame, keys: list[str]) -> dict[str, Any]:
    """Which pairs count, those equal in all `keys`, and whose rows are one patient's."""
    fold = rows[keys].astype(object).where(rows[keys].notna(), -1).groupby(keys).ngroup()
    several = rows["patient_id"].duplicated().any()
    return {
        "fold": fold.to_numpy() if fold.nunique() > 1 else None,
        "cluster": rows["patient_id"].astype(str).to_numpy() if several else None,
    }


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
    """How the primary model and those that fell did elsewhere, and whose risk follows the site.

    Args:
        table: from `transport`.
        primary: the primary model.
        cohort: heading of the other cohort.
    """
    told = []
    for row in table[table["metric"] == "auc"].to_dict("records"):
        against = pd.notna(row["external_site_gain_high"]) and row["external_site_gain_high"] < 0
        fell = any(
            pd.notna(row[name]) and row[name] < -_NOTABLE for name in ("change", "training_change")
        )
        if pd.notna(row["change"]) and (row["model"] == primary or fell or against):
            told.append(_change_told(row, cohort))
        if against:
            told.append(_against_told(row, cohort))
    return told


def _change_told(row: Mapping[Any, Any], cohort: str) -> str:
    said = (
        f"{row['model']}: AUC {row['internal']:.3f} in the run's own validation, "
        f"{row['external']:.3f} in {cohort}: {change_in_words(row)}"
    )
    if pd.isna(row["training_change"]):
        return said
    return (
        f"{said}; {row['training']:.3f} in the training patients out of fold: "
        f"{change_in_words(row, 'training_change')}"
    )


def _against_told(row: Mapping[Any, Any], cohort: str) -> str:
    return (
        f"{row['model']}: its risk differs between the sites of {cohort} against their event "
        f"rates: AUC {row['external_within_sites']:.3f} among patients of one site, lower by "
        f"{-row['external_site_gain']:.3f} (CI {-row['external_site_gain_high']:.3f} to "
        f"{-row['external_site_gain_low']:.3f}) over all. That is what confounding by site "
        "(staining, scanner, referral) in the training cohort leads to; do not read the external "
        "figure as the value of the morphology alone"
    )
