"""`crpnet-bench config`: settings, their defaults and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import HomeOption, JsonOption, emit

__all__ = ["app"]

app = typer.Typer(name="config", help="Settings of a run.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(
    config: Annotated[
        Path | None, typer.Option(help="Settings, TOML; the rest by default.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print all settings as TOML, each with what it means; a file to start from."""
    from crpnet_bench.benchmark.settings_text import settings_text
    from crpnet_bench.config import load_config

    settings = load_config(config)
    emit(settings.model_dump(mode="json"), as_json=as_json, text=settings_text(settings))
