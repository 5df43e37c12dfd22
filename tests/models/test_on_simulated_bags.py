"""What CRPNet must reach on simulated bags, and must not reach when there is nothing to find.

Settings are the defaults: 300 iterations on up to 64 bags, five initialisations averaged. The null
check trains one initialisation a permutation, which is the harder case: nothing is averaged out.
For the article's head it runs on the bags of the other tests. For the other heads, to spare time,
on fewer and smaller ones of the same design, in a third of the steps at three times the rate; the
figures are in docs/models.md.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.config import RunConfig
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.progress import SilentProgress
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.stats.discrimination import compare_auc, roc_auc
from crpnet_bench.synthetic.sim_bags import simulate_bags

NULL_SEEDS = range(40)


def train_config(**train):
    return RunConfig.from_mapping({"train": train})


def predicted_risk(name, training, validation, config, seed=0):
    model = build_model(name, config, "cpu")
    fitted = model.fit(training, seed=seed, progress=SilentProgress())
    return fitted.predict(validation)["risk"].to_numpy()


def concordance(data, risk):
    outcomes = data.outcomes
    return concordance_index(outcomes["time"], outcomes["status"] == 1, risk)


@pytest.fixture(scope="module")
def full():
    return simulate_bags(0)


@pytest.mark.slow
def test_crpnet_reaches_85_percent_of_the_oracle_and_beats_mean_pooling(full, cohort_of, take_role):
    data = cohort_of(full)
    training, validation = (take_role(data, full, role) for role in ("train", "validation"))
    oracle = concordance(validation, full.histology[full.positions("validation")]).value
    config = train_config()
    risk = {
        name: predicted_risk(name, training, validation, config) for name in ("crpnet", "meanpool")
    }
    found = concordance(validation, risk["crpnet"]).value
    assert found - 0.5 >= 0.85 * (oracle - 0.5)
    comparison = compare_auc(validation.outcomes["label"], risk["crpnet"], risk["meanpool"])
    assert comparison.ci_low > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crpnet-cox", "crpnet-hazard"])
def test_survival_heads_reach_85_percent_of_the_oracle(name, full, cohort_of, take_role):
    data = cohort_of(full)
    training, validation = (take_role(data, full, role) for role in ("train", "validation"))
    oracle = concordance(validation, full.histology[full.positions("validation")]).value
    found = concordance(validation, predicted_risk(name, training, validation, train_config()))
    assert found.value - 0.5 >= 0.85 * (oracle - 0.5)


@pytest.fixture(scope="module")
def smaller():
    return simulate_bags(0, 200, 400, dim=32, median_tiles=20)


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is(full, cohort_of, take_role):
    # One thread: forty small fits are no faster on two, and much slower on a busy machine.
    config = train_config(inits=1, threads=1)
    check_null("crpnet", full, config, cohort_of, take_role)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crpnet-cox", "crpnet-hazard", "crpnet-ipcw", "crpnet-observed"])
def test_no_head_finds_what_is_not_there(name, smaller, cohort_of, take_role):
    config = train_config(inits=1, threads=1, iterations=100, learning_rate=3e-4)
    check_null(name, smaller, config, cohort_of, take_role)


def check_null(name, simulated, config, cohort_of, take_role):
    """Outcomes dealt out anew to all patients, forty times: C and AUC about a half."""
    rows = []
    for seed in NULL_SEEDS:
        # Label, time and status go to another patient together, over both roles: if only the
        # training labels were shuffled, a strong signal in the bags would drive the validation
        # AUC to either side.
        order = np.random.default_rng(seed).permutation(len(simulated))
        data = cohort_of(simulated, order)
        training, validation = (
            take_role(data, simulated, role) for role in ("train", "validation")
        )
        risk = predicted_risk(name, training, validation, config, seed)
        area, index = roc_auc(validation.outcomes["label"], risk), concordance(validation, risk)
        rows.append(
            {
                "auc": area.value,
                "auc_covers": area.ci_low <= 0.5 <= area.ci_high,
                "c": index.value,
                "c_covers": index.ci_low <= 0.5 <= index.ci_high,
            }
        )
    table = pd.DataFrame(rows)
    assert abs(table["auc"].mean() - 0.5) <= 0.03
    assert abs(table["c"].mean() - 0.5) <= 0.03
    assert table["auc_covers"].sum() >= 32
    assert table["c_covers"].sum() >= 32


@pytest.mark.parametrize("name", ["crpnet", "crpnet-cox", "crpnet-hazard"])
def test_a_signal_in_few_tiles_is_learned(name, cohort_of, take_role):
    # The same in seconds: strong signal, few patients, a faster learning rate.
    simulated = simulate_bags(5, 120, 200, dim=32, median_tiles=20, histology_effect=2.5)
    data = cohort_of(simulated)
    training, validation = (take_role(data, simulated, role) for role in ("train", "validation"))
    config = train_config(learning_rate=1e-3, iterations=60, inits=2, threads=1)
    found = concordance(validation, predicted_risk(name, training, validation, config)).value
    shuffled = cohort_of(simulated, np.random.default_rng(0).permutation(len(simulated)))
    null_training = take_role(shuffled, simulated, "train")
    null_validation = take_role(shuffled, simulated, "validation")
    risk = predicted_risk(name, null_training, null_validation, config)
    assert found > 0.65
    assert abs(concordance(null_validation, risk).value - 0.5) < 0.1
