"""The registry's tables, step by step: a step that was released never changes again.

`SCHEMA_VERSION` is the number of steps. A writer brings an older file up to date inside its
transaction; a newer file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from crpnet_bench.errors import RegistryError, SchemaVersionError
from crpnet_bench.registry.connections import Connection
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS

__all__ = ["SCHEMA_VERSION", "check_version", "migrate", "schema_version"]

_SQL_TYPES: Mapping[str, str] = {
    "string": "VARCHAR",
    "Int64": "BIGINT",
    "Float64": "DOUBLE",
    "boolean": "BOOLEAN",
}


def _columns(columns: Mapping[str, str]) -> str:
    return ", ".join(f'"{name}" {_SQL_TYPES[dtype]}' for name, dtype in columns.items())


_COHORT_KEY = "cohort VARCHAR NOT NULL, version BIGINT NOT NULL"

_FIRST_STEP = f"""
CREATE TABLE cohorts (
    cohort VARCHAR, version BIGINT, title VARCHAR, kind VARCHAR NOT NULL, licence VARCHAR,
    tnm_edition VARCHAR, grading VARCHAR, endpoint VARCHAR NOT NULL, origin VARCHAR,
    default_split VARCHAR, folder VARCHAR NOT NULL, fingerprint VARCHAR NOT NULL,
    registered VARCHAR NOT NULL, manifest VARCHAR NOT NULL, warnings VARCHAR NOT NULL,
    PRIMARY KEY (cohort, version)
);
CREATE TABLE patients (
    {_COHORT_KEY}, patient_id VARCHAR NOT NULL, tumor_no VARCHAR, age DOUBLE, sex VARCHAR,
    "pT" VARCHAR, "pN" VARCHAR, "M" VARCHAR, m1_ned BOOLEAN, grade BIGINT, tumor_size_cm DOUBLE,
    necrosis BOOLEAN, sarcomatoid BOOLEAN, rhabdoid BOOLEAN, ecog BIGINT, symptoms VARCHAR,
    site VARCHAR, extra VARCHAR, excluded BOOLEAN NOT NULL, reason VARCHAR
);
CREATE TABLE outcomes (
    {_COHORT_KEY}, patient_id VARCHAR NOT NULL, endpoint VARCHAR NOT NULL,
    "primary" BOOLEAN NOT NULL, time DOUBLE NOT NULL, status BIGINT NOT NULL, origin VARCHAR,
    time_original DOUBLE, time_unit VARCHAR, components VARCHAR
);
CREATE TABLE slides (
    {_COHORT_KEY}, slide_id VARCHAR NOT NULL, patient_id VARCHAR NOT NULL, path VARCHAR NOT NULL,
    mpp DOUBLE, specimen VARCHAR, preparation VARCHAR, tumor_no VARCHAR, size BIGINT,
    mtime_ns BIGINT, excluded BOOLEAN NOT NULL, reason VARCHAR
);
CREATE TABLE scores (
    {_COHORT_KEY}, patient_id VARCHAR NOT NULL, score VARCHAR NOT NULL, value VARCHAR,
    "group" VARCHAR, "min" VARCHAR, "max" VARCHAR, reason VARCHAR, risk DOUBLE,
    linear_predictor DOUBLE, in_scope BOOLEAN, trace VARCHAR, warnings VARCHAR,
    definition_version VARCHAR NOT NULL
);
CREATE TABLE exclusions (
    {_COHORT_KEY}, level VARCHAR NOT NULL, patient_id VARCHAR, item VARCHAR, reason VARCHAR NOT NULL
);
CREATE TABLE splits (
    {_COHORT_KEY}, split VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, patient_id VARCHAR NOT NULL,
    repeat BIGINT NOT NULL, fold BIGINT NOT NULL, role VARCHAR NOT NULL
);
CREATE TABLE slide_outcomes (
    {_COHORT_KEY}, slide_id VARCHAR NOT NULL, patient_id VARCHAR, path VARCHAR,
    status VARCHAR NOT NULL, reason VARCHAR, remedy VARCHAR, n_grid BIGINT, n_masked BIGINT,
    n_below BIGINT, n_kept BIGINT, feature_path VARCHAR, warnings VARCHAR
);
CREATE TABLE file_hashes (
    path VARCHAR NOT NULL, size BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, sha256 VARCHAR NOT NULL
);
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY, created VARCHAR NOT NULL, status VARCHAR NOT NULL,
    cohort VARCHAR NOT NULL, cohort_version BIGINT NOT NULL, cohort_kind VARCHAR NOT NULL,
    endpoint VARCHAR NOT NULL, split VARCHAR NOT NULL, primary_model VARCHAR,
    primary_metric VARCHAR, seed BIGINT, device VARCHAR, record VARCHAR NOT NULL
);
CREATE TABLE predictions ({_columns(PREDICTION_COLUMNS)});
CREATE TABLE metrics ({_columns(METRIC_COLUMNS)});
"""

# Every look at a cohort's outcomes by a run; a removed run or cohort leaves its looks behind.
_LEDGER_STEP = """
CREATE TABLE ledger (
    run_id VARCHAR NOT NULL, cohort VARCHAR NOT NULL, cohort_version BIGINT NOT NULL,
    command VARCHAR NOT NULL, looked VARCHAR NOT NULL, endpoint VARCHAR NOT NULL,
    primary_model VARCHAR NOT NULL, models VARCHAR NOT NULL, patients BIGINT NOT NULL,
    remark VARCHAR NOT NULL
);
"""

_STEPS = (_FIRST_STEP, _LEDGER_STEP)
SCHEMA_VERSION = len(_STEPS)


def schema_version(connection: Connection) -> int:
    """The version of an open registry or view; 0 for an empty file."""
    tables = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
    if "schema_info" not in tables:
        return 0
    rows = connection.execute("SELECT version FROM schema_info").fetchall()
    return int(rows[0][0]) if rows else 0


def migrate(connection: Connection) -> bool:
    """Bring a registry up to date; the caller holds the transaction.

    Returns:
        Whether anything had to be done.

    Raises:
        SchemaVersionError: the file is newer than this program.
    """
    version = schema_version(connection)
    if version > SCHEMA_VERSION:
        raise newer(version)
    if version == SCHEMA_VERSION:
        return False
    if version == 0:
        if connection.execute("SHOW TABLES").fetchall():
            raise RegistryError("the registry file holds tables of another program; move it away")
        connection.execute("CREATE TABLE schema_info (version BIGINT NOT NULL)")
        connection.execute("INSERT INTO schema_info VALUES (0)")
    for step in _STEPS[version:]:
        connection.execute(step)
    connection.execute("UPDATE schema_info SET version = ?", [SCHEMA_VERSION])
    return True


def check_version(version: int) -> None:
    """Refuse to read a view that this program does not understand.

    Raises:
        SchemaVersionError: older (names the command that migrates) or newer.
    """
    if version > SCHEMA_VERSION:
        raise newer(version)
    if version < SCHEMA_VERSION:
        raise SchemaVersionError(
            f"the registry has schema {version}, this program reads {SCHEMA_VERSION}; "
            "`crpnet-bench cohort register` (any writing command) brings it up to date"
        )


def newer(version: int) -> SchemaVersionError:
    """The refusal of a file from a later program."""
    return SchemaVersionError(
        f"the registry has schema {version}, this program knows {SCHEMA_VERSION}; "
        "update crpnet-bench"
    )
