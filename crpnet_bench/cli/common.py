"""What every command shares: the home, output on stdout or as JSON, progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crpnet_bench.home import Home
from crpnet_bench.progress import Progress, Task

if TYPE_CHECKING:
    import pandas as pd
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

__all__ = [
    "FAILURES_RECORDED",
    "CpusOption",
    "EngineOption",
    "GpusOption",
    "HomeOption",
    "JsonOption",
    "RayAddressOption",
    "emit",
    "note",
    "open_home",
    "print_table",
    "progress",
    "warn",
]

FAILURES_RECORDED = 3
_SECONDS_BETWEEN_LINES = 10.0

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Folder of registry, features and runs [default: .crpnet, "
        "or the variable CRPNET_BENCH_HOME].",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout; all else on stderr.")
]

EngineOption = Annotated[
    str, typer.Option(help="local, or ray: slides and folds as tasks of a Ray cluster.")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(help="Of the cluster, HOST:6379 or auto; without it one starts on this machine."),
]
CpusOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processors of a slide's task on the cluster [1]; a fold's: train.threads."
    ),
]
GpusOption = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs of a task on the cluster, such as 0.5 [1 with --device cuda]."),
]


def note(text: str) -> None:
    """A line for the reader, on stderr so that stdout stays data."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """A line that starts with `warning:`, on stderr."""
    note(f"warning: {text}")


def open_home(given: Path | None) -> Home:
    """The home to use, named on stderr so that nobody writes into another one unknowingly."""
    home = Home.resolve(given)
    note(f"home: {home.root}")
    return home


def emit(document: Mapping[str, Any] | Sequence[Any], *, as_json: bool, text: str = "") -> None:
    """Print `document` as JSON, or `text` for people."""
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2, default=str, ensure_ascii=False) + "\n")
    elif text:
        sys.stdout.write(text.rstrip("\n") + "\n")
    sys.stdout.flush()


def print_table(frame: pd.DataFrame, *, title: str = "") -> None:
    """A frame as a table on stdout; missing cells are empty, wide tables are not cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=title or None, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for name, dtype in frame.dtypes.items():
        number = getattr(dtype, "kind", "O") in "iuf"
        table.add_column(str(name), justify="right" if number else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    wide = not sys.stdout.isatty()
    Console(file=sys.stdout, width=220 if wide else None, soft_wrap=False).print(table)


def _cell(value: object) -> str:
    if value is None or str(value) in {"<NA>", "nan", "NaT"}:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def progress() -> Progress:
    """Bars on a terminal; elsewhere a line every ten seconds."""
    return _BarProgress() if sys.stderr.isatty() else _LineProgress()


class _BarTask:
    def __init__(self, bars: RichProgress, bar: TaskID) -> None:
        self._bars, self._bar = bars, bar

    def advance(self, count: int = 1, note: str = "") -> None:
        self._bars.update(self._bar, advance=count)
        if note:
            self._bars.update(self._bar, note=note)


class _BarProgress:
    @contextmanager
    def task(self, description: str, total: int, unit: str = "") -> Iterator[Task]:
        from rich import progress as rich_progress
        from rich.console import Console

        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[unit]}"),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            rich_progress.TextColumn("{task.fields[note]}"),
        )
        with rich_progress.Progress(*columns, console=Console(stderr=True)) as bars:
            yield _BarTask(bars, bars.add_task(description, total=total, unit=unit, note=""))


class _LineTask:
    def __init__(self, description: str, total: int, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._done, self._started, self._told = 0, time.monotonic(), time.monotonic()
        self._told_done = -1
        self._words = ""

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        self._words = note or self._words
        now = time.monotonic()
        if now - self._told >= _SECONDS_BETWEEN_LINES:
            self._told = now
            self.tell()

    def tell(self) -> None:
        if self._done == self._told_done:
            return
        self._told_done = self._done
        elapsed = time.monotonic() - self._started
        left = (self._total - self._done) * elapsed / self._done if self._done else float("nan")
        ending = f", about {left:.0f} s left" if 0 < left < float("inf") else ""
        note(
            f"{self._description}: {self._done}/{self._total} {self._unit} "
            f"in {elapsed:.0f} s{ending}{'; ' + self._words if self._words else ''}"
        )


class _LineProgress:
    @contextmanager
    def task(self, description: str, total: int, unit: str = "") -> Iterator[Task]:
        line = _LineTask(description, total, unit)
        yield line
        line.tell()
