"""A run on paper: what `run` prints at its end and `runs show` prints again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crpnet_bench.cli.common import note, print_table, warn
from crpnet_bench.home import Home

if TYPE_CHECKING:
    import pandas as pd

    from crpnet_bench.benchmark.finished import FinishedRun

__all__ = ["records", "run_document", "say", "show_comparisons", "show_metrics", "show_run"]


def say(text: str) -> None:
    """A line on stdout."""
    sys.stdout.write(text + "\n")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows for JSON; a missing value is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def run_document(home: Home, finished: FinishedRun) -> dict[str, Any]:
    """The run as one JSON document."""
    from crpnet_bench.benchmark.declaration import primary_result
    from crpnet_bench.benchmark.ledger import looks_of_run
    from crpnet_bench.benchmark.seeds import seed_distribution
    from crpnet_bench.benchmark.validate_files import read_validations

    by_seed = finished.by_seed
    external = read_validations(finished.folder)
    return {
        "run": finished.record.model_dump(mode="json"),
        "folder": str(finished.folder),
        "failures": list(finished.failures),
        "primary": primary_result(finished.record, finished.metrics),
        "metrics": records(finished.metrics),
        "exploratory_comparisons": records(finished.comparisons),
        "seeds": [] if by_seed.empty else records(seed_distribution(by_seed)),
        "ledger": records(looks_of_run(home, finished.record)),
        "external": [
            {
                "cohort": found.cohort,
                "remarks": list(found.remarks),
                "metrics": records(found.metrics),
            }
            for found in external
        ],
    }


def show_run(home: Home, finished: FinishedRun) -> None:
    """Everything of a run, for people."""
    from crpnet_bench.benchmark.declaration import primary_sentence
    from crpnet_bench.benchmark.ledger import ledger_lines

    record = finished.record
    kind = "" if record.cohort_kind == "real" else f" [{record.cohort_kind} data]"
    headings = show_metrics(
        finished.metrics, finished.titles, f"{record.cohort}{kind}, {record.endpoint}"
    )
    _show_seeds(finished)
    show_comparisons(finished.comparisons, headings)
    for name, title in finished.titles.items():
        if headings[name] != title:
            say(f"{headings[name]}: {title}")
    level = record.config.get("evaluation", {}).get("level", 0.95)
    say(
        f"\n{primary_sentence(record)}\n{_primary_words(finished)}\n"
        f"Intervals are {level:.0%}. For research only.\n"
        "Class metrics use the label 'ever recorded', which ignores length of follow-up; metrics "
        "at fixed times are in metrics.parquet."
    )
    for line in (*record.remarks, *ledger_lines(home, record), *_validation_lines(finished)):
        say(line)
    say(f"Run {record.run_id}\nResults in {finished.folder}")
    for sentence in finished.notes:
        note(f"note: {sentence}")
    for failure in finished.failures:
        warn(failure)


def _primary_words(finished: FinishedRun) -> str:
    from crpnet_bench.benchmark.declaration import primary_result
    from crpnet_bench.reporting.tables import format_interval

    found = primary_result(finished.record, finished.metrics)
    if found is None or found["status"] != "ok":
        return f"Primary result: not estimable ({found['reason'] if found else 'no such metric'})."
    return (
        f"Primary result: {format_interval(found['value'], found['ci_low'], found['ci_high'])}, "
        f"{found['n']} patients, {found['events']} events."
    )


def _validation_lines(finished: FinishedRun) -> list[str]:
    """What external validations of the run said, so that nobody reads the run without them."""
    from crpnet_bench.benchmark.validate_files import read_validations

    return [
        f"External validation on {found.cohort}: {sentence}"
        for found in read_validations(finished.folder)
        for sentence in found.remarks
    ]


def show_metrics(metrics: pd.DataFrame, titles: Mapping[str, str], about: str) -> dict[str, str]:
    """Table 1 for each set of patients; the headings used, by model."""
    from crpnet_bench.reporting.missing import missing_lines
    from crpnet_bench.reporting.tables import blocks, short_titles, table_one

    headings = short_titles(titles)
    for block in blocks(metrics):
        say(f"\n{block.heading}: {about}")
        print_table(table_one(metrics, block, list(headings)).rename(columns=headings))
        if not (block.role == "train" and block.in_sample):  # out of fold they stand once more
            for line in missing_lines(metrics, block, headings):
                say(line)
    return headings


def show_comparisons(comparisons: pd.DataFrame, headings: Mapping[str, str]) -> None:
    """The comparisons with the primary model, headed exploratory."""
    from crpnet_bench.reporting.model_comparisons import comparison_tables

    for heading, table in comparison_tables(comparisons, headings):
        say(f"\nExploratory: {heading}")
        print_table(table)


def _show_seeds(finished: FinishedRun) -> None:
    from crpnet_bench.benchmark.seeds import seed_distribution
    from crpnet_bench.reporting.model_comparisons import seed_table

    if not finished.by_seed.empty:
        say("\nDistribution over seeds (every seed is shown; none is chosen)")
        print_table(seed_table(seed_distribution(finished.by_seed)))
