"""What every risk model is: something fitted on patients that gives patients a risk.

CRPNet, a prognostic score, a Cox model on clinical variables: each is a `RiskModel`, each ends
as a `FittedModel`, and each predicts one frame of the same columns. A patient whom a model
cannot judge is a row with the status "missing" and the reason, never a row less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.progress import Progress

__all__ = [
    "AttentionMap",
    "Bag",
    "BagModel",
    "CohortData",
    "FittedModel",
    "RiskModel",
    "TilePixels",
    "prediction_frame",
    "training_labels",
    "training_times",
]

NO_BAG = "no slide with usable tiles"


class TilePixels(Protocol):
    """The pixels of a bag's tiles, read from the slides when asked for."""

    def read(self, tiles: NDArray[np.int64]) -> NDArray[np.uint8]:
        """RGB of these tiles, by position in the bag: (n,) to (n, size, size, 3).

        Several threads may read at a time.

        Raises:
            ModelError: names the slide that cannot be read.
        """
        ...


@dataclass(frozen=True)
class Bag:
    """The tiles of one patient, slides pooled.

    Attributes:
        features: shape (tiles, dimension), float16 or float32; may be memory-mapped.
        slide: shape (tiles,), int32; index of each tile's slide in `slide_ids`.
        coords: shape (tiles, 2), int64; x and y of the tile's corner in level-0 pixels.
        slide_ids: the slides the tiles come from.
        views: shape (tiles, views, dimension), float16, or None; features of augmented views of
            each tile. Training draws from them, prediction never reads them. May be
            memory-mapped.
        pixels: reads the tiles from their slides, or None where no slide is at hand.
        context: by factor, features of the field so many times as wide around each tile, shaped
            as `features`. May be memory-mapped.
    """

    features: NDArray[Any]
    slide: NDArray[np.int32]
    coords: NDArray[np.int64]
    slide_ids: tuple[str, ...] = ()
    views: NDArray[np.float16] | None = None
    pixels: TilePixels | None = None
    context: Mapping[int, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the arrays to their shapes."""
        tiles = len(self.features)
        if self.features.ndim != 2 or self.features.dtype not in (np.float16, np.float32):
            raise ValueError(
                f"features: {self.features.dtype} of shape {self.features.shape}; "
                "expected float16 or float32 of shape (tiles, dimension)"
            )
        if self.slide.shape != (tiles,) or self.coords.shape != (tiles, 2):
            raise ValueError(
                f"slide {self.slide.shape} and coords {self.coords.shape} do not fit {tiles} tiles"
            )
        if self.views is not None and (
            self.views.ndim != 3 or self.views.shape[::2] != self.features.shape
        ):
            raise ValueError(
                f"views {self.views.shape} do not fit features {self.features.shape}; "
                "expected (tiles, views, dimension)"
            )

        for factor, wider in self.context.items():
            if wider.shape != self.features.shape:
                raise ValueError(
                    f"context {factor}: {wider.shape} does not fit features {self.features.shape}"
                )

    def __len__(self) -> int:
        return len(self.features)

    def fields(self, context: Sequence[int] = ()) -> NDArray[Any]:
        """Features of each tile, then of its wider fields, (tiles, dimension * fields).

        Raises:
            KeyError: a factor for which the bag holds no features.
        """
        if not context:
            return self.features
        return np.concatenate([self.features, *(self.context[one] for one in context)], axis=1)

    @property
    def dimension(self) -> int:
        """Length of a tile's feature vector."""
        return int(self.features.shape[1])

    @property
    def view_count(self) -> int:
        """Augmented views of each tile; 0 where there are none."""
        return 0 if self.views is None else int(self.views.shape[1])


@dataclass(frozen=True)
class CohortData:
    """What a risk model may see of a set of patients.

    Attributes:
        patients: registry variables, indexed by patient_id; missing values are NA.
        scores: indexed by patient_id; column `<score>` is the numeric risk or NaN, column
            `<score>_reason` says why it is not determined.
        bags: tiles by patient_id.
        bag_reasons: why a patient has no bag.
        outcomes: indexed by patient_id: `time` (months), `status` (0 censored, 1 event,
            2 competing death), `label` (1 = event observed). None where outcomes stay unread.
        cohort: the cohort's name, for titles such as "refitted on <cohort>".
        feature_fingerprint: of tiling and encoder, empty where not known; a fitted network
            refuses bags made in another way.
    """

    patients: pd.DataFrame
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    bags: Mapping[str, Bag] = field(default_factory=dict)
    bag_reasons: Mapping[str, str] = field(default_factory=dict)
    outcomes: pd.DataFrame | None = None
    cohort: str = "cohort"
    feature_fingerprint: str = ""

    def __post_init__(self) -> None:
        """Refuse two rows for one patient."""
        for name in ("patients", "scores", "outcomes"):
            frame = getattr(self, name)
            if frame is not None and not frame.index.is_unique:
                repeated = frame.index[frame.index.duplicated()][0]
                raise ValueError(f"{name}: patient {repeated!r} has more than one row")

    @property
    def patient_ids(self) -> list[str]:
        """All patients, in the order of `patients`."""
        return [str(patient) for patient in self.patients.index]

    def __len__(self) -> int:
        return len(self.patients)

    def take(self, ids: Iterable[str]) -> CohortData:
        """The same data for these patients only, in this order.

        Raises:
            ValueError: a patient who is not in the data.
        """
        wanted = list(ids)
        unknown = [patient for patient in wanted if patient not in self.patients.index]
        if unknown:
            raise ValueError(f"patient {unknown[0]!r} is not among the {len(self)} patients here")
        chosen = set(wanted)
        return replace(
            self,
            patients=self.patients.loc[wanted],
            scores=self.scores.reindex(wanted),
            bags={key: bag for key, bag in self.bags.items() if key in chosen},
            bag_reasons={key: why for key, why in self.bag_reasons.items() if key in chosen},
            outcomes=None if self.outcomes is None else self.outcomes.reindex(wanted),
        )

    def without_bag(self) -> dict[str, str]:
        """Patients without tiles, with the reason."""
        return {
            patient: self.bag_reasons.get(patient, NO_BAG)
            for patient in self.patient_ids
            if patient not in self.bags or len(self.bags[patient]) == 0
        }


@dataclass(frozen=True)
class AttentionMap:
    """Where a network looks in one bag, averaged over its members and for each of them.

    Attributes:
        weights: shape (tiles,); sums to 1 over the bag.
        tile_logit: shape (tiles,); what the network's head says were the bag this tile alone,
            centred so that positive speaks for the event: log-odds for cross-entropy heads.
        member_weights, member_tile_logit: shape (members, tiles).
    """

    weights: NDArray[np.float32]
    tile_logit: NDArray[np.float32]
    member_weights: NDArray[np.float32]
    member_tile_logit: NDArray[np.float32]


class FittedModel(Protocol):
    """A model after fitting: locked, it predicts for any patients."""

    @property
    def name(self) -> str:
        """As in the run's settings."""
        ...

    @property
    def title(self) -> str:
        """As it is printed; says which variables were left out."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader has to know about the fit, one sentence each."""
        ...

    @property
    def left_out(self) -> Mapping[str, str]:
        """Training patients the fit could not use, with the reason."""
        ...

    def predict(self, data: CohortData) -> pd.DataFrame:
        """One row a patient of `data`: risk, probability, status ("ok", "missing"), reason.

        The probability is NaN where the model gives none; the locked link then does.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write the model so that `catalogue.load_fitted` reads it back; atomic."""
        ...


@runtime_checkable
class BagModel(Protocol):
    """What a fitted network can say beside a `FittedModel`'s predictions."""

    def members(self, data: CohortData) -> pd.DataFrame:
        """Long frame: as `predict`, for each initialisation, with the column `member`."""
        ...

    def attention(self, bag: Bag) -> AttentionMap:
        """Attention weight and logit of each tile."""
        ...


class RiskModel(Protocol):
    """A model before fitting."""

    @property
    def name(self) -> str:
        """As in the run's settings."""
        ...

    @property
    def title(self) -> str:
        """As it is printed; the fitted model's title may say more."""
        ...

    @property
    def needs_bags(self) -> bool:
        """Whether it reads tiles."""
        ...

    def fit(self, data: CohortData, *, seed: int, progress: Progress) -> FittedModel:
        """Learn from these patients' outcomes, from nothing else.

        Raises:
            ModelError: nothing can be learned, with the reason.
        """
        ...


def prediction_frame(
    patient_ids: Sequence[str],
    risk: ArrayLike,
    probability: ArrayLike,
    reasons: Mapping[str, str],
) -> pd.DataFrame:
    """The frame that `predict` returns; a patient named in `reasons` is missing.

    Args:
        patient_ids: one row each, in this order.
        risk: shape (patients,); higher means an earlier event; ignored where missing.
        probability: shape (patients,); of the event.
        reasons: why a patient has no prediction.
    """
    index = pd.Index(list(patient_ids), name="patient_id", dtype=object)
    missing = np.array([patient in reasons for patient in patient_ids], dtype=np.bool_)
    return pd.DataFrame(
        {
            "risk": np.where(missing, np.nan, np.asarray(risk, dtype=np.float64)),
            "probability": np.where(missing, np.nan, np.asarray(probability, dtype=np.float64)),
            "status": np.where(missing, "missing", "ok"),
            "reason": [reasons.get(patient, "") for patient in patient_ids],
        },
        index=index,
    )


def training_labels(data: CohortData, patient_ids: Sequence[str], name: str) -> NDArray[np.int64]:
    """Labels of the patients that model `name` is fitted on; both classes must be there.

    Returns:
        Shape (patients,), 0 or 1.

    Raises:
        ModelError: no outcomes, a missing label, or one class only.
    """
    if data.outcomes is None:
        raise ModelError(f"{name}: the data hold no outcomes; a fit needs labels")
    values = pd.to_numeric(data.outcomes["label"].reindex(list(patient_ids)))
    if values.isna().any():
        patient = values.index[values.isna()][0]
        raise ModelError(f"{name}: patient {patient!r} has no label; leave such patients out")
    labels = values.to_numpy(dtype=np.int64)
    events = int(labels.sum())
    if not 0 < events < len(labels):
        raise ModelError(
            f"{name}: {events} events among {len(labels)} usable training patients; "
            "expected at least one with and one without an event"
        )
    return labels


def training_times(
    data: CohortData, patient_ids: Sequence[str], name: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Follow-up of the patients that model `name` is fitted on; a competing death is censored.

    Returns:
        Months and whether the event was observed, shapes (patients,).

    Raises:
        ModelError: no outcomes, or no event.
    """
    if data.outcomes is None:
        raise ModelError(f"{name}: the data hold no outcomes")
    rows = data.outcomes.loc[list(patient_ids)]
    event = np.asarray(rows["status"].astype(np.int64) == 1, dtype=np.bool_)
    if not event.any():
        raise ModelError(f"{name}: no events among {len(rows)} usable training patients")
    return rows["time"].to_numpy(np.float64), event
