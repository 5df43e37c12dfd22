"""`crpnet-bench run`: train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crpnet_bench.cli.common import (
    FAILURES_RECORDED,
    HomeOption,
    JsonOption,
    emit,
    note,
    open_home,
    print_table,
    progress,
    warn,
)

if TYPE_CHECKING:
    from crpnet_bench.benchmark.runner import FinishedRun

__all__ = ["run"]


def run(
    cohort: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION [demo].")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model; may be repeated.")] = None,
    split: Annotated[str | None, typer.Option(help="A file in the cohort's splits/.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this interrupted run.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate CRPNet and its rivals on a cohort; without arguments on `demo`."""
    from crpnet_bench.benchmark.environment import choose_device
    from crpnet_bench.benchmark.runner import run_benchmark, run_settings

    where = open_home(home)
    given: dict[str, Any] = {"cohort": cohort, "split": split, "seed": seed, "models": model}
    settings = run_settings(where, config, given, resume)
    finished = run_benchmark(
        where, settings, device=choose_device(device), progress=progress(), resume=resume
    )
    _show(finished, as_json)
    raise typer.Exit(FAILURES_RECORDED if finished.failures else 0)


def _show(finished: FinishedRun, as_json: bool) -> None:
    from crpnet_bench.reporting.tables import blocks, short_titles, table_one

    record = finished.record
    if as_json:
        metrics = finished.metrics.astype(object).where(finished.metrics.notna(), None)
        emit(
            {
                "run": record.model_dump(mode="json"),
                "folder": str(finished.folder),
                "failures": list(finished.failures),
                "metrics": metrics.to_dict("records"),
            },
            as_json=True,
        )
        return
    headings = short_titles(finished.titles)
    kind = "" if record.cohort_kind == "real" else f" [{record.cohort_kind} data]"
    for block in blocks(finished.metrics):
        emit({}, as_json=False, text=f"\n{block.heading}: {record.cohort}{kind}, {record.endpoint}")
        table = table_one(finished.metrics, block, list(headings))
        print_table(table.rename(columns=headings))
    for name, title in finished.titles.items():
        if headings[name] != title:
            emit({}, as_json=False, text=f"{headings[name]}: {title}")
    emit({}, as_json=False, text=_closing(finished))
    for sentence in finished.notes:
        note(f"note: {sentence}")
    for failure in finished.failures:
        warn(failure)


def _closing(finished: FinishedRun) -> str:
    record = finished.record
    return (
        f"\nPrimary: {record.primary_metric} of {record.primary_model}; all else is exploratory. "
        "Intervals are 95 %. For research only.\n"
        "Class metrics use the label 'ever recorded', which ignores length of follow-up; "
        "metrics at 36 and 60 months are in metrics.parquet.\n"
        f"Run {record.run_id}\nResults in {finished.folder}"
    )
