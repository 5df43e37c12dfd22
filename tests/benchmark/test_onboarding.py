from __future__ import annotations

import hashlib
import json
import os
import shutil

import duckdb
import pytest
from typer.testing import CliRunner

from crpnet_bench.benchmark.first_draft import init_cohort
from crpnet_bench.benchmark.onboarding import check_cohort, register_cohort, remove_cohort
from crpnet_bench.cli.cohort import app as cohort_app
from crpnet_bench.cli.split import app as split_app
from crpnet_bench.errors import InputError, NotFoundError, ValidationError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.load import load_cohort
from crpnet_bench.reporting.queries import cohort_baseline, cohort_flow


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


# ---------------------------------------------------------------- register


def test_slides_are_named_by_content(home, cohort_folder):
    done = register_cohort(home, cohort_folder.path)
    assert (done.patients, done.included, done.events, done.slides) == (24, 24, 8, 24)
    slides = views.slides(home, "small").set_index("patient_id")
    assert slides.loc["P05", "slide_id"] == hashlib.sha256(b"content of P05").hexdigest()
    assert len(views.file_hashes(home)) == 24


def test_known_files_are_not_read_again(home, cohort_folder):
    register_cohort(home, cohort_folder.path)
    path = cohort_folder.path / "wsi" / "P05.svs"
    before = path.stat()
    path.write_bytes(b"CONTENT OF P05")  # same size; set the old time back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert register_cohort(home, cohort_folder.path).changed is False
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    again = register_cohort(home, cohort_folder.path)
    assert (again.version, again.changed) == (2, True)  # a slide's content changed


def test_deferred_slides_are_identified_by_registering_again(home, cohort_folder):
    deferred = register_cohort(home, cohort_folder.path, defer_hash=True)
    assert views.slides(home, "small")["slide_id"].str.startswith("pending-").all()
    again = register_cohort(home, cohort_folder.path)
    assert (again.version, again.changed) == (deferred.version, False)
    assert not views.slides(home, "small")["slide_id"].str.startswith("pending-").any()


def test_copies_within_a_patient_are_left_out_and_across_patients_told(home, cohort_folder):
    wsi = cohort_folder.path / "wsi"
    (wsi / "again.svs").write_bytes(b"content of P03")
    (wsi / "P07.svs").write_bytes(b"content of P06")
    cohort_folder.append("slides.csv", "P03,wsi/again.svs\n")
    done = register_cohort(home, cohort_folder.path)
    assert done.slides == 24
    told = " ".join(done.warnings)
    assert "wsi/again.svs has the same content as wsi/P03.svs of P03" in told
    assert "identical content belong to P06 and P07" in told


def test_slides_of_another_cohort_are_told(home, cohort_folder):
    register_cohort(home, cohort_folder.path)
    cohort_folder.replace("cohort.toml", 'name = "small"', 'name = "other"')
    done = register_cohort(home, cohort_folder.path)
    assert any("24 slides are also in cohort 'small'" in text for text in done.warnings)


def test_some_missing_slides_are_told_and_all_missing_refused(home, cohort_folder):
    for name in cohort_folder.ids[:3]:
        (cohort_folder.path / "wsi" / f"{name}.svs").unlink()
    done = register_cohort(home, cohort_folder.path)
    assert any(text.startswith("file not found: wsi/P00.svs, ") for text in done.warnings)
    for path in (cohort_folder.path / "wsi").iterdir():
        path.unlink()
    with pytest.raises(ValidationError, match="none of 24 can be read"):
        register_cohort(home, cohort_folder.path)
    assert register_cohort(home, cohort_folder.path, defer_hash=True).patients == 24


def test_a_refused_cohort_leaves_nothing(home, cohort_folder):
    cohort_folder.replace("clinical.csv", "pT1b", "pT7")
    with pytest.raises(ValidationError, match="found 'pT7'"):
        register_cohort(home, cohort_folder.path)
    assert not home.root.exists()


def test_removal_deletes_rows_and_run_folders(home, cohort_folder):
    register_cohort(home, cohort_folder.path)
    remove_cohort(home, "small")
    assert views.cohorts(home).empty
    assert (cohort_folder.path / "clinical.csv").exists()
    with pytest.raises(NotFoundError):
        remove_cohort(home, "small")


# ---------------------------------------------------------------- check


def test_check_writes_nothing_and_finds_what_no_cell_shows(home, cohort_folder):
    report = check_cohort(home, cohort_folder.path)
    assert report.passed
    assert not home.root.exists()
    # the slides of this folder are text, so their headers cannot be opened
    assert any("wsi/P00.svs" in text for text in report.warnings)


