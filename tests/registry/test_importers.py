from __future__ import annotations

from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.registry.importers.cbioportal import import_cbioportal
from crpnet_bench.registry.importers.gdc import GdcFiles, import_gdc
from crpnet_bench.registry.load import LoadedCohort, load_cohort
from crpnet_bench.registry.recipes import recipe_folder


def counts(loaded: LoadedCohort) -> dict[str, int]:
    staying = set(loaded.patients.loc[~loaded.patients["excluded"].astype(bool), "patient_id"])
    primary = loaded.outcomes[loaded.outcomes["primary"].astype(bool)]
    events = staying & set(primary.loc[primary["status"] == 1, "patient_id"])
    used = loaded.slides[~loaded.slides["excluded"].astype(bool)]
    with_slide = staying & set(used["patient_id"])
    return {
        "registered": len(loaded.patients),
        "included": len(staying),
        "events": len(events),
        "with slide": len(with_slide),
        "events with slide": len(events & with_slide),
    }


KIRC = {
    "registered": 537,
    "included": 426,
    "events": 90,
    "with slide": 409,
    "events with slide": 84,
}


# ---------------------------------------------------------------- GDC, small made-up files


@pytest.fixture
def gdc_files(tmp_path: Path) -> GdcFiles:
    header = (
        "bcr_patient_barcode\tgender\tajcc_tumor_pathologic_pt\tajcc_nodes_pathologic_pn\t"
        "ajcc_metastasis_pathologic_pm\ttumor_grade\tage_at_initial_pathologic_diagnosis"
    )
    rows = [header, header, "CDE_ID:1\tCDE_ID:2\tCDE_ID:3\tCDE_ID:4\tCDE_ID:5\tCDE_ID:6\tCDE_ID:7"]
    rows += [
        "TCGA-A3-0001\tMALE\tT1a\tNX\tM0\tG2\t60",
        "TCGA-A3-0002\tFEMALE\tT3a\tN0\tM1\t[Not Available]\t[Discrepancy]",
        "TCGA-B0-0003\tFEMALE\tT2\tN0\tM0\tG3\t51",
    ]
    (tmp_path / "clinical.txt").write_text("\n".join(rows) + "\n")
    book = openpyxl.Workbook()
    book.active.title = "TCGA-CDR"
    for row in (
        ["", "bcr_patient_barcode", "type", "OS", "OS.time", "PFI", "PFI.time"],
        [1, "TCGA-A3-0001", "KIRC", 0, 900, 0, 900],
        [2, "TCGA-A3-0002", "KIRC", 1, 300, 1, 100],
        [3, "TCGA-B0-0003", "KIRC", 0, 700, 1, 365.25],
        [4, "TCGA-ZZ-0009", "BRCA", 1, 1, 1, 1],
    ):
        book.active.append(row)
    book.save(tmp_path / "cdr.xlsx")
    (tmp_path / "sheet.tsv").write_text(
        "File ID\tFile Name\tData Category\tData Type\tProject ID\tCase ID\tSample ID\t"
        "Sample Type\n"
        "u1\tTCGA-A3-0001-01Z-00-DX1.AAAA.svs\tB\tS\tTCGA-KIRC\tTCGA-A3-0001\tx\tPrimary Tumor\n"
        "u2\tTCGA-B0-0003-01A-01-TS1.BBBB.svs\tB\tS\tTCGA-KIRC, TCGA-KIRC\t"
        "TCGA-B0-0003, TCGA-B0-0003\tx, x\tPrimary Tumor, Primary Tumor\n"
        "u3\tTCGA-B0-0003-11Z-00-DX1.CCCC.svs\tB\tS\tTCGA-KIRC\tTCGA-B0-0003\tx\t"
        "Solid Tissue Normal\n"
        "u4\tTCGA-XX-0004-01Z-00-DX1.DDDD.svs\tB\tS\tTCGA-KIRP\tTCGA-XX-0004\tx\tPrimary Tumor\n"
        "u5\tTCGA-XX-0005-01Z-00-DX1.EEEE.svs\tB\tS\tTCGA-KIRC\tTCGA-XX-0005\tx\tPrimary Tumor\n"
    )
    (tmp_path / "sizes.tsv").write_text(
        "bcr_patient_barcode\tmaximum_tumor_dimension\ttumor_necrosis_percent\n"
        "bcr_patient_barcode\tmaximum_tumor_dimension\ttumor_necrosis_percent\n"
        "TCGA-A3-0001\t3.5\t0\nTCGA-B0-0003\t7.0\t10\n"
    )
    return GdcFiles(
        tmp_path / "clinical.txt",
        tmp_path / "cdr.xlsx",
        [tmp_path / "sheet.tsv"],
        tmp_path / "sizes.tsv",
    )


