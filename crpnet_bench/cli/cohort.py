"""`crpnet-bench cohort ...`: bring patients and slides into the registry, look at them."""

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
    warn,
)

if TYPE_CHECKING:
    import pandas as pd

    from crpnet_bench.registry.importers.columns import ImportReport

__all__ = ["app"]

app = typer.Typer(
    name="cohort",
    help="Cohorts: init, check, register, list, show, flow, baseline, import, remove.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
FolderArgument = Annotated[Path, typer.Argument(help="Cohort folder, or its cohort.toml.")]
CohortArgument = Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for cohort.toml; made if need be.")],
    clinical: Annotated[Path, typer.Option(help="Clinical table: csv, tsv, txt, xlsx, parquet.")],
    slides: Annotated[Path | None, typer.Option(help="Folder of the slides.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at a table and draft cohort.toml, with every doubt written in."""
    from crpnet_bench.benchmark.first_draft import init_cohort

    _tell_taken(home, folder.absolute().name)
    draft = init_cohort(folder, clinical, slides)
    for doubt in draft.doubts:
        warn(doubt)
    path = folder / "cohort.toml"
    text = (
        f"{path} drafted: {len(draft.found)} variables found; settle every CHECK in it, then\n"
        f"crpnet-bench cohort check {folder}"
    )
    document = {"path": str(path), "found": draft.found, "doubts": draft.doubts}
    emit(document, as_json=as_json, text=text)


@app.command()
def check(folder: FolderArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Dry run: everything that is wrong or looks wrong; writes nothing."""
    from crpnet_bench.benchmark.onboarding import check_cohort

    report = check_cohort(open_home(home), folder, progress=progress())
    lines = [
        *(f"error: {text}" for text in report.errors),
        *(f"warning: {text}" for text in report.warnings),
        f"{len(report.errors)} errors, {len(report.warnings)} warnings; "
        + ("`cohort register` will take it" if report.passed else "registration is refused"),
    ]
    document = {"errors": report.errors, "warnings": report.warnings, "passed": report.passed}
    emit(document, as_json=as_json, text="\n".join(lines))
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def register(
    folder: FolderArgument,
    defer_hash: Annotated[
        bool, typer.Option("--defer-hash", help="Do not look at slides now, but at `extract`.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Store a cohort, completely or not at all; the same files again change nothing."""
    from dataclasses import asdict

    from crpnet_bench.benchmark.onboarding import register_cohort

    done = register_cohort(open_home(home), folder, defer_hash=defer_hash, progress=progress())
    for warning in done.warnings:
        warn(warning)
    state = "registered" if done.changed else "unchanged"
    text = (
        f"{done.name}@{done.version} {state}: {done.patients} patients, {done.included} included, "
        f"{done.events} events, {done.slides} slides"
    )
    emit(asdict(done), as_json=as_json, text=text)


@app.command(name="list")
def list_cohorts(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """All registered cohorts and versions."""
    from crpnet_bench.registry import views

    where = open_home(home)
    if views.is_empty(where):
        note("nothing is registered yet; `cohort register DIR` or `crpnet-bench run` fills it")
        emit([], as_json=as_json)
        return
    frame = views.cohorts(where)
    _show_frame(frame.drop(columns="folder") if not as_json else frame, as_json)


@app.command()
def show(cohort: CohortArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What a cohort is: its manifest, splits, scores and recorded warnings."""
    from crpnet_bench.reporting.queries import cohort_summary

    where = open_home(home)
    summary = cohort_summary(where, cohort)
    emit(summary.document, as_json=as_json, text=summary.text)
    if not as_json:
        print_table(summary.scores, title="\nscores")


@app.command()
def flow(cohort: CohortArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Who is registered, excluded and why, with slides, with tiles, scored."""
    from crpnet_bench.reporting.queries import cohort_flow

    _show_frame(cohort_flow(open_home(home), cohort), as_json)


@app.command()
def baseline(
    cohort: CohortArgument,
    by: Annotated[str, typer.Option(help="Grouping: event, or any variable.")] = "event",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Baseline table by outcome, with tests and missing values."""
    from crpnet_bench.reporting.queries import cohort_baseline

    _show_frame(cohort_baseline(open_home(home), cohort, by), as_json)


@app.command()
def remove(
    cohort: Annotated[str, typer.Argument(help="NAME; all its versions are removed.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a cohort's rows, views and runs; its own files stay."""
    from crpnet_bench.benchmark.onboarding import remove_cohort
    from crpnet_bench.registry import views

    where = open_home(home)
    views.cohort(where, cohort)
    if not yes:
        question = f"Delete all versions of {cohort!r} and every run made on it?"
        typer.confirm(question, abort=True, err=True)
    runs = remove_cohort(where, cohort)
    text = f"{cohort} removed, with {len(runs)} runs"
    emit({"cohort": cohort, "runs": runs}, as_json=as_json, text=text)


import_app = typer.Typer(
    help="Public clinical files to a cohort folder.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(import_app, name="import")
OutOption = Annotated[Path, typer.Option("--out", help="The new cohort folder.")]


@import_app.command()
def gdc(
    clinical: Annotated[Path, typer.Option(help="Biotab of the patients, or clinical.tsv.")],
    out: OutOption,
    cdr: Annotated[Path | None, typer.Option(help="TCGA-CDR workbook, for its endpoints.")] = None,
    slides: Annotated[
        list[Path] | None, typer.Option(help="Sample sheet or manifest; may be repeated.")
    ] = None,
    tumor_samples: Annotated[
        Path | None, typer.Option(help="Biotab of tumour samples, for sizes.")
    ] = None,
    project: Annotated[str, typer.Option(help="TCGA-KIRC or CPTAC-3.")] = "TCGA-KIRC",
    slide_dir: Annotated[str, typer.Option(help="Where gdc-client puts slides.")] = "slides",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Files of the Genomic Data Commons, on the recipe of the project."""
    from crpnet_bench.registry.importers.gdc import GdcFiles, import_gdc

    files = GdcFiles(clinical, cdr, slides or (), tumor_samples)
    _tell_import(import_gdc(files, out, project=project, slide_dir=slide_dir), home, as_json)


@import_app.command()
def cbioportal(
    clinical: Annotated[
        list[Path], typer.Option(help="Study view's download, or data_clinical_*.txt; repeatable.")
    ],
    out: OutOption,
    name: Annotated[str, typer.Option(help="Name of the cohort [the study's].")] = "",
    endpoint: Annotated[str, typer.Option(help="RFS, DFS, PFS, DSS or OS [the first].")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Clinical files of cBioPortal."""
    from crpnet_bench.registry.importers.cbioportal import import_cbioportal

    report = import_cbioportal(clinical, out, name=name, endpoint=endpoint)
    _tell_import(report, home, as_json)


def _tell_taken(home: Path | None, name: str) -> None:
    """Say that registering under this name will make a new version."""
    from crpnet_bench.registry import views

    where = open_home(home)
    if not views.is_empty(where) and name in set(views.cohorts(where)["cohort"]):
        note(f"a cohort {name!r} is registered there: registering makes its next version")


def _tell_import(report: ImportReport, home: Path | None, as_json: bool) -> None:
    _tell_taken(home, report.name)
    for text in report.notes:
        note(text)
    document = {"folder": str(report.folder), "patients": report.patients,
                "slides": report.slides, "notes": list(report.notes)}  # fmt: skip
    text = (
        f"{report.folder}: {report.patients} patients, {report.slides} slides; "
        f"next: crpnet-bench cohort check {report.folder}"
    )
    emit(document, as_json=as_json, text=text)


def _show_frame(frame: pd.DataFrame, as_json: bool) -> None:
    if as_json:
        plain = frame.astype(object).where(frame.notna(), None)
        emit(plain.to_dict("records"), as_json=True)
    else:
        print_table(frame)
