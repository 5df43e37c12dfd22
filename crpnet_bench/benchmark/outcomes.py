"""Outcomes as the evaluation reads them."""

from __future__ import annotations

import pandas as pd

from crpnet_bench.home import Home
from crpnet_bench.registry import views

__all__ = ["read_outcomes"]


def read_outcomes(home: Home, pinned: str, endpoint: str) -> pd.DataFrame:
    """`patient_id`, `time` (months), `status`, `site` of a cohort's included patients.

    Args:
        home: whose registry.
        pinned: `NAME@VERSION`.
        endpoint: one of the cohort's.
    """
    outcomes = views.outcomes(home, pinned, endpoint)[["patient_id", "time", "status"]]
    sites = views.patients(home, pinned)[["patient_id", "site"]]
    return outcomes.merge(sites, on="patient_id", how="left", validate="one_to_one")