def test_check_finds_copies_within_and_across_cohorts(home, cohort_folder):
    register_cohort(home, cohort_folder.path)
    cohort_folder.replace("cohort.toml", 'name = "small"', 'name = "other"')
    told = " ".join(check_cohort(home, cohort_folder.path).warnings)
    assert "24 slides are also in cohort 'small'" in told  # the very same files
    for path in (cohort_folder.path / "wsi").iterdir():
        path.write_bytes(f"another content, {path.name}".encode())
    wsi = cohort_folder.path / "wsi"
    (wsi / "P01.svs").write_bytes(b"the same content in both")
    (wsi / "P02.svs").write_bytes(b"the same content in both")
    told = " ".join(check_cohort(home, cohort_folder.path).warnings)
    assert "identical content belong to P01 and P02" in told
    assert "also in cohort" not in told
    shutil.copy(wsi / "P01.svs", wsi / "P03.svs")
    (wsi / "P04.svs").write_bytes(b"content of P17")  # of the other cohort's folder
    told = " ".join(check_cohort(home, cohort_folder.path).warnings)
    assert "P01 and P02 and P03" in told
    assert "1 slides are also in cohort 'small'" in told


def test_check_lists_errors_instead_of_raising(home, cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5", "P01,soon")
    report = check_cohort(home, cohort_folder.path)
    assert not report.passed
    assert "found 'soon'" in report.errors[0]


def test_check_tells_another_time_origin_of_the_same_endpoint(home, cohort_folder):
    cohort_folder.replace("cohort.toml", 'kind = "simulated"', 'kind = "real"')
    register_cohort(home, cohort_folder.path, defer_hash=True)
    cohort_folder.replace("cohort.toml", 'name = "small"', 'name = "other"')
    cohort_folder.replace("cohort.toml", 'origin = "surgery"', 'origin = "diagnosis"')
    report = check_cohort(home, cohort_folder.path)
    assert any("RFS from diagnosis here, from surgery in" in text for text in report.warnings)


def test_check_tells_a_slide_without_scale_and_takes_the_manifests(
    home, cohort_folder, shared_data
):
    source = shared_data / "slides" / "TCGA-CR-7395-01A-01-TS1.svs"
    (cohort_folder.path / "wsi" / "plain.svs").symlink_to(source)
    cohort_folder.write("slides.csv", "patient_id,path,mpp\nP00,wsi/plain.svs,\n")
    report = check_cohort(home, cohort_folder.path)
    assert any(text == "mpp unknown: wsi/plain.svs" for text in report.warnings)
    cohort_folder.write("slides.csv", "patient_id,path,mpp\nP00,wsi/plain.svs,0.25\n")
    report = check_cohort(home, cohort_folder.path)
    assert not any("mpp unknown" in text for text in report.warnings)


# ---------------------------------------------------------------- flow and baseline


def test_flow_adds_up(home, cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5,no", "P01,,no")
    cohort_folder.append(
        "cohort.toml", '[[exclude]]\nrule = "age >= 60"\nreason = "sixty or older"\n'
    )
    cohort_folder.replace("slides.csv", "P02,wsi/P02.svs\n", "")
    register_cohort(home, cohort_folder.path)
    flow = cohort_flow(home, "small").set_index("step")
    assert flow.loc["registered", "patients"] == 24
    gone = flow.loc[["excluded"]].set_index("reason")["patients"].to_dict()
    assert gone == {"sixty or older": 4, "RFS: time missing": 1}
    assert flow.loc["included", "patients"] == 19
    assert flow.loc["with slide", ["patients", "slides"]].tolist() == [18, 18]
    assert flow.loc["without slide", "patients"] == 1
    assert flow.loc["scored: ssign", "patients"] == 19
    assert flow.loc["registered", "events"] == 8


def test_baseline_counts_the_cohort_by_outcome(home, cohort_folder):
    register_cohort(home, cohort_folder.path)
    table = cohort_baseline(home, "small")
    female = table[(table["variable"] == "sex") & (table["level"] == "female")].iloc[0]
    # events: P00, P03, ... P21, every other one of them female
    assert female["event"] == "4 (50.0 %)"
    assert female["overall"] == "12 (50.0 %)"
    assert 0 < female["p_value"] <= 1
    with pytest.raises(InputError, match="did you mean 'grade'"):
        cohort_baseline(home, "small", by="grad")


# ---------------------------------------------------------------- init


def test_draft_of_an_unprepared_table_registers(home, tmp_path):
    rows = ["Export of 2021,,,,,,,,", "case,Sex,Age (years),T stage,N,M,ISUP grade,"
            "Max diameter [mm],RFS months,Recurrence,MRN"]  # fmt: skip
    rows += [
        f"x{n},{'fm'[n % 2]},{50 + n},T{1 + n % 3}a,N0,M0,{1 + n % 4},{30 + n},{n + 2},"
        f"{'yes' if n % 3 == 0 else 'no'},{1234560 + n}"
        for n in range(12)
    ]
    (tmp_path / "export.csv").write_text("\n".join(rows))
    draft = init_cohort(tmp_path / "mine", tmp_path / "export.csv")
    assert draft.found["tumor_size"] == "Max diameter [mm]"
    assert draft.found["event"] == "Recurrence"
    text = (tmp_path / "mine" / "cohort.toml").read_text()
    assert 'unit = "mm"' in text
    assert "skip_rows = 1" in text
    assert 'grading = "who_isup"' in text
    assert "MRN" not in text  # personal data is not offered
    loaded = load_cohort(tmp_path / "mine")
    assert loaded.outcomes["status"].sum() == 4
    assert any("'MRN' looks like personal data" in warning for warning in loaded.warnings)
    with pytest.raises(InputError, match="exists"):
        init_cohort(tmp_path / "mine", tmp_path / "export.csv")


def test_draft_names_what_it_did_not_find(tmp_path):
    (tmp_path / "a.csv").write_text("foo,bar\n1,2\n3,4\n")
    draft = init_cohort(tmp_path / "mine", tmp_path / "a.csv", slides=tmp_path)
    assert {doubt.split(":")[0] for doubt in draft.doubts} == {"patient_id", "time", "event"}
    with pytest.raises(ValidationError, match="a column '\\?' for"):
        load_cohort(tmp_path / "mine")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("TRACERx_Renal100_s1_1_clinical.txt", {"patient_id": "Subject", "grade": "Fuhrman Grade"}),
        (
            "TCGA-KIRC_joined_clinical_outcomes_slides.csv",
            {"time": "PFI.time", "event": "PFI", "tumor_size": "max_tumor_dim_cm"},
        ),
    ],
)
def test_draft_of_real_tables(shared_data, tmp_path, file, expected):
    draft = init_cohort(tmp_path / "mine", shared_data / "clinical" / file)
    assert expected.items() <= draft.found.items()


