"""`crpnet-bench explain`: pictures of where the network looked."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crpnet_bench.benchmark.explain import Explained

__all__ = ["explain", "warn_of_pictures"]


def explain(
    run: Annotated[str | None, typer.Argument(help="Run, as `run` named it [newest].")] = None,
    slide: Annotated[
        str | None, typer.Option(help="One slide's id, or the beginning of it [all].")
    ] = None,
    model: Annotated[str | None, typer.Option(help="One model [all that read tiles].")] = None,
    cohort: Annotated[
        str | None, typer.Option(help="A cohort that the run was validated on [the run's own].")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Thumbnail, attention overlay, GeoJSON and most attended tiles of a run's slides."""
    from crpnet_bench.benchmark.explain import explain_run, newest_run

    where = open_home(home)
    chosen = run or newest_run(where)
    drawn = explain_run(where, chosen, slide, model, cohort, progress())
    failed = warn_of_pictures(drawn)
    places = sorted({str(Path(one.folder).parents[1]) for one in drawn if one.folder})
    text = f"{len(drawn) - failed} slides drawn" + "".join(f" in {place}" for place in places)
    emit({"slides": [asdict(one) for one in drawn]}, as_json=as_json, text=text)
    raise typer.Exit(FAILURES_RECORDED if failed else 0)


def warn_of_pictures(drawn: Sequence[Explained]) -> int:
    """A line for each slide that was not drawn or says little; how many were not drawn."""
    for one in drawn:
        if one.failure or one.warning:
            warn(f"{one.patient_id}, slide {one.slide_id[:12]}: {one.failure or one.warning}")
    return sum(one.failure is not None for one in drawn)
