"""The only SQL that writes: one transaction a command, then a new view for the readers.

DuckDB lets one process write or many read, never both, so nobody keeps `registry.duckdb`
open: a writer waits for its turn within a limit, works, publishes and closes.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa

from crpnet_bench.errors import (
    NotFoundError,
    RegistryError,
    RegistryLockedError,
    ValidationError,
    did_you_mean,
)
from crpnet_bench.home import Home
from crpnet_bench.registry.connections import Connection, connect
from crpnet_bench.registry.load import PENDING, TABLE_COLUMNS, LoadedCohort
from crpnet_bench.registry.migrations import migrate
from crpnet_bench.registry.split_files import identical_across_roles
from crpnet_bench.registry.views import KEPT_VIEWS, copy_database, publish, query
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS, RunRecord, conform

__all__ = ["LOOK_COLUMNS", "SLIDE_OUTCOME_COLUMNS", "Registry", "Transaction"]

SLIDE_OUTCOME_COLUMNS: Mapping[str, str] = {
    "slide_id": "string",
    "patient_id": "string",
    "path": "string",
    "status": "string",  # done | no tiles | failed
    "reason": "string",
    "remedy": "string",
    "n_grid": "Int64",
    "n_masked": "Int64",
    "n_below": "Int64",
    "n_kept": "Int64",
    "feature_path": "string",
    "warnings": "string",  # JSON
}
LOOK_COLUMNS: Mapping[str, str] = {
    "run_id": "string",
    "cohort": "string",
    "cohort_version": "Int64",
    "command": "string",  # run | validate
    "looked": "string",  # UTC, ISO 8601
    "endpoint": "string",
    "primary_model": "string",
    "models": "string",  # names, joined by ", "
    "patients": "Int64",
    "remark": "string",
}
_COHORT_TABLES = (*TABLE_COLUMNS, "slide_outcomes")
_RUN_FIELDS = (
    "run_id",
    "created",
    "status",
    "cohort",
    "cohort_version",
    "cohort_kind",
    "endpoint",
    "split",
    "primary_model",
    "primary_metric",
    "seed",
    "device",
)
_HOLDER = re.compile(r"held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")
# Threads of one process share DuckDB's lock, so they take turns here.
_TURNS: dict[Path, threading.Lock] = {}


def _now() -> datetime:
    return datetime.now(UTC)


class Transaction:
    """Writes inside one transaction; all of them happen or none."""

    def __init__(self, connection: Connection, clock: Callable[[], datetime] = _now) -> None:
        self._connection = connection
        self._clock = clock
        self.changed = False
        self.removed = False

    def query(self, sql: str, *params: object) -> pd.DataFrame:
        """Read inside the transaction."""
        return query(self._connection, sql, params)

    # ------------------------------------------------------------ cohorts

    def register_cohort(self, loaded: LoadedCohort) -> tuple[int, bool]:
        """Store a cohort; the same content again changes nothing.

        Returns:
            The version, and whether it is new. A change of any file or of a slide's content
            makes the next version; new split files and hashed slides are taken up in place.
        """
        latest = self.query(
            "SELECT version, fingerprint FROM cohorts WHERE cohort = ? "
            "ORDER BY version DESC LIMIT 1",
            loaded.name,
        )
        version = 0 if latest.empty else int(latest["version"][0])
        same = not latest.empty and latest["fingerprint"][0] == loaded.fingerprint
        if same and not self._slides_changed(loaded, version):
            self._refresh(loaded, version)
            return version, False
        self._insert_cohort(loaded, version + 1)
        return version + 1, True

    def _insert_cohort(self, loaded: LoadedCohort, version: int) -> None:
        section = loaded.manifest.cohort
        row = {
            "cohort": loaded.name,
            "version": version,
            "title": section.title,
            "kind": section.kind,
            "licence": section.licence,
            "tnm_edition": str(section.tnm_edition),
            "grading": section.grading,
            "endpoint": loaded.manifest.outcome.endpoint,
            "origin": loaded.manifest.outcome.origin,
            "default_split": section.default_split,
            "folder": str(loaded.folder),
            "fingerprint": loaded.fingerprint,
            "registered": self._clock().isoformat(timespec="seconds"),
            "manifest": loaded.manifest.model_dump_json(),
            "warnings": json.dumps(loaded.warnings, ensure_ascii=False),
        }
        self._append("cohorts", pd.DataFrame([row]))
        for table in TABLE_COLUMNS:
            self._append(table, getattr(loaded, table), of=(loaded.name, version))

    def _slides_changed(self, loaded: LoadedCohort, version: int) -> bool:
        stored = self._slide_ids(loaded.name, version)
        return any(
            not slide_id.startswith(PENDING)
            and not stored.get(path, PENDING).startswith(PENDING)
            and stored[path] != slide_id
            for path, slide_id in zip(loaded.slides["path"], loaded.slides["slide_id"], strict=True)
        )

    def _slide_ids(self, name: str, version: int) -> dict[str, str]:
        rows = self.query(
            "SELECT path, slide_id FROM slides WHERE cohort = ? AND version = ?", name, version
        )
        return dict(zip(rows["path"], rows["slide_id"], strict=True))

    def _refresh(self, loaded: LoadedCohort, version: int) -> None:
        """Take up what may change within a version: place, split files, hashed slides."""
        stored = self.query(
            "SELECT folder, warnings FROM cohorts WHERE cohort = ? AND version = ?",
            loaded.name, version,
        )  # fmt: skip
        found = (str(loaded.folder), json.dumps(loaded.warnings, ensure_ascii=False))
        if (stored["folder"][0], stored["warnings"][0]) != found:
            self._run(
                "UPDATE cohorts SET folder = ?, warnings = ? WHERE cohort = ? AND version = ?",
                *found, loaded.name, version,
            )  # fmt: skip
        self.store_splits(loaded.name, version, loaded.splits)
        ids = self._slide_ids(loaded.name, version)
        hashed = loaded.slides[~loaded.slides["slide_id"].str.startswith(PENDING)]
        fresh = [path for path, new in zip(hashed["path"], hashed["slide_id"], strict=True)
                 if ids.get(path) != new]  # fmt: skip
        self.identify_slides(loaded.name, version, hashed[hashed["path"].isin(fresh)])

    def identify_slides(self, name: str, version: int, slides: pd.DataFrame) -> None:
        """Replace provisional slide ids by hashes of content.

        Args:
            name: the cohort.
            version: its version.
            slides: `path` as in the cohort, `slide_id`, `size`, `mtime_ns`, `excluded`,
                `reason` (a copy of another slide is excluded).
        """
        if slides.empty:
            return
        chosen = slides[["path", "slide_id", "size", "mtime_ns", "excluded", "reason"]]
        with self._frame(chosen):
            self._run(
                "UPDATE slides SET slide_id = f.slide_id, size = f.size, mtime_ns = f.mtime_ns, "
                "excluded = f.excluded, reason = f.reason FROM incoming f "
                "WHERE slides.cohort = ? AND slides.version = ? AND slides.path = f.path",
                name, version,
            )  # fmt: skip

    def store_splits(self, name: str, version: int, splits: pd.DataFrame) -> None:
        """Make the stored splits those of the cohort's files.

        Args:
            name: the cohort.
            version: its version.
            splits: `split`, `sha256`, `patient_id`, `repeat`, `fold`, `role` of all splits.
        """
        stored = self.query(
            "SELECT DISTINCT split, sha256 FROM splits WHERE cohort = ? AND version = ?",
            name, version,
        )  # fmt: skip
        before = set(stored.itertuples(index=False, name=None))
        if before == set(splits[["split", "sha256"]].itertuples(index=False, name=None)):
            return
        self._run("DELETE FROM splits WHERE cohort = ? AND version = ?", name, version)
        self._append("splits", splits, of=(name, version))

    def store_slide_outcomes(self, name: str, version: int, outcomes: pd.DataFrame) -> None:
        """Replace what the last extraction said about each slide of a cohort.

        Args:
            name: the cohort.
            version: its version.
            outcomes: SLIDE_OUTCOME_COLUMNS; absent columns are missing.
        """
        self._run("DELETE FROM slide_outcomes WHERE cohort = ? AND version = ?", name, version)
        rows = conform(outcomes, SLIDE_OUTCOME_COLUMNS)
        self._append("slide_outcomes", rows, of=(name, version))
        self._resolve_pending(name, version, rows)

    def _resolve_pending(self, name: str, version: int, outcomes: pd.DataFrame) -> None:
        """Slides registered without hashing get the identity that extraction gave them.

        Raises:
            ValidationError: only now it shows that a split has one slide on two sides.
        """
        pending = self.query(
            "SELECT s.path, c.folder FROM slides s JOIN cohorts c USING (cohort, version) "
            "WHERE cohort = ? AND version = ? AND NOT s.excluded AND starts_with(slide_id, ?)",
            name, version, PENDING,
        )  # fmt: skip
        found = dict(zip(outcomes["path"], outcomes["slide_id"].fillna(""), strict=True))
        places = zip(pending["path"], pending["folder"], strict=True)
        ids = [found.get(str(Path(folder) / path), "") for path, folder in places]
        fresh = pending.assign(slide_id=ids)
        fresh = fresh[fresh["slide_id"] != ""]
        if fresh.empty:
            return
        with self._frame(fresh[["path", "slide_id"]]):
            self._run(
                "UPDATE slides SET slide_id = f.slide_id FROM incoming f "
                "WHERE slides.cohort = ? AND slides.version = ? AND slides.path = f.path",
                name, version,
            )  # fmt: skip
        self._refuse_leaks(name, version)

    def _refuse_leaks(self, name: str, version: int) -> None:
        where = "WHERE cohort = ? AND version = ?"
        slides = self.query(
            f"SELECT slide_id, patient_id FROM slides {where} AND NOT excluded",  # noqa: S608
            name, version,
        )  # fmt: skip
        splits = self.query(f"SELECT * FROM splits {where}", name, version)  # noqa: S608
        problems = [
            problem
            for split, rows in splits.groupby("split")
            for problem in identical_across_roles(rows, slides, f"splits/{split}.csv")
        ]
        if problems:
            raise ValidationError(problems, f"cohort {name}")

    def store_file_hashes(self, hashes: Mapping[tuple[str, int, int], str]) -> None:
        """Remember (path, size, mtime_ns) -> sha256, so that no slide is hashed twice."""
        if not hashes:
            return
        rows = [(*key, sha256) for key, sha256 in hashes.items()]
        frame = pd.DataFrame(rows, columns=["path", "size", "mtime_ns", "sha256"])
        with self._frame(frame):
            self._run("DELETE FROM file_hashes WHERE path IN (SELECT path FROM incoming)")
        self._append("file_hashes", frame)

    def remove_cohort(self, name: str) -> list[str]:
        """Delete every version of a cohort and all runs made on it.

        Returns:
            The deleted runs' ids; their folders are the caller's to delete.

        Raises:
            NotFoundError: no such cohort.
        """
        known = self.query("SELECT DISTINCT cohort FROM cohorts")["cohort"].tolist()
        if name not in known:
            raise NotFoundError(f"cohort {name!r} is not registered; {did_you_mean(name, known)}")
        found = self.query("SELECT run_id FROM runs WHERE cohort = ?", name)["run_id"].tolist()
        run_ids = [str(run_id) for run_id in found]
        folders = self.query("SELECT DISTINCT folder FROM cohorts WHERE cohort = ?", name)
        for folder in folders["folder"]:
            self._run("DELETE FROM file_hashes WHERE starts_with(path, ?)", f"{folder}/")
        for table in ("cohorts", *_COHORT_TABLES, "runs", "predictions", "metrics"):
            self._run(f"DELETE FROM {table} WHERE cohort = ?", name)  # noqa: S608 constants
        for run_id in run_ids:
            self._forget_run(run_id)
        self.removed = True
        return run_ids

    # ------------------------------------------------------------ runs

    def import_run(
        self, record: RunRecord, predictions: pd.DataFrame, metrics: pd.DataFrame
    ) -> None:
        """Take a run over; an import of the same id is replaced.

        Args:
            record: what the run was.
            predictions: PREDICTION_COLUMNS.
            metrics: METRIC_COLUMNS.
        """
        self._run("DELETE FROM runs WHERE run_id = ?", record.run_id)
        for table in ("predictions", "metrics"):
            # What a validation on another cohort brought in stays.
            self._run(
                f"DELETE FROM {table} WHERE run_id = ? AND role IS DISTINCT FROM 'external'",  # noqa: S608
                record.run_id,
            )
        fields = record.model_dump(include=set(_RUN_FIELDS)) | {"record": record.model_dump_json()}
        self._append("runs", pd.DataFrame([fields]))
        self._append("predictions", conform(predictions, PREDICTION_COLUMNS))
        self._append("metrics", conform(metrics, METRIC_COLUMNS))

    def import_external(
        self, run_id: str, cohort: str, predictions: pd.DataFrame, metrics: pd.DataFrame
    ) -> None:
        """Add a run's external validation; an earlier one on the same cohort is replaced.

        Args:
            run_id: the run.
            cohort: the cohort it was validated on.
            predictions: PREDICTION_COLUMNS, role "external".
            metrics: METRIC_COLUMNS, role "external".
        """
        for table in ("predictions", "metrics"):
            self._run(
                f"DELETE FROM {table} WHERE run_id = ? AND cohort = ? "  # noqa: S608 constants
                "AND role = 'external'",
                run_id, cohort,
            )  # fmt: skip
        self._append("predictions", conform(predictions, PREDICTION_COLUMNS))
        self._append("metrics", conform(metrics, METRIC_COLUMNS))

    def record_look(self, look: Mapping[str, object]) -> None:
        """Write into the ledger that a run looks at a cohort's outcomes.

        Args:
            look: LOOK_COLUMNS but `looked`, which is now.
        """
        row = dict(look) | {"looked": self._clock().isoformat(timespec="seconds")}
        self._append("ledger", conform(pd.DataFrame([row]), LOOK_COLUMNS))

    def _forget_run(self, run_id: str) -> None:
        for table in ("runs", "predictions", "metrics"):
            self._run(f"DELETE FROM {table} WHERE run_id = ?", run_id)  # noqa: S608 constants

    # ------------------------------------------------------------ plumbing

    def _run(self, sql: str, *params: object) -> None:
        self._connection.execute(sql, list(params))
        self.changed = True

    def _append(self, table: str, frame: pd.DataFrame, of: tuple[str, int] | None = None) -> None:
        """Add rows; `of` names the cohort and version they belong to."""
        if frame.empty:
            return
        key = "? AS cohort, ? AS version, " if of else ""
        with self._frame(frame):
            sql = f"INSERT INTO {table} BY NAME SELECT {key}* FROM incoming"  # noqa: S608 constants
            self._run(sql, *(of or ()))

    @contextmanager
    def _frame(self, frame: pd.DataFrame) -> Iterator[None]:
        """Show a frame to SQL as `incoming`."""
        self._connection.register("incoming", pa.Table.from_pandas(frame, preserve_index=False))
        try:
            yield
        finally:
            self._connection.unregister("incoming")


class Registry:
    """Where commands write.

    Args:
        home: its `registry.duckdb`; the folder is made at the first write.
        wait: seconds to wait for another writer.
        clock: the time of now, UTC.
    """

    def __init__(
        self, home: Home, *, wait: float = 30.0, clock: Callable[[], datetime] = _now
    ) -> None:
        self.home = home
        self._wait = wait
        self._clock = clock

    @staticmethod
    @contextmanager
    def memory(clock: Callable[[], datetime] = _now) -> Iterator[Transaction]:
        """A registry without files, for tests."""
        connection = connect(":memory:")
        try:
            migrate(connection)
            yield Transaction(connection, clock)
        finally:
            connection.close()

    def bring_up_to_date(self) -> None:
        """Migrate an older registry, so that its view can be read; a new home stays empty."""
        if self.home.registry.exists():
            with self.write():
                pass

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction; committed and published at the end, undone by any exception.

        Raises:
            RegistryLockedError: another process wrote for longer than the wait.
            SchemaVersionError: the file is newer than this program.
            RegistryError: the file cannot be opened.
        """
        path = self.home.registry
        deadline = time.monotonic() + self._wait
        turn = _TURNS.setdefault(path, threading.Lock())
        if not turn.acquire(timeout=max(self._wait, 0.001)):
            raise RegistryLockedError(_locked_text(path, "another thread", self._wait))
        try:
            connection = self._connect(path, deadline)
            try:
                yield from self._transaction(connection)
            finally:
                connection.close()
        finally:
            turn.release()

    def _transaction(self, connection: Connection) -> Iterator[Transaction]:
        transaction = Transaction(connection, self._clock)
        connection.begin()
        try:
            transaction.changed = migrate(connection)
            yield transaction
            connection.commit()
        except BaseException as error:
            with suppress(duckdb.Error):  # the first exception is the one to tell
                connection.rollback()
            if isinstance(error, duckdb.IOException):  # a full disk and the like
                raise _damaged(self.home.registry, error) from error
            raise
        self._publish(connection, transaction)

    def _publish(self, connection: Connection, transaction: Transaction) -> None:
        if transaction.changed or not any(self.home.views.glob("registry-*.duckdb")):
            try:
                publish(connection, self.home, keep=1 if transaction.removed else KEPT_VIEWS)
            except (OSError, duckdb.IOException) as error:
                first = str(error).splitlines()[0]
                raise RegistryError(
                    f"stored, but readers do not see it yet: no new view in {self.home.views} "
                    f"({first}); make room and run the command again"
                ) from error
        if transaction.removed:
            self._compact(connection)

    def _connect(self, path: Path, deadline: float) -> Connection:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(f"{path.parent} cannot be made: {error.strerror}") from error
        while True:
            try:
                before = _inode(path)
                connection = connect(str(path))
                if before in {None, _inode(path)}:
                    return connection
                connection.close()  # it was compacted in between: this is the old file
            except duckdb.IOException as error:
                self._wait_or_raise(path, error, deadline)
            except duckdb.Error as error:
                raise _damaged(path, error) from error

    def _wait_or_raise(self, path: Path, error: duckdb.Error, deadline: float) -> None:
        text = str(error)
        if "lock" not in text.lower():
            raise _damaged(path, error) from error
        if time.monotonic() > deadline:
            holder = _HOLDER.search(text)
            who = f"process {holder['pid']} ({holder['program']})" if holder else "another process"
            raise RegistryLockedError(_locked_text(path, who, self._wait)) from error
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 spreads writers, hides nothing

    def _compact(self, connection: Connection) -> None:
        """Replace the file by a fresh copy, so that removed rows are not left in free blocks."""
        path = self.home.registry
        copy = path.with_name(f".{path.name}.tmp")
        copy.unlink(missing_ok=True)
        connection.execute("CHECKPOINT")
        copy_database(connection, copy)
        copy.replace(path)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _locked_text(path: Path, who: str, wait: float) -> str:
    return f"{path} is being written by {who}; waited {wait:g} s; try again when it has finished"


def _damaged(path: Path, error: duckdb.Error) -> RegistryError:
    first = str(error).splitlines()[0]
    return RegistryError(
        f"{path} cannot be opened ({first}); if it is damaged, replace it by a copy of the "
        f"newest file in {path.parent / 'views'}"
    )
