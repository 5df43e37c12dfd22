"""The models of a run by name, those that are made here among them.

A name is a model of the catalogue, `imported:NAME` (predictions of an outside model), or `A+B`,
the late fusion of two or more of them. `crpnet+clinical` is CRPNet with the Cox model on clinical
variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crpnet_bench.benchmark.fusion import FUSION_KIND, FittedFusion, load_fusion
from crpnet_bench.benchmark.imported import IMPORTED_KIND, ImportedModel, load_import, read_risks
from crpnet_bench.benchmark.tuning import tune
from crpnet_bench.config import IMPORTED, RunConfig
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.models.base import FittedModel, RiskModel
from crpnet_bench.models.catalogue import build_model, load_fitted, wider_fields
from crpnet_bench.models.checkpoint import read_checkpoint

__all__ = [
    "Fusion",
    "expand",
    "load_model",
    "make_model",
    "model_folder",
    "parts_of",
    "reads_tiles",
    "with_wider_fields",
]

# What a word in a fusion stands for.
_ALIASES = {"clinical": "cox_clinical"}


@dataclass(frozen=True, slots=True)
class Fusion:
    """Models to be fused, by name; they are fitted before, in the same fold."""

    name: str
    parts: tuple[str, ...]

    @property
    def title(self) -> str:
        """As it is printed."""
        return f"{' + '.join(self.parts)}, late fusion"


def parts_of(name: str) -> tuple[str, ...]:
    """The models that a fusion is made of; none for a plain model.

    >>> parts_of("crpnet+clinical"), parts_of("crpnet")
    (('crpnet', 'cox_clinical'), ())

    Raises:
        ConfigError: an empty or repeated part.
    """
    if "+" not in name:
        return ()
    parts = tuple(_ALIASES.get(part, part) for part in name.split("+"))
    if not all(parts) or len(set(parts)) < len(parts):
        raise ConfigError(f"models: {name!r}; expected different models joined by +, such as A+B")
    return parts


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """The models to fit, in order: the parts of a fusion come before it."""
    wanted = [model for name in names for model in (*parts_of(name), name)]
    return tuple(dict.fromkeys(wanted))


def make_model(
    name: str, config: RunConfig, device: str = "cpu", *, choices: Path | None = None
) -> RiskModel | Fusion:
    """The model of that name.

    Args:
        name: as in the settings.
        config: the settings.
        device: where networks compute.
        choices: where a tuned network keeps what the points of its grid reached.

    Raises:
        ConfigError: no model has that name.
        ValidationError: an outside model's file cannot be read.
    """
    parts = parts_of(name)
    if parts:
        for part in parts:
            make_model(part, config, device)
        return Fusion(name, parts)
    if name.startswith(IMPORTED):
        return ImportedModel(name, read_risks(_file_of(name, config)))
    if config.tune:
        return tune(name, config, device, choices)
    return build_model(name, config, device)


def _file_of(name: str, config: RunConfig) -> Path:
    file = config.imported.get(name.removeprefix(IMPORTED))
    if file is None:
        raise ConfigError(f"models: {name!r} has no file; expected it under [imported]")
    return Path(file).expanduser()


def reads_tiles(names: Sequence[str], config: RunConfig) -> bool:
    """Whether any of these models reads tiles."""
    models = (make_model(name, config) for name in expand(names))
    return any(not isinstance(model, Fusion) and model.needs_bags for model in models)


def with_wider_fields(config: RunConfig) -> RunConfig:
    """The settings with the wider fields that a model of theirs reads, such as `crpnet-ms`.

    Raises:
        ConfigError: the features are another tool's, which hold no wider fields.
    """
    here = [
        name for name in expand(config.models) if not ("+" in name or name.startswith(IMPORTED))
    ]
    needed = {name: fields for name in here if (fields := wider_fields(name))}
    encoder = config.encoder.name
    if needed and encoder.startswith(IMPORTED):
        raise ConfigError(
            f"models: {next(iter(needed))!r} reads wider fields around each tile, but encoder.name "
            f"= {encoder!r} stands for features of another tool; name an encoder of this program"
        )
    factors = set(config.tiling.context_factors).union(*needed.values())
    tiling = config.tiling.model_copy(update={"context_factors": tuple(sorted(factors))})
    return config.model_copy(update={"tiling": tiling})


def load_model(folder: Path, device: str = "cpu") -> FittedModel:
    """A fitted model of a fold from `<fold>/<model>/model`; a fusion with its parts beside it.

    Raises:
        ModelError: no checkpoint, or one that does not fit together.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint.kind == IMPORTED_KIND:
        return load_import(checkpoint)
    if checkpoint.kind != FUSION_KIND:
        return load_fitted(folder, device)
    return _load_fusion(folder, device)


def _load_fusion(folder: Path, device: str) -> FittedFusion:
    checkpoint = read_checkpoint(folder)
    try:
        names = checkpoint.state["weights"]["parts"]
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder}: a fusion that names no parts") from error
    fold = folder.parent.parent
    parts = {str(name): load_model(fold / model_folder(str(name)) / "model", device)
             for name in names}  # fmt: skip
    return load_fusion(checkpoint, parts)


def model_folder(name: str) -> str:
    """A model's name as a folder's: `:` is not allowed everywhere."""
    return name.replace(":", "-")