def without_splits(folder: Path) -> LoadedCohort:
    """The recipe's split files name the real patients, these tables do not."""
    for path in (folder / "splits").glob("*.csv"):
        path.unlink()
    return load_cohort(folder)


def test_gdc_files_become_a_cohort(gdc_files, tmp_path):
    report = import_gdc(gdc_files, tmp_path / "out")
    assert (report.patients, report.slides) == (3, 3)
    assert "1 files of other projects left out" in report.notes
    assert "1 files of patients who are not in the clinical table left out" in report.notes
    loaded = without_splits(tmp_path / "out")
    patients = loaded.patients.set_index("patient_id")
    assert patients.loc["TCGA-B0-0003", ["pT", "pN", "grade", "site"]].tolist() == [
        "T2", "N0", 3, "B0",
    ]  # fmt: skip
    assert patients.loc["TCGA-B0-0003", "tumor_size_cm"] == 7.0
    assert pd.isna(patients.loc["TCGA-A3-0002", "age"])
    assert patients.loc["TCGA-A3-0002", "reason"] == "not M0"
    time = loaded.outcomes.set_index(["endpoint", "patient_id"])["time"]
    assert time["PFI", "TCGA-B0-0003"] == pytest.approx(12.0)
    reasons = dict(zip(loaded.slides["path"], loaded.slides["reason"].fillna(""), strict=True))
    assert reasons == {
        "slides/u1/TCGA-A3-0001-01Z-00-DX1.AAAA.svs": "",
        "slides/u2/TCGA-B0-0003-01A-01-TS1.BBBB.svs": "frozen section",
        "slides/u3/TCGA-B0-0003-11Z-00-DX1.CCCC.svs": "normal tissue",
    }


def test_gdc_manifest_serves_as_well_as_the_sample_sheet(gdc_files, tmp_path):
    (tmp_path / "manifest.txt").write_text(
        "id\tfilename\tmd5\tsize\tstate\nu1\tTCGA-A3-0001-01Z-00-DX1.AAAA.svs\t0\t1\tvalidated\n"
    )
    files = GdcFiles(gdc_files.clinical, gdc_files.cdr, [tmp_path / "manifest.txt"])
    assert import_gdc(files, tmp_path / "out").slides == 1


def test_portal_table_of_another_project_gives_overall_survival(tmp_path):
    (tmp_path / "clinical.tsv").write_text(
        "case_submitter_id\tproject_id\tgender\tage_at_diagnosis\tajcc_pathologic_t\t"
        "vital_status\tdays_to_death\tdays_to_last_follow_up\ttissue_or_organ_of_origin\n"
        "C3L-00001\tCPTAC-3\tmale\t21915\tT1a\tAlive\t'--\t730.5\tKidney, NOS\n"
        "C3L-00001\tCPTAC-3\tmale\t21915\tT1a\tAlive\t'--\t730.5\tKidney, NOS\n"
        "C3N-00002\tCPTAC-3\tfemale\t18262.5\tT3a\tDead\t365.25\t100\tKidney, NOS\n"
        "C3N-00003\tCPTAC-3\tfemale\t18262.5\tT3a\tDead\t365.25\t100\tLung, NOS\n"
    )
    report = import_gdc(GdcFiles(tmp_path / "clinical.tsv"), tmp_path / "out", project="CPTAC-3")
    assert report.patients == 2
    (tmp_path / "out" / "slides.csv").write_text("patient_id,path\nC3L-00001,a.svs\n")
    loaded = load_cohort(tmp_path / "out")
    outcomes = loaded.outcomes.set_index("patient_id")
    assert outcomes.loc["C3L-00001", ["time", "status"]].tolist() == [24.0, 0]
    assert outcomes.loc["C3N-00002", ["time", "status"]].tolist() == [12.0, 1]
    assert loaded.patients["age"].tolist() == [60.0, 50.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"project": "TCGA-KIRP"}, "did you mean 'TCGA-KIRC'"),
        ({"cdr": None}, "needs --cdr"),
        ({"clinical": "sizes.tsv"}, "no column for sex"),
        ({"out": "."}, "not empty"),
    ],
)
def test_gdc_refusals(gdc_files, tmp_path, change, message):
    files = GdcFiles(
        tmp_path / change.get("clinical", "clinical.txt"),
        None if "cdr" in change else gdc_files.cdr,
    )
    with pytest.raises(InputError, match=message):
        import_gdc(
            files, tmp_path / change.get("out", "out"), project=change.get("project", "TCGA-KIRC")
        )


