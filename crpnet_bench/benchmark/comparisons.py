"""Models against each other on the same patients. Pure: no files, no clock.

Each rival is compared with the primary model on the patients who have a risk of both; how many
were left out stands in each row. Integer scores tie many patients, and how ties count decides much
of the difference, so three ways stand side by side:

- half: a tie counts one half (Harrell's C, the ordinary AUC), with the paired test;
- strict: a tie counts nothing, only a truly higher risk does;
- random: ties are broken at random; mean and central 95 % of the orders, no confidence interval.

Beside them: what the primary model adds to a rival alone, as the likelihood ratio of two Cox
models and the difference of their C, both refitted on the patients shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from crpnet_bench.results import conform
from crpnet_bench.stats.concordance import ConcordanceComparison, compare_concordance
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxResult
from crpnet_bench.stats.discrimination import RocComparison, compare_auc
from crpnet_bench.stats.inputs import Bools, Floats, Ints
from crpnet_bench.stats.multiplicity import adjust_p_values
from crpnet_bench.stats.pairs import comparable_pairs, pair_counts
from crpnet_bench.stats.proportions import normal_quantile

__all__ = ["COMPARISON_COLUMNS", "compare_models"]

COMPARISON_COLUMNS = {
    "cohort": "string",
    "role": "string",
    "model_a": "string",
    "model_b": "string",
    "metric": "string",  # auc | c_index | likelihood_ratio | c_index_added
    "ties": "string",  # half | strict | random; missing where ties play no part
    "value_a": "Float64",
    "value_b": "Float64",
    "difference": "Float64",  # a - b; of likelihood_ratio the chi-square statistic
    "ci_low": "Float64",
    "ci_high": "Float64",
    "ci_level": "Float64",
    "p_value": "Float64",
    "p_holm": "Float64",  # adjusted over the rivals
    "n": "Int64",
    "events": "Int64",
    "left_out": "Int64",  # patients without a risk of both
    "method": "string",
    "reason": "string",
}
_KEYS = ["seed", "repeat", "fold", "inner_fold", "patient_id"]
_SETS = ["cohort", "role"]
_DRAWS = 200
_MOST_FOR_DRAWS = 2000  # patients; beyond, the matrix of tied pairs is too large


@dataclass(frozen=True)
class _Pair:
    """Rows with a risk of both models, beside their outcomes, shapes (n,)."""

    a: Floats
    b: Floats
    time: Floats
    event: Bools
    fold: Ints | None
    patient: Ints | None
    level: float

    @property
    def tied(self) -> bool:
        """Whether either risk is a score of few values, each shared by several patients."""
        return any(len(np.unique(risk)) <= len(risk) / 2 for risk in (self.a, self.b))


def compare_models(
    predictions: pd.DataFrame, outcomes: pd.DataFrame, primary: str, *, level: float = 0.95
) -> pd.DataFrame:
    """The primary model against every other one, wherever a model was not fitted on the patients.

    Args:
        predictions: the `predictions` table; rows of members and of patients that the model was
            fitted on ("apparent") are not compared.
        outcomes: `patient_id`, `time` (months), `status`; competing deaths count as censored.
        primary: `model_a` of every row.
        level: confidence level.

    Returns:
        COMPARISON_COLUMNS, one row a number; exploratory, with Holm's adjustment over the rivals.
    """
    shown = predictions[predictions["member"].isna() & ~predictions["in_sample"].fillna(value=True)]
    known = outcomes[["patient_id", "time", "status"]].rename(columns={"status": "outcome"})
    rows: list[dict[str, Any]] = []
    for keys, part in shown.groupby(_SETS, sort=False):
        heading = dict(zip(_SETS, keys, strict=True))
        for rival in part["model"].unique():
            if rival != primary:
                rows += [heading | row for row in _compare(part, known, primary, rival, level)]
    table = conform(pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)), COMPARISON_COLUMNS)
    return _adjusted(table)


def _compare(
    part: pd.DataFrame, outcomes: pd.DataFrame, primary: str, rival: str, level: float
) -> Iterator[dict[str, Any]]:
    joined = _own(part, primary).merge(_own(part, rival), on=_KEYS, suffixes=("_a", "_b"))
    joined = joined.merge(outcomes, on="patient_id", validate="many_to_one")
    both = joined["risk_a"].notna() & joined["risk_b"].notna() & joined["time"].notna()
    rows = joined[both]
    everybody = part.loc[part["model"].isin([primary, rival]), "patient_id"].nunique()
    counts = {
        "model_a": primary,
        "model_b": rival,
        "ci_level": level,
        "n": rows["patient_id"].nunique(),
        "events": rows.loc[rows["outcome"] == 1, "patient_id"].nunique(),
        "left_out": everybody - rows["patient_id"].nunique(),
    }
    pair = _pair(rows, level)
    for row in _numbers(pair):
        yield counts | row


def _own(part: pd.DataFrame, model: str) -> pd.DataFrame:
    rows = part[part["model"] == model]
    return rows.assign(risk=rows["risk"].where(rows["status"] == "ok"))[[*_KEYS, "risk"]]


def _pair(rows: pd.DataFrame, level: float) -> _Pair:
    strata = rows[["seed", "repeat", "fold", "inner_fold"]].astype("Float64").fillna(-1)
    fold = strata.groupby(list(strata.columns)).ngroup().to_numpy().astype(np.int64)
    patient = rows.groupby("patient_id").ngroup().to_numpy().astype(np.int64)
    return _Pair(
        a=rows["risk_a"].to_numpy(np.float64),
        b=rows["risk_b"].to_numpy(np.float64),
        time=rows["time"].to_numpy(np.float64),
        event=(rows["outcome"] == 1).to_numpy(np.bool_),
        fold=fold if len(np.unique(fold)) > 1 else None,
        patient=patient if len(np.unique(patient)) < len(rows) else None,
        level=level,
    )


def _numbers(pair: _Pair) -> Iterator[dict[str, Any]]:
    options: dict[str, Any] = {"fold": pair.fold, "cluster": pair.patient, "level": pair.level}
    yield _tested("auc", compare_auc(pair.event, pair.a, pair.b, **options))
    # Positives are events at time 0, negatives are followed beyond: the pairs of the AUC.
    yield from _other_ties("auc", pair, (~pair.event).astype(np.float64))
    found = compare_concordance(pair.time, pair.event, pair.a, pair.b, **options)
    yield _tested("c_index", found)
    yield from _other_ties("c_index", pair, pair.time)
    yield from _added(pair)


def _tested(metric: str, found: RocComparison | ConcordanceComparison) -> dict[str, Any]:
    return {
        "metric": metric,
        "ties": "half",
        "value_a": found.a.value,
        "value_b": found.b.value,
        "difference": found.difference,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p_value": found.p_value,
        "method": f"paired, {found.method}",
        "reason": "; ".join(text for text in (found.reason, found.warning) if text) or None,
    }


def _other_ties(metric: str, pair: _Pair, time: Floats) -> Iterator[dict[str, Any]]:
    """Strict and random ties; nothing where neither model ties many patients."""
    if not pair.tied or not pair.event.any():
        return
    counts = [
        pair_counts(time, pair.event, risk, np.ones(time.size), pair.fold)
        for risk in (pair.a, pair.b)
    ]
    if counts[0].sum() > 0:
        yield {"metric": metric, "ties": "strict"} | _strict(counts, pair)
        yield {"metric": metric, "ties": "random"} | _random(counts, pair, time)


def _strict(counts: list[Floats], pair: _Pair) -> dict[str, Any]:
    """Jackknife over patients of the difference, ties counting nothing."""
    values, influences = [], []
    for concordant, discordant, tied in counts:
        pairs = concordant + discordant + tied
        value = float(concordant.sum() / pairs.sum())
        values.append(value)
        influences.append((concordant - value * pairs) / (pairs.sum() / 2))
    change = influences[0] - influences[1]
    if pair.patient is not None:
        change = np.bincount(pair.patient, weights=change)
    se = float(np.sqrt(np.sum(change**2)))
    difference = values[0] - values[1]
    half = normal_quantile(pair.level) * se
    tested = se > 0
    return {
        "value_a": values[0],
        "value_b": values[1],
        "difference": difference,
        "ci_low": difference - half if tested else None,
        "ci_high": difference + half if tested else None,
        "p_value": 2 * float(stats.norm.sf(abs(difference) / se)) if tested else None,
        "method": "paired, a tie counts nothing, infinitesimal jackknife over patients, Wald",
        "reason": None if tested else "no variance, no test",
    }


def _random(counts: list[Floats], pair: _Pair, time: Floats) -> dict[str, Any]:
    if time.size > _MOST_FOR_DRAWS:
        return {"reason": f"more than {_MOST_FOR_DRAWS} rows: in expectation as half"}
    generator = np.random.default_rng(0)
    a, b = (
        _broken(count, risk, pair, time, generator)
        for count, risk in zip(counts, (pair.a, pair.b), strict=True)
    )
    tail = (1 - pair.level) / 2
    low, high = np.quantile(a - b, [tail, 1 - tail])
    return {
        "value_a": float(a.mean()),
        "value_b": float(b.mean()),
        "difference": float((a - b).mean()),
        "ci_low": float(low),
        "ci_high": float(high),
        "method": f"mean and central {pair.level:.0%} of {_DRAWS} random orders of tied patients; "
        "no confidence interval",
    }


def _broken(
    counts: Floats, risk: Floats, pair: _Pair, time: Floats, generator: np.random.Generator
) -> NDArray[np.float64]:
    """The index in each draw, tied patients put in random order, shape (draws,)."""
    concordant, discordant, tied = (float(total) / 2 for total in counts.sum(axis=1))
    same = comparable_pairs(time, pair.event) & (risk[:, None] == risk[None, :])
    if pair.fold is not None:
        same &= pair.fold[:, None] == pair.fold[None, :]
    earlier, later = np.nonzero(same)
    won = np.zeros(_DRAWS)
    for draw in range(_DRAWS):
        order = generator.random(risk.size)
        won[draw] = np.sum(order[earlier] > order[later])
    return np.asarray((concordant + won) / (concordant + discordant + tied), dtype=np.float64)


def _added(pair: _Pair) -> Iterator[dict[str, Any]]:
    """What model a adds to model b alone."""
    why = _cannot_be_added(pair)
    if why:
        for metric in ("likelihood_ratio", "c_index_added"):
            yield {"metric": metric, "reason": why}
        return
    table = pd.DataFrame({"b": _scaled(pair.b), "a": _scaled(pair.a)})
    alone = cox_ph(pair.time, pair.event, table[["b"]], strata=pair.fold, level=pair.level)
    joint = cox_ph(pair.time, pair.event, table, strata=pair.fold, level=pair.level)
    yield {"metric": "likelihood_ratio"} | _likelihood_ratio(alone, joint)
    yield {"metric": "c_index_added"} | _gain(pair, table, alone, joint)


def _cannot_be_added(pair: _Pair) -> str | None:
    if pair.patient is not None:
        return "several rows a patient: no likelihood"
    if not pair.event.any():
        return "no events"
    if min(np.ptp(pair.a), np.ptp(pair.b)) == 0:
        return "a risk is the same for all patients"
    return None


def _scaled(risk: Floats) -> Floats:
    return np.asarray((risk - risk.mean()) / risk.std(), dtype=np.float64)


def _likelihood_ratio(alone: CoxResult, joint: CoxResult) -> dict[str, Any]:
    if alone.firth or joint.firth:
        return {"reason": "the likelihood is monotone: no ratio of likelihoods"}
    if alone.log_likelihood is None or joint.log_likelihood is None or joint.df <= alone.df:
        why = alone.reason or joint.reason or "the two risks are collinear"
        return {"reason": f"no likelihood ratio: {why}"}
    ratio = max(2 * (joint.log_likelihood - alone.log_likelihood), 0.0)
    return {
        "value_a": joint.log_likelihood,
        "value_b": alone.log_likelihood,
        "difference": ratio,
        "p_value": float(stats.chi2.sf(ratio, joint.df - alone.df)),
        "method": f"chi-square, {joint.df - alone.df} degree of freedom; Cox of b + a against b, "
        "refitted on these patients",
    }


def _gain(pair: _Pair, table: pd.DataFrame, alone: CoxResult, joint: CoxResult) -> dict[str, Any]:
    if alone.reason is not None or joint.reason is not None:
        return {"reason": f"no C to compare: {alone.reason or joint.reason}"}
    found = compare_concordance(
        pair.time,
        pair.event,
        joint.linear_predictor(table),
        alone.linear_predictor(table[["b"]]),
        fold=pair.fold,
        level=pair.level,
    )
    method = f"C of b + a minus C of b, Cox models refitted on these patients; {found.method}"
    return _tested("c_index_added", found) | {"ties": None, "method": method}


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    for _, rows in table.groupby(["cohort", "role", "metric", "ties"], dropna=False):
        known = rows[rows["p_value"].notna()]
        if len(known):
            adjusted = adjust_p_values(known["p_value"].to_numpy(np.float64), "holm")
            table.loc[known.index, "p_holm"] = adjusted
    return table
