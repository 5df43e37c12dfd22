"""Files of the Genomic Data Commons to a cohort folder.

Clinical table: the biotab of TCGA (two more header rows) or the portal's `clinical.tsv`.
Endpoints: the TCGA Clinical Data Resource (Liu et al., Cell 173:400, 2018, Table S1); without
it, overall survival from the clinical table. Slides: sample sheet or manifest. Sizes: the
tumour-sample table, which the clinical ones lack.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crpnet_bench.errors import InputError, did_you_mean
from crpnet_bench.registry.barcodes import patient_barcode, read_barcode, site_of
from crpnet_bench.registry.importers.columns import ImportReport, Rows, read_rows, write_csv
from crpnet_bench.registry.recipes import copy_recipe

__all__ = ["CLINICAL_COLUMNS", "RECIPES", "GdcFiles", "import_gdc"]

RECIPES: Mapping[str, str] = {"TCGA-KIRC": "tcga_kirc", "CPTAC-3": "cptac_ccrcc"}
ENDPOINTS = ("OS", "DSS", "DFI", "PFI")
CLINICAL_COLUMNS = (
    "case_id", "age", "sex", "laterality", "pT", "pN", "M", "stage", "grade",
    "max_tumor_dim_cm", "specimen_necrosis_pct", "ecog", "karnofsky", "calcium", "hemoglobin",
    "platelets", "wbc", "neoadjuvant", "site", "tnm_edition",
    *(column for endpoint in ENDPOINTS for column in (endpoint, f"{endpoint}.time")),
)  # fmt: skip
SLIDE_COLUMNS = ("patient_id", "path", "specimen", "preparation")

# Our column -> names in the TCGA biotab, in GDC's clinical.tsv before and after 2024.
_CLINICAL: Mapping[str, Sequence[str]] = {
    "case_id": (
        "bcr_patient_barcode", "case_submitter_id", "cases.submitter_id", "submitter_id",
    ),
    "project": ("project_id", "project.project_id"),
    "organ": (
        "tissue_or_organ_of_origin", "diagnoses.tissue_or_organ_of_origin", "tumor_tissue_site",
    ),
    "age": ("age_at_initial_pathologic_diagnosis", "age_at_index", "demographic.age_at_index"),
    "age_days": ("age_at_diagnosis", "diagnoses.age_at_diagnosis"),
    "sex": ("gender", "demographic.gender", "sex_at_birth", "demographic.sex_at_birth"),
    "laterality": ("laterality", "diagnoses.laterality"),
    "pT": ("ajcc_tumor_pathologic_pt", "ajcc_pathologic_t", "diagnoses.ajcc_pathologic_t"),
    "pN": ("ajcc_nodes_pathologic_pn", "ajcc_pathologic_n", "diagnoses.ajcc_pathologic_n"),
    "M": ("ajcc_metastasis_pathologic_pm", "ajcc_pathologic_m", "diagnoses.ajcc_pathologic_m"),
    "stage": (
        "ajcc_pathologic_tumor_stage", "ajcc_pathologic_stage", "diagnoses.ajcc_pathologic_stage",
        "tumor_stage",
    ),
    "grade": ("tumor_grade", "neoplasm_histologic_grade", "diagnoses.tumor_grade"),
    "tnm_edition": (
        "ajcc_staging_edition", "ajcc_staging_system_edition",
        "diagnoses.ajcc_staging_system_edition",
    ),
    "ecog": ("ecog_score", "eastern_cancer_oncology_group"),
    "karnofsky": ("karnofsky_score", "karnofsky_performance_score"),
    "calcium": ("serum_calcium_level",),
    "hemoglobin": ("hemoglobin_level",),
    "platelets": ("platelet_count",),
    "wbc": ("white_cell_count",),
    "neoadjuvant": ("history_neoadjuvant_treatment", "diagnoses.prior_treatment"),
    "vital": ("vital_status", "demographic.vital_status"),
    "death": ("death_days_to", "days_to_death", "demographic.days_to_death"),
    "contact": (
        "last_contact_days_to", "days_to_last_follow_up", "diagnoses.days_to_last_follow_up",
    ),
}  # fmt: skip
_CDR: Mapping[str, Sequence[str]] = {
    "case_id": ("bcr_patient_barcode",),
    "type": ("type",),
    **{column: (column,) for endpoint in ENDPOINTS for column in (endpoint, f"{endpoint}.time")},
}
_CDR_SHEET = "TCGA-CDR"
_TUMOR_SAMPLE: Mapping[str, Sequence[str]] = {
    "case_id": ("bcr_patient_barcode", "patient.bcr_patient_barcode", "case_id"),
    "max_tumor_dim_cm": (
        "maximum_tumor_dimension", "patient.tumor_samples.tumor_sample.maximum_tumor_dimension",
        "max_tumor_dim_cm",
    ),
    "specimen_necrosis_pct": (
        "tumor_necrosis_percent", "patient.tumor_samples.tumor_sample.tumor_necrosis_percent",
        "specimen_necrosis_pct",
    ),
}  # fmt: skip
_SHEET: Mapping[str, Sequence[str]] = {
    "file_id": ("File ID", "id"),
    "file": ("File Name", "filename"),
    "project": ("Project ID",),
    "case_id": ("Case ID",),
    "sample_type": ("Sample Type", "Tissue Type"),
}


@dataclass(frozen=True, slots=True)
class GdcFiles:
    """The raw files of one import.

    Attributes:
        clinical: biotab of the patients, or `clinical.tsv`.
        cdr: TCGA-CDR workbook; None means overall survival only.
        slides: sample sheets and manifests.
        tumor_samples: table with the size of each patient's tumour.
    """

    clinical: Path
    cdr: Path | None = None
    slides: Sequence[Path] = ()
    tumor_samples: Path | None = None


def import_gdc(
    files: GdcFiles, out: Path, *, project: str = "TCGA-KIRC", slide_dir: str = "slides"
) -> ImportReport:
    """Write a cohort folder from raw files, on the project's recipe.

    Args:
        files: what was downloaded.
        out: the new cohort folder; it must be empty or absent.
        project: `TCGA-KIRC` or `CPTAC-3`.
        slide_dir: where gdc-client put the slides (`<slide_dir>/<file id>/<file name>`),
            relative to `out` or absolute.

    Raises:
        InputError: an unknown project, a file without the columns, or a folder in use.
        ValidationError: a file that cannot be read.
    """
    if project not in RECIPES:
        raise InputError(f"project {project!r}; {did_you_mean(project, RECIPES)}")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; name a new folder")
    patients, notes = _patients(files.clinical, project)
    if files.cdr is not None:
        notes += _add_endpoints(patients, files.cdr, project)
    elif project.startswith("TCGA-"):
        raise InputError(
            "TCGA needs --cdr, the Clinical Data Resource (Liu et al., Cell 2018, Table S1), "
            "for its curated endpoints"
        )
    if files.tumor_samples is not None:
        notes += _add_sizes(patients, files.tumor_samples)
    slides, slide_notes = _slides(files.slides, project, set(patients), slide_dir, out)
    copy_recipe(RECIPES[project], out)
    write_csv(out / "clinical.csv", list(patients.values()), CLINICAL_COLUMNS)
    write_csv(out / "slides.csv", slides, SLIDE_COLUMNS)
    told = (*notes, *slide_notes)
    return ImportReport(out, RECIPES[project], len(patients), len(slides), told)


def _patients(path: Path, project: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    patients: dict[str, dict[str, str]] = {}
    left_out = 0
    for row in read_rows(path, _CLINICAL, ("case_id", "sex")):
        case = _case(row["case_id"], project)
        if case is None:
            continue  # the further header rows of a biotab
        if row.get("project", project) not in {project, ""} or _elsewhere(row.get("organ", "")):
            left_out += 1
            continue
        patients.setdefault(case, {}).update(
            {name: cell for name, cell in _patient(case, row).items() if cell}
        )
    if not patients:
        raise InputError(f"{path.name}: no patient of {project}")
    notes = [f"{left_out} rows of other projects or organs left out"] if left_out else []
    return patients, notes


def _case(text: str, project: str) -> str | None:
    if project.startswith("TCGA-"):
        return patient_barcode(text)
    return text.split(",", maxsplit=1)[0].strip() if text.startswith(("C3L-", "C3N-")) else None


def _elsewhere(organ: str) -> bool:
    return organ != "" and "kidney" not in organ.casefold()


def _patient(case: str, row: Mapping[str, str]) -> dict[str, str]:
    kept = {name: row[name] for name in CLINICAL_COLUMNS if name in row}
    if not kept.get("age") and row.get("age_days"):
        kept["age"] = f"{float(row['age_days']) / 365.25:.2f}"
    for name in ("sex", "laterality", "stage", "neoadjuvant"):
        kept[name] = kept.get(name, "").lower()
    dead = row.get("vital", "").lower() == "dead"
    time = row.get("death", "") if dead else row.get("contact", "")
    survival = {"OS": "1" if dead else "0", "OS.time": time} if time else {}
    return {**kept, **survival, "case_id": case, "site": site_of(case) or ""}


def _add_endpoints(patients: dict[str, dict[str, str]], path: Path, project: str) -> list[str]:
    rows = read_rows(path, _CDR, ("case_id", "type", "PFI", "PFI.time"), sheet=_CDR_SHEET)
    own = {row["case_id"]: row for row in rows if f"TCGA-{row['type']}" == project}
    for case, patient in patients.items():
        for endpoint in ENDPOINTS:  # the curated value, also where it is missing
            for column in (endpoint, f"{endpoint}.time"):
                patient[column] = own.get(case, {}).get(column, "")
    absent = sum(case not in own for case in patients)
    return [f"{absent} patients are not in the TCGA-CDR"] if absent else []


def _add_sizes(patients: dict[str, dict[str, str]], path: Path) -> list[str]:
    known = 0
    for row in read_rows(path, _TUMOR_SAMPLE, ("case_id", "max_tumor_dim_cm")):
        patient = patients.get(patient_barcode(row["case_id"]) or "")
        if patient is not None and not patient.get("max_tumor_dim_cm"):
            patient.update({name: cell for name, cell in row.items() if name != "case_id"})
            known += bool(row["max_tumor_dim_cm"])
    return [f"tumour size known for {known} of {len(patients)} patients"]


def _slides(
    paths: Sequence[Path], project: str, patients: set[str], slide_dir: str, out: Path
) -> tuple[Rows, list[str]]:
    slides: dict[str, dict[str, str]] = {}
    strangers = other = 0
    for path in paths:
        for row in read_rows(path, _SHEET, ("file_id", "file")):
            if _first(row.get("project", project)) != project:
                other += 1
                continue
            slide = _slide(row, project, slide_dir, out)
            if slide["patient_id"] not in patients:
                strangers += 1
            elif slide["path"]:
                slides.setdefault(row["file"], slide)
    notes = [f"{other} files of other projects left out"] if other else []
    if strangers:
        notes.append(f"{strangers} files of patients who are not in the clinical table left out")
    return [slides[name] for name in sorted(slides)], notes


def _slide(row: Mapping[str, str], project: str, slide_dir: str, out: Path) -> dict[str, str]:
    """One slide; a cell of several samples (`A, A`) counts by its first."""
    name = row["file"]
    barcode = read_barcode(name)
    case = _case(_first(row.get("case_id", "")) or name, project) or ""
    kind = _first(row.get("sample_type", "")).lower()
    normal = barcode.specimen == "normal" if barcode else "normal" in kind
    direct = f"{slide_dir}/{name}"
    nested = f"{slide_dir}/{row['file_id']}/{name}"
    return {
        "patient_id": case,
        "path": direct if (out / direct).is_file() else nested,
        "specimen": "normal" if normal else "tumour",
        "preparation": barcode.preparation if barcode else "",
    }


def _first(cell: str) -> str:
    return cell.split(",", maxsplit=1)[0].strip()
