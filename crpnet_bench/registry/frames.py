"""Records to frames of nullable types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from crpnet_bench.results import conform

__all__ = ["frame_of", "typed_frame"]


def frame_of(records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Records as a frame with exactly these columns and types; absent cells are missing."""
    frame = pd.DataFrame([dict(record) for record in records], columns=list(columns), dtype=object)
    return conform(frame, columns)


def typed_frame(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Records as a frame whose types follow the cells: yes/no, numbers (Float64), else text."""
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: [record.get(name) for record in records] for name in names}
    dtypes = {name: _dtype(cells) for name, cells in columns.items()}
    texts = {
        name: [None if cell is None else str(cell) for cell in cells]
        for name, cells in columns.items()
        if dtypes[name] == "string"
    }
    frame = pd.DataFrame({**columns, **texts}, index=range(len(records)), dtype=object)
    return conform(frame, dtypes)


def _dtype(cells: Sequence[Any]) -> str:
    known = [cell for cell in cells if cell is not None]
    if known and all(isinstance(cell, bool) for cell in known):
        return "boolean"
    if known and all(isinstance(cell, int | float) for cell in known):
        return "Float64"
    return "string"
