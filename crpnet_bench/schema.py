"""What a cohort is: the manifest in `cohort.toml`, and one row of each of its tables.

Records are frozen and refuse unknown keys. They hold no rule about any particular cohort:
a new cohort is a new folder, never a change here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crpnet_bench.errors import did_you_mean

__all__ = [
    "CLINICAL_VARIABLES",
    "DAYS_PER_MONTH",
    "ENDPOINTS",
    "PATIENT_LEVEL",
    "REQUIRED_VARIABLES",
    "UNITS",
    "ClinicalSection",
    "CohortManifest",
    "CohortSection",
    "ColumnSource",
    "ExcludeRule",
    "FurtherOutcome",
    "Outcome",
    "OutcomeSection",
    "Patient",
    "Record",
    "Slide",
    "SlidesSection",
    "SplitRow",
    "formula_like",
    "months",
]

DAYS_PER_MONTH = 30.4375  # 365.25 / 12
ENDPOINTS = ("RFS", "TTR", "MFS", "PFI", "PFS", "DFS", "DSS", "OS")

REQUIRED_VARIABLES = ("patient_id", "time", "event")
# What holds for the patient, whichever tumour a row describes; all else is the tumour's.
PATIENT_LEVEL = ("age", "sex", "ecog", "symptoms", "site", "time", "event")
CLINICAL_VARIABLES = (
    *REQUIRED_VARIABLES,
    "tumor_no",
    "age",
    "sex",
    "pT",
    "pN",
    "M",
    "m1_ned",
    "grade",
    "tumor_size",
    "necrosis",
    "sarcomatoid",
    "rhabdoid",
    "ecog",
    "symptoms",
    "site",
)
UNITS: Mapping[str, tuple[str, ...]] = {
    "tumor_size": ("cm", "mm"),
    "age": ("years", "months", "days"),
    "time": ("days", "months", "years"),
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")

Endpoint = Literal["RFS", "TTR", "MFS", "PFI", "PFS", "DFS", "DSS", "OS"]
Origin = Literal["surgery", "diagnosis", "other"]
TimeUnit = Literal["days", "months", "years"]
CellValue = bool | int | float | str


class Record(BaseModel):
    """Base of all records: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnSource(Record):
    """Where a variable comes from; plain text in the manifest means just the column.

    `map` translates cells before they are read (key `*`: every other cell that is not
    missing; value "": missing), `otherwise` names the column to take where the first is
    empty, `pattern` keeps the first group of a regular expression, `unit` is that of the
    column, and `note` says what a reader must know, such as "biobank necrosis".
    """

    column: str = Field(min_length=1)
    unit: str | None = None
    map: dict[str, CellValue] | None = None
    otherwise: str | None = None
    pattern: str | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:  # noqa: ANN401 pydantic passes what it got
        return {"column": value} if isinstance(value, str) else value

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"no regular expression: {error}") from error
            if groups != 1:
                raise ValueError(f"a regular expression with one group, this one has {groups}")
        return pattern


class CohortSection(Record):
    """Who the patients are, and under which rules they were staged."""

    name: str
    title: str = ""
    kind: Literal["real", "simulated", "synthetic"]
    licence: str = ""
    tnm_edition: Literal[5, 6, 7, 8, "unknown"] = "unknown"
    grading: Literal["who_isup", "fuhrman", "unknown"] = "unknown"
    default_split: str | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("letters, digits, - and _ only, at most 64, no - or _ in front")
        return name


class OutcomeSection(Record):
    """The endpoint that models are judged by."""

    endpoint: Endpoint
    events: str = Field("", description="what counts as an event, in words")
    origin: Origin
    time_unit: TimeUnit
    components: dict[str, ColumnSource] = Field(
        default_factory=dict, description="yes/no columns of what the event consisted of"
    )


class FurtherOutcome(OutcomeSection):
    """Another endpoint of the same patients, from its own columns."""

    time: ColumnSource
    event: ColumnSource


