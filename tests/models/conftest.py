"""Small cohorts for the models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress
from crpnet_bench.synthetic.sim_bags import SimulatedBags, simulate_bags


def _bag_of(features: np.ndarray) -> Bag:
    """A bag of these features on one slide."""
    tiles = len(features)
    return Bag(
        features=features,
        slide=np.zeros(tiles, dtype=np.int32),
        coords=np.zeros((tiles, 2), dtype=np.int64),
        slide_ids=("slide",),
    )


def _cohort_of(simulated: SimulatedBags, order: np.ndarray | None = None) -> CohortData:
    """Simulated patients as models see them; `order` hands each the outcome of another."""
    ids = list(simulated.patient_ids)
    outcomes = pd.DataFrame(
        {"time": simulated.time, "status": simulated.status, "label": simulated.label}
    )
    if order is not None:
        outcomes = outcomes.iloc[order]
    outcomes.index = pd.Index(ids)
    return CohortData(
        patients=pd.DataFrame(index=pd.Index(ids)),
        bags={patient: _bag_of(bag) for patient, bag in zip(ids, simulated.features, strict=True)},
        outcomes=outcomes,
        cohort="sim-bags",
    )


def _take_role(data: CohortData, simulated: SimulatedBags, role: str) -> CohortData:
    """The patients of one role."""
    return data.take([simulated.patient_ids[i] for i in simulated.positions(role)])


def _run_config(**train: object) -> RunConfig:
    """Settings of a short, exact fit on one thread, unless asked otherwise."""
    settings = {"iterations": 5, "inits": 2, "threads": 1, "precision": "float32"} | train
    return RunConfig.from_mapping({"train": settings})


@pytest.fixture(scope="session")
def bag_of():
    """Makes a bag."""
    return _bag_of


@pytest.fixture(scope="session")
def cohort_of():
    """Makes a cohort of simulated patients."""
    return _cohort_of


@pytest.fixture(scope="session")
def take_role():
    """Takes the patients of a role."""
    return _take_role


@pytest.fixture(scope="session")
def run_config():
    """Makes settings."""
    return _run_config


@pytest.fixture(scope="session")
def simulated() -> SimulatedBags:
    """Thirty patients to train on, twenty to validate on."""
    return simulate_bags(0, 30, 20, dim=16, median_tiles=12)


@pytest.fixture(scope="session")
def cohort(simulated: SimulatedBags) -> CohortData:
    """The small cohort."""
    return _cohort_of(simulated)


@pytest.fixture(scope="session")
def training(cohort: CohortData, simulated: SimulatedBags) -> CohortData:
    """Its training patients."""
    return _take_role(cohort, simulated, "train")


@pytest.fixture(scope="session")
def validation(cohort: CohortData, simulated: SimulatedBags) -> CohortData:
    """Its validation patients."""
    return _take_role(cohort, simulated, "validation")


def _clinic() -> CohortData:
    """Sixty patients with every clinical variable, three sites and the score `ssign`."""
    n = 60
    generator = np.random.default_rng(2)
    ids = pd.Index([f"p{i}" for i in range(n)])
    stage = generator.choice(["T1a", "T1b", "T1", "T2a", "T3a", "T3", "T4"], n)
    grade = generator.integers(1, 5, n)
    patients = pd.DataFrame(
        {
            "pT": stage,
            "pN": generator.choice(["N0", "NX", "N1", "N+"], n),
            "M": generator.choice(["M0", "M0", "M0", "M1"], n),
            "tumor_size_cm": pd.array(generator.gamma(5, 1.2, n), dtype="Float64"),
            "grade": pd.array(grade, dtype="Int64"),
            "symptoms": generator.choice(["none", "local", "systemic"], n),
        },
        index=ids,
    )
    time = np.ceil(generator.exponential(40 / grade))
    status = generator.choice([0, 1, 1, 2], n)
    outcomes = pd.DataFrame({"time": time, "status": status, "label": 1 * (status == 1)}, index=ids)
    points = pd.array(grade + generator.integers(0, 3, n), dtype="Float64")
    scores = pd.DataFrame({"ssign": points, "ssign_reason": pd.NA}, index=ids)
    patients = patients.assign(
        age=pd.array(generator.normal(60, 10, n), dtype="Float64"),
        sex=generator.choice(["female", "male"], n),
        necrosis=pd.array(generator.random(n) < 0.4, dtype="boolean"),
        ecog=pd.array(generator.choice([0, 0, 1, 2], n), dtype="Int64"),
        site=generator.choice(["A", "B", "C"], n),
    )
    return CohortData(patients, scores, outcomes=outcomes, cohort="clinic")


@pytest.fixture(scope="session")
def clinic() -> CohortData:
    """Patients as clinical models see them."""
    return _clinic()


@pytest.fixture(scope="session")
def fit():
    """Fits a model of the catalogue by name."""

    def _fit(name: str, data: CohortData, seed: int = 0):
        return build_model(name, RunConfig()).fit(data, seed=seed, progress=SilentProgress())

    return _fit
