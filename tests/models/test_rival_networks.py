"""The networks beside CRPNet as risk models: fit, checkpoint, what they say of tiles, a signal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.catalogue import MODELS, build_model, load_fitted
from crpnet_bench.models.crpnet import NetworkShape, member_generators
from crpnet_bench.models.fitted_networks import build_network
from crpnet_bench.models.tile_store import TileStore
from crpnet_bench.models.training import standardize
from crpnet_bench.progress import SilentProgress
from crpnet_bench.stats.concordance import concordance_index
from crpnet_bench.synthetic.sim_bags import simulate_bags

RIVALS = ["crpnet-gated", "crpnet-ms", "clam-sb"]
rivals = pytest.mark.parametrize("name", RIVALS)


def with_scales(data, seed=0):
    """Bags whose wider fields are noise, so that what there is to learn is in the tiles."""
    generator = np.random.default_rng(seed)

    def wider(bag):
        drawn = generator.normal(size=(2, *bag.features.shape)).astype(bag.features.dtype)
        return replace(bag, context={2: drawn[0], 4: drawn[1]})

    return replace(data, bags={patient: wider(bag) for patient, bag in data.bags.items()})


def fit(name, data, config, seed=1):
    return build_model(name, config).fit(data, seed=seed, progress=SilentProgress())


@rivals
def test_a_checkpoint_predicts_the_same_bytes(name, tmp_path, training, validation, run_config):
    data = with_scales(validation)
    fitted = fit(name, with_scales(training), run_config(iterations=3))
    fitted.save(tmp_path)
    loaded = load_fitted(tmp_path)
    assert loaded.card == fitted.card
    assert loaded.network.shape == fitted.network.shape
    pd.testing.assert_frame_equal(loaded.predict(data), fitted.predict(data), check_exact=True)


@rivals
def test_attention_and_what_a_tile_alone_would_say(name, training, validation, run_config):
    fitted = fit(name, with_scales(training), run_config(iterations=3))
    data = with_scales(validation.take(validation.patient_ids[:1]))
    (patient,) = data.patient_ids
    bag = data.bags[patient]
    found = fitted.attention(bag)
    np.testing.assert_allclose(found.member_weights.sum(axis=1), 1, rtol=1e-5)
    one = replace(
        bag,
        features=bag.features[2:3],
        slide=bag.slide[2:3],
        coords=bag.coords[2:3],
        context={factor: wider[2:3] for factor, wider in bag.context.items()},
    )
    members = fitted.members(replace(data, bags={patient: one}))["risk"]
    np.testing.assert_allclose(members, found.member_tile_logit[:, 2], atol=1e-5)


@rivals
@pytest.mark.parametrize("change", [{"tile_budget": 25}, {"inits": 1}])
def test_neither_packing_nor_other_members_change_the_first(
    name, change, training, validation, run_config
):
    training, validation = with_scales(training), with_scales(validation)

    def first(**settings):
        members = fit(name, training, run_config(iterations=3, **settings)).members(validation)
        return members.loc[members["member"] == 0, "probability"]

    np.testing.assert_allclose(first(**change), first(), atol=1e-5)


def test_three_scales_resident_or_read_from_the_bags(training):
    bags = list(with_scales(training).bags.values())
    shape = NetworkShape(48, context=(2, 4))
    generators = member_generators(0, 1)
    network = build_network("one attention a scale", shape, generators, torch.device("cpu"))
    standardize(network, bags)
    resident = TileStore(bags, network, torch.float32)
    from_bags = TileStore(bags, network, torch.float32, resident_bytes=0)
    for chosen in ([3, 0, 7], [2, 3], [4]):
        found = resident.pack(chosen)
        assert torch.equal(found, from_bags.pack(chosen))
        raw = np.concatenate([bags[bag].fields((2, 4)) for bag in chosen])
        assert torch.equal(found, network.prepare(torch.from_numpy(raw)))


def test_three_scales_need_all_fields_and_leave_views_out(training, run_config):
    with pytest.raises(ModelError, match=r"context_factors = \[2, 4\]"):
        fit("crpnet-ms", training, run_config())
    data = with_scales(training)
    config = run_config(iterations=2)
    config = config.model_copy(update={"encoder": config.encoder.model_copy(update={"views": 1})})
    plain = fit("crpnet-ms", data, config)
    assert any("wider fields have none" in note for note in plain.notes)
    viewed = {
        patient: replace(bag, views=bag.features[:, None].astype(np.float16) + 1)
        for patient, bag in data.bags.items()
    }
    other = fit("crpnet-ms", replace(data, bags=viewed), config)
    pd.testing.assert_frame_equal(other.predict(data), plain.predict(data))


def test_pseudo_labels_need_classes():
    assert [name for name in MODELS if name.startswith("clam-sb")] == ["clam-sb"]
    with pytest.raises(ConfigError, match="'clam-sb-cox'"):
        build_model("clam-sb-cox", None)


@rivals
def test_a_signal_in_few_tiles_is_learned(name, cohort_of, take_role, run_config):
    simulated = simulate_bags(5, 120, 200, dim=32, median_tiles=20, histology_effect=2.5)
    data = with_scales(cohort_of(simulated))
    training, validation = (take_role(data, simulated, role) for role in ("train", "validation"))
    steps = {"iterations": 20, "inits": 1} if name == "clam-sb" else {"iterations": 60}
    config = run_config(learning_rate=1e-3, **steps)
    risk = fit(name, training, config).predict(validation)["risk"].to_numpy()
    outcomes = validation.outcomes
    found = concordance_index(outcomes["time"], outcomes["status"] == 1, risk)
    print(name, found.value)
    assert found.value > 0.65
