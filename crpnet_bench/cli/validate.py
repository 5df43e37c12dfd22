"""`crpnet-bench validate`: a run, locked, on another cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import (
    FAILURES_RECORDED,
    HomeOption,
    JsonOption,
    emit,
    open_home,
    progress,
)
from crpnet_bench.cli.explain import warn_of_pictures

__all__ = ["validate"]


def validate(
    run: Annotated[str, typer.Argument(help="Id of a finished run.")],
    cohort: Annotated[str, typer.Argument(help="NAME or NAME@VERSION of another cohort.")],
    imported: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: an outside model's risks of this cohort.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Other tiling or encoder; needs --force.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although tiles or endpoint differ.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw where networks looked, as `explain` does.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Apply all models of a run, locked, to another registered cohort, and note the look."""
    from crpnet_bench.benchmark.environment import choose_device
    from crpnet_bench.benchmark.explain import explain_run
    from crpnet_bench.benchmark.finished import read_run
    from crpnet_bench.benchmark.validate import validate_run
    from crpnet_bench.cli.run import files_by_name
    from crpnet_bench.cli.validation_output import show_validation, validation_document

    where, bars = open_home(home), progress()
    found = validate_run(
        where,
        run,
        cohort,
        device=choose_device(device),
        progress=bars,
        other_settings=config,
        force=force,
        imported=files_by_name(imported or []),
    )
    if as_json:
        emit(validation_document(found), as_json=True)
    else:
        show_validation(found, read_run(where, run).titles)
    failed = len(found.failures)
    if explain:  # what was measured is shown whatever becomes of the pictures
        failed += warn_of_pictures(explain_run(where, run, cohort=found.cohort, progress=bars))
    raise typer.Exit(FAILURES_RECORDED if failed else 0)
