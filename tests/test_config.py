from __future__ import annotations

import pytest

from crpnet_bench.config import RunConfig, load_config
from crpnet_bench.errors import ConfigError


def test_defaults_are_the_articles():
    config = RunConfig()
    assert config.train.learning_rate == 1e-4
    assert config.train.weight_decay == 1e-5
    assert config.train.batch_bags == 64
    assert config.train.iterations == 300
    assert config.model.attention_dim == 128
    assert (config.tiling.tile_px, config.tiling.mpp) == (224, 0.5)
    assert config.tiling.entropy_threshold == 5.0


def test_fingerprint_depends_on_content_only():
    assert RunConfig().fingerprint() == RunConfig().fingerprint()
    changed = RunConfig.from_mapping({"train": {"iterations": 299}})
    assert changed.fingerprint() != RunConfig().fingerprint()


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\niteratons = 10\n")
    with pytest.raises(ConfigError, match=r"unknown key 'train.iteratons'; did you mean 'iterat"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[train]\niterations = 0\n", "train.iterations = 0"),
        ("seed = 'x'\n", "seed = 'x'"),
        ("not toml", "not readable as TOML"),
        (
            "[evaluation]\nhorizons_months = [-5]\n",
            r"horizons_months = \[-5\]: expected months above",
        ),
        ("[evaluation]\nhorizons_months = [60, 60]\n", "each once"),
        ("models = ['imported:x']\n", "^[^{]*run.toml: imported:x is missing in imported"),
    ],
)
def test_an_impossible_value_is_named(tmp_path, text, told):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "absent.toml")


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("seed = 3\ncohort = 'mine'\n")
    config = load_config(path, {"seed": 4, "cohort": None})
    assert (config.seed, config.cohort) == (4, "mine")
