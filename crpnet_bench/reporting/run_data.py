"""What the pages ask of a run: its sets of patients, a subgroup of one, its metrics.

Numbers come from `evaluation.evaluate` on the rows chosen here, so that a page, `crpnet-bench
evaluate RUN --where ...` and a document show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from crpnet_bench.config import EvaluationConfig
from crpnet_bench.filters import select
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.clinical_groups import clinical_groups
from crpnet_bench.reporting.names import ROLE_TITLES
from crpnet_bench.results import PREDICTION_COLUMNS, RunRecord

__all__ = ["CohortData", "PatientSet", "RunData", "Sample", "cohort_data", "run_data", "take"]

_ORDER = ("validation", "test", "external", "train")
_MetricRows = Mapping[tuple[str, float | None], Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class PatientSet:
    """Patients whose predictions mean the same thing.

    Attributes:
        cohort, version: whose patients.
        role: train | validation | test | external.
        in_sample: the model was fitted on them ("apparent").
    """

    cohort: str
    version: int
    role: str
    in_sample: bool

    @property
    def key(self) -> str:
        """Short name for addresses and files."""
        if self.role == "train":
            return "training-apparent" if self.in_sample else "training-out-of-fold"
        return f"external-{self.cohort}" if self.role == "external" else self.role

    @property
    def title(self) -> str:
        """Name for people."""
        title = ROLE_TITLES.get((self.role, self.in_sample), self.role)
        return f"{title}: {self.cohort}" if self.role == "external" else title

    @property
    def pinned(self) -> str:
        """`COHORT@VERSION`."""
        return f"{self.cohort}@{self.version}"


@dataclass(frozen=True, eq=False)
class CohortData:
    """What is known of a cohort's patients, whichever run asks.

    Attributes:
        home: where it was read.
        pinned: `COHORT@VERSION`.
        endpoint: what the event is.
        patients: one row a patient: clinical variables, `time` (months), `status`.
    """

    home: Home
    pinned: str
    endpoint: str
    patients: pd.DataFrame = field(repr=False)

    @cached_property
    def groups(self) -> pd.DataFrame:
        """Labels to split patients by, index patient_id."""
        return clinical_groups(self.patients, _score_groups(self.home, self.pinned))


@dataclass(frozen=True, eq=False)
class RunData:
    """A run's predictions beside what is known of the patients.

    What the first page does without is read when it is asked for.

    Attributes:
        home: where it was read.
        record: the run.
        sets: the sets of patients with predictions, validation first.
        cohorts: `COHORT@VERSION` -> its patients.
    """

    home: Home
    record: RunRecord
    sets: tuple[PatientSet, ...]
    cohorts: Mapping[str, CohortData] = field(repr=False)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The run's `predictions` rows without single initialisations."""
        return _predictions(self.home, self.record.run_id)

    @property
    def patients(self) -> Mapping[str, pd.DataFrame]:
        """`COHORT@VERSION` -> one row a patient."""
        return {name: cohort.patients for name, cohort in self.cohorts.items()}

    @property
    def models(self) -> tuple[str, ...]:
        """Models with predictions, in the run's order."""
        present = set(self.predictions["model"].unique())
        listed = [name for name in self.record.models if name in present]
        return (*listed, *sorted(present - set(listed)))

    def set_named(self, key: str) -> PatientSet:
        """The set of that key, else the first one."""
        return next((one for one in self.sets if one.key == key), self.sets[0])


