"""Late fusion of models on out-of-fold risks of the training patients, then locked.

Fused on the risks that a network gives to its own training patients, a fusion would follow the
network wherever it leads (its training AUC is 1.00 even for noise). So the weights come from the
parts' out-of-fold risks: a Cox model with one coefficient a part, stratified by inner fold, since
risks of different fits are not comparable. The fused out-of-fold risk of an inner fold takes its
weights from the other inner folds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, FittedModel, prediction_frame
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.logistic import ScoreLogistic, fit_score_logistic
from crpnet_bench.stats.cox import cox_ph

__all__ = [
    "FUSION_KIND",
    "FittedFusion",
    "FusionWeights",
    "fuse_out_of_fold",
    "learn_fusion",
    "load_fusion",
]

FUSION_KIND = "fusion"
_FEWEST_FOLDS = 2


@dataclass(frozen=True)
class FusionWeights:
    """Fused risk = sum of weight * (risk - mean) / sd over the parts.

    Attributes:
        parts: names of the models.
        mean, sd: of each part's out-of-fold risk.
        weight: log hazard ratio for one SD.
        link: from the fused risk to the probability of the label.
        n, events: training patients with a risk of every part.
        method: of the Cox model.
    """

    parts: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    weight: tuple[float, ...]
    link: ScoreLogistic
    n: int
    events: int
    method: str

    def risk(self, risks: pd.DataFrame) -> NDArray[np.float64]:
        """Fused risk of each row; NaN where a part has none.

        Args:
            risks: a column a part.
        """
        return _combine(risks, self.parts, self.mean, self.sd, self.weight)


def _combine(
    risks: pd.DataFrame,
    parts: Sequence[str],
    mean: Sequence[float],
    sd: Sequence[float],
    weight: Sequence[float],
) -> NDArray[np.float64]:
    scaled = (risks[list(parts)].to_numpy(np.float64) - np.array(mean)) / np.array(sd)
    return np.asarray(scaled @ np.array(weight), dtype=np.float64)


def learn_fusion(
    risks: pd.DataFrame, outcomes: pd.DataFrame, inner_fold: pd.Series[Any]
) -> FusionWeights:
    """Learn the weights.

    Args:
        risks: out-of-fold risk of each part (columns), by patient_id; NaN where missing.
        outcomes: `time`, `status`, `label`, by patient_id.
        inner_fold: inner fold of each patient.

    Raises:
        ModelError: a part without spread, one class only, or no Cox model.
    """
    known = risks.dropna()
    parts = tuple(str(part) for part in known.columns)
    if known.empty:
        raise ModelError(f"no training patient has a risk of each of {', '.join(parts)}")
    rows = outcomes.loc[known.index]
    mean, sd = known.mean(), known.std(ddof=1)
    flat = [part for part in parts if not sd[part] > 0]
    if flat:
        raise ModelError(f"out-of-fold risks of {', '.join(flat)} are all equal: nothing to fuse")
    event = (rows["status"].astype(np.int64) == 1).to_numpy()
    cox = cox_ph(
        rows["time"].to_numpy(np.float64),
        event,
        (known - mean) / sd,
        strata=inner_fold.loc[known.index].to_numpy(),
    )
    if cox.reason is not None:
        raise ModelError(f"the weights cannot be learned: {cox.reason}")
    numbers = {
        "mean": tuple(float(mean[part]) for part in parts),
        "sd": tuple(float(sd[part]) for part in parts),
        # A part that adds nothing of its own (collinear) has no coefficient.
        "weight": tuple(float(cox.terms[part].coef or 0.0) for part in parts),
    }
    fused = _combine(known, parts, **numbers)
    return FusionWeights(
        parts=parts,
        **numbers,
        link=fit_score_logistic(fused, rows["label"].to_numpy(np.int64)),
        n=len(known),
        events=int(event.sum()),
        method=f"{cox.method}, stratified by inner fold",
    )


def fuse_out_of_fold(
    risks: pd.DataFrame, outcomes: pd.DataFrame, inner_fold: pd.Series[Any]
) -> pd.DataFrame:
    """Fused risks of the training patients, each with weights of the other inner folds.

    Returns:
        As `locking.out_of_fold`: risk, probability, status, reason, inner_fold by patient_id.
    """
    folds = sorted(set(inner_fold))
    if len(folds) < _FEWEST_FOLDS:
        raise ModelError("one inner fold only: no out-of-fold fusion")
    pieces = []
    for fold in folds:
        held_out = inner_fold.index[inner_fold == fold]
        others = inner_fold.index[inner_fold != fold]
        try:
            weights = learn_fusion(risks.loc[others], outcomes.loc[others], inner_fold.loc[others])
            piece = _predicted(weights, risks.loc[held_out])
        except ModelError as error:
            nothing = np.full(len(held_out), np.nan)
            reasons = dict.fromkeys(map(str, held_out), f"inner fold not fused: {error}")
            piece = prediction_frame([str(p) for p in held_out], nothing, nothing, reasons)
        pieces.append(piece.assign(inner_fold=fold))
    return pd.concat(pieces).loc[[str(patient) for patient in risks.index]]


def _predicted(
    weights: FusionWeights, risks: pd.DataFrame, why: Mapping[str, str] | None = None
) -> pd.DataFrame:
    fused = weights.risk(risks)
    missing = {
        str(patient): (why or {}).get(str(patient)) or _no_risk_of(row)
        for patient, row in risks.isna().iterrows()
        if row.any()
    }
    return prediction_frame(
        [str(patient) for patient in risks.index], fused, weights.link.probability(fused), missing
    )


def _no_risk_of(absent: pd.Series[Any]) -> str:
    return f"no risk of {', '.join(str(part) for part in absent.index[absent])}"


@dataclass(frozen=True)
class FittedFusion:
    """Fitted parts and the locked weights between them."""

    name: str
    title: str
    parts: tuple[FittedModel, ...]
    weights: FusionWeights

    @property
    def notes(self) -> tuple[str, ...]:
        """The weights, for people."""
        told = ", ".join(
            f"{part} {weight:+.2f}"
            for part, weight in zip(self.weights.parts, self.weights.weight, strict=True)
        )
        return (
            f"{self.name}: log hazard ratio per SD of the out-of-fold risk: {told} "
            f"({self.weights.n} training patients, {self.weights.events} events)",
        )

    @property
    def left_out(self) -> Mapping[str, str]:
        """Training patients that a part could not use."""
        return {patient: why for part in self.parts for patient, why in part.left_out.items()}

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk and probability; a patient whom a part cannot judge is missing, with its reason."""
        frames = {part.name: part.predict(data) for part in self.parts}
        risks = pd.DataFrame({name: frame["risk"] for name, frame in frames.items()})
        return _predicted(self.weights, risks, _first_reasons(frames))

    def save(self, folder: Path) -> None:
        """Write the weights; the parts lie in the folders beside this one."""
        state = {"name": self.name, "title": self.title, "weights": asdict(self.weights)}
        write_checkpoint(Checkpoint(FUSION_KIND, state), folder)


def _first_reasons(frames: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for name, frame in frames.items():
        for patient, row in frame[frame["status"] != "ok"].iterrows():
            reasons.setdefault(str(patient), f"{name}: {row['reason']}")
    return reasons


def load_fusion(checkpoint: Checkpoint, parts: Mapping[str, FittedModel]) -> FittedFusion:
    """A fused model from its checkpoint and its fitted parts.

    Raises:
        ModelError: the state is of another program.
    """
    try:
        state: dict[str, Any] = dict(checkpoint.state["weights"])
        numbers = {key: tuple(state[key]) for key in ("parts", "mean", "sd", "weight")}
        link = ScoreLogistic(**state["link"])
        weights = FusionWeights(**{**state, **numbers, "link": link})
        fitted = tuple(parts[name] for name in weights.parts)
        return FittedFusion(checkpoint.state["name"], checkpoint.state["title"], fitted, weights)
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
