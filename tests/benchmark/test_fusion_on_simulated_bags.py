"""Late fusion of CRPNet and clinical variables on simulated patients whose truth is known.

The log-hazard has a histological part, which only the tiles tell, and a clinical part, which only
the variable `age` tells. The null check hands every patient the outcome of another.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.fold import Fold, fit_fold
from crpnet_bench.benchmark.line_up import expand, make_model, model_folder
from crpnet_bench.config import RunConfig
from crpnet_bench.models.base import Bag, CohortData
from crpnet_bench.progress import SilentProgress
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.synthetic.sim_bags import simulate_bags

NAME = "crpnet+clinical"
NULL_SEEDS = range(40)


def bag_of(features):
    tiles = len(features)
    nowhere = np.zeros((tiles, 2), dtype=np.int64)
    return Bag(features, np.zeros(tiles, dtype=np.int32), nowhere, ("slide",))


def cohort_of(simulated, order=None):
    """Patients with tiles and one clinical variable; `order` hands each another's outcome."""
    ids = pd.Index(simulated.patient_ids, name="patient_id")
    outcomes = pd.DataFrame(
        {"time": simulated.time, "status": simulated.status, "label": simulated.label}
    )
    outcomes = (outcomes if order is None else outcomes.iloc[order]).set_axis(ids)
    return CohortData(
        patients=pd.DataFrame({"age": 60 + 10 * simulated.clinical}, index=ids),
        bags=dict(zip(ids, map(bag_of, simulated.features), strict=True)),
        outcomes=outcomes,
        cohort="sim-bags",
    )


def validation_concordance(data, simulated, config, folder, seed=0):
    """C-index of the fusion and of its parts on the validation patients."""
    fold = Fold(0, 0, pd.Series(simulated.role, index=data.patients.index))
    found = {}
    for name in expand([NAME]):
        result = fit_fold(
            make_model(name, config),
            data,
            fold,
            folder / model_folder(name),
            seed=seed,
            inner_folds=config.train.inner_folds,
            progress=SilentProgress(),
        )
        assert result.failure is None
        rows = result.predictions
        rows = rows[(rows["role"] == "validation") & rows["member"].isna()]
        risk = rows.set_index("patient_id")["risk"].astype(float)
        outcomes = data.outcomes.loc[risk.index]
        found[name] = concordance_index(outcomes["time"], outcomes["status"] == 1, risk)
    return found


@pytest.mark.slow
def test_fusion_keeps_what_its_better_part_knows(tmp_path):
    simulated = simulate_bags(0, dim=64, median_tiles=40, clinical_effect=0.8)
    config = RunConfig.from_mapping({"train": {"inits": 2, "inner_folds": 3, "threads": 1}})
    found = validation_concordance(cohort_of(simulated), simulated, config, tmp_path)
    fused = found.pop(NAME)
    assert fused.value >= max(part.value for part in found.values()) - 0.02


@pytest.mark.slow
def test_fusion_finds_nothing_where_nothing_is(tmp_path):
    simulated = simulate_bags(1, 150, 300, dim=32, median_tiles=20, clinical_effect=0.8)
    config = RunConfig.from_mapping(
        {"train": {"inits": 1, "inner_folds": 2, "threads": 1, "iterations": 60}}
    )
    fused = []
    for seed in NULL_SEEDS:
        order = np.random.default_rng(seed).permutation(len(simulated))
        data = cohort_of(simulated, order)
        place = tmp_path / str(seed)
        fused.append(validation_concordance(data, simulated, config, place, seed)[NAME])
    assert abs(np.mean([one.value for one in fused]) - 0.5) <= 0.03
    assert sum(one.ci_low <= 0.5 <= one.ci_high for one in fused) >= 32
