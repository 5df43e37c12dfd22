"""Predictions and outcomes in, metrics with intervals out. Pure: no files, no torch, no clock.

Everything that shows a number calls this: the runner, `crpnet-bench evaluate`, the dashboard's
filtered views. One row is one number of one model on one set of patients; what cannot be
estimated is a row with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.config import EvaluationConfig
from crpnet_bench.errors import InputError
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.results import METRIC_COLUMNS, conform
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.stats.confusion_matrix import confusion
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.discrimination import roc_auc
from crpnet_bench.stats.estimate import Estimate, not_estimable
from crpnet_bench.stats.inputs import Bools, Floats, Ints
from crpnet_bench.stats.log_rank import logrank
from crpnet_bench.stats.time_dependent import time_dependent_auc, time_dependent_rates
from crpnet_bench.stats.within_groups import concordance_within

__all__ = ["evaluate", "metric_row"]

_GROUP = ["run_id", "model", "member", "cohort", "split", "role", "in_sample"]
_FIT = ["seed", "repeat", "fold", "inner_fold"]  # risks of one fit are comparable
_UNSTABLE_EVENTS = 5
_RATES = (
    "accuracy", "precision", "recall", "fpr", "fnr", "specificity", "npv", "f1", "mcc",
)  # fmt: skip


@dataclass(frozen=True)
class _Sample:
    """One model's predictions on one set of patients, beside their outcomes (n rows each)."""

    risk: Floats
    probability: Floats
    predicted_class: Floats
    high: Floats  # 1 high, 0 low, NaN where no cut-off was learned
    risk_sd: Floats  # SD of the training risk of each row's own fit
    label: Bools  # the two classes of ROC curve and confusion matrix
    time: Floats  # months
    status: Ints  # 0 censored, 1 event, 2 competing death
    fold: Ints | None  # pairs are compared within a fold only; None: one fold
    patient: Ints | None  # codes where a patient has several rows; None: one row each
    repetition: Ints | None  # within one of these each patient has one row; None: one repetition

    @property
    def n(self) -> int:
        """Patients, however many rows they have."""
        return len(self.time) if self.patient is None else len(np.unique(self.patient))

    @cached_property
    def event(self) -> Bools:
        return np.asarray(self.status == 1, dtype=np.bool_)

    @property
    def events(self) -> int:
        """Patients with the event."""
        if self.patient is None:
            return int(self.event.sum())
        return len(np.unique(self.patient[self.event]))

    @property
    def repetitions(self) -> list[_Sample]:
        """Each repetition by itself: one row a patient."""
        if self.repetition is None:
            return [self]
        return [self._take(self.repetition == code) for code in np.unique(self.repetition)]

    def _take(self, rows: Bools) -> _Sample:
        arrays = {
            name: getattr(self, name)[rows]
            for name in ("risk", "probability", "predicted_class", "high", "risk_sd", "label",
                         "time", "status")
        }  # fmt: skip
        fold = None if self.fold is None else self.fold[rows]
        several = fold is not None and len(np.unique(fold)) > 1
        return _Sample(**arrays, fold=fold if several else None, patient=None, repetition=None)


def evaluate(
    predictions: pd.DataFrame,
    outcomes: pd.DataFrame,
    *,
    subgroups: Mapping[str, pd.Index[Any] | set[str]] | None = None,
    settings: EvaluationConfig | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """All metrics of every model, role and subgroup.

    Args:
        predictions: the `predictions` table (`crpnet_bench.results.PREDICTION_COLUMNS`).
        outcomes: `patient_id`, `time` (months), `status` (0 censored, 1 event, 2 competing
            death), one row a patient. Competing deaths are censored in every cause-specific
            statistic. `label` (0 or 1), if there, replaces "an event was ever recorded" as the
            two classes of ROC curve and confusion matrix. `site`, if there and not the same for
            all, adds `auc_within_sites` and `c_index_within_sites`, over pairs of patients of
            one site, and `auc_site_gain`, `c_index_site_gain`: overall minus within.
        subgroups: name -> patients, beside "all", which is always there.
        settings: horizons in months and the confidence level.
        progress: told of each model's sets of patients; some hundred patients take a second each.

    Returns:
        The `metrics` table, one row a number.

    Raises:
        InputError: a predicted patient has no outcome, or one patient has two.
    """
    chosen = settings or EvaluationConfig()
    joined = _join(predictions, outcomes)
    everyone = {"all": None} | dict(subgroups or {})
    rows: list[dict[str, Any]] = []
    groups = joined.groupby(_GROUP, dropna=False, sort=False)
    reporter, total = progress or SilentProgress(), groups.ngroups * len(everyone)
    with reporter.task("metrics", total, "sets of patients") as task:
        for keys, part in groups:
            names = dict(zip(_GROUP, keys, strict=True))
            for subgroup, members in everyone.items():
                some = part if members is None else part[part["patient_id"].isin(list(members))]
                heading = names | {"subgroup": subgroup}
                rows.extend(heading | row for row in _measure(some, chosen))
                task.advance()
    return conform(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)), METRIC_COLUMNS)


