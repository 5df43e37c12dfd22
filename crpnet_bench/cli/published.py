"""`crpnet-bench reproduce` and `crpnet-bench audit`: the article's numbers, and anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import HomeOption, JsonOption, emit, note, open_home, progress

__all__ = ["audit", "reproduce"]


def reproduce(
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated cohort.")] = 0,
    cohorts: Annotated[
        int, typer.Option(min=0, help="Simulate so many cohorts for the ranges; 0: shipped ones.")
    ] = 0,
    save_ranges: Annotated[
        Path | None, typer.Option(help="Write the ranges of --cohorts to this CSV file.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """The CRPNet article's numbers beside our evaluation of simulated patients."""
    from crpnet_bench.benchmark import reproduce as published
    from crpnet_bench.benchmark.builtin import ensure_cohort
    from crpnet_bench.benchmark.published_store import keep_document, keep_run
    from crpnet_bench.synthetic.changhai import simulate_changhai

    where = open_home(home)
    ensure_cohort(where, published.COHORT_NAME, progress())
    ranges = published.simulate_ranges(cohorts, progress()) if cohorts else None
    if ranges is not None and save_ranges is not None:
        published.write_ranges(ranges, save_ranges)
    rows = published.reproduce(seed, ranges)
    document = published.document(rows)
    keep_document(where, document)
    if seed == 0:  # the cohort that is registered
        keep_run(where, simulate_changhai(seed))
    note(published.WHAT_IT_IS)
    emit(document, as_json=as_json, text=published.report(rows))


def audit(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Printed figures as TOML (docs/audit.md) [default: the CRPNet article]."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list what is consistent.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Recompute a paper's printed numbers and list where they contradict each other."""
    from crpnet_bench.audit import audit_paper, document, load_paper, report, shipped_cohort

    paper = load_paper(file or shipped_cohort("changhai") / "audit.toml")
    findings = audit_paper(paper)
    emit(document(paper, findings), as_json=as_json, text=report(findings, everything=everything))
