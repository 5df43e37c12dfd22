"""`crpnet-bench runs`: what was run, with what, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crpnet_bench.cli.common import HomeOption, JsonOption, emit, open_home, print_table

if TYPE_CHECKING:
    from crpnet_bench.benchmark.runs import RunComparison

__all__ = ["app"]

app = typer.Typer(name="runs", help="Runs: list, show, compare.", no_args_is_help=True)


@app.command("list")
def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """All runs of the home, newest first, those that have not finished among them."""
    from crpnet_bench.benchmark.runs import list_runs
    from crpnet_bench.cli.run_output import records

    table = list_runs(open_home(home))
    if as_json:
        emit(records(table), as_json=True)
    elif table.empty:
        emit({}, as_json=False, text="no runs yet; `crpnet-bench run` makes one")
    else:
        print_table(table)


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Id of a run.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """A finished run as `run` printed it, with its external validations and the ledger."""
    from crpnet_bench.benchmark.finished import read_run
    from crpnet_bench.cli.run_output import run_document, show_run

    where = open_home(home)
    finished = read_run(where, run)
    emit(run_document(where, finished), as_json=True) if as_json else show_run(where, finished)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Id of a run.")],
    b: Annotated[str, typer.Argument(help="Id of another run.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """What differs between two runs: settings, data, what was declared, results."""
    from crpnet_bench.benchmark.runs import compare_runs
    from crpnet_bench.cli.run_output import records

    found = compare_runs(open_home(home), a, b)
    if as_json:
        tables = ("settings", "data", "declared", "results")
        emit(
            {"a": a, "b": b} | {name: records(getattr(found, name)) for name in tables},
            as_json=True,
        )
    else:
        _print_comparison(found)


def _print_comparison(found: RunComparison) -> None:
    from crpnet_bench.cli.run_output import say
    from crpnet_bench.reporting.model_comparisons import run_table

    say(f"a: {found.a}\nb: {found.b}")
    for title in ("settings", "data", "declared"):
        table = getattr(found, title)
        say(f"\n{title}: {'no difference' if table.empty else ''}")
        if not table.empty:
            print_table(table)
    say(
        "\nresults (exploratory; differences of AUC and C with interval and P where both runs "
        "judged the same patients)"
    )
    print_table(run_table(found.results))
