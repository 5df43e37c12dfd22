"""Clinical files of cBioPortal to a cohort folder.

Reads the study view's download (`Disease Free (Months)`) and the files of a study
(`data_clinical_patient.txt`, with `#` lines above a header like `DFS_MONTHS`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.registry.cells import plain_number
from crpnet_bench.registry.importers.columns import ImportReport, Rows, read_rows, write_csv
from crpnet_bench.registry.toml_text import Line, Section, toml_text
from crpnet_bench.results import write_atomically

__all__ = ["import_cbioportal"]

# Our column -> names in the study view's download, then in a study's files.
_NAMES: Mapping[str, Sequence[str]] = {
    "patient_id": ("Patient ID", "PATIENT_ID"),
    "study": ("Study ID",),
    "sample_type": ("Sample Type", "SAMPLE_TYPE"),
    "age": ("Diagnosis Age", "AGE", "Age at Diagnosis"),
    "sex": ("Sex", "SEX", "GENDER"),
    "pT": (
        "American Joint Committee on Cancer Tumor Stage Code",
        "AJCC_TUMOR_PATHOLOGIC_PT", "PATH_T_STAGE",
    ),
    "pN": (
        "Neoplasm Disease Lymph Node Stage American Joint Committee on Cancer Code",
        "AJCC_NODES_PATHOLOGIC_PN", "PATH_N_STAGE",
    ),
    "M": (
        "American Joint Committee on Cancer Metastasis Stage Code",
        "AJCC_METASTASIS_PATHOLOGIC_PM", "PATH_M_STAGE",
    ),
    "grade": ("Neoplasm Histologic Grade", "Tumor Grade", "GRADE", "TUMOR_GRADE"),
    "ecog": ("Performance Status", "ECOG", "ECOG_SCORE"),
    "site": ("Tissue Source Site", "TISSUE_SOURCE_SITE", "CENTER"),
    "RFS_months": ("Relapse Free Status (Months)", "RFS_MONTHS"),
    "RFS_status": ("Relapse Free Status", "RFS_STATUS"),
    "DFS_months": ("Disease Free (Months)", "DFS_MONTHS"),
    "DFS_status": ("Disease Free Status", "DFS_STATUS"),
    "PFS_months": ("Progress Free Survival (Months)", "PFS_MONTHS"),
    "PFS_status": ("Progression Free Status", "PFS_STATUS"),
    "DSS_months": ("Months of disease-specific survival", "DSS_MONTHS"),
    "DSS_status": ("Disease-specific Survival status", "DSS_STATUS"),
    "OS_months": ("Overall Survival (Months)", "OS_MONTHS"),
    "OS_status": ("Overall Survival Status", "OS_STATUS"),
}  # fmt: skip
_ENDPOINTS = ("RFS", "DFS", "PFS", "DSS", "OS")  # in order of preference as the primary one
_EVENT_WORDS = frozenset(
    {"recurred/progressed", "recurred", "progression", "progressed", "deceased", "dead",
     "dead with tumor", "yes"}
)  # fmt: skip
_OTHER_WORDS = frozenset(
    {"diseasefree", "disease free", "censored", "living", "alive", "alive or dead tumor free",
     "no"}
)  # fmt: skip
_CODED = re.compile(r"([01]):.*")
_VARIABLES = ("age", "sex", "pT", "pN", "M", "grade", "ecog", "site")
_EVENTS = {
    "RFS": "relapse",
    "DFS": "recurrence or progression as the study recorded it",
    "PFS": "progression or death as the study recorded it",
    "DSS": "death of the disease",
    "OS": "death of any cause",
}


def import_cbioportal(
    files: Sequence[Path], out: Path, *, name: str = "", endpoint: str = ""
) -> ImportReport:
    """Write a cohort folder from clinical files.

    Args:
        files: the study view's download, or patient and sample file of a study; rows are
            joined by patient.
        out: the new cohort folder; it must be empty or absent.
        name: of the cohort; the study's if empty.
        endpoint: RFS, DFS, PFS, DSS or OS; the first that the files hold if empty.

    Raises:
        InputError: no endpoint, an unknown one, or a folder in use.
        ValidationError: a file that cannot be read.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder")
    notes: list[str] = []
    patients = _patients(files, notes)
    rows = list(patients.values())
    known = [e for e in _ENDPOINTS if any(row.get(f"{e}_months") for row in rows)]
    if not known:
        raise InputError(f"no endpoint in these files; expected one of {', '.join(_ENDPOINTS)}")
    if endpoint and endpoint not in known:
        raise InputError(f"endpoint {endpoint!r}; {did_you_mean(endpoint, known)}")
    primary = endpoint or known[0]
    ordered = [primary, *(e for e in known if e != primary)]
    for which in ordered:
        _clean_endpoint(rows, which, notes)
    present = [v for v in _VARIABLES if any(row.get(v) for row in rows)]
    study = next((row["study"] for row in rows if row.get("study")), "cbioportal")
    chosen = name or re.sub(r"[^A-Za-z0-9_-]+", "-", study)
    columns = ["patient_id", *present, *(f"{e}_{p}" for e in ordered for p in ("months", "status"))]
    write_csv(out / "clinical.csv", rows, columns)
    write_atomically(out / "cohort.toml", _manifest(chosen, present, ordered).encode())
    return ImportReport(out, chosen, len(rows), 0, tuple(notes))