def _join(predictions: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    label = outcomes["label"] if "label" in outcomes else outcomes["status"] == 1
    table = outcomes[["patient_id", "time", "status"]].rename(columns={"status": "outcome_status"})
    table = table.assign(label=label)
    if "site" in outcomes:
        table = table.assign(site=outcomes["site"])
    twice = table["patient_id"][table["patient_id"].duplicated()]
    if len(twice):
        raise InputError(f"patient {twice.iloc[0]!r} has two outcomes; expected one row a patient")
    unknown = sorted(set(predictions["patient_id"]) - set(table["patient_id"]))
    if unknown:
        raise InputError(
            f"{len(unknown)} predicted patients have no outcome (first: {unknown[0]!r}); "
            "expected the cohort that was predicted"
        )
    return predictions.merge(table, on="patient_id", how="left", validate="many_to_one")


def _measure(part: pd.DataFrame, settings: EvaluationConfig) -> Iterator[dict[str, Any]]:
    usable = part[(part["status"] == "ok") & part["risk"].notna() & part["time"].notna()]
    sample = _sample(usable)
    counts = {"n": sample.n, "events": sample.events}
    missing = part.drop(usable.index)["patient_id"].nunique()
    yield counts | metric_row(
        "n_missing",
        Estimate(value=float(missing), method="count", reason=_why_missing(part, usable)),
    )
    for metric, horizon, estimate in _estimates(sample, settings):
        yield counts | metric_row(metric, estimate, horizon)
    if "site" in usable:
        yield from _within_sites(usable[usable["site"].notna()], settings.level)


def _within_sites(rows: pd.DataFrame, level: float) -> Iterator[dict[str, Any]]:
    """Both indices over pairs of one site, and what they gain by telling the sites apart."""
    if rows["site"].nunique() < 2:
        return
    sample = _sample(rows)
    counts = {"n": sample.n, "events": sample.events}
    inside = replace(sample, fold=_codes(rows, [*_FIT, "site"]))
    for metric, _, estimate in _indices(inside, level):
        yield counts | metric_row(f"{metric}_within_sites", estimate)
    site, folds = rows["site"].astype(str), {"fold": sample.fold, "cluster": sample.patient}
    ever = np.where(sample.label, 0.0, 1.0)  # the AUC as an index: events at once, others later
    for metric, time, event in (
        ("auc", ever, sample.label),
        ("c_index", sample.time, sample.event),
    ):
        found = concordance_within(time, event, sample.risk, site, **folds, level=level)
        yield counts | metric_row(f"{metric}_site_gain", found.gain)


def _sample(rows: pd.DataFrame) -> _Sample:
    fold = _codes(rows, _FIT)
    patient = _codes(rows, ["patient_id"])
    several = len(np.unique(patient)) < len(rows)
    group = rows["risk_group"].map({"high": 1.0, "low": 0.0})
    return _Sample(
        risk=_floats(rows["risk"]),
        probability=_floats(rows["probability"]),
        predicted_class=_floats(rows["predicted_class"]),
        high=_floats(group),
        risk_sd=_floats(rows["risk_sd"]),
        label=rows["label"].to_numpy().astype(np.bool_),
        time=_floats(rows["time"]),
        status=rows["outcome_status"].to_numpy(np.int64),
        fold=fold if len(np.unique(fold)) > 1 else None,
        patient=patient if several else None,
        repetition=_repetition(rows, patient) if several else None,
    )


def _codes(rows: pd.DataFrame, columns: list[str]) -> Ints:
    keys = rows[columns].astype(object).where(rows[columns].notna(), -1)
    return keys.groupby(columns, sort=True).ngroup().to_numpy().astype(np.int64)


def _repetition(rows: pd.DataFrame, patient: Ints) -> Ints:
    """Repeats of the whole cross-validation; each fold where a patient is in several of them.

    A validation patient has one row a repeat, an out-of-fold training patient one a fold.
    """
    whole = _codes(rows, ["seed", "repeat"])
    once = len(set(zip(whole.tolist(), patient.tolist(), strict=True))) == len(rows)
    return whole if once else _codes(rows, ["seed", "repeat", "fold"])


def _floats(column: pd.Series[Any]) -> Floats:
    numbers = column.astype("Float64").to_numpy(np.float64, na_value=np.nan)
    return np.asarray(numbers, dtype=np.float64)


def _why_missing(part: pd.DataFrame, usable: pd.DataFrame) -> str | None:
    left = part.drop(usable.index)
    if left.empty:
        return None
    reasons = left["reason"].fillna("no time to event").value_counts()
    return "; ".join(f"{reason} ({count})" for reason, count in reasons.items())


def metric_row(metric: str, estimate: Estimate, horizon: float | None = None) -> dict[str, Any]:
    """An estimate as a row of `metrics`, without the columns that say whose it is."""
    reason = "; ".join(text for text in (estimate.reason, estimate.warning) if text) or None
    return {
        "metric": metric,
        "horizon_months": horizon,
        "value": estimate.value,
        "ci_low": estimate.ci_low,
        "ci_high": estimate.ci_high,
        "ci_level": estimate.level,
        "ci_method": estimate.method or None,
        "status": "ok" if estimate.estimable else "not estimable",
        "reason": reason,
    }


_Named = tuple[str, float | None, Estimate]


def _estimates(sample: _Sample, settings: EvaluationConfig) -> Iterator[_Named]:
    yield from _indices(sample, settings.level)
    if sample.patient is None:
        yield from _of_one_repetition(sample, settings)
        return
    each = [list(_of_one_repetition(one, settings)) for one in sample.repetitions]
    for together in zip(*each, strict=True):
        name, horizon, _ = together[0]
        yield name, horizon, _mean([estimate for _, _, estimate in together], name)


def _indices(sample: _Sample, level: float) -> Iterator[_Named]:
    pairs: dict[str, Any] = {"fold": sample.fold, "cluster": sample.patient, "level": level}
    yield "auc", None, roc_auc(sample.label, sample.risk, **pairs)
    yield "c_index", None, concordance_index(sample.time, sample.event, sample.risk, **pairs)


def _of_one_repetition(sample: _Sample, settings: EvaluationConfig) -> Iterator[_Named]:
    yield from _classification(sample, settings.level)
    yield from _hazard_ratios(sample, settings.level)
    for horizon in settings.horizons_months:
        yield from _at_horizon(sample, horizon, settings.level)


def _mean(estimates: list[Estimate], name: str) -> Estimate:
    """The mean over repetitions; its interval is no narrower than one repetition's.

    Repetitions are the same patients, so pooling their rows would feign a larger cohort.
    """
    first, count = estimates[0], len(estimates)
    if name.endswith("_p"):
        return not_estimable("one P value a repetition: they have no mean", level=first.level)
    known = [estimate for estimate in estimates if estimate.value is not None]
    if not known:
        return not_estimable(first.reason or "", method=first.method, level=first.level)
    left_out = f"not estimable in {count - len(known)} of {count} repetitions"
    return Estimate(
        value=float(np.mean([one.value for one in known if one.value is not None])),
        ci_low=_mean_limit([one.ci_low for one in known]),
        ci_high=_mean_limit([one.ci_high for one in known]),
        level=first.level,
        method=f"mean of {len(known)} repetitions and of their limits; {known[0].method}",
        warning=left_out if len(known) < count else None,
    )


def _mean_limit(limits: list[float | None]) -> float | None:
    known = [limit for limit in limits if limit is not None]
    return float(np.mean(known)) if len(known) == len(limits) else None


def _classification(sample: _Sample, level: float) -> Iterator[_Named]:
    known = ~np.isnan(sample.predicted_class)
    if not known.any():
        for name in _RATES:
            yield name, None, not_estimable("the model gives no class", level=level)
        return
    table = confusion(sample.label[known], sample.predicted_class[known] == 1, level=level)
    for name in ("tp", "fp", "tn", "fn"):
        yield name, None, Estimate(value=float(getattr(table, name)), method="count", level=level)
    for name in _RATES:
        yield name, None, getattr(table, name)


def _hazard_ratios(sample: _Sample, level: float) -> Iterator[_Named]:
    if not np.all(np.isfinite(sample.risk_sd) & (sample.risk_sd > 0)):
        reason = "the training risk has no spread to scale by"
        yield "hr_per_sd", None, not_estimable(reason, level=level)
        yield "hr_per_sd_p", None, not_estimable(reason, level=level)
    else:
        yield from _cox(sample, sample.risk / sample.risk_sd, "hr_per_sd", level)
    known = ~np.isnan(sample.high)
    unsplit = _unsplit(sample, known)
    if unsplit:
        for name in ("hr_high_low", "hr_high_low_p", "logrank_p"):
            yield name, None, not_estimable(unsplit, level=level)
        return
    yield from _cox(sample, sample.high, "hr_high_low", level)
    test = logrank(sample.time, sample.event, sample.high)
    yield "logrank_p", None, _p_value(test.p_value, test.reason, "log-rank test", level)


def _unsplit(sample: _Sample, known: Bools) -> str | None:
    if not known.all() or not known.size:
        return "no risk groups: no cut-off was learned"
    high, low = int((sample.high == 1).sum()), int((sample.high == 0).sum())
    if high == 0 or low == 0:
        return f"one risk group only ({high} high, {low} low)"
    return None


def _cox(sample: _Sample, covariate: Floats, name: str, level: float) -> Iterator[_Named]:
    strata = sample.fold
    fit = cox_ph(
        sample.time, sample.event, pd.DataFrame({"risk": covariate}), strata=strata, level=level
    )
    term = fit.terms.get("risk")
    if term is None or term.hazard_ratio is None:
        reason = fit.reason or "the Cox model has no estimate"
        yield name, None, not_estimable(reason, method=fit.method, level=level)
        yield f"{name}_p", None, not_estimable(reason, method=fit.method, level=level)
        return
    estimate = Estimate(
        value=term.hazard_ratio,
        ci_low=term.ci_low,
        ci_high=term.ci_high,
        level=level,
        method=fit.method,
        warning=_events_by_group(sample) if name == "hr_high_low" else None,
    )
    yield name, None, estimate
    yield f"{name}_p", None, _p_value(term.p_value, None, fit.method, level)


def _events_by_group(sample: _Sample) -> str:
    told = []
    for label, code in (("high", 1), ("low", 0)):
        member = sample.high == code
        told.append(f"{label} {int(sample.event[member].sum())}/{int(member.sum())}")
    least = min(int(sample.event[sample.high == code].sum()) for code in (0, 1))
    unstable = f"; unstable, fewer than {_UNSTABLE_EVENTS} events in a group"
    return f"events/patients: {', '.join(told)}" + (unstable if least < _UNSTABLE_EVENTS else "")


def _p_value(p: float | None, reason: str | None, method: str, level: float) -> Estimate:
    if p is None:
        return not_estimable(reason or "no P value", method=method, level=level)
    return Estimate(value=p, method=method, level=level)


def _at_horizon(sample: _Sample, horizon: float, level: float) -> Iterator[_Named]:
    """Ever-recorded labels ignore follow-up; these are weighted by inverse censoring."""
    yield "auc_t", horizon, _auc_at(sample, horizon, level)
    known = ~np.isnan(sample.predicted_class)
    if not known.all() or not known.size:
        for name in ("sensitivity_t", "specificity_t", "ppv_t", "npv_t"):
            yield name, horizon, not_estimable("the model gives no class", level=level)
        return
    rates = time_dependent_rates(
        sample.time, sample.status, sample.predicted_class, 0.5, [horizon], level=level
    )
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        yield f"{name}_t", horizon, getattr(rates, name).at(horizon)


def _auc_at(sample: _Sample, horizon: float, level: float) -> Estimate:
    if sample.fold is not None:
        return not_estimable("risks of different folds are not comparable", level=level)
    auc = time_dependent_auc(sample.time, sample.status, sample.risk, [horizon], level=level)
    return auc.at(horizon)
