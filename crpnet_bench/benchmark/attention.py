"""Where networks looked, as a table: one row a tile, in level-0 pixels of the tile's slide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import pandas as pd

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import Bag, BagModel

__all__ = ["ATTENTION_FILE", "attention_table"]

ATTENTION_FILE = "attention.parquet"


def attention_table(
    networks: Sequence[BagModel], bags: Mapping[str, Bag], roles: Mapping[str, str]
) -> pd.DataFrame:
    """Attention and logit of every tile, averaged over the networks.

    Args:
        networks: fits whose mean risk is the prediction; one, or those of several folds.
        bags: tiles by patient.
        roles: patient -> role; patients without tiles have no rows.

    Returns:
        `patient_id`, `slide_id`, `role`, `x`, `y` (level 0), `attention` (sums to 1 over a
        patient), `tile_logit` (log-odds of an event were the bag this tile alone).
    """
    parts = []
    for patient, role in sorted(roles.items()):
        if patient in bags:
            with suppress(ModelError):  # the patient's prediction is missing then, and says why
                parts.append(_of_patient(networks, patient, bags[patient], role))
    return pd.concat(parts, ignore_index=True) if parts else _no_rows()


def _of_patient(networks: Sequence[BagModel], patient: str, bag: Bag, role: str) -> pd.DataFrame:
    looked = [network.attention(bag) for network in networks]
    return pd.DataFrame(
        {
            "patient_id": patient,
            "slide_id": np.asarray(bag.slide_ids, dtype=object)[bag.slide],
            "role": role,
            "x": bag.coords[:, 0],
            "y": bag.coords[:, 1],
            "attention": np.mean([one.weights for one in looked], axis=0),
            "tile_logit": np.mean([one.tile_logit for one in looked], axis=0),
        }
    )


def _no_rows() -> pd.DataFrame:
    text, whole, number = ("object", "int64", "float32")
    columns = {"patient_id": text, "slide_id": text, "role": text, "x": whole, "y": whole,
               "attention": number, "tile_logit": number}  # fmt: skip
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
