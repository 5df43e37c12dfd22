"""Outcomes for the heads."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.models.base import CohortData


def _outcomes(time: object, status: object) -> CohortData:
    """Patients p0, p1, ... with this follow-up."""
    times, states = np.asarray(time, dtype=np.float64), np.asarray(status, dtype=np.int64)
    ids = pd.Index([f"p{i}" for i in range(len(times))])
    table = {"time": times, "status": states, "label": (states == 1).astype(np.int64)}
    return CohortData(patients=pd.DataFrame(index=ids), outcomes=pd.DataFrame(table, index=ids))


@pytest.fixture(scope="session")
def followed():
    """Makes patients with outcomes."""
    return _outcomes
