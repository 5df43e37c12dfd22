"""What is learned from risks is learned out-of-fold on the training patients, then locked.

A network's risks for patients it was fitted on say nothing (training AUC 1.00 for pure noise),
so cut-off, threshold, scale and, for a model whose risk is no probability, the link from risk to
probability come from inner cross-validation and never change afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, FittedModel, RiskModel
from crpnet_bench.models.logistic import ScoreLogistic, fit_score_logistic
from crpnet_bench.progress import Progress, SilentProgress

__all__ = ["Locked", "assign_inner_folds", "derived_seed", "inner_fits", "lock", "out_of_fold"]

CLASS_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Locked:
    """Quantities learned on out-of-fold training risks.

    Attributes:
        cutoff: median risk; a patient strictly above it is at high risk.
        risk_sd: standard deviation of the risk, the unit of "hazard ratio per SD".
        threshold: a probability at or above it is called positive.
        link: from risk to the probability of the label, where the model gives none; else None.
        no_link: why there is no link though one was needed; empty otherwise.
    """

    cutoff: float
    risk_sd: float
    threshold: float = CLASS_THRESHOLD
    link: ScoreLogistic | None = None
    no_link: str = ""

    def apply(self, predicted: pd.DataFrame) -> pd.DataFrame:
        """The predictions with class, risk group and the locked quantities as columns.

        A probability that the model does not give comes from the link, where there is one.
        """
        ok = (predicted["status"] == "ok").to_numpy()
        risk = predicted["risk"].to_numpy(np.float64)
        probability = predicted["probability"].to_numpy(np.float64)
        if self.link is not None:
            linked = np.where(ok, self.link.probability(risk), np.nan)
            probability = np.where(np.isnan(probability), linked, probability)
        classes = np.where(probability >= self.threshold, 1.0, 0.0)
        classes[~(ok & np.isfinite(probability))] = np.nan
        groups = np.where(risk > self.cutoff, "high", "low").astype(object)
        groups[~ok | np.isnan(self.cutoff)] = None
        return predicted.assign(
            probability=probability,
            predicted_class=pd.array(classes, dtype="Int64"),
            risk_group=pd.array(groups, dtype="string"),
            threshold=self.threshold,
            cutoff=self.cutoff,
            risk_sd=self.risk_sd,
        )

    def notes(self, name: str) -> tuple[str, ...]:
        """What the reader has to know about the probabilities of the model of that name."""
        if self.no_link:
            return (f"{name}: no probability and no class: {self.no_link}",)
        if self.link is None:
            return ()
        return (
            f"{name}: probability and class by a logistic regression of the label on the "
            f"out-of-fold risk ({self.link.n} training patients, {self.link.events} events; "
            f"{self.link.method})",
        )

    def as_json(self) -> dict[str, Any]:
        """As it is stored; what is not known is null."""
        return {
            "cutoff": self.cutoff if np.isfinite(self.cutoff) else None,
            "risk_sd": self.risk_sd if np.isfinite(self.risk_sd) else None,
            "threshold": self.threshold,
            "link": None if self.link is None else asdict(self.link),
            "no_link": self.no_link,
            "learned_on": "out-of-fold risks of the training patients",
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Locked:
        """From what `as_json` gave; runs of older versions have no link.

        Raises:
            KeyError, TypeError, ValueError: something is not there, or not what it should be.
        """
        link = values.get("link")
        return cls(
            cutoff=_number(values["cutoff"]),
            risk_sd=_number(values["risk_sd"]),
            threshold=float(values["threshold"]),
            link=None if link is None else ScoreLogistic(**link),
            no_link=values.get("no_link", ""),
        )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def lock(out_of_fold_risks: pd.DataFrame, labels: pd.Series[Any]) -> Locked:
    """Learn cut-off, scale and, where it is needed, the link to probabilities.

    Quantities that cannot be learned (no patient has a risk) are NaN; what depends on them is
    then "not estimable" in the metrics, with the reason.

    Args:
        out_of_fold_risks: of the training patients, as `out_of_fold` gives them.
        labels: by patient_id, 1 = event observed.
    """
    usable = out_of_fold_risks[out_of_fold_risks["status"] == "ok"]
    risks = usable["risk"].to_numpy(np.float64)
    if risks.size == 0:
        return Locked(cutoff=float("nan"), risk_sd=float("nan"))
    spread = float(np.std(risks, ddof=1)) if risks.size > 1 else float("nan")
    link, no_link = _link(usable, labels)
    return Locked(float(np.median(risks)), spread, link=link, no_link=no_link)


def _link(usable: pd.DataFrame, labels: pd.Series[Any]) -> tuple[ScoreLogistic | None, str]:
    """The link of a model without probabilities, or why there is none."""
    if usable["probability"].notna().any():
        return None, ""
    label = labels.loc[usable.index].to_numpy(np.int64)
    try:
        return fit_score_logistic(usable["risk"].to_numpy(np.float64), label), ""
    except ModelError as error:
        return None, str(error)


def assign_inner_folds(labels: pd.Series[Any], folds: int, seed: int) -> pd.Series[Any]:
    """A fold 0..folds-1 for each patient, events dealt out evenly.

    Args:
        labels: indexed by patient_id, 1 = event observed.
        folds: how many.
        seed: decides the shuffle, nothing else does.
    """
    generator = np.random.default_rng(seed)
    assigned = pd.Series(0, index=labels.index, dtype="int64")
    start = 0
    for value in (1, 0):
        members = np.sort(labels.index[labels == value].to_numpy(dtype=object))
        order = generator.permutation(len(members))
        # The second class goes on where the first stopped, so that fold sizes differ by one.
        assigned.loc[members[order]] = (np.arange(len(members)) + start) % folds
        start += len(members)
    return assigned


def out_of_fold(
    model: RiskModel,
    data: CohortData,
    inner_fold: pd.Series[Any],
    *,
    seed: int,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Predictions for the training patients by models that did not see them.

    Args:
        model: fitted anew for each inner fold.
        data: the training patients, with outcomes.
        inner_fold: fold of each patient, by patient_id.
        seed: of the whole; each fold derives its own.
        progress: told of each finished fold.

    Returns:
        As `FittedModel.predict`, with the column `inner_fold`; a patient of a fold that cannot
        be fitted is missing, with the reason.
    """
    parts = []
    fits = inner_fits(inner_fold, seed)
    reporter = progress or SilentProgress()
    with reporter.task(f"{model.name}: out-of-fold", len(fits), "folds") as task:
        for fold, used, own_seed in fits:
            held_out = list(inner_fold.index[inner_fold == fold])
            parts.append(
                _predict_held_out(model, data.take(used), data.take(held_out), own_seed).assign(
                    inner_fold=fold
                )
            )
            task.advance()
    return pd.concat(parts).loc[data.patient_ids]


def inner_fits(inner_fold: pd.Series[Any], seed: int) -> list[tuple[int, list[str], int]]:
    """For each inner fold the patients outside it, who are fitted on, and the seed of that fit."""
    return [
        (int(fold), list(inner_fold.index[inner_fold != fold]), seed + 1 + int(fold))
        for fold in sorted(set(inner_fold))
    ]


def derived_seed(seed: int, *path: int) -> int:
    """A seed for one part of a run, independent of its neighbours'."""
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])


def _predict_held_out(
    model: RiskModel, train: CohortData, held_out: CohortData, seed: int
) -> pd.DataFrame:
    try:
        fitted: FittedModel = model.fit(train, seed=seed, progress=SilentProgress())
        return fitted.predict(held_out)
    except ModelError as error:
        return pd.DataFrame(
            {
                "risk": np.nan,
                "probability": np.nan,
                "status": "missing",
                "reason": f"inner fold not fitted: {error}",
            },
            index=pd.Index(held_out.patient_ids, name="patient_id"),
        )
