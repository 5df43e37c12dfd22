"""Why patients have no prediction, in a line a model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pandas as pd

from crpnet_bench.reporting.tables import Block, rows_of

__all__ = ["missing_lines"]

_LONGEST = 240


def missing_lines(metrics: pd.DataFrame, block: Block, headings: Mapping[str, str]) -> list[str]:
    """One sentence for each model that left patients of this block without a prediction.

    Args:
        metrics: the `metrics` table of one run.
        block: which patients.
        headings: printed name of each model, in this order.
    """
    rows = rows_of(metrics, block)
    counted = rows[
        (rows["metric"] == "n_missing") & (rows["subgroup"] == "all") & rows["member"].isna()
    ]
    told = {row["model"]: row for row in counted.to_dict("records") if row["value"] > 0}
    return [
        textwrap.shorten(
            f"{heading}, without a prediction: {told[model]['reason']}",
            _LONGEST,
            placeholder=" ... (all in metrics.parquet)",
        )
        for model, heading in headings.items()
        if model in told
    ]
