"""`crpnet-bench slide`: one slide file, without a registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import JsonOption, emit, note, warn

__all__ = ["app"]

app = typer.Typer(name="slide", help="Look at one slide file.", no_args_is_help=True)

SlideArgument = Annotated[Path, typer.Argument(help="A slide or a plain image.")]
MppOption = Annotated[
    float | None,
    typer.Option("--mpp", help="Micrometres a pixel at level 0, where the file names none."),
]


@app.command()
def info(slide: SlideArgument, mpp: MppOption = None, as_json: JsonOption = False) -> None:
    """Format, levels, scale and its source, what contradicts it, the grid of tiles.

    Of a file without a known scale the rest is shown; the exit code is 1.
    """
    from crpnet_bench.slides.report import slide_info

    found = slide_info(slide, mpp)
    for text in found["warnings"]:
        warn(text)
    emit(found, as_json=as_json, text="\n".join(f"{key}: {value}" for key, value in found.items()))
    if "problem" in found:
        note(f"error: {found['problem']}")
        raise typer.Exit(1)


@app.command()
def tiles(
    slide: SlideArgument,
    mpp: MppOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write each read tile to this .csv.")
    ] = None,
    histogram: Annotated[
        Path | None, typer.Option("--histogram", help="Draw the entropies to this .png.")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Entropy from which a tile is kept.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Tiles on the grid, spared by the thumbnail mask, below the threshold, kept."""
    from crpnet_bench.slides.report import slide_tiles

    found = slide_tiles(slide, mpp, threshold, table=out, picture=histogram)
    for text in found["warnings"]:
        warn(text)
    emit(found, as_json=as_json, text="\n".join(f"{key}: {value}" for key, value in found.items()))


@app.command()
def overview(
    slide: SlideArgument,
    out: Annotated[Path, typer.Option("--out", help="The picture, .png or .jpg.")],
    mpp: MppOption = None,
    threshold: Annotated[float, typer.Option(help="Entropy from which a tile is kept.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Draw the slide: kept tiles in colour, dropped ones shaded."""
    from crpnet_bench.slides.report import slide_overview

    found = slide_overview(slide, mpp, threshold, out)
    emit(found, as_json=as_json, text=f"{out}: {found['n_kept']} of {found['n_grid']} tiles kept")
