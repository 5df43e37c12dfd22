"""Settings of a run: TOML in, checked, with a stable fingerprint.

Every key changes something, has its default here and is printed by `crpnet-bench config show`.
Sizes that change results (batch, tile budget, threads) are settings, not machine state.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from crpnet_bench.errors import ConfigError, did_you_mean, shorten

__all__ = [
    "DEFAULT_MODELS",
    "IMPORTED",
    "EncoderConfig",
    "EvaluationConfig",
    "FineTuningConfig",
    "ModelConfig",
    "RunConfig",
    "Settings",
    "TilingConfig",
    "TrainConfig",
    "load_config",
]

IMPORTED = "imported:"  # prefix of an outside model's name
PrimaryMetric = Literal[
    "auc", "c_index", "hr_per_sd", "hr_high_low", "accuracy", "precision", "recall", "specificity",
    "auc_t", "sensitivity_t", "specificity_t", "ppv_t", "npv_t",
]  # fmt: skip
DEFAULT_MODELS = ("crpnet", "uiss_2002", "ssign", "karakiewicz_refit", "leibovich_2003")


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, fingerprint by content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 of the settings as canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class TilingConfig(Settings):
    """How a slide becomes tiles."""

    mpp: float = Field(0.5, gt=0, description="micrometres a pixel; 0.5 is 20x")
    tile_px: int = Field(224, ge=16, description="side of a tile, in pixels at `mpp`")
    entropy_threshold: float = Field(
        5.0, ge=0, le=8, description="bits; a tile of lower grey-level entropy is dropped"
    )
    thumbnail_mask: bool = Field(
        True, description="spare the reading of tiles that are blank on a coarse level"
    )
    context_factors: tuple[int, ...] = Field(
        (), description="concentric coarser fields of each tile: 2 and 4 are 10x and 5x beside 20x"
    )
    quality: bool = Field(
        False, description="store sharpness, ink and dark share of each kept tile"
    )

    def with_scales(self, scales: str) -> TilingConfig:
        """These settings with wider fields at magnifications such as "20,10,5".

        Raises:
            ConfigError: the first is not that of `mpp`, or another is not a whole fraction of it.
        """
        own = 10.0 / self.mpp
        try:
            wanted = [float(part) for part in scales.split(",")]
            factors = tuple(round(own / scale) for scale in wanted)
            fits = all(
                abs(own / scale - factor) < 0.01
                for scale, factor in zip(wanted, factors, strict=True)
            )
        except (ValueError, ZeroDivisionError):
            fits, factors = False, ()
        if not fits or factors[0] != 1 or list(factors) != sorted(set(factors)):
            raise ConfigError(
                f"--scales {scales!r}: expected {own:g}, which is tiling.mpp = {self.mpp:g}, then "
                f"smaller magnifications that divide it, such as {own:g},{own / 2:g},{own / 4:g}"
            )
        return self.model_copy(update={"context_factors": factors[1:]})

    @pydantic.field_validator("context_factors")
    @classmethod
    def _ascending(cls, factors: tuple[int, ...]) -> tuple[int, ...]:
        if list(factors) != sorted(set(factors)) or any(factor < 2 for factor in factors):
            raise ValueError("whole numbers from 2 on, ascending, such as [2, 4]")
        return factors


class EncoderConfig(Settings):
    """How a tile becomes a feature vector."""

    name: str = Field("resnet50-trunc", description="a network by name; the default is shipped")
    backend: Literal["torch", "openvino"] = Field(
        "torch", description="what computes it; openvino (an optional package) on a CPU only"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 where it is fast, else float32"
    )
    batch_size: int = Field(8, ge=1, description="tiles encoded at a time")
    views: int = Field(
        0, ge=0, description="augmented views of each tile: features stored, drawn in training"
    )
    view_seed: int = Field(0, ge=0, description="seed of the augmentation of stored views")


class ModelConfig(Settings):
    """The network: linear to `attention_dim`, tanh, linear, softmax over tiles, MLP."""

    attention_dim: int = Field(128, ge=1, description="width of the attention layer")
    hidden_dim: int = Field(128, ge=1, description="width of the classifier's hidden layer")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of hidden units left out in training"
    )
    standardize: bool = Field(
        True, description="features minus mean, over standard deviation, of the training tiles"
    )
    horizon_months: float = Field(
        60.0, gt=0, description="of the heads -ipcw and -observed: recurrence by then"
    )
    hazard_bins: int = Field(
        4, ge=1, description="intervals of the head -hazard, at quantiles of the event times"
    )


class TrainConfig(Settings):
    """How the network is fitted; defaults as in the CRPNet article."""

    learning_rate: float = Field(1e-4, gt=0, description="of Adam")
    weight_decay: float = Field(1e-5, ge=0, description="of Adam")
    batch_bags: int = Field(64, ge=1, description="bags in one optimizer step")
    iterations: int = Field(300, ge=1, description="optimizer steps")
    inits: int = Field(
        5, ge=1, description="initialisations whose probabilities are averaged; 1 is the article's"
    )
    inner_folds: int = Field(
        5, ge=2, description="folds inside the training patients for out-of-fold risks"
    )
    tile_budget: int = Field(20_000, ge=1, description="tiles held in one packed chunk")
    threads: int = Field(2, ge=1, description="CPU threads of a fit")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the attention layer's product; auto: bfloat16 where it is fast"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="balanced: both classes weigh the same; cross-entropy heads only"
    )
    patience: int = Field(
        0,
        ge=0,
        description="early stopping after so many steps without a lower loss; 0: none",
    )
    inner_validation: float = Field(
        0.2, gt=0, lt=1, description="share of the training patients set aside for early stopping"
    )
    log: bool = Field(True, description="keep each fold's losses in a form that TensorBoard reads")
    deterministic: bool = Field(
        False, description="the same bytes again on a CUDA device too, perhaps slower"
    )


class FineTuningConfig(Settings):
    """How crpnet-finetuned trains on the tiles themselves; what else it needs is in [train]."""

    trainable: Literal["all", "last-stage", "none"] = Field(
        "last-stage", description="of the encoder; none: augmented tiles, but fixed weights"
    )
    encoder_learning_rate: float = Field(
        1e-5, gt=0, description="of the encoder; attention and classifier take train.learning_rate"
    )
    iterations: int = Field(300, ge=1, description="optimizer steps")
    tiles_per_bag: int = Field(
        64, ge=1, description="tiles drawn from each bag of a step, anew in each step"
    )
    chunk_tiles: int = Field(
        64, ge=1, description="tiles encoded at a time; memory follows it, whatever the bag"
    )
    strength: float = Field(
        1.0, ge=0, description="of noise, free rotation and stain jitter; 0 leaves flips and turns"
    )


class EvaluationConfig(Settings):
    """What is reported."""

    horizons_months: tuple[float, ...] = Field(
        (36.0, 60.0), description="times at which censoring-weighted metrics are given"
    )
    level: float = Field(0.95, gt=0.5, lt=1, description="confidence level of intervals")

    @pydantic.field_validator("horizons_months")
    @classmethod
    def _months(cls, horizons: tuple[float, ...]) -> tuple[float, ...]:
        finite = all(0 < horizon < float("inf") for horizon in horizons)
        if not finite or len(set(horizons)) < len(horizons):
            raise ValueError("expected months above 0, each once, such as [36, 60]")
        return horizons


class RunConfig(Settings):
    """Everything that decides what `crpnet-bench run` computes."""

    cohort: str = Field("demo", description="NAME (its newest version) or NAME@VERSION")
    endpoint: str | None = Field(None, description="the cohort's main endpoint if empty")
    split: str | None = Field(None, description="a file in splits/; the cohort's default if empty")
    models: tuple[str, ...] = Field(
        DEFAULT_MODELS,
        min_length=1,
        description="by name; A+B is their late fusion, imported:NAME an outside model",
    )
    imported: dict[str, str] = Field(
        default_factory=dict,
        description="NAME = csv file of an outside model: patient_id, risk[, probability]",
    )
    primary_model: str | None = Field(None, description="the first of `models` if empty")
    primary_metric: PrimaryMetric = Field("auc", description="declared before outcomes are read")
    primary_horizon_months: float | None = Field(
        None, gt=0, description="of a primary metric at a horizon, such as auc_t"
    )
    seed: int = Field(0, ge=0, description="of all randomness")
    seeds: int = Field(
        1, ge=1, description="repeat everything with seed, seed + 1, ...; every member is reported"
    )
    tune: dict[str, tuple[float | int | str | bool, ...]] = Field(
        default_factory=dict,
        description='grid for networks, chosen anew inside each fit: "train.learning_rate" = [...]',
    )
    tiling: TilingConfig = TilingConfig()
    encoder: EncoderConfig = EncoderConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @pydantic.model_validator(mode="after")
    def _primary_is_a_model(self) -> Self:
        if self.primary_model is not None and self.primary_model not in self.models:
            hint = did_you_mean(self.primary_model, self.models)
            raise ValueError(f"primary_model {self.primary_model!r} is not among models; {hint}")
        return self

    @pydantic.model_validator(mode="after")
    def _primary_horizon_fits(self) -> Self:
        horizon, known = self.primary_horizon_months, self.evaluation.horizons_months
        if not self.primary_metric.endswith("_t"):
            if horizon is not None:
                raise ValueError(f"primary_metric {self.primary_metric!r} has no horizon")
        elif horizon not in known:
            raise ValueError(
                f"primary_metric {self.primary_metric!r} needs primary_horizon_months, "
                f"one of evaluation.horizons_months {list(known)}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _imported_are_named(self) -> Self:
        asked = {name.removeprefix(IMPORTED) for name in self.models if name.startswith(IMPORTED)}
        for name in sorted(asked ^ set(self.imported)):
            where = "models" if name in self.imported else "imported"
            raise ValueError(
                f"{IMPORTED}{name} is missing in {where}: an outside model needs its name in "
                "models and its file in imported"
            )
        return self

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], source: str = "configuration") -> Self:
        """Check `values`, naming the first wrong key or value.

        Raises:
            ConfigError: an unknown key (with the nearest known one) or an impossible value.
        """
        _refuse_unknown(cls, values, source, ())
        try:
            return cls.model_validate(dict(values))
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            found = f"{key} = {shorten(first['input'])}: " if key else ""  # else of several keys
            told = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{source}: {found}{told}") from error


def _refuse_unknown(
    model: type[BaseModel], values: Mapping[str, Any], source: str, path: tuple[str, ...]
) -> None:
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is None:
            name = ".".join((*path, key))
            hint = did_you_mean(key, model.model_fields)
            raise ConfigError(f"{source}: unknown key {name!r}; {hint}")
        section = field.annotation
        if (
            isinstance(value, Mapping)
            and isinstance(section, type)
            and issubclass(section, Settings)
        ):
            _refuse_unknown(section, value, source, (*path, key))


def load_config(path: Path | None, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Settings from a TOML file, then the command line's own.

    Args:
        path: a TOML file, or None for the defaults.
        overrides: top-level keys given on the command line; None values are skipped.

    Raises:
        ConfigError: the file is missing, is no TOML, or holds an unknown key or value.
    """
    values: dict[str, Any] = {}
    source = "command line"
    if path is not None:
        source = str(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such file; expected a TOML file") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: not readable as TOML; {error}") from error
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    return RunConfig.from_mapping(values, source)
