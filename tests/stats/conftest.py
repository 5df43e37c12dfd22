"""Values that R computed, and the data it computed them from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

R_FOLDER = Path(__file__).parent / "r"


@dataclass(frozen=True)
class Witness:
    """R's numbers, looked up by data set, analysis and key."""

    values: dict[tuple[str, str, str], np.ndarray]

    def __call__(self, data: str, what: str, key: str = "") -> np.ndarray:
        return self.values[data, what, key]


def read_witness(name: str) -> Witness:
    with (R_FOLDER / name).open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return Witness(
            {
                (row["data"], row["what"], row["key"]): np.array(
                    [np.nan if v == "NA" else float(v) for v in row["values"].split()]
                )
                for row in rows
            }
        )


@pytest.fixture(scope="session")
def r_survival() -> Witness:
    """From survival.R."""
    return read_witness("survival.csv")


@pytest.fixture(scope="session")
def r_roc() -> Witness:
    """From roc.R."""
    return read_witness("roc.csv")


def read_data(name: str) -> tuple[str, pd.DataFrame]:
    return name, pd.read_csv(R_FOLDER / f"{name}.csv")


@pytest.fixture(scope="session", params=["veteran", "lung", "rounded", "small"])
def data(request: pytest.FixtureRequest) -> tuple[str, pd.DataFrame]:
    """Data with many tied times: name and table."""
    return read_data(request.param)


@pytest.fixture(scope="session", params=["veteran", "lung", "rounded"])
def large_data(request: pytest.FixtureRequest) -> tuple[str, pd.DataFrame]:
    """Those with enough patients for large-sample theory."""
    return read_data(request.param)
