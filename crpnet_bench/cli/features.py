"""`crpnet-bench features`: features of other tools in, ours out."""

from __future__ import annotations

from enum import StrEnum
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
    warn,
)

__all__ = ["app"]

app = typer.Typer(
    name="features", help="Features of CLAM, TRIDENT, STAMP, torchmil.", no_args_is_help=True
)

CohortArgument = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]


class Tool(StrEnum):
    """Tools whose layout can be written."""

    CLAM = "clam"
    TRIDENT = "trident"


@app.command("import")
def import_(
    cohort: CohortArgument,
    source: Annotated[Path, typer.Argument(help="Folder of CLAM, TRIDENT, STAMP or torchmil.")],
    name: Annotated[str, typer.Option(help="Then use them with --encoder imported:NAME.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in features that another tool made for a cohort's slides, found by file name."""
    from crpnet_bench.benchmark.builtin import ensure_cohort
    from crpnet_bench.benchmark.feature_exchange import import_features
    from crpnet_bench.benchmark.inputs import cohort_jobs, failure_lines

    where, bars = open_home(home), progress()
    jobs = cohort_jobs(where, ensure_cohort(where, cohort, bars))
    outcomes = import_features(jobs, source, where.features, name, progress=bars)
    for line in failure_lines(outcomes):
        warn(line)
    done = sum(outcome.status == "done" for outcome in outcomes)
    text = f"{done} of {len(outcomes)} slides; use them with --encoder imported:{name}"
    emit({"slides": len(outcomes), "imported": done}, as_json=as_json, text=text)
    raise typer.Exit(FAILURES_RECORDED if done < len(outcomes) else 0)


@app.command()
def export(
    cohort: CohortArgument,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    tool: Annotated[Tool, typer.Option("--format", help="Whose layout.")] = Tool.CLAM,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the features of a cohort's slides as CLAM or TRIDENT keep them."""
    from crpnet_bench.benchmark.feature_exchange import (
        cohort_feature_files,
        export_features,
    )

    files = cohort_feature_files(open_home(home), cohort)
    written = export_features(files, out, tool.value)
    emit({"files": [str(path) for path in written]}, as_json=as_json, text=f"{len(written)} slides")
