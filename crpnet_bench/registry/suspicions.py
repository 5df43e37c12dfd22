"""What looks wrong in a cohort although every cell can be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crpnet_bench.registry.tables import TextTable
from crpnet_bench.schema import CohortManifest

__all__ = ["suspicions"]

Row = Mapping[str, Any]


def suspicions(
    table: TextTable,
    manifest: CohortManifest,
    rows: Sequence[Row],
    outcomes: Sequence[Row],
    excluded: Mapping[str, str],
    slides: Sequence[Row],
) -> list[str]:
    """One sentence for each thing that the user should look at."""
    return []
