from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.line_up import make_model
from crpnet_bench.benchmark.tuning import TunedModel, grid_points
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.progress import SilentProgress

GRID = {"train.learning_rate": [1e-4, 3e-2], "model.hidden_dim": [2]}


def _config(**values):
    settings = {
        "models": ["crpnet"],
        "model": {"attention_dim": 4},
        "train": {"iterations": 4, "inits": 1, "inner_folds": 3, "threads": 1},
    }
    return RunConfig.from_mapping(settings | values)


@pytest.fixture(scope="module")
def data():
    """Thirty patients of few tiles; the mean of the first feature carries the risk."""
    generator = np.random.default_rng(0)
    ids = [f"p{i:02d}" for i in range(30)]
    signal = generator.normal(size=30)
    bags = {}
    for patient, level in zip(ids, signal, strict=True):
        features = generator.normal(size=(4, 6)).astype(np.float32)
        features[:, 0] += 2 * level
        bags[patient] = Bag(features, np.zeros(4, np.int32), np.zeros((4, 2), np.int64), ("s",))
    event = (signal + 0.3 * generator.normal(size=30) > 0).astype(int)
    time = np.round(50 - 10 * signal + generator.uniform(0, 5, 30), 1)
    outcomes = pd.DataFrame({"time": time, "status": event, "label": event}, index=ids)
    return CohortData(patients=pd.DataFrame(index=pd.Index(ids)), bags=bags, outcomes=outcomes)


def test_every_combination_is_a_point():
    points = grid_points(_config(tune=GRID | {"train.inits": [1, 2]}))
    assert len(points) == 4
    assert points[0] == {"train.learning_rate": 1e-4, "model.hidden_dim": 2, "train.inits": 1}


def test_the_point_of_the_highest_out_of_fold_c_is_fitted(data):
    model = make_model("crpnet", _config(tune=GRID))
    assert isinstance(model, TunedModel)
    fitted = model.fit(data, seed=3, progress=SilentProgress())
    indices = [model._index(one, data, 3) for one in model.models]
    best = int(np.argmax(indices))
    expected = model.models[best].fit(data, seed=3, progress=SilentProgress())
    pd.testing.assert_frame_equal(fitted.predict(data), expected.predict(data))
    (note,) = fitted.notes
    assert f"chosen train.learning_rate = {GRID['train.learning_rate'][best]}" in note
    assert note.count(": C 0.") == 2


def test_what_the_points_reached_is_kept_and_read_back(data, tmp_path):
    model = make_model("crpnet", _config(tune=GRID), choices=tmp_path)
    plain = make_model("crpnet", _config(tune=GRID))
    once, expected = (one.fit(data, seed=3, progress=SilentProgress()) for one in (model, plain))
    assert once.notes == expected.notes
    kept = {path: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert sorted(told["point"]["train.learning_rate"] for told in kept.values()) == [1e-4, 3e-2]
    low = min(kept, key=lambda path: kept[path]["c_index"])
    low.write_text(json.dumps(kept[low] | {"c_index": 0.999}))
    again = model.fit(data, seed=3, progress=SilentProgress())
    chosen = kept[low]["point"]["train.learning_rate"]
    assert f"chosen train.learning_rate = {chosen}" in again.notes[0]
    model.fit(data, seed=4, progress=SilentProgress())
    assert len(list(tmp_path.iterdir())) == 4  # another seed is another fit


def test_a_model_without_tiles_stays_as_it_is():
    assert not isinstance(make_model("ssign", _config(tune=GRID)), TunedModel)


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ({"train.learning_rat": [1.0]}, "did you mean 'learning_rate'"),
        ({"seed": [1, 2]}, "expected a key of"),
        ({"train.inits": [0]}, "train.inits = 0"),
        ({"train.inits": []}, "expected at least one value"),
    ],
)
def test_a_wrong_grid_is_named(grid, told):
    with pytest.raises(ConfigError, match=told):
        make_model("crpnet", _config(tune=grid))


def test_nothing_to_choose_by_is_an_error(data):
    none = data.outcomes.assign(status=0, label=0)
    silent = CohortData(patients=data.patients, bags=data.bags, outcomes=none)
    with pytest.raises(ModelError, match="no point of the grid can be judged"):
        make_model("crpnet", _config(tune=GRID)).fit(silent, seed=0, progress=SilentProgress())
