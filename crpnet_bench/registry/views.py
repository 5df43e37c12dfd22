"""Published views: read-only copies of the registry that any number of processes may read.

Each commit writes `views/registry-<n>.duckdb` and then replaces the pointer `views/CURRENT`
in one step, so a reader sees a whole commit or the one before. A read opens the view that the
pointer names, takes one result and closes; nothing stays open. `n` is the key for caches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from crpnet_bench.errors import NotFoundError, RegistryError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.registry.connections import Connection, reading
from crpnet_bench.registry.frames import typed_frame
from crpnet_bench.registry.migrations import check_version, schema_version
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS, RunRecord, conform
from crpnet_bench.results import write_atomically as replace_file
from crpnet_bench.schema import CohortManifest

__all__ = [
    "CohortRecord",
    "cohort",
    "cohorts",
    "exclusions",
    "file_hashes",
    "is_empty",
    "ledger",
    "metrics",
    "outcomes",
    "patients",
    "predictions",
    "publish",
    "query",
    "read",
    "runs",
    "scores",
    "slide_outcomes",
    "slides",
    "snapshot_key",
    "snapshot_number",
    "splits",
]

KEPT_VIEWS = 3
_POINTER = "CURRENT"
_ATTEMPTS = 5
_DTYPES: Mapping[Any, Any] = {
    pa.int64(): pd.Int64Dtype(),
    pa.int32(): pd.Int64Dtype(),
    pa.float64(): pd.Float64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}


@dataclass(frozen=True, slots=True)
class CohortRecord:
    """One version of a registered cohort."""

    name: str
    version: int
    folder: Path
    fingerprint: str
    registered: str
    manifest: CohortManifest
    warnings: tuple[str, ...]

    @property
    def pinned(self) -> str:
        """`NAME@VERSION`, as runs name it."""
        return f"{self.name}@{self.version}"


# ---------------------------------------------------------------- publishing


def publish(connection: Connection, home: Home, keep: int = KEPT_VIEWS) -> int:
    """Copy the open registry into the next view and point readers to it.

    The caller has committed and still holds the registry, so nobody else publishes.

    Returns:
        The view's number.
    """
    home.views.mkdir(parents=True, exist_ok=True)
    for left_over in home.views.glob(".*.tmp*"):  # of a writer that was killed
        left_over.unlink(missing_ok=True)
    try:
        before = _current(home) or 0
    except RegistryError:  # a damaged pointer is what this mends
        before = 0
    number = max([before, *_numbers(home)]) + 1
    temporary = home.views / f".registry-{number}.tmp"
    copy_database(connection, temporary)
    temporary.replace(_view(home, number))
    replace_file(home.views / _POINTER, f"{number}\n".encode())
    for old in _numbers(home):
        if old <= number - keep:
            _view(home, old).unlink(missing_ok=True)
    return number


def copy_database(connection: Connection, target: Path) -> None:
    """Write a compact copy of an open database to a new file."""
    quoted = str(target).replace("'", "''")
    source = connection.execute("SELECT current_database()").fetchall()[0][0]
    connection.execute(f"ATTACH '{quoted}' AS published")
    try:
        connection.execute(f'COPY FROM DATABASE "{source}" TO published')
    finally:
        connection.execute("DETACH published")


def _view(home: Home, number: int) -> Path:
    return home.views / f"registry-{number}.duckdb"


def _numbers(home: Home) -> list[int]:
    names = (path.stem.removeprefix("registry-") for path in home.views.glob("registry-*.duckdb"))
    return sorted(int(name) for name in names if name.isdecimal())


def _current(home: Home) -> int | None:
    try:
        text = (home.views / _POINTER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text.isdecimal():
        raise RegistryError(
            f"{home.views / _POINTER} is damaged; delete it and run any writing command, "
            "such as `crpnet-bench cohort register`"
        )
    return int(text)


# ---------------------------------------------------------------- reading


def is_empty(home: Home) -> bool:
    """Whether nothing was ever registered in this home."""
    return _current(home) is None


def snapshot_number(home: Home) -> int:
    """The number of the current view; 0 where nothing was ever registered."""
    return _current(home) or 0


def snapshot_key(home: Home) -> str:
    """What is different after each commit, also where a home was made anew at the same place.

    Returns:
        Empty where nothing was ever registered.
    """
    number = snapshot_number(home)
    return f"{number}-{(home.views / _POINTER).stat().st_mtime_ns}" if number else ""


def read(home: Home, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
    """Run one query on the current view: open, read, close.

    Args:
        home: whose registry.
        sql: a SELECT; values go through `params` (`?`).
        params: values of the placeholders.

    Returns:
        A frame of nullable types (a missing number is never a zero).

    Raises:
        NotFoundError: nothing was registered yet.
        RegistryError: the view is missing, damaged, locked or of another schema.
    """
    with _opened(home) as connection:
        return query(connection, sql, params)


@contextmanager
def _opened(home: Home) -> Iterator[Connection]:
    """The current view, open for the length of one call."""
    for _ in range(_ATTEMPTS):
        path = _view(home, _published(home))
        if path.exists():
            break  # else a writer replaced it between the two looks
    try:
        with reading(path) as connection:
            check_version(schema_version(connection))
            yield connection
    except duckdb.ProgrammingError:
        raise  # a wrong query is a bug, not a damaged file
    except duckdb.Error as error:
        raise _unreadable(path, error) from error


def _published(home: Home) -> int:
    number = _current(home)
    if number is None:
        raise NotFoundError(
            f"nothing is registered in {home.root}; "
            "`crpnet-bench cohort register DIR` or `crpnet-bench run` fills it"
        )
    return number


def query(connection: Connection, sql: str, params: Sequence[Any] = ()) -> pd.DataFrame:
    """One SELECT on an open connection as a frame of nullable types."""
    relation = connection.sql(sql, params=list(params)) if params else connection.sql(sql)
    frame: pd.DataFrame = relation.to_arrow_table().to_pandas(types_mapper=_DTYPES.get)
    return frame


def _unreadable(path: Path, error: Exception) -> RegistryError:
    first = str(error).splitlines()[0]
    if not path.exists():
        first = "it does not exist"
    return RegistryError(
        f"{path} cannot be read ({first}); any writing command, such as "
        "`crpnet-bench cohort register`, publishes a new one"
    )


# ---------------------------------------------------------------- what readers ask for


def cohorts(home: Home) -> pd.DataFrame:
    """All cohorts and versions, newest version first, with counts of patients and slides."""
    return read(
        home,
        """
        SELECT c.cohort, c.version, c.kind, c.title, c.endpoint, c.origin, c.default_split,
            count(p.patient_id) AS patients,
            count(p.patient_id) FILTER (NOT p.excluded) AS included,
            (SELECT count(*) FROM outcomes o JOIN patients q USING (cohort, version, patient_id)
             WHERE o.cohort = c.cohort AND o.version = c.version AND o."primary"
             AND NOT q.excluded AND o.status = 1) AS events,
            (SELECT count(*) FROM slides s WHERE s.cohort = c.cohort
             AND s.version = c.version AND NOT s.excluded) AS slides,
            c.registered, c.folder
        FROM cohorts c LEFT JOIN patients p USING (cohort, version)
        GROUP BY ALL ORDER BY c.cohort, c.version DESC
        """,
    )


def cohort(home: Home, name: str) -> CohortRecord:
    """One cohort.

    Args:
        home: whose registry.
        name: `NAME` (the newest version) or `NAME@VERSION`.

    Raises:
        NotFoundError: no such cohort or version.
    """
    with _opened(home) as connection:
        return _cohort(connection, name)


def _cohort(connection: Connection, name: str) -> CohortRecord:
    base, _, version = name.partition("@")
    if version and not version.isdecimal():
        raise NotFoundError(f"cohort {name!r}: expected NAME or NAME@VERSION, such as {base}@1")
    found = query(
        connection,
        "SELECT * FROM cohorts WHERE cohort = ? AND (version = ? OR ? = '') "
        "ORDER BY version DESC LIMIT 1",
        [base, int(version or 0), version],
    )
    if found.empty:
        raise _unknown_cohort(connection, base, version)
    row = found.iloc[0]
    return CohortRecord(
        name=str(row["cohort"]),
        version=int(row["version"]),
        folder=Path(str(row["folder"])),
        fingerprint=str(row["fingerprint"]),
        registered=str(row["registered"]),
        manifest=CohortManifest.model_validate_json(str(row["manifest"])),
        warnings=tuple(json.loads(str(row["warnings"]))),
    )


def _unknown_cohort(connection: Connection, base: str, version: str) -> NotFoundError:
    known = query(connection, "SELECT cohort, version FROM cohorts ORDER BY ALL")
    names = sorted({str(name) for name in known["cohort"]})
    if base in names:
        versions = known.loc[known["cohort"] == base, "version"].tolist()
        return NotFoundError(f"cohort {base!r} has no version {version}; there are {versions}")
    return NotFoundError(f"cohort {base!r} is not registered; {did_you_mean(base, names)}")


_STAYING = (
    "patient_id IN (SELECT p.patient_id FROM patients p WHERE NOT p.excluded "
    "AND p.cohort = t.cohort AND p.version = t.version)"
)


def _rows(home: Home, table: str, name: str, condition: str = "true") -> pd.DataFrame:
    """Rows of one cohort in one table; `condition` is a constant of this module."""
    with _opened(home) as connection:
        return _rows_of(connection, _cohort(connection, name), table, condition)


def _rows_of(
    connection: Connection, record: CohortRecord, table: str, condition: str = "true"
) -> pd.DataFrame:
    sql = (
        f"SELECT * EXCLUDE (cohort, version) FROM {table} t "  # noqa: S608 constants only
        f"WHERE cohort = ? AND version = ? AND {condition}"
    )
    return query(connection, sql, [record.name, record.version])


def patients(home: Home, name: str, *, with_excluded: bool = False) -> pd.DataFrame:
    """One row a patient: baseline variables, further variables as columns of their own.

    Excluded patients (`excluded`, `reason`) are left out unless asked for.
    """
    frame = _rows(home, "patients", name, "true" if with_excluded else "NOT excluded")
    known = {text: json.loads(text) for text in frame["extra"].unique()}  # mostly one and the same
    extra = typed_frame([known[text] for text in frame["extra"]])
    return pd.concat([frame.drop(columns="extra"), extra], axis=1)


def outcomes(
    home: Home, name: str, endpoint: str | None = None, *, with_excluded: bool = False
) -> pd.DataFrame:
    """`patient_id`, `time` (months), `status` (0 censored, 1 event, 2 competing death), ...

    Args:
        home: whose registry.
        name: `NAME` or `NAME@VERSION`.
        endpoint: one of the cohort's endpoints; None means the primary one.
        with_excluded: also patients who are excluded.

    Raises:
        NotFoundError: the cohort does not have that endpoint.
    """
    frame = _rows(home, "outcomes", name, "true" if with_excluded else _STAYING)
    chosen = frame["primary"].astype(bool) if endpoint is None else frame["endpoint"] == endpoint
    if endpoint is not None and not chosen.any():
        known = sorted(set(frame["endpoint"]))
        raise NotFoundError(f"cohort {name!r} has no {endpoint}; {did_you_mean(endpoint, known)}")
    return frame[chosen].reset_index(drop=True)


def slides(home: Home, name: str, *, with_excluded: bool = False) -> pd.DataFrame:
    """One row a slide file of the included patients; `path` is absolute.

    `slide_id` begins with `pending-` until the content was hashed.
    """
    condition = "true" if with_excluded else f"NOT excluded AND {_STAYING}"
    with _opened(home) as connection:
        record = _cohort(connection, name)
        frame = _rows_of(connection, record, "slides", condition)
    paths = [str(record.folder / path) for path in frame["path"]]
    return frame.assign(path=pd.array(paths, dtype="string"))


def scores(home: Home, name: str) -> pd.DataFrame:
    """One row an included patient and score: value, group, min, max, reason, risk, trace, ..."""
    return _rows(home, "scores", name, _STAYING)


def exclusions(home: Home, name: str) -> pd.DataFrame:
    """Patients, tumours and slides that left, each with its reason."""
    return _rows(home, "exclusions", name)


def splits(home: Home, name: str, split: str | None = None) -> pd.DataFrame:
    """Rows of one split: `patient_id`, `repeat`, `fold`, `role`, `sha256`; included patients only.

    Args:
        home: whose registry.
        name: `NAME` or `NAME@VERSION`.
        split: its name; None means every split.

    Raises:
        NotFoundError: the cohort has no such split.
    """
    frame = _rows(home, "splits", name, _STAYING)
    if split is None:
        return frame
    known = sorted(set(frame["split"]))
    if split not in known:
        raise NotFoundError(
            f"cohort {name!r} has no split {split!r}; {did_you_mean(split, known)}; "
            "`crpnet-bench split create` makes one"
        )
    return frame[frame["split"] == split].reset_index(drop=True)


def slide_outcomes(home: Home, name: str) -> pd.DataFrame:
    """What became of each slide at the last extraction: status, tiles, reason, remedy."""
    return _rows(home, "slide_outcomes", name)


def file_hashes(home: Home) -> dict[tuple[str, int, int], str]:
    """(absolute path, size, mtime_ns) -> sha256 of slides that were hashed before."""
    if is_empty(home):
        return {}
    rows = read(home, "SELECT path, size, mtime_ns, sha256 FROM file_hashes")
    return {
        (str(path), int(size), int(mtime)): str(sha256)
        for path, size, mtime, sha256 in rows.itertuples(index=False, name=None)
    }


def runs(home: Home) -> list[RunRecord]:
    """All runs, newest first."""
    frame = read(home, "SELECT record FROM runs ORDER BY created DESC, run_id DESC")
    return [RunRecord.model_validate_json(str(text)) for text in frame["record"]]


def ledger(home: Home) -> pd.DataFrame:
    """Every look of a run at a cohort's outcomes, oldest first.

    Columns `run_id`, `cohort`, `cohort_version`, `command` (run | validate), `looked`, `endpoint`,
    `primary_model`, `models`, `patients`, `remark`.
    """
    return read(home, "SELECT * FROM ledger ORDER BY looked, rowid")


def predictions(home: Home, run_ids: str | Iterable[str]) -> pd.DataFrame:
    """The `predictions` rows of one run or several."""
    return _of_runs(home, "predictions", run_ids, PREDICTION_COLUMNS)


def metrics(home: Home, run_ids: str | Iterable[str]) -> pd.DataFrame:
    """The `metrics` rows of one run or several."""
    return _of_runs(home, "metrics", run_ids, METRIC_COLUMNS)


def _of_runs(
    home: Home, table: str, run_ids: str | Iterable[str], columns: Mapping[str, str]
) -> pd.DataFrame:
    wanted = [run_ids] if isinstance(run_ids, str) else list(run_ids)
    marks = ", ".join("?" * len(wanted)) or "NULL"
    with _opened(home) as connection:
        known = set(query(connection, "SELECT run_id FROM runs")["run_id"])
        for run_id in wanted:
            if run_id not in known:
                hint = did_you_mean(run_id, known)
                raise NotFoundError(f"run {run_id!r} does not exist; {hint}")
        sql = f"SELECT * FROM {table} WHERE run_id IN ({marks})"  # noqa: S608 constants only
        return conform(query(connection, sql, wanted), columns)
