"""Who looked at whose outcomes, and how often.

A cohort that was looked at many times is no longer a test: choices follow what was seen. So each
look of a run at a cohort's outcomes is written down, before an external cohort's outcomes are
read, and every result says how many looks there were.
"""

from __future__ import annotations

import pandas as pd

from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Transaction
from crpnet_bench.results import RunRecord

__all__ = ["judged_endpoints", "ledger_lines", "looks_of_run", "note_run"]


def note_run(registry: Transaction, record: RunRecord, patients: int) -> None:
    """Write a run's look at its own cohort, once however often the run is resumed."""
    before = registry.query(
        "SELECT count(*) AS n FROM ledger WHERE run_id = ? AND command = 'run'", record.run_id
    )
    if not int(before["n"][0]):
        registry.record_look(
            {
                "run_id": record.run_id,
                "cohort": record.cohort,
                "cohort_version": record.cohort_version,
                "command": "run",
                "endpoint": record.endpoint,
                "primary_model": record.primary_model,
                "models": ", ".join(record.models),
                "patients": patients,
                "remark": f"split {record.split}",
            }
        )


def looks_of_run(home: Home, record: RunRecord) -> pd.DataFrame:
    """The looks of one run, oldest first, with `looks_at_cohort` by all runs so far."""
    looks = views.ledger(home)
    everyone = looks.groupby(["cohort", "cohort_version"]).size().rename("looks_at_cohort")
    own = looks[looks["run_id"] == record.run_id]
    return own.join(everyone, on=["cohort", "cohort_version"]).reset_index(drop=True)


def judged_endpoints(home: Home, record: RunRecord) -> dict[tuple[str, int], str]:
    """By cohort and version, the endpoint by which the run was judged there.

    A validation that was told to go on may have used another endpoint than the run's.
    """
    looks = views.ledger(home)
    own = looks[looks["run_id"] == record.run_id]
    judged = {
        (str(cohort), int(version)): str(endpoint)
        for cohort, version, endpoint in own[["cohort", "cohort_version", "endpoint"]].itertuples(
            index=False, name=None
        )
    }
    return judged | {(record.cohort, record.cohort_version): record.endpoint}


def ledger_lines(home: Home, record: RunRecord) -> list[str]:
    """One sentence a cohort whose outcomes the run has seen."""
    looks = views.ledger(home)
    own = looks[looks["run_id"] == record.run_id]
    lines = []
    for (cohort, version), rows in own.groupby(["cohort", "cohort_version"], sort=False):
        same = looks[(looks["cohort"] == cohort) & (looks["cohort_version"] == version)]
        others = same["run_id"].nunique() - 1
        older = int((looks["cohort"] == cohort).sum()) - len(same)
        at_others = f", and {_times(older)} at other versions of {cohort}" if older else ""
        lines.append(
            f"Ledger: outcomes of {cohort}@{version} were looked at {_times(len(rows))} by this "
            f"run and {_times(len(same) - len(rows))} by {others} other "
            f"{'run' if others == 1 else 'runs'}, first on {same['looked'].iloc[0][:10]}"
            f"{at_others}."
        )
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
