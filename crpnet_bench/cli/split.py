"""`crpnet-bench split ...`: who trains and who validates, by patient, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crpnet_bench.cli.common import HomeOption, JsonOption, emit, note, open_home, print_table

if TYPE_CHECKING:
    from crpnet_bench.benchmark.splits import MadeSplit

__all__ = ["app"]

app = typer.Typer(
    name="split",
    help="Splits: create, import, list.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
CohortArgument = Annotated[str, typer.Argument(help="NAME of a registered cohort.")]


@app.command()
def create(
    cohort: CohortArgument,
    method: Annotated[
        str, typer.Option(help="random, k-fold, site-preserved or leave-one-site-out.")
    ] = "random",
    name: Annotated[str, typer.Option(help="Name of the file [from the method].")] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    validation: Annotated[float, typer.Option(help="Fraction validated (random).")] = 0.3,
    test: Annotated[float, typer.Option(help="Further fraction tested (random).")] = 0.0,
    folds: Annotated[int, typer.Option(help="Folds (k-fold, site-preserved).")] = 5,
    repeats: Annotated[int, typer.Option(min=1, help="Draws of the folds (k-fold).")] = 1,
    min_events: Annotated[int, typer.Option(min=1, help="Events a site needs.")] = 10,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw a split, stratified by event or by site, and write splits/<name>.csv."""
    from crpnet_bench.benchmark.splits import SplitRequest, create_split

    asked = SplitRequest(method, name, seed, validation, test, folds, repeats, min_events)
    _tell(create_split(open_home(home), cohort, asked), as_json)


@app.command(name="import")
def import_file(
    cohort: CohortArgument,
    source: Annotated[
        Path,
        typer.Argument(
            help="CLAM or PORPOISE splits (file or folder), Patho-Bench tsv, STAMP splits.json."
        ),
    ],
    name: Annotated[str, typer.Option(help="Name of the new split.")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take over a split of another tool."""
    from crpnet_bench.benchmark.splits import import_split

    _tell(import_split(open_home(home), cohort, source, name), as_json)


@app.command(name="list")
def list_splits(
    cohort: CohortArgument, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Splits of a cohort: folds, patients a role, hash."""
    from crpnet_bench.reporting.queries import split_overview

    frame = split_overview(open_home(home), cohort)
    if as_json:
        emit(frame.astype(object).where(frame.notna(), None).to_dict("records"), as_json=True)
    else:
        print_table(frame)


def _tell(made: MadeSplit, as_json: bool) -> None:
    for text in made.notes:
        note(text)
    roles = made.table.groupby("role")["patient_id"].nunique()
    told = ", ".join(f"{count} {role}" for role, count in roles.items())
    document = {"split": made.name, "path": str(made.path), "sha256": made.sha256,
                "roles": roles.to_dict(), "notes": list(made.notes)}  # fmt: skip
    text = f"{made.path}\n{told} patients over all folds; sha256 {made.sha256}"
    emit(document, as_json=as_json, text=text)
