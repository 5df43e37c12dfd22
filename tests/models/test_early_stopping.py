"""Early stopping: who decides, who is kept, who never sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crpnet_bench.errors import ModelError
from crpnet_bench.models.catalogue import build_model
from crpnet_bench.models.crpnet import NetworkShape, crpnet, member_generators
from crpnet_bench.models.early_stopping import CHECK_EVERY, EarlyStopping, set_aside
from crpnet_bench.progress import SilentProgress


def fit(training, config, name="crpnet", seed=3):
    return build_model(name, config, "cpu").fit(training, seed=seed, progress=SilentProgress())


@given(
    events=st.integers(2, 30),
    others=st.integers(2, 60),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_the_split_is_by_event_and_leaves_some_of_either_kind(events, others, share, seed):
    labels = np.random.default_rng(seed).permutation([1] * events + [0] * others)
    chosen = set_aside(labels, share, seed)
    assert len(set(chosen)) == len(chosen)
    for label, count in ((1, events), (0, others)):
        own = int(np.sum(labels[chosen] == label))
        assert 1 <= own < count
        assert abs(own - share * count) <= 1
    assert np.array_equal(chosen, set_aside(labels, share, seed))


def test_another_seed_sets_others_aside():
    labels = np.arange(100) % 3 == 0
    assert not np.array_equal(set_aside(labels, 0.2, 0), set_aside(labels, 0.2, 1))


@pytest.mark.parametrize(
    ("labels", "message"), [([1, 0, 0], "1 .* with an"), ([1, 1, 0], "1 .* without an")]
)
def test_too_few_of_a_kind_are_an_error(labels, message):
    with pytest.raises(ModelError, match=message):
        set_aside(labels, 0.2, 0)


def test_each_member_keeps_its_own_lowest_and_stops_for_good():
    network = crpnet(NetworkShape(4, 3, 3), member_generators(0, 2))

    def at(value):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(value)

    stopping = EarlyStopping(network, patience=20)
    # The first member is lowest at 10 and stops at 30, before its loss falls again.
    losses = [[3.0, 3.0], [1.0, 2.0], [2.0, 1.5], [2.0, 1.0], [0.1, 1.2], [0.1, 1.1]]
    told = []
    for look, loss in enumerate(losses):
        at(float(look))
        told.append(stopping.look(10 * look, torch.tensor(loss)))
    assert told == [False] * 5 + [True]
    assert stopping.best_step.tolist() == [10, 30]
    stopping.restore()
    for parameter in network.parameters():
        assert (parameter[0] == 1).all()
        assert (parameter[1] == 3).all()


def overfitting(run_config, **train):
    return run_config(**{"iterations": 120, "learning_rate": 3e-3, "patience": 30} | train)


def test_a_fit_stops_where_its_loss_on_those_set_aside_was_lowest(training, run_config):
    fitted = fit(training, overfitting(run_config, inits=3))
    history = fitted.history
    assert history.set_aside.shape == (len(history.looks), 3)
    assert history.looks[1] == CHECK_EVERY
    lowest = [history.looks[i] for i in history.set_aside.argmin(axis=0)]
    assert list(history.kept) == lowest
    assert len(history.training) < 120
    assert history.looks[-1] == len(history.training)
    assert (
        f"early stopping by the loss on 6 of 30 training patients, set aside: weights of step "
        f"{', '.join(map(str, lowest))} kept (one a member) of {len(history.training)} steps"
    ) in fitted.notes


@pytest.mark.parametrize("name", ["crpnet", "crpnet-cox", "crpnet-hazard", "crpnet-ipcw"])
def test_kept_weights_are_those_of_a_fit_of_that_many_steps(name, training, run_config):
    # The order of bags is fixed by the seed, so a shorter run passes the same weights: and with
    # patience beyond its end it keeps its own lowest, which is the same step. It has to look where
    # the long one did, at least once after the beginning.
    long = fit(training, overfitting(run_config, inits=1), name)
    (step,) = long.history.kept
    short = fit(training, overfitting(run_config, inits=1, iterations=max(step, CHECK_EVERY)), name)
    assert short.history.kept == (step,)
    for own, other in zip(long.network.parameters(), short.network.parameters(), strict=True):
        assert torch.equal(own, other)


def test_members_stop_on_their_own(training, validation, run_config):
    together = fit(training, overfitting(run_config, inits=3))
    alone = fit(training, overfitting(run_config, inits=1))
    assert together.history.kept[0] == alone.history.kept[0]
    members = together.members(validation)
    first = members.loc[members["member"] == 0, "probability"]
    np.testing.assert_allclose(first, alone.predict(validation)["probability"], atol=1e-4)


def test_those_set_aside_are_never_trained_on(training, run_config):
    # Their outcomes may decide the step, not a gradient: with another label for one of them the
    # losses of the steps stay, bit for bit.
    labels = training.outcomes["label"].to_numpy()
    chosen = set_aside(labels, 0.2, 3)
    patient = training.patient_ids[chosen[0]]
    bags = {**training.bags}
    bags[patient] = replace(bags[patient], features=bags[patient].features + 5)
    config = overfitting(run_config)
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"standardize": False})}
    )
    first = fit(training, config).history
    second = fit(replace(training, bags=bags), config).history
    steps = min(len(first.training), len(second.training))
    assert np.array_equal(first.training[:steps], second.training[:steps])
    assert not np.array_equal(first.set_aside[:2], second.set_aside[:2])


@pytest.mark.parametrize("share", [0.2, 0.4])
def test_share_and_patience_change_the_fit(share, training, validation, run_config):
    plain = fit(training, run_config(iterations=30)).predict(validation)["risk"]
    config = run_config(iterations=30, patience=10, inner_validation=share)
    found = fit(training, config)
    assert not np.allclose(found.predict(validation)["risk"], plain)
    count = {0.2: 6, 0.4: 12}[share]
    assert f"on {count} of 30 training patients" in found.notes[-1]


def test_without_patience_nobody_is_set_aside(training, run_config):
    fitted = fit(training, run_config(iterations=10))
    assert fitted.history.kept == (10, 10)
    assert fitted.history.set_aside.size == 0
    assert fitted.notes == ()


def test_views_are_not_drawn_for_those_set_aside(training, run_config):
    views = {
        patient: replace(bag, views=(bag.features[:, None] + 3.0).astype(np.float16))
        for patient, bag in training.bags.items()
    }
    config = run_config(iterations=1, patience=1)
    plain = fit(training, config).history.set_aside[0]
    augmented = fit(replace(training, bags=views), config).history.set_aside[0]
    np.testing.assert_allclose(plain, augmented, rtol=1e-6)
