"""Random survival forest on clinical variables; a locked forest is arrays, never a pickle.

The forest is scikit-survival's: log-rank splits, 500 trees on bootstrap samples, a random choice
of the square root of the number of variables at each split, leaves of at least 15 patients.
These settings are fixed beforehand and not tuned.

The risk is made of the ensemble mortality: the mean over the trees of the leaf's cumulative hazard,
summed over the training event times (Ishwaran et al., Ann Appl Stat 2:841, 2008). It ranks patients
as the mortality does, but is put on the scale of a linear predictor, which whatever is learned from
risks (probability, calibration, fusion) takes for granted: divided by the number of event times, or
the smaller forests of inner folds would give smaller risks, and then its logarithm.

Stored is what prediction needs of each tree: variable, threshold and children of each node, and
the mortality of each leaf. So a loaded forest is the fitted one, whatever version of
scikit-survival is installed, and nothing of it can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData, prediction_frame, training_times
from crpnet_bench.models.checkpoint import Checkpoint, write_checkpoint
from crpnet_bench.models.clinical_table import FillRule, training_table
from crpnet_bench.models.saved_words import restored, said_by
from crpnet_bench.progress import Progress

__all__ = ["FOREST_KIND", "FittedForest", "ForestModel", "Trees", "load_forest"]

FOREST_KIND = "survival-forest"
TREES = 500
FEWEST_IN_LEAF = 15
_LEAF = -1
# Added to the mortality, so that patients without any expected event have a logarithm.
HALF_AN_EVENT = 0.5
_SEEDS = 2**32


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """All nodes of all trees, tree after tree.

    Attributes:
        root: first node of each tree, shape (trees,).
        left, right: children as positions in these arrays, -1 in a leaf, shape (nodes,).
        variable: column that a node looks at, shape (nodes,).
        threshold: a patient at or below it goes left, shape (nodes,).
        mortality: of a leaf, shape (nodes,).
    """

    root: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    variable: NDArray[np.int64]
    threshold: NDArray[np.float64]
    mortality: NDArray[np.float64]

    @classmethod
    def of(cls, estimators: list[Any]) -> Trees:
        """The arrays of scikit-survival's trees, fitted with `low_memory`."""
        trees = [estimator.tree_ for estimator in estimators]
        sizes = np.array([tree.node_count for tree in trees])
        root = np.cumsum(sizes) - sizes

        def children(name: str) -> NDArray[np.int64]:
            own = [getattr(tree, name) for tree in trees]
            return np.concatenate(
                [np.where(c == _LEAF, _LEAF, c + r) for c, r in zip(own, root, strict=True)]
            )

        return cls(
            root=root,
            left=children("children_left"),
            right=children("children_right"),
            variable=np.concatenate([tree.feature for tree in trees]),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            mortality=np.concatenate([tree.value[:, 0, 0] for tree in trees]),
        )

    def mean_mortality(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Ensemble mortality of each row of `table` (patients, variables), shape (patients,)."""
        # The trees were grown on float32 and split between such numbers.
        values = table.astype(np.float32)
        node = np.tile(self.root, (len(values), 1))  # (patients, trees)
        rows = np.arange(len(values))[:, None]
        while (inner := self.left[node] != _LEAF).any():
            seen = values[rows, np.where(inner, self.variable[node], 0)]
            below = np.where(seen <= self.threshold[node], self.left[node], self.right[node])
            node = np.where(inner, below, node)
        return np.asarray(self.mortality[node].mean(axis=1))


@dataclass(frozen=True, slots=True)
class ForestModel:
    """Random survival forest on what `clinical_table` makes of the patients."""

    name: str
    title: str
    needs_bags: bool = False

    def fit(
        self, data: CohortData, *, seed: int = 0, progress: Progress | None = None
    ) -> FittedForest:
        """Grow the forest; `seed` decides bootstrap samples and variables, nothing else does.

        Raises:
            ModelError: no outcomes, no event, no usable variable, or too few patients to split.
        """
        from sksurv.ensemble import RandomSurvivalForest  # noqa: PLC0415 takes seconds
        from sksurv.util import Surv  # noqa: PLC0415

        rows = training_table(data, self.name)
        time, event = training_times(data, list(rows.table.index), self.name)
        if len(time) < 2 * FEWEST_IN_LEAF:
            raise ModelError(
                f"{self.name}: {len(time)} usable training patients; expected at least "
                f"{2 * FEWEST_IN_LEAF}, since a leaf holds {FEWEST_IN_LEAF} or more"
            )
        forest = RandomSurvivalForest(
            n_estimators=TREES,
            min_samples_leaf=FEWEST_IN_LEAF,
            min_samples_split=2 * FEWEST_IN_LEAF,
            max_features="sqrt",
            low_memory=True,  # a leaf keeps its mortality, not its curve
            n_jobs=1,
            random_state=seed % _SEEDS,
        )
        forest.fit(rows.table.to_numpy(np.float64), Surv.from_arrays(event, time))
        return FittedForest(
            name=self.name,
            title=f"{self.title} on {rows.title}",
            trees=Trees.of(forest.estimators_),
            event_times=len(np.unique(time[event])),
            rule=rows.rule,
            notes=rows.notes,
            left_out=rows.left_out,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedForest:
    """A random survival forest, locked.

    Attributes:
        name, title, notes, left_out: as in `FittedModel`.
        trees: the forest.
        event_times: distinct ones among the training patients.
        rule: how patients become rows; its medians are in the order of the trees' columns.
    """

    name: str
    title: str
    trees: Trees
    event_times: int
    rule: FillRule
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def predict(self, data: CohortData) -> pd.DataFrame:
        """Risk is the logarithm of the ensemble mortality for each training event time.

        There is no probability: it is learned on out-of-fold risks.
        """
        table, reasons = self.rule.table(data, self.name)
        mortality = self.trees.mean_mortality(table.to_numpy(np.float64))
        risk = np.log((mortality + HALF_AN_EVENT) / self.event_times)
        return prediction_frame(data.patient_ids, risk, np.full(len(data), np.nan), reasons)

    def save(self, folder: Path) -> None:
        """Write the model; `load_forest` reads it."""
        state = {**said_by(self), "event_times": self.event_times, "rule": asdict(self.rule)}
        tensors = {name: getattr(self.trees, name) for name in Trees.__dataclass_fields__}
        write_checkpoint(Checkpoint(FOREST_KIND, state, tensors), folder)


def load_forest(checkpoint: Checkpoint, device: str = "cpu") -> FittedForest:
    """A fitted forest from what `read_checkpoint` gave; the device plays no part.

    Raises:
        ModelError: the state is of another program.
    """
    state = restored(checkpoint.state)
    try:
        rule = FillRule(**state["rule"])
        return FittedForest(**{**state, "rule": rule, "trees": Trees(**checkpoint.tensors)})
    except (KeyError, TypeError) as error:
        raise ModelError(f"checkpoint does not fit this program: {error}") from error
