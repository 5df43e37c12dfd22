"""Connections to DuckDB: one of its own for a writer, one instance that all readers share.

To start an instance takes DuckDB 18 ms, to attach a file to a running one 1 ms, and the first page
of the dashboard reads 17 times. A file stays attached only as long as somebody reads it, so that a
damaged or replaced one is noticed at the next read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

__all__ = ["Connection", "connect", "reading"]

Connection = Any  # duckdb.DuckDBPyConnection; the package has no complete types

# No extension is ever fetched: what is built in is enough.
_CONFIG: Mapping[str, str] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}


def connect(path: str) -> Connection:
    """Open a database file for writing, or ":memory:"."""
    connection = duckdb.connect(path, config=dict(_CONFIG))
    # Drawn on stdout when a query takes seconds, into the JSON of whoever asked for it.
    connection.execute("SET enable_progress_bar = false")
    return connection


@contextmanager
def reading(path: Path) -> Iterator[Connection]:
    """A database file, attached read-only for the length of one read.

    Raises:
        duckdb.Error: it cannot be opened, or a query failed.
    """
    try:
        with _shared().attached(path) as connection:
            yield connection
    except duckdb.ProgrammingError:
        raise  # a wrong query harms nobody else
    except duckdb.Error:
        _instances.pop(os.getpid(), None)  # a damaged file may have invalidated all of it
        raise


@dataclass
class _Attached:
    name: str
    readers: int = 0


class _Shared:
    """An instance without data of its own, to which files are attached while they are read."""

    def __init__(self) -> None:
        self._instance = connect(":memory:")
        self._lock = Lock()
        self._files: dict[Path, _Attached] = {}
        self._numbers = count()

    @contextmanager
    def attached(self, path: Path) -> Iterator[Connection]:
        with self._lock:
            connection = self._instance.cursor()
            file = self._files.get(path) or self._attach(path)
            file.readers += 1
        try:
            connection.execute(f"USE {file.name}")
            yield connection
        finally:
            connection.close()
            with self._lock:
                file.readers -= 1
                if not file.readers:
                    del self._files[path]
                    with suppress(duckdb.Error):  # of an instance that a damaged file invalidated
                        self._instance.execute(f"DETACH {file.name}")

    def _attach(self, path: Path) -> _Attached:
        file = _Attached(f"view_{next(self._numbers)}")
        quoted = str(path).replace("'", "''")
        try:
            self._instance.execute(f"ATTACH '{quoted}' AS {file.name} (READ_ONLY)")
        except duckdb.ProgrammingError as error:  # no query of ours was wrong
            raise duckdb.IOException(str(error)) from error
        self._files[path] = file
        return file


# By process: a forked one starts its own, and never ends the one that it inherited, whose threads
# stayed behind.
_instances: dict[int, _Shared] = {}


def _shared() -> _Shared:
    process = os.getpid()
    return _instances.get(process) or _instances.setdefault(process, _Shared())