# ---------------------------------------------------------------- cBioPortal


def test_cbioportal_study_files_become_a_cohort(tmp_path):
    (tmp_path / "data_clinical_patient.txt").write_text(
        "#Patient\tSex\n#Patient\tSex\n#STRING\tSTRING\n#1\t1\n"
        "PATIENT_ID\tSEX\tAGE\tDFS_STATUS\tDFS_MONTHS\tOS_STATUS\tOS_MONTHS\n"
        "A\tMale\t50\t1:Recurred/Progressed\t10.5\t0:LIVING\t30\n"
        "B\tFemale\t61\t0:DiseaseFree\t-0.5\t1:DECEASED\t12\n"
        "C\tFemale\t70\t0:DiseaseFree\t44\t0:LIVING\t44\n"
    )
    (tmp_path / "data_clinical_sample.txt").write_text(
        "#x\n#x\n#x\n#x\nPATIENT_ID\tSAMPLE_ID\tGRADE\tSAMPLE_TYPE\n"
        "A\tA-06\tG4\tMetastasis\nA\tA-01\tG2\tPrimary\nB\tB-01\tG3\tPrimary\nC\tC-01\tG1\tPrimary\n"
    )
    files = [tmp_path / "data_clinical_patient.txt", tmp_path / "data_clinical_sample.txt"]
    report = import_cbioportal(files, tmp_path / "out", name="mine")
    assert "DFS: negative time taken out for B" in report.notes
    loaded = load_cohort(tmp_path / "out")
    assert loaded.patients.set_index("patient_id")["grade"].to_dict() == {"A": 2, "B": 3, "C": 1}
    assert loaded.patients.set_index("patient_id").loc["B", "reason"] == "DFS: time missing"
    outcomes = loaded.outcomes.set_index(["endpoint", "patient_id"])
    assert outcomes.loc[("DFS", "A"), "status"] == 1
    assert outcomes.loc[("OS", "B"), "status"] == 1
    other = import_cbioportal(files, tmp_path / "os", endpoint="OS")
    assert load_cohort(other.folder).manifest.outcome.endpoint == "OS"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("PATIENT_ID\nA\n", {}, "no endpoint"),
        ("PATIENT_ID\tOS_MONTHS\tOS_STATUS\nA\t1\t0:LIVING\n", {"endpoint": "OSS"}, "did you mean"),
        ("PATIENT_ID\tOS_MONTHS\tOS_STATUS\nA\t1\tperhaps\n", {}, "OS_status: perhaps"),
        ("X\tOS_MONTHS\nA\t1\n", {}, "no column for patient_id"),
    ],
)
def test_cbioportal_refusals(tmp_path, text, options, message):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        import_cbioportal([tmp_path / "a.txt"], tmp_path / "out", **options)


# ---------------------------------------------------------------- recipes


@pytest.mark.parametrize("name", ["tcga_kirc", "cptac_ccrcc"])
def test_recipes_hold_no_patient_rows(name):
    folder = recipe_folder(name)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"cohort.toml", "README.md"} <= files
    assert all(file.startswith("splits/") for file in files - {"cohort.toml", "README.md"})
    for path in (folder / "splits").glob("*.csv"):
        rows = path.read_text().splitlines()
        assert rows[0] == "patient_id,repeat,fold,role"
        assert all(row.startswith("TCGA-") for row in rows[1:])


def test_site_preserved_recipe_splits_keep_sites_whole():
    for path in (recipe_folder("tcga_kirc") / "splits").glob("*site*.csv"):
        split = pd.read_csv(path)
        held = split[split["role"] != "train"]
        folds = held.groupby(held["patient_id"].str[5:7])["fold"].nunique()
        assert folds.eq(1).all(), path.name


# ---------------------------------------------------------------- the real tables