@dataclass(frozen=True, eq=False)
class Sample:
    """Chosen patients of one set.

    Attributes:
        patients_of: the set.
        where: the rule that chose them; empty for everybody.
        predictions: their rows of `predictions`.
        patients: one row a patient: clinical variables, `time` (months), `status`.
        groups: labels to split them by, index patient_id.
        models: in the run's order.
        settings: of the run's evaluation.
        endpoint: what the event is.
        out_of_fold: whether the run has out-of-fold risks of training patients, on which
            cut-offs were learned.
    """

    patients_of: PatientSet
    where: str
    predictions: pd.DataFrame
    patients: pd.DataFrame
    groups: pd.DataFrame
    models: tuple[str, ...]
    settings: EvaluationConfig
    endpoint: str
    out_of_fold: bool
    _metrics: dict[str, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)
    _rows: dict[str, _MetricRows] = field(default_factory=dict, init=False, repr=False)

    @property
    def n(self) -> int:
        """Patients."""
        return len(self.patients)

    @property
    def events(self) -> int:
        """Patients with the event."""
        return int((self.patients["status"] == 1).sum())

    @property
    def competing(self) -> int:
        """Patients who died without the event."""
        return int((self.patients["status"] == 2).sum())

    @property
    def label(self) -> str:
        """Set, subgroup, n and events in one line."""
        where = f", {self.where}" if self.where else ""
        return f"{self.patients_of.title}{where}: {self.n} patients, {self.events} events"

    @cached_property
    def repeated(self) -> bool:
        """Whether patients have several predictions of one model (repeats, several folds)."""
        return bool(self.predictions.duplicated(["model", "patient_id"]).any())

    @cached_property
    def fold_wise(self) -> bool:
        """Whether predictions come from several fits, whose risks are not comparable."""
        columns = ["repeat", "fold", "inner_fold"]
        return len(self.predictions[columns].drop_duplicates()) > 1

    def of_model(self, model: str) -> pd.DataFrame:
        """One row a patient with a risk: the model's prediction beside the patient's variables.

        Where a patient has several predictions the first is taken.
        """
        rows = self.predictions[self.predictions["model"] == model]
        rows = rows[(rows["status"] == "ok") & rows["risk"].notna()]
        rows = rows.drop_duplicates("patient_id").drop(
            columns=["status", "reason", "cohort", "cohort_version"]
        )
        kept = self.patients.drop(columns=[c for c in ("reason",) if c in self.patients])
        return rows.merge(kept, on="patient_id", how="inner")

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The `metrics` table of these patients."""
        parts = [self.metrics_of(model) for model in self.models]
        return pd.concat(parts, ignore_index=True)

    def metrics_of(self, model: str) -> pd.DataFrame:
        """The rows of one model; a page that shows one does not wait for the others."""
        if model not in self._metrics:
            table = self._evaluated(model, "site" if "site" in self.patients else None)
            shown = pd.array([self.where or "all"] * len(table), dtype="string")
            self._metrics[model] = table.assign(subgroup=shown)
        return self._metrics[model]

    def _evaluated(self, model: str, site: str | None = None) -> pd.DataFrame:
        # Its imports take longer than a first page that shows none of these numbers.
        from crpnet_bench.evaluation import evaluate  # noqa: PLC0415

        rows = self.predictions[self.predictions["model"] == model]
        columns = ["patient_id", "time", "status", *([site] if site else [])]
        return evaluate(rows, self.patients[columns], settings=self.settings)

    def metric(
        self, model: str, metric: str, horizon: float | None = None
    ) -> Mapping[Any, Any] | None:
        """One row of `metrics`, or None where the model has none.

        What pairs patients within a site takes as long as everything else and is in
        `metrics_of` only.
        """
        if model not in self._rows:
            known = self._metrics.get(model)
            self._rows[model] = _by_metric(self._evaluated(model) if known is None else known)
        return self._rows[model].get((metric, horizon))


def _by_metric(table: pd.DataFrame) -> _MetricRows:
    """Rows by metric and horizon; a metric alone finds its first row."""
    found: dict[tuple[str, float | None], Mapping[Any, Any]] = {}
    for row in table.to_dict("records"):
        horizon = row["horizon_months"]
        found.setdefault((row["metric"], None), row)
        if not pd.isna(horizon):
            found[row["metric"], float(horizon)] = row
    return found


def cohort_data(home: Home, pinned: str, endpoint: str | None) -> CohortData:
    """The patients of `COHORT@VERSION` with their outcomes; None means the primary endpoint."""
    outcomes = views.outcomes(home, pinned, endpoint)
    known = outcomes[["patient_id", "time", "status"]]
    patients = views.patients(home, pinned).merge(known, on="patient_id", how="inner")
    judged = endpoint or next(iter(outcomes["endpoint"]), "")
    return CohortData(home, pinned, judged, patients)


def run_data(
    home: Home,
    run_id: str,
    cohort: Callable[[Home, str, str | None], CohortData] = cohort_data,
) -> RunData:
    """Everything that pages ask of one run, read from the current view.

    Args:
        home: whose results.
        run_id: the run.
        cohort: reads a cohort's patients; the dashboard's keeps them for other runs.

    Raises:
        NotFoundError: no such run.
        RegistryError: the registry cannot be read.
    """
    record = next((r for r in views.runs(home) if r.run_id == run_id), None)
    if record is None:
        views.predictions(home, run_id)  # tells what is known
        raise AssertionError
    sets, endpoints = _sets(home, run_id), _endpoints(home, record)
    names = dict.fromkeys(one.pinned for one in sets)
    cohorts = {name: cohort(home, name, endpoints.get(name)) for name in names}
    return RunData(home, record, sets, cohorts)


def _sets(home: Home, run_id: str) -> tuple[PatientSet, ...]:
    sql = (
        "SELECT DISTINCT cohort, cohort_version, role, coalesce(in_sample, false) "
        "FROM predictions WHERE run_id = ? AND member IS NULL"
    )
    rows = views.read(home, sql, [run_id])
    found = [
        PatientSet(str(cohort), int(version), str(role), bool(in_sample))
        for cohort, version, role, in_sample in rows.itertuples(index=False, name=None)
    ]
    return tuple(sorted(found, key=lambda s: (_ORDER.index(s.role), s.in_sample, s.cohort)))


def _endpoints(home: Home, record: RunRecord) -> dict[str, str]:
    """The endpoint that was judged in each cohort, as the ledger has it; cohorts may differ."""
    looks = views.ledger(home)
    own = looks[looks["run_id"] == record.run_id]
    columns = ["cohort", "cohort_version", "endpoint"]
    judged = {f"{cohort}@{version}": str(endpoint)
              for cohort, version, endpoint in own[columns].itertuples(index=False)}  # fmt: skip
    return judged | {f"{record.cohort}@{record.cohort_version}": record.endpoint}


def _predictions(home: Home, run_id: str) -> pd.DataFrame:
    # Single initialisations are many rows that no page shows.
    sql = "SELECT * FROM predictions WHERE run_id = ? AND member IS NULL"
    frame = views.read(home, sql, [run_id])
    return frame.astype(dict(PREDICTION_COLUMNS))[list(PREDICTION_COLUMNS)]


def _score_groups(home: Home, name: str) -> pd.DataFrame:
    # Without the traces, which are many times as large.
    sql = 'SELECT patient_id, score, "group" FROM scores WHERE cohort = ? AND version = ?'
    cohort, _, version = name.partition("@")
    return views.read(home, sql, [cohort, int(version)])


def take(data: RunData, patients_of: PatientSet, where: str = "") -> Sample:
    """The patients of a set for whom a rule is true.

    Args:
        data: the run.
        patients_of: one of `data.sets`.
        where: a rule over the clinical variables (`crpnet_bench.filters`); empty for all.

    Raises:
        InputError: the rule cannot be read, or names an unknown column.
    """
    rows = data.predictions
    inside = (
        (rows["cohort"] == patients_of.cohort)
        & (rows["cohort_version"] == patients_of.version)
        & (rows["role"] == patients_of.role)
        & (rows["in_sample"].fillna(value=False) == patients_of.in_sample)
    )
    own = rows[inside]
    patients = data.patients[patients_of.pinned]
    patients = patients[patients["patient_id"].isin(own["patient_id"])].reset_index(drop=True)
    if where:
        patients = patients[select(patients, where)].reset_index(drop=True)
        own = own[own["patient_id"].isin(patients["patient_id"])]
    return Sample(
        patients_of=patients_of,
        where=where,
        predictions=own.reset_index(drop=True),
        patients=patients,
        groups=data.cohorts[patients_of.pinned].groups.reindex(patients["patient_id"]),
        models=data.models,
        settings=EvaluationConfig.model_validate(data.record.config.get("evaluation", {})),
        endpoint=data.cohorts[patients_of.pinned].endpoint,
        out_of_fold=any(one.role == "train" and not one.in_sample for one in data.sets),
    )
