"""`crpnet-bench score`: prognostic scores for any table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import JsonOption, emit, warn

__all__ = ["score"]


def score(
    csv: Annotated[Path, typer.Option("--csv", help="Clinical table: .csv, .tsv or .xlsx.")],
    out: Annotated[Path, typer.Option("--out", help="Table to write: .csv or .tsv.")],
    tnm_edition: Annotated[
        str, typer.Option(help="TNM edition of the stages (5 to 8 or unknown): recorded.")
    ] = "unknown",
    grading: Annotated[
        str, typer.Option(help="fuhrman, who_isup or unknown: recorded, never converted.")
    ] = "unknown",
    outside_scope: Annotated[
        bool, typer.Option("--outside-scope", help="Leibovich 2003 also for M1.")
    ] = False,
    ssign_pt4_points: Annotated[int, typer.Option(min=0, help="SSIGN points of pT4.")] = 0,
    assume_ecog_0: Annotated[
        bool, typer.Option("--assume-ecog-0", help="UISS: take a missing ECOG as 0; recorded.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """UISS, SSIGN, Leibovich 2003, GRANT and KEYNOTE-564 risk, with bounds and reasons."""
    from crpnet_bench.scores.result import ScoreOptions
    from crpnet_bench.scores.table import score_csv

    options = ScoreOptions(tnm_edition, grading, outside_scope, ssign_pt4_points, assume_ecog_0)
    summary = score_csv(csv, out, options)
    for warning in summary.warnings:
        warn(warning)
    emit(summary.as_record(), as_json=as_json, text=str(summary))