def test_raw_tcga_kirc_files_reproduce_the_joined_table(shared_data, tmp_path):
    clinical = shared_data / "clinical"
    joined = pd.read_csv(
        clinical / "TCGA-KIRC_joined_clinical_outcomes_slides.csv", dtype=str, keep_default_na=False
    ).set_index("case_id")
    sizes = joined[["max_tumor_dim_cm", "specimen_necrosis_pct"]].reset_index()
    sizes.to_csv(tmp_path / "sizes.csv", index=False)
    files = GdcFiles(
        clinical / "nationwidechildrens.org_clinical_patient_kirc.txt",
        clinical / "TCGA-CDR-SupplementalTableS1.xlsx",
        [shared_data / "gdc" / "gdc_sample_sheet_TCGA-RCC_diagnostic_slides.tsv"],
        tmp_path / "sizes.csv",
    )
    report = import_gdc(files, tmp_path / "kirc")
    assert (report.patients, report.slides) == (537, 519)
    loaded = load_cohort(tmp_path / "kirc")
    assert counts(loaded) == KIRC
    made = pd.read_csv(tmp_path / "kirc" / "clinical.csv", dtype=str, keep_default_na=False)
    made = made.set_index("case_id").loc[joined.index]
    for column in ("age", "sex", "pT", "pN", "M", "grade", "ecog", "OS.time", "PFI", "PFI.time"):
        assert [_same(cell) for cell in made[column]] == [_same(cell) for cell in joined[column]]
    # 'stage' of one patient is "[Discrepancy]" in the biotab
    differing = made["stage"].str.lower() != joined["stage"].str.lower()
    assert differing.sum() == 1
    split = set(loaded.splits["split"])
    assert split == {"site-preserved-3", "leave-one-site-out", "random-70-30"}
    assert not any("patients of the cohort are in no fold" in text for text in loaded.warnings)


def _same(cell: str) -> str:
    try:
        return repr(float(cell))
    except ValueError:
        return cell.casefold()


def test_real_cbioportal_download_becomes_a_cohort(shared_data, tmp_path):
    source = shared_data / "clinical" / "cbioportal_kirc_tcga_clinical_data.tsv"
    report = import_cbioportal([source], tmp_path / "out")
    assert report.patients == 537
    assert "DFS: negative time taken out for TCGA-BP-5201, TCGA-CJ-4641" in report.notes
    loaded = load_cohort(tmp_path / "out")
    assert counts(loaded)["included"] == 436  # DFS known for 439 rows, two of them negative


JOINED = """
[cohort]
name = "kirc"
kind = "real"
[outcome]
endpoint = "PFI"
origin = "diagnosis"
time_unit = "days"
[clinical]
file = "FILE"
[clinical.columns]
patient_id = "case_id"
time = "PFI.time"
event = "PFI"
age = "age"
sex = "sex"
pT = "pT"
pN = "pN"
M = "M"
grade = "grade"
tumor_size = "max_tumor_dim_cm"
ecog = "ecog"
[[exclude]]
rule = "M != 'M0' or M is missing"
reason = "not M0"
"""


def test_joined_table_registers_from_a_manifest(shared_data, tmp_path):
    file = shared_data / "clinical" / "TCGA-KIRC_joined_clinical_outcomes_slides.csv"
    (tmp_path / "cohort.toml").write_text(JOINED.replace("FILE", str(file)))
    loaded = load_cohort(tmp_path)
    found = counts(loaded)
    assert (found["registered"], found["included"], found["events"]) == (537, 426, 90)
    primary = loaded.outcomes.set_index("patient_id")
    assert primary.loc["TCGA-A3-3307", "time"] == pytest.approx(1436 / 30.4375)


def test_raw_tracerx_table_registers_as_the_documentation_shows(shared_data, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "cohorts.md").read_text(encoding="utf-8")
    manifest = next(b.split("\n", 1)[1] for b in text.split("```") if 'name = "tracerx"' in b)
    assert len(manifest.strip().splitlines()) <= 25
    source = shared_data / "clinical" / "TRACERx_Renal100_s1_1_clinical.txt"
    (tmp_path / source.name).write_bytes(source.read_bytes())
    (tmp_path / "cohort.toml").write_text(manifest, encoding="utf-8")
    loaded = load_cohort(tmp_path)
    found = counts(loaded)
    assert (found["registered"], found["included"]) == (101, 77)  # 106 tumours of 101 patients
    patients = loaded.patients.set_index("patient_id")
    # the index tumour of K097 is the larger one, whose row leaves age and sex to the other
    assert patients.loc["K097", ["tumor_no", "pT", "tumor_size_cm", "age"]].tolist() == [
        "L", "T1b", 4.3, 45.0,
    ]  # fmt: skip
    leibovich = loaded.scores[loaded.scores["score"] == "leibovich_2003"].set_index("patient_id")
    assert leibovich.loc["K021", "value"] == "6"
    assert leibovich["value"].notna().sum() == 77
