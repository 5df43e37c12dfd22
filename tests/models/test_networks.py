"""Bag networks as risk models: rows, members, attention, checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import special

from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.base import BagModel
from crpnet_bench.models.catalogue import MODELS, build_model, load_fitted, needs_bags
from crpnet_bench.progress import SilentProgress

NETWORKS = ["crpnet", "meanpool", "maxpool"]
HEADS_OF_THEIR_OWN = ["-cox", "-hazard", "-ipcw", "-observed"]


def fit(name, data, config, seed=1):
    return build_model(name, config, "cpu").fit(data, seed=seed, progress=SilentProgress())


@pytest.fixture(scope="module")
def crpnet(training, run_config):
    return fit("crpnet", training, run_config())


def test_a_patient_without_tiles_is_a_row_with_the_reason(crpnet, validation):
    first, second, *_ = validation.patient_ids
    bags = {key: bag for key, bag in validation.bags.items() if key not in {first, second}}
    data = replace(validation, bags=bags, bag_reasons={first: "mpp unknown"})
    predicted = crpnet.predict(data)
    assert predicted.index.tolist() == validation.patient_ids
    assert predicted.loc[first, ["status", "reason"]].tolist() == ["missing", "mpp unknown"]
    assert predicted.loc[second, "reason"] == "no slide with usable tiles"
    assert predicted.loc[[first, second], ["risk", "probability"]].isna().all(axis=None)
    assert (predicted["status"].iloc[2:] == "ok").all()


def test_training_patients_without_tiles_are_named(training, run_config):
    first = training.patient_ids[0]
    bags = {key: bag for key, bag in training.bags.items() if key != first}
    data = replace(training, bags=bags, bag_reasons={first: "no tissue"})
    fitted = fit("crpnet", data, run_config())
    assert fitted.left_out == {first: "no tissue"}
    assert fitted.notes == ("1 training patient without tiles left out",)


def test_probability_is_the_mean_over_members_and_risk_its_log_odds(crpnet, validation):
    predicted, members = crpnet.predict(validation), crpnet.members(validation)
    mean = members.groupby(level=0)["probability"].mean().loc[validation.patient_ids]
    np.testing.assert_allclose(predicted["probability"], mean, rtol=1e-12)
    np.testing.assert_allclose(predicted["risk"], special.logit(mean), rtol=1e-9, atol=1e-12)
    assert members["member"].value_counts().to_dict() == {0: 20, 1: 20}
    np.testing.assert_allclose(members["probability"], special.expit(members["risk"]))


def test_a_prediction_does_not_depend_on_who_else_is_there(crpnet, validation):
    together = crpnet.predict(validation)
    alone = crpnet.predict(validation.take(validation.patient_ids[4:5]))
    pd.testing.assert_frame_equal(alone, together.iloc[4:5], check_exact=True)


def test_order_of_tiles_does_not_change_a_prediction(crpnet, validation):
    bags = {key: replace(bag, features=bag.features[::-1]) for key, bag in validation.bags.items()}
    before, after = crpnet.predict(validation), crpnet.predict(replace(validation, bags=bags))
    np.testing.assert_allclose(before["risk"], after["risk"], atol=1e-5)


def test_attention_of_members_and_their_average(crpnet, validation):
    bag = validation.bags[validation.patient_ids[0]]
    found = crpnet.attention(bag)
    assert found.member_weights.shape == found.member_tile_logit.shape == (2, len(bag))
    np.testing.assert_allclose(found.member_weights.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found.weights, found.member_weights.mean(axis=0))
    np.testing.assert_allclose(found.tile_logit, found.member_tile_logit.mean(axis=0))
    one = replace(bag, features=bag.features[2:3], slide=bag.slide[2:3], coords=bag.coords[2:3])
    single = validation.take(validation.patient_ids[:1])
    single = replace(single, bags={validation.patient_ids[0]: one})
    members = crpnet.members(single)["risk"]
    np.testing.assert_allclose(members, found.member_tile_logit[:, 2], atol=1e-5)


@pytest.mark.parametrize("name", ["meanpool", "maxpool"])
def test_pools_without_attention(name, training, validation, run_config):
    fitted = fit(name, training, run_config())
    bag = validation.bags[validation.patient_ids[0]]
    found = fitted.attention(bag)
    np.testing.assert_allclose(found.weights.sum(), 1, rtol=1e-5)
    if name == "meanpool":
        np.testing.assert_allclose(found.weights, 1 / len(bag), rtol=1e-6)
        pooled = bag.features.mean(axis=0)
    else:
        pooled = bag.features.max(axis=0)
    card = fitted.card
    assert card.standardized
    weights = {key: value.numpy() for key, value in fitted.network.state_dict().items()}
    scaled = (pooled - weights["offset"]) / weights["scale"]
    hidden = weights["classifier.weight"][0] @ scaled + weights["classifier.bias"][0]
    outputs = weights["classifier.out_weight"][0] @ np.maximum(hidden, 0)
    outputs = outputs + weights["classifier.out_bias"][0]
    first = fitted.members(validation).iloc[0]
    assert first["risk"] == pytest.approx(outputs[1] - outputs[0], abs=1e-5)


@pytest.mark.parametrize("name", [*NETWORKS, *(f"crpnet{head}" for head in HEADS_OF_THEIR_OWN)])
def test_a_checkpoint_predicts_the_same_bytes(name, tmp_path, training, validation, run_config):
    fitted = fit(name, training, run_config())
    fitted.save(tmp_path / "model")
    loaded = load_fitted(tmp_path / "model")
    assert isinstance(loaded, BagModel)
    assert (loaded.name, loaded.title, loaded.notes) == (fitted.name, fitted.title, fitted.notes)
    assert loaded.card == fitted.card
    pd.testing.assert_frame_equal(
        loaded.predict(validation), fitted.predict(validation), check_exact=True
    )
    names = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert names == ["model.json", "weights.safetensors"]


def test_without_standardisation_features_are_taken_as_they_are(training, run_config):
    config = run_config()
    config = config.model_copy(
        update={"model": config.model.model_copy(update={"standardize": False})}
    )
    network = fit("crpnet", training, config).network
    assert (network.offset == 0).all()
    assert (network.scale == 1).all()


def test_bags_of_another_dimension_or_encoder_are_refused(crpnet, validation, bag_of):
    patient = validation.patient_ids[0]
    other = bag_of(np.zeros((3, 5), dtype=np.float32))
    with pytest.raises(ModelError, match="5 dimensions; expected 16"):
        crpnet.predict(replace(validation, bags={**validation.bags, patient: other}))
    with pytest.raises(ModelError, match="5 dimensions; expected 16"):
        crpnet.attention(other)


def test_features_of_another_fingerprint_are_refused(training, validation, run_config):
    fitted = fit("crpnet", replace(training, feature_fingerprint="aaaa"), run_config())
    fitted.predict(replace(validation, feature_fingerprint="aaaa"))
    with pytest.raises(ModelError, match="bbbb.*fitted on aaaa"):
        fitted.predict(replace(validation, feature_fingerprint="bbbb"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: replace(data, outcomes=None), "no outcomes"),
        (lambda data: replace(data, bags={}), "none of 30 training patients"),
        (
            lambda data: replace(data, outcomes=data.outcomes.assign(label=0)),
            "0 events among 30 usable",
        ),
        (
            lambda data: replace(
                data,
                outcomes=data.outcomes.assign(label=data.outcomes["label"].where(lambda s: s == 1)),
            ),
            "has no label",
        ),
    ],
)
def test_a_fit_that_is_impossible_says_why(change, message, training, run_config):
    with pytest.raises(ModelError, match=message):
        fit("crpnet", change(training), run_config())


def _spoil_weights(folder):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def _edit(**changes):
    def apply(folder):
        path = folder / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def _edit_shape(folder):
    path = folder / "model.json"
    description = json.loads(path.read_text())
    description["state"]["shape"]["hidden_dim"] = 3
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "model.json").unlink(), "no model.json"),
        (lambda folder: (folder / "model.json").write_text("{"), "not readable as JSON"),
        (lambda folder: (folder / "model.json").write_text("[]"), "expected an object"),
        (lambda folder: (folder / "weights.safetensors").unlink(), "not readable"),
        (_spoil_weights, "not of one fit"),
        (_edit(format_version=99), "format version 99"),
        (_edit(kind="netwrok"), "did you mean 'network'"),
        (_edit(extra=1), "'extra'"),
        (_edit(tensors={}), "names {}"),
        (_edit_shape, "does not fit this program"),
    ],
)
def test_a_spoilt_checkpoint_is_refused(spoil, message, crpnet, tmp_path):
    crpnet.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ModelError, match=message):
        load_fitted(tmp_path)


def test_names_of_models():
    networks = {name + head for name in NETWORKS for head in ("", *HEADS_OF_THEIR_OWN)}
    assert networks <= {name for name in MODELS if needs_bags(name)}
    with pytest.raises(ConfigError, match="did you mean 'crpnet'"):
        needs_bags("crpnte")
    with pytest.raises(ConfigError, match="did you mean 'meanpool-cox'"):
        needs_bags("meanpol-cox")


@pytest.mark.parametrize("head", HEADS_OF_THEIR_OWN)
def test_other_heads_give_a_risk_and_leave_the_probability_open(
    head, training, validation, run_config
):
    fitted = fit(f"crpnet{head}", training, run_config())
    predicted, members = fitted.predict(validation), fitted.members(validation)
    assert np.isfinite(predicted["risk"]).all()
    assert predicted["probability"].isna().all()
    assert members["probability"].isna().all()
    assert predicted["risk"].nunique() == len(validation)
    first = validation.bags[validation.patient_ids[0]]
    looked = fitted.attention(first)
    assert looked.tile_logit.shape == (len(first),)
    assert looked.tile_logit.dtype == np.float32


@pytest.mark.parametrize("head", ["-cox", "-hazard"])
def test_positive_tiles_speak_for_a_risk_above_the_average_training_patient(
    head, training, run_config
):
    fitted = fit(f"crpnet{head}", training, run_config())
    whole = fitted.members(training).groupby("member")["risk"].mean()
    patient = training.patient_ids[0]
    found = fitted.attention(training.bags[patient])
    one = replace(
        training.bags[patient],
        **{
            key: getattr(training.bags[patient], key)[:1] for key in ("features", "slide", "coords")
        },
    )
    alone = replace(training.take([patient]), bags={patient: one})
    risk = fitted.members(alone).set_index("member")["risk"]
    np.testing.assert_allclose(found.member_tile_logit[:, 0], risk - whole, atol=1e-5)


def test_a_cox_risk_is_zero_for_the_average_training_patient(training, run_config):
    fitted = fit("crpnet-cox", training, run_config())
    members = fitted.members(training).groupby("member")["risk"].mean()
    np.testing.assert_allclose(members, 0, atol=1e-6)


def test_titles_say_what_was_learned(run_config):
    config = run_config()
    titles = {head: build_model(f"crpnet{head}", config).title for head in HEADS_OF_THEIR_OWN}
    assert titles["-cox"] == "CRPNet, Cox head"
    assert titles["-hazard"] == "CRPNet, hazard head"
    assert titles["-ipcw"] == "CRPNet, recurrence by 60 months, censoring-weighted"
    assert "biased" in titles["-observed"]


def test_patients_without_a_label_by_the_horizon_are_named(training, run_config):
    first = training.patient_ids[0]
    bags = {key: bag for key, bag in training.bags.items() if key != first}
    data = replace(training, bags=bags, bag_reasons={first: "no tissue"})
    fitted = fit("crpnet-observed", data, run_config())
    outcomes = training.outcomes
    early = outcomes.index[(outcomes["status"] == 0) & (outcomes["time"] <= 60)].drop(
        first, errors="ignore"
    )
    assert set(fitted.left_out) == {first, *early}
    assert fitted.left_out[first] == "no tissue"
    assert fitted.card.training_bags == len(data) - 1 - len(early)
    assert fit("crpnet-ipcw", data, run_config()).left_out == {first: "no tissue"}


def test_a_checkpoint_of_before_the_heads_had_a_state_is_read(crpnet, validation, tmp_path):
    crpnet.save(tmp_path)
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    del description["state"]["card"]["head_state"]
    path.write_text(json.dumps(description))
    pd.testing.assert_frame_equal(
        load_fitted(tmp_path).predict(validation), crpnet.predict(validation), check_exact=True
    )


def test_a_head_state_that_does_not_fit_is_refused(crpnet, tmp_path):
    crpnet.save(tmp_path)
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    description["state"]["card"]["head_state"] = {"ends": [1.0]}
    path.write_text(json.dumps(description))
    with pytest.raises(ModelError, match="does not fit this program"):
        load_fitted(tmp_path)


def test_hazards_begin_proportional_and_may_become_otherwise(training, run_config):
    def rows_of_first_member(name, rate):
        settings = run_config(learning_rate=rate)
        fitted = fit(name, training, settings)
        return fitted.network.classifier.out_weight[0].numpy()

    begun, trained = (rows_of_first_member("crpnet-hazard", rate) for rate in (1e-30, 0.01))
    assert len(begun) > 1
    assert (begun == begun[0]).all()
    assert not (trained == trained[0]).all()
    classes = rows_of_first_member("crpnet", 1e-30)
    assert not (classes == classes[0]).all()
