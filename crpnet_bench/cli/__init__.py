"""The command line: parse, call one function, print.

Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crpnet_bench import __version__
from crpnet_bench.cli import cohort, config, features, runs, slide, split
from crpnet_bench.cli.dashboard import dashboard
from crpnet_bench.cli.evaluate import evaluate
from crpnet_bench.cli.explain import explain
from crpnet_bench.cli.extract import extract
from crpnet_bench.cli.published import audit, reproduce
from crpnet_bench.cli.run import run
from crpnet_bench.cli.score import score
from crpnet_bench.cli.validate import validate
from crpnet_bench.errors import CRPNetBenchError

__all__ = ["app", "main"]

app = typer.Typer(
    name="crpnet-bench",
    help="Cohort registry, benchmark and dashboard for recurrence prediction in ccRCC. "
    "For research only; no clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


app.add_typer(cohort.app)
app.add_typer(split.app)
app.add_typer(features.app)
app.add_typer(slide.app)
app.command()(score)
app.command()(extract)
app.command()(run)
app.command()(validate)
app.add_typer(runs.app)
app.add_typer(config.app)
app.command()(evaluate)
app.command()(explain)
app.command()(reproduce)
app.command()(audit)
app.command()(dashboard)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"crpnet-bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; an expected error is one line on stderr and exit code 1."""
    try:
        app()
    except CRPNetBenchError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
