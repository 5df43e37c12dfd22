"""The models by name: what a run can name, and what a checkpoint is read back as.

A new model is a row in one of these tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from crpnet_bench.config import RunConfig
from crpnet_bench.errors import ConfigError, ModelError, did_you_mean
from crpnet_bench.models.base import FittedModel, RiskModel
from crpnet_bench.models.checkpoint import Checkpoint, read_checkpoint
from crpnet_bench.models.clinical_variables import COLOUR_VARIABLES, KARAKIEWICZ_VARIABLES
from crpnet_bench.models.cox_clinical import COX_CLINICAL_KIND, ClinicalCox, load_clinical_cox
from crpnet_bench.models.cox_model import COX_KIND, CoxModel, load_cox
from crpnet_bench.models.fine_tuned_network import FINE_TUNED_KIND, load_fine_tuned
from crpnet_bench.models.fine_tuning import FINE_TUNED, FineTuningModel
from crpnet_bench.models.fitted_networks import NETWORK_KIND, load_network, pool_context
from crpnet_bench.models.forest import FOREST_KIND, ForestModel, load_forest
from crpnet_bench.models.heads import HEADS
from crpnet_bench.models.heads.cross_entropy import EverRecurrence
from crpnet_bench.models.networks import NetworkModel
from crpnet_bench.models.score_model import SCORE_KIND, ScoreModel, load_score
from crpnet_bench.models.site_model import SITE_KIND, SiteModel, load_site
from crpnet_bench.scores.catalogue import SCORES

__all__ = ["MODELS", "build_model", "load_fitted", "model_names", "needs_bags", "wider_fields"]

Builder = Callable[[RunConfig, str], RiskModel]


def _network(name: str, title: str, pool: str, head: str) -> Builder:
    def build(config: RunConfig, device: str) -> RiskModel:
        full_title = title + HEADS[head].title(config.model)
        return NetworkModel(name, full_title, pool, config, device, head)

    return build


def _fine_tuned(config: RunConfig, device: str) -> RiskModel:
    return FineTuningModel(FINE_TUNED, "CRPNet, trained on tiles", config, device)


def _score(name: str, title: str) -> Builder:
    return lambda config, device: ScoreModel(name, title)


def _karakiewicz(config: RunConfig, device: str) -> RiskModel:
    title = "Karakiewicz variables, refitted"
    return CoxModel("karakiewicz_refit", title, KARAKIEWICZ_VARIABLES)


def _variable(name: str, title: str, variable: str) -> Builder:
    return lambda config, device: ScoreModel(name, title, variable)


def _clinical_cox(config: RunConfig, device: str) -> RiskModel:
    return ClinicalCox("cox_clinical", "Ridge Cox model")


def _clinical_forest(config: RunConfig, device: str) -> RiskModel:
    return ForestModel("rsf_clinical", "Random survival forest")


def _colour(config: RunConfig, device: str) -> RiskModel:
    title = "Mean colour of the slide"
    return CoxModel("mean_colour", title, COLOUR_VARIABLES, needs_bags=True)


def _site(config: RunConfig, device: str) -> RiskModel:
    return SiteModel("site_only", "Site alone")


# Scores that a cohort may hold beside those of the registry of scores.
_OTHER_SCORES = {
    "karakiewicz": "Karakiewicz nomogram (point table supplied by the user)",
    "oracle": "Oracle: true linear predictor (synthetic cohorts only)",
}

# Title and pool of each network; with every head it is a model of its own: `crpnet-cox`.
_NETWORKS = {
    "crpnet": ("CRPNet", "attention"),
    "crpnet-gated": ("CRPNet with gated attention", "gated attention"),
    "crpnet-ms": ("CRPNet on three scales", "one attention a scale"),
    "clam-sb": ("CLAM-SB-like", "clam"),
    "meanpool": ("Mean pooling, same classifier", "mean"),
    "maxpool": ("Max pooling, same classifier", "max"),
}

MODELS: Mapping[str, Builder] = {
    **{
        name + kind.suffix: _network(name + kind.suffix, title, pool, head)
        for name, (title, pool) in _NETWORKS.items()
        for head, kind in HEADS.items()
        if pool != "clam" or head == EverRecurrence.name  # its pseudo labels need a class
    },
    FINE_TUNED: _fine_tuned,
    "t_stage": _variable("t_stage", "T stage alone", "pT"),
    "grade": _variable("grade", "Grade alone", "grade"),
    "necrosis": _variable("necrosis", "Necrosis alone", "necrosis"),
    "site_only": _site,
    "mean_colour": _colour,
    "karakiewicz_refit": _karakiewicz,
    "cox_clinical": _clinical_cox,
    "rsf_clinical": _clinical_forest,
    **{name: _score(name, score.title) for name, score in SCORES.items()},
    **{name: _score(name, title) for name, title in _OTHER_SCORES.items()},
}

_LOADERS: Mapping[str, Callable[[Checkpoint, str], FittedModel]] = {
    NETWORK_KIND: load_network,
    FINE_TUNED_KIND: load_fine_tuned,
    SCORE_KIND: load_score,
    COX_KIND: load_cox,
    COX_CLINICAL_KIND: load_clinical_cox,
    FOREST_KIND: load_forest,
    SITE_KIND: load_site,
}


def model_names() -> tuple[str, ...]:
    """Every name that a run can ask for."""
    return tuple(MODELS)


def build_model(name: str, config: RunConfig, device: str = "cpu") -> RiskModel:
    """The model of that name, to be fitted with these settings on this device.

    Raises:
        ConfigError: no model has that name.
    """
    try:
        builder = MODELS[name]
    except KeyError:
        raise ConfigError(
            f"models: no model is named {name!r}; {did_you_mean(name, MODELS)}"
        ) from None
    return builder(config, device)


def needs_bags(name: str) -> bool:
    """Whether the model of that name reads tiles.

    Raises:
        ConfigError: no model has that name.
    """
    return build_model(name, RunConfig()).needs_bags


def wider_fields(name: str) -> tuple[int, ...]:
    """How many times as wide the fields are that the model of that name reads beside each tile.

    Raises:
        ConfigError: no model has that name.
    """
    model = build_model(name, RunConfig())
    return pool_context(model.pool) if isinstance(model, NetworkModel) else ()


def load_fitted(folder: Path, device: str = "cpu") -> FittedModel:
    """A fitted model from the folder that its `save` wrote.

    Args:
        folder: of one model.
        device: where a network is to compute; other models ignore it.

    Raises:
        ModelError: no checkpoint, one of another format, or one that does not fit together.
    """
    checkpoint = read_checkpoint(folder)
    loader = _LOADERS.get(checkpoint.kind)
    if loader is None:
        hint = did_you_mean(checkpoint.kind, _LOADERS)
        raise ModelError(f"{folder}: a model of kind {checkpoint.kind!r}; {hint}")
    return loader(checkpoint, device)
