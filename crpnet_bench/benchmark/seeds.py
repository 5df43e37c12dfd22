"""Several seeds of one run: a distribution with all members.

The metrics of the run compare pairs within one seed's fit and so average over the seeds. Here each
seed stands by itself. No seed is ever chosen, and none is shown without the others.
"""

from __future__ import annotations

import pandas as pd

from crpnet_bench.config import EvaluationConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.progress import Progress

__all__ = ["DISTRIBUTION_COLUMNS", "metrics_by_seed", "seed_distribution"]

DISTRIBUTION_COLUMNS = (
    "model", "role", "in_sample", "metric", "horizon_months", "seeds", "mean", "sd", "min",
    "median", "max", "values",
)  # fmt: skip
_GROUP = ["model", "role", "in_sample", "metric", "horizon_months"]


def metrics_by_seed(
    predictions: pd.DataFrame,
    outcomes: pd.DataFrame,
    settings: EvaluationConfig,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The `metrics` table of each seed, with the column `seed`."""
    whole = predictions[predictions["member"].isna()]
    parts = [
        evaluate(rows, outcomes, settings=settings, progress=progress).assign(seed=seed)
        for seed, rows in whole.groupby("seed", sort=True)
    ]
    return pd.concat(parts, ignore_index=True)


def seed_distribution(by_seed: pd.DataFrame) -> pd.DataFrame:
    """One row a number of a model: mean, SD, range and every seed's value, in order of seed.

    Args:
        by_seed: from `metrics_by_seed`; values that are not estimable are left out, which
            `seeds` shows.
    """
    rows = []
    ordered = by_seed.sort_values("seed", kind="stable")
    for keys, part in ordered.groupby(_GROUP, dropna=False, sort=False):
        values = part["value"].dropna().astype(float)
        several = len(values) > 1
        rows.append(
            dict(zip(_GROUP, keys, strict=True))
            | {
                "seeds": len(values),
                "mean": values.mean() if len(values) else None,
                "sd": values.std(ddof=1) if several else None,
                "min": values.min() if len(values) else None,
                "median": values.median() if len(values) else None,
                "max": values.max() if len(values) else None,
                "values": values.tolist(),
            }
        )
    return pd.DataFrame(rows, columns=list(DISTRIBUTION_COLUMNS))