# ---------------------------------------------------------------- commands


def run(app, *arguments, code: int = 0, **options):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_commands_from_registration_to_removal(home, cohort_folder):
    at = ("--home", home.root)
    registered = run(cohort_app, "register", cohort_folder.path, *at, "--json")
    assert json.loads(registered.stdout)["version"] == 1
    assert (
        run(cohort_app, "check", cohort_folder.path, *at).stdout.splitlines()[-1].startswith("0 ")
    )
    listed = json.loads(run(cohort_app, "list", *at, "--json").stdout)
    assert listed[0]["cohort"] == "small"
    made = json.loads(run(split_app, "create", "small", "--seed", 1, *at, "--json").stdout)
    assert made["split"] == "random-70-30"
    splits = json.loads(run(split_app, "list", "small", *at, "--json").stdout)
    assert splits[0]["sha256"] == made["sha256"]
    shown = json.loads(run(cohort_app, "show", "small", *at, "--json").stdout)
    assert shown["splits"][0]["patients"] == 24
    assert "RFS" in run(cohort_app, "show", "small", *at).stdout
    flow = json.loads(run(cohort_app, "flow", "small", *at, "--json").stdout)
    assert flow[0]["patients"] == 24
    assert "age" in run(cohort_app, "baseline", "small", *at).stdout
    run(cohort_app, "remove", "small", *at, code=1, input="n\n")
    assert len(views.cohorts(home)) == 1
    run(cohort_app, "remove", "small", *at, "--yes")
    assert views.cohorts(home).empty


def test_init_and_import_commands_write_folders(home, tmp_path):
    at = ("--home", home.root)
    (tmp_path / "a.csv").write_text("id,RFS months,recurrence\nx,3,1\ny,4,0\n")
    drafted = run(
        cohort_app, "init", tmp_path / "m", "--clinical", tmp_path / "a.csv", *at, "--json"
    )
    assert json.loads(drafted.stdout)["found"]["event"] == "recurrence"
    run(cohort_app, "register", tmp_path / "m", *at)
    (tmp_path / "b.txt").write_text("PATIENT_ID\tOS_MONTHS\tOS_STATUS\nA\t1\t0:LIVING\n")
    imported = run(
        cohort_app, "import", "cbioportal", "--clinical", tmp_path / "b.txt", "--out",
        tmp_path / "o", "--name", "m", *at, "--json",
    )  # fmt: skip
    assert json.loads(imported.stdout)["patients"] == 1
    assert "registering makes its next version" in imported.stderr
    (tmp_path / "c.tsv").write_text(
        "case_submitter_id\tgender\tvital_status\tdays_to_last_follow_up\n"
        "C3L-00001\tmale\tAlive\t100\n"
    )
    run(cohort_app, "import", "gdc", "--project", "CPTAC-3", "--clinical", tmp_path / "c.tsv",
        "--out", tmp_path / "g", *at)  # fmt: skip
    assert (tmp_path / "g" / "cohort.toml").exists()


def test_check_of_a_bad_cohort_exits_1(home, cohort_folder):
    cohort_folder.replace("clinical.csv", "pT1b", "pT7")
    result = run(cohort_app, "check", cohort_folder.path, "--home", home.root, "--json", code=1)
    assert json.loads(result.stdout)["passed"] is False


def test_list_of_an_empty_home_says_how_to_fill_it(home):
    result = run(cohort_app, "list", "--home", home.root)
    assert "nothing is registered yet" in result.stderr


def test_registry_file_is_closed_after_a_command(home, cohort_folder):
    run(cohort_app, "register", cohort_folder.path, "--home", home.root)
    with duckdb.connect(str(home.registry)) as connection:
        assert connection.execute("SELECT count(*) FROM patients").fetchall() == [(24,)]
