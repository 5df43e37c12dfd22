"""`crpnet-bench dashboard`: open the dashboard on a home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import HomeOption, note, open_home
from crpnet_bench.errors import InputError

__all__ = ["dashboard"]


def dashboard(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    home: HomeOption = None,
) -> None:
    """Open the dashboard in a browser; it listens on this machine only."""
    where = open_home(home)
    note(f"open http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "streamlit", "run", str(_app()), "--server.port", str(port)]
    try:
        done = subprocess.run([*command, "--", "--home", str(where.root)], check=False)  # noqa: S603 our own program and arguments
    except KeyboardInterrupt:
        return
    raise typer.Exit(done.returncode)


def _app() -> Path:
    """The dashboard's entry: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parents[1]
    places = (package / "_dashboard" / "app.py", package.parent / "dashboard" / "app.py")
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise InputError(
            f"the dashboard is not installed (looked for {places[0]} and {places[1]}); "
            "run it from a checkout: `streamlit run dashboard/app.py`"
        )
    return found