class ClinicalSection(Record):
    """The clinical table and what its columns mean."""

    file: str = Field(min_length=1)
    sheet: str | None = Field(None, description="of an xlsx file; the first one if empty")
    skip_rows: int = Field(0, ge=0, le=100, description="rows above the header")
    encoding: str | None = Field(None, description="of a text file that is not UTF-8")
    missing: tuple[str, ...] = Field((), description="further words for a missing cell")
    columns: dict[str, ColumnSource]
    extra: dict[str, ColumnSource] = Field(
        default_factory=dict, description="more baseline variables, kept under these names"
    )

    @field_validator("columns")
    @classmethod
    def _known_variables(cls, columns: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        for name, source in columns.items():
            if name not in CLINICAL_VARIABLES:
                hint = did_you_mean(name, CLINICAL_VARIABLES)
                raise ValueError(
                    f"unknown variable {name!r}; {hint}; others go to [clinical.extra]"
                )
            _check_unit(name, source.unit)
        absent = [name for name in REQUIRED_VARIABLES if name not in columns]
        if absent:
            raise ValueError(f"a column for {', '.join(absent)}")
        return columns

    @field_validator("extra")
    @classmethod
    def _plain_variables(cls, extra: dict[str, ColumnSource]) -> dict[str, ColumnSource]:
        for name in extra:
            if not _VARIABLE.fullmatch(name) or name in {*CLINICAL_VARIABLES, "tumor_size_cm"}:
                raise ValueError(
                    f"{name!r}: an own name of letters, digits and _, not that of a known variable"
                )
        return extra


class SlidesSection(Record):
    """Where slides are: a table, or a folder and a pattern of file names."""

    file: str | None = None
    dir: str | None = None
    pattern: str | None = None
    encoding: str | None = None
    mpp: float | None = Field(
        None, gt=0, le=20, description="micrometres a pixel of slides that do not say it"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        folder = self.dir is not None and self.pattern is not None
        if (self.file is not None) == folder or (self.dir is None) != (self.pattern is None):
            raise ValueError("either file, or both dir and pattern")
        if self.pattern is not None and self.pattern.count("{patient_id}") != 1:
            raise ValueError("a pattern that holds {patient_id} once, like '{patient_id}*.svs'")
        return self


class ExcludeRule(Record):
    """Patients who leave, and why; grammar in `crpnet_bench.filters`."""

    rule: str = Field(min_length=1)
    reason: str = Field(min_length=1)


class CohortManifest(Record):
    """A whole `cohort.toml`."""

    cohort: CohortSection
    outcome: OutcomeSection
    clinical: ClinicalSection
    further_outcomes: tuple[FurtherOutcome, ...] = ()
    slides: SlidesSection | None = None
    exclude: tuple[ExcludeRule, ...] = ()
    scores: dict[str, dict[str, CellValue]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _endpoints_differ(self) -> Self:
        endpoints = [self.outcome.endpoint, *(more.endpoint for more in self.further_outcomes)]
        twice = sorted({name for name in endpoints if endpoints.count(name) > 1})
        if twice:
            raise ValueError(f"each endpoint once; {', '.join(twice)} appears twice")
        return self


Identifier = Annotated[str, Field(min_length=1, max_length=128)]


class Patient(Record):
    """One patient at baseline; the tumour's variables are those of the index tumour."""

    patient_id: Identifier
    tumor_no: str | None = None
    age: float | None = Field(None, ge=0, le=120)
    sex: Literal["male", "female"] | None = None
    pT: str | None = None  # noqa: N815 - the field's own name
    pN: str | None = None  # noqa: N815 - the field's own name
    M: str | None = None
    m1_ned: bool | None = None
    grade: int | None = Field(None, ge=1, le=4)
    tumor_size_cm: float | None = Field(None, gt=0, le=50)
    necrosis: bool | None = None
    sarcomatoid: bool | None = None
    rhabdoid: bool | None = None
    ecog: int | None = Field(None, ge=0, le=5)
    symptoms: Literal["none", "local", "systemic"] | None = None
    site: str | None = Field(None, max_length=128)
    extra: dict[str, float | str | None] = Field(default_factory=dict)

    @field_validator("patient_id")
    @classmethod
    def _plain_text(cls, text: str) -> str:
        if _CONTROL.search(text) or formula_like(text):
            raise ValueError("plain text without control characters or a formula's sign in front")
        return text


class Outcome(Record):
    """One endpoint of one patient: months from the origin, and how it ended."""

    patient_id: Identifier
    endpoint: Endpoint
    time_months: float = Field(ge=0, le=1_500, allow_inf_nan=False)
    status: Literal[0, 1, 2]  # 0 censored, 1 event, 2 competing death
    components: dict[str, bool | None] = Field(default_factory=dict)


class Slide(Record):
    """One slide file of a patient."""

    patient_id: Identifier
    path: str = Field(min_length=1, max_length=4_096)
    mpp: float | None = Field(None, gt=0, le=20, allow_inf_nan=False)
    specimen: Literal["tumour", "normal"] = "tumour"
    preparation: Literal["ffpe", "frozen"] = "ffpe"
    tumor_no: str | None = None


class SplitRow(Record):
    """One line of a split file."""

    patient_id: Identifier
    repeat: int = Field(ge=0, le=9_999)
    fold: int = Field(ge=0, le=9_999)
    role: Literal["train", "validation", "test"]


def formula_like(text: str) -> bool:
    """Whether a spreadsheet would run this text: it starts with =, +, @ or -.

    >>> [formula_like(text) for text in ("=1+1", "@SUM(A1)", "-cmd", "-5.2", "P-01")]
    [True, True, True, False, False]
    """
    if text[:1] in {"=", "@"}:
        return True
    return text[:1] in {"+", "-"} and re.fullmatch(r"[-+]\d*\.?\d*", text) is None


def months(time: float, unit: str) -> float:
    """A time in months: days / 30.4375, years x 12.

    >>> months(365.25, "days"), months(2, "years"), months(7.5, "months")
    (12.0, 24.0, 7.5)
    """
    return {"days": time / DAYS_PER_MONTH, "months": time, "years": time * 12.0}[unit]


def _check_unit(name: str, unit: str | None) -> None:
    if unit is None:
        return
    known = UNITS.get(name, ())
    if unit not in known:
        expected = f"one of {', '.join(known)}" if known else "no unit for this variable"
        raise ValueError(f"{name}: unit {unit!r}; {expected}")