def _patients(files: Sequence[Path], notes: list[str]) -> dict[str, dict[str, str]]:
    patients: dict[str, dict[str, str]] = {}
    for path in files:
        rows = read_rows(path, _NAMES, ("patient_id",))
        again = 0
        seen: set[str] = set()
        for row in _primary_first(rows):
            case = row["patient_id"]
            again += case in seen
            seen.add(case)
            held = patients.setdefault(case, {})
            held.update({k: v for k, v in row.items() if v and not held.get(k)})
        if again:
            notes.append(f"{path.name}: {again} further samples joined with their patient")
    patients.pop("", None)
    return patients


def _primary_first(rows: Rows) -> Rows:
    return sorted(
        rows, key=lambda row: not row.get("sample_type", "primary").lower().startswith("primary")
    )


def _clean_endpoint(rows: Rows, endpoint: str, notes: list[str]) -> None:
    """Status to 0 and 1; times that cannot be are emptied and told."""
    time, status = f"{endpoint}_months", f"{endpoint}_status"
    negative: list[str] = []
    unknown: set[str] = set()
    for row in rows:
        number = plain_number(row.get(time, "")) if row.get(time) else None
        if number is not None and number < 0:
            negative.append(row["patient_id"])
            row[time] = ""
        word = row.get(status, "")
        row[status] = _status(word)
        if word and not row[status]:
            unknown.add(word)
    if negative:
        notes.append(f"{endpoint}: negative time taken out for {', '.join(negative)}")
    if unknown:
        raise InputError(
            f"{status}: {', '.join(sorted(unknown))}; expected words such as 1:DECEASED, LIVING"
        )


def _status(word: str) -> str:
    coded = _CODED.fullmatch(word)
    if coded:
        return coded[1]
    plain = word.casefold()
    return "1" if plain in _EVENT_WORDS else "0" if plain in _OTHER_WORDS else ""


def _manifest(name: str, present: Sequence[str], endpoints: Sequence[str]) -> str:
    primary, *further = endpoints
    sections = [
        Section(
            "cohort",
            [
                Line("name", name),
                Line("title", f"cBioPortal study {name}"),
                Line("kind", "real"),
                Line("licence", "see the study's page on cBioPortal"),
                Line("tnm_edition", "unknown"),
                Line("grading", "unknown"),
            ],
        ),
        Section("outcome", _outcome(primary)),
        Section("clinical", [Line("file", "clinical.csv")]),
        Section(
            "clinical.columns",
            [
                Line("patient_id", "patient_id"),
                Line("time", f"{primary}_months"),
                Line("event", f"{primary}_status"),
                *(Line(variable, variable) for variable in present),
            ],
        ),
        *(
            Section(
                "further_outcomes",
                [
                    *_outcome(endpoint),
                    Line("time", f"{endpoint}_months"),
                    Line("event", f"{endpoint}_status"),
                ],
                array=True,
            )
            for endpoint in further
        ),
    ]
    return toml_text(sections)


def _outcome(endpoint: str) -> list[Line]:
    return [
        Line("endpoint", endpoint),
        Line("events", _EVENTS[endpoint]),
        Line("origin", "diagnosis"),
        Line("time_unit", "months"),
    ]
