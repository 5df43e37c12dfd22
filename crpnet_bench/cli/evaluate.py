"""`crpnet-bench evaluate`: metrics of a predictions table or of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crpnet_bench.cli.common import (
    HomeOption,
    JsonOption,
    emit,
    note,
    open_home,
    print_table,
    progress,
)
from crpnet_bench.errors import InputError

if TYPE_CHECKING:
    from crpnet_bench.benchmark.evaluate import Evaluated

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[str | None, typer.Argument(help="Run, as `run` named it.")] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Table: patient_id, split, label, time, event, one column a model."
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='Patients of a run, such as "pT in (T1, T2)".')
    ] = None,
    time_unit: Annotated[str, typer.Option(help="Of --csv: days, months or years.")] = "months",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """All metrics with intervals, of any predictions table or of a run's patients."""
    from crpnet_bench.benchmark.evaluate import evaluate_run, evaluate_table

    if csv is not None and run is None and where is None:
        evaluated = evaluate_table(csv, time_unit=time_unit, progress=progress())
    elif csv is None and run is not None:
        evaluated = evaluate_run(open_home(home), run, where, progress=progress())
    else:
        raise InputError("give either --csv FILE, or a RUN and, if wished, --where RULE")
    _show(evaluated, as_json)


def _show(evaluated: Evaluated, as_json: bool) -> None:
    from crpnet_bench.reporting.tables import blocks, horizon_table, table_one

    if as_json:
        metrics = evaluated.metrics.astype(object).where(evaluated.metrics.notna(), None)
        emit({"metrics": metrics.to_dict("records"), "notes": evaluated.notes}, as_json=True)
        return
    for block in blocks(evaluated.metrics):
        emit({}, as_json=False, text=f"\n{block.heading}; patients: {evaluated.subgroup}")
        for table in (table_one, horizon_table):
            print_table(table(evaluated.metrics, block, evaluated.models, evaluated.subgroup))
    for sentence in evaluated.notes:
        note(f"note: {sentence}")
