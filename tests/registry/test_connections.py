"""Readers share one DuckDB instance, while files come and go, are damaged, and after a fork."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import pytest

from crpnet_bench.registry.connections import connect, reading


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A file with one number in it."""
    return _written(tmp_path / "it's one.duckdb", 1)


def _written(path: Path, number: int) -> Path:
    path.unlink(missing_ok=True)
    connection = connect(str(path))
    connection.execute(f"CREATE TABLE kept AS SELECT {number} AS number")
    connection.close()
    return path


def _number(path: Path) -> int:
    with reading(path) as connection:
        return connection.execute("SELECT number FROM kept").fetchone()[0]


def test_a_file_is_read_and_never_written(database: Path):
    with reading(database) as connection, pytest.raises(duckdb.InvalidInputException):
        connection.execute("INSERT INTO kept VALUES (2)")
    assert _number(database) == 1


def test_many_readers_at_once_each_get_their_own_file(tmp_path: Path):
    files = [_written(tmp_path / f"{number}.duckdb", number) for number in range(5)]

    def several(place: int) -> list[int]:
        return [_number(files[(place + step) % 5]) for step in range(40)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(several, range(16)))
    assert found == [[(place + step) % 5 for step in range(40)] for place in range(16)]


def test_a_file_that_was_replaced_or_removed_is_noticed_at_the_next_read(database: Path):
    assert _number(database) == 1
    _written(database, 2)
    assert _number(database) == 2
    database.unlink()
    with pytest.raises(duckdb.IOException):
        _number(database)


@pytest.mark.parametrize("size", [0, 3, 5000])
def test_damage_is_an_error_of_that_file_alone(database: Path, tmp_path: Path, size: int):
    other = _written(tmp_path / "other.duckdb", 7)
    whole = database.read_bytes()
    with reading(other) as connection:
        database.write_bytes(b"\xa5" * size)
        with pytest.raises(duckdb.Error) as caught:
            _number(database)
        assert not isinstance(caught.value, duckdb.ProgrammingError)
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)
    database.write_bytes(whole)
    assert [_number(database), _number(other)] == [1, 7]


def test_a_wrong_query_leaves_the_instance_to_others(database: Path):
    with pytest.raises(duckdb.ProgrammingError), reading(database) as connection:
        connection.execute("SELECT nothing FROM kept")
    assert _number(database) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_reads_with_an_instance_of_its_own(database: Path):
    assert _number(database) == 1
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        try:
            _number(database.with_name("missing.duckdb"))
        except duckdb.IOException:
            os._exit(10 + _number(database))
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 11
    assert _number(database) == 1
