"""What an external validation shows beside the usual metrics. Pure: tables in, tables out.

Calibration of probabilities whose link was learned on out-of-fold risks of the run's own patients;
how discrimination changed from the run's own validation; who the patients of both cohorts are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.results import METRIC_COLUMNS, conform
from crpnet_bench.stats.baseline import baseline_table
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.stats.discrimination import roc_auc
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.follow_up import median_follow_up
from crpnet_bench.stats.proportions import normal_quantile
from crpnet_bench.stats.recalibration import calibration
from crpnet_bench.stats.risk_link import fit_risk_link

__all__ = [
    "WANTED_EVENTS",
    "calibration_metrics",
    "case_mix",
    "drop_remarks",
    "events_remark",
    "out_of_fold_rows",
    "site_remark",
    "transport",
]

WANTED_EVENTS = 100
_KEYS = ["repeat", "fold", "inner_fold"]
_VARIABLES = (
    "age", "sex", "pT", "pN", "M", "grade", "tumor_size_cm", "necrosis", "sarcomatoid", "rhabdoid",
    "ecog", "symptoms",
)  # fmt: skip
_UNEQUAL_SITES = 0.15  # difference of event rates between training sites, worth a sentence
_SMALLEST_SITE = 5  # patients; rates of smaller sites say nothing
_NOTABLE = 0.05  # difference of an index within sites and over all, worth a sentence


# --- calibration -----------------------------------------------------------------------------


def out_of_fold_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """One out-of-fold row a patient and model, from the run's own patients.

    With one fold these are the inner folds of its training patients; with several, each patient's
    validation row of the first repeat and seed.
    """
    rows = predictions[predictions["member"].isna() & ~predictions["in_sample"].fillna(value=True)]
    rows = rows[rows["seed"] == rows["seed"].min()]
    folds = rows[["repeat", "fold"]].drop_duplicates()
    if len(folds) == 1:
        chosen = rows["role"] == "train"
    else:
        chosen = (rows["repeat"] == rows["repeat"].min()) & (rows["role"] != "train")
    found: pd.DataFrame = rows.loc[chosen].drop_duplicates(["model", "patient_id"])
    return found


def calibration_metrics(
    own: pd.DataFrame,
    external: pd.DataFrame,
    horizons: Sequence[float],
    level: float,
) -> pd.DataFrame:
    """Calibration at each horizon, as rows of `metrics` but for the run's own columns.

    Args:
        own: out-of-fold rows of the run's patients with `time` and `event`.
        external: rows of the external patients with `time` and `event`.
        horizons: months.
        level: confidence level.

    The link from risk to probability is a Cox model on `own`. Competing deaths are censored in the
    link and in what is observed, so that both speak of the same quantity.
    """
    rows = []
    for model in external["model"].unique():
        learned, shown = (table[table["model"] == model] for table in (own, external))
        learned, shown = (table[table["risk"].notna()] for table in (learned, shown))
        counts = {"model": model, "n": len(shown), "events": int(shown["event"].sum())}
        for horizon in horizons:
            for metric, estimate in _calibrate(learned, shown, horizon, level):
                rows.append(counts | _metric(metric, horizon, estimate))
    return conform(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)), METRIC_COLUMNS)


def _calibrate(
    own: pd.DataFrame, external: pd.DataFrame, horizon: float, level: float
) -> Iterator[tuple[str, Estimate]]:
    names = ("observed_risk", "predicted_risk", "observed_expected", "calibration_intercept",
             "calibration_slope", "recalibration_intercept")  # fmt: skip
    link = fit_risk_link(own["time"], own["event"], own["risk"].astype(float), horizon)
    if link.reason is not None or external.empty:
        reason = link.reason or "no patient has a risk"
        for name in names:
            yield name, not_estimable(f"no link from risk to probability: {reason}", level=level)
        return
    predicted = link.probability(external["risk"].astype(float))
    found = calibration(external["time"], external["event"], predicted, horizon, level=level)
    told = f"link learned on {link.n} out-of-fold patients, {link.events} events, locked"
    yield names[0], found.observed
    mean = float(predicted.mean())
    yield names[1], Estimate(value=mean, level=level, method=f"mean prediction; {told}")
    yield names[2], found.observed_expected
    yield names[3], found.intercept
    yield names[4], found.slope
    yield names[5], found.slope_intercept


def _metric(metric: str, horizon: float | None, estimate: Estimate) -> dict[str, Any]:
    told = "; ".join(text for text in (estimate.reason, estimate.warning) if text)
    return {
        "metric": metric,
        "horizon_months": horizon,
        "value": estimate.value,
        "ci_low": estimate.ci_low,
        "ci_high": estimate.ci_high,
        "ci_level": estimate.level,
        "ci_method": estimate.method or None,
        "status": "ok" if estimate.estimable else "not estimable",
        "reason": told or None,
    }


# --- from validation to external validation ----------------------------------------------------


def transport(
    own: pd.DataFrame, external: pd.DataFrame, models: Sequence[str], level: float
) -> pd.DataFrame:
    """Discrimination in the run's own validation and in the other cohort, side by side.

    Args:
        own: validation rows of the run, with `time`, `event` and `site`.
        external: the same of the other cohort.
        models: in order.
        level: confidence level.

    Returns:
        A row a model and index (auc, c_index): `internal`, `external`, `change` with interval
        (independent samples), and both indices over pairs of patients from one site. Where risk
        follows the site more than the disease, the index within sites is the better one outside.
    """
    rows = []
    for model in models:
        parts = [table[table["model"] == model] for table in (own, external)]
        for metric in ("auc", "c_index"):
            before, after = (_index(metric, part, level) for part in parts)
            within = [_index(metric, part, level, within_site=True).value for part in parts]
            rows.append(
                {
                    "model": model,
                    "metric": metric,
                    "internal": before.value,
                    "external": after.value,
                    **_change(before, after, level),
                    "internal_within_sites": within[0],
                    "external_within_sites": within[1],
                }
            )
    return pd.DataFrame(rows)


def _index(metric: str, rows: pd.DataFrame, level: float, *, within_site: bool = False) -> Estimate:
    rows = rows[rows["risk"].notna()]
    if within_site:
        rows = rows[rows["site"].notna()]
    keys = [*_KEYS, *(["site"] if within_site else [])]
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


def _change(before: Estimate, after: Estimate, level: float) -> dict[str, float | None]:
    if before.value is None or after.value is None:
        return {"change": None, "change_low": None, "change_high": None}
    change = after.value - before.value
    if before.se is None or after.se is None:
        return {"change": change, "change_low": None, "change_high": None}
    half = normal_quantile(level) * float(np.hypot(before.se, after.se))
    return {"change": change, "change_low": change - half, "change_high": change + half}


def drop_remarks(table: pd.DataFrame, primary: str, cohort: str) -> list[str]:
    """What the primary model lost or kept, which others dropped, and whether risks follow sites."""
    told = []
    for row in table[table["metric"] == "auc"].to_dict("records"):
        if pd.isna(row["change"]) or not (row["model"] == primary or row["change"] < -_NOTABLE):
            continue
        told.append(
            f"{row['model']}: AUC {row['internal']:.3f} in the run's own validation, "
            f"{row['external']:.3f} in {cohort}, {_verdict(row)}"
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


def site_remark(own: pd.DataFrame, names: tuple[str, str], external: pd.DataFrame) -> list[str]:
    """Event rates by site in both cohorts, where those of the training sites differ.

    Args:
        own: training patients with `site` and `status`.
        names: of both cohorts.
        external: patients of the other cohort with `site` and `status`.
    """
    rates = [_rates(table) for table in (own, external)]
    if len(rates[0]) < 2 or max(rates[0].values()) - min(rates[0].values()) <= _UNEQUAL_SITES:
        return []
    words = [
        f"{name}: " + ", ".join(f"{site} {rate:.0%}" for site, rate in list(by_site.items())[:8])
        for name, by_site in zip(names, rates, strict=True)
        if by_site
    ]
    return [
        f"event rates differ between the training sites ({'; '.join(words)}): what tells the sites "
        "apart, such as staining, can be learned in place of the disease, and fails or misleads "
        "where the rates lie otherwise"
    ]


def _rates(rows: pd.DataFrame) -> dict[str, float]:
    known = rows[rows["site"].notna()]
    event = (known["status"] == 1).astype(float)
    sizes = known["site"].value_counts()
    kept = known["site"].isin(sizes.index[sizes >= _SMALLEST_SITE])
    return {
        str(site): float(rate)
        for site, rate in event[kept].groupby(known.loc[kept, "site"]).mean().items()
    }


def _verdict(row: Mapping[Any, Any]) -> str:
    change, low, high = row["change"], row["change_low"], row["change_high"]
    interval = "" if pd.isna(low) else f" (95 % CI {low:+.3f} to {high:+.3f})"
    if pd.notna(high) and high < 0:
        return f"a drop of {-change:.3f}{interval}: performance did not carry over"
    if change < 0:
        return f"a drop of {-change:.3f}{interval}, within chance"
    return f"a gain of {change:.3f}{interval}" + (", within chance" if pd.notna(low) else "")


# --- the patients --------------------------------------------------------------------------------


def events_remark(events: int, patients: int) -> str:
    """Events and non-events against the 100 of each that a validation should have.

    Source: Vergouwe Y et al. (2005) J Clin Epidemiol 58:475-483; Collins GS et al. (2016) Stat
    Med 35:214-226.
    """
    enough = min(events, patients - events) >= WANTED_EVENTS
    return (
        f"{events} events and {patients - events} patients without: an external validation wants "
        f"at least {WANTED_EVENTS} of each"
        + ("" if enough else "; intervals are wide and calibration is hardly known")
    )


def case_mix(own: pd.DataFrame, external: pd.DataFrame, names: tuple[str, str]) -> pd.DataFrame:
    """Baseline variables and follow-up of both cohorts, with a test a variable.

    Args:
        own: training patients with `time` and `status`.
        external: patients of the other cohort with `time` and `status`.
        names: column headings.
    """
    both = pd.concat([own.assign(cohort=names[0]), external.assign(cohort=names[1])])
    shown = [name for name in _VARIABLES if name in both and both[name].notna().any()]
    event = both["status"].map({0: "censored", 1: "event", 2: "competing death"})
    both = both.assign(outcome=event).reset_index(drop=True)
    table = baseline_table(both, "cohort", [*shown, "outcome"]).to_frame()
    line: dict[str, Any] = {
        "variable": "median follow-up, months",
        "level": "",
        "p_value": None,
        "test": "reverse Kaplan-Meier",
    }
    for name in names:
        line[name] = _follow_up(both[both["cohort"] == name])
    columns = ["variable", "level", *names, "p_value", "test"]
    rows = [*table[columns].to_dict("records"), line]
    return pd.DataFrame(rows, columns=columns)


def _follow_up(rows: pd.DataFrame) -> str:
    median = median_follow_up(rows["time"].astype(float), rows["status"].astype(int)).median
    return "not reached" if median is None else f"{median:.1f}"
