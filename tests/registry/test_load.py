from __future__ import annotations

import json
from pathlib import Path

import pytest

from crpnet_bench.errors import ValidationError
from crpnet_bench.registry.load import load_cohort


def problems_of(path: Path) -> str:
    with pytest.raises(ValidationError) as caught:
        load_cohort(path)
    return str(caught.value)


def test_valid_folder_becomes_rows(cohort_folder):
    loaded = load_cohort(cohort_folder.path)
    assert loaded.name == "small"
    assert len(loaded.patients) == len(loaded.outcomes) == len(loaded.slides) == 24
    first = loaded.patients.iloc[0]
    assert (first["pT"], first["grade"], first["tumor_size_cm"]) == ("T1a", 1, 2.0)
    assert bool(first["necrosis"]) is True
    assert loaded.outcomes["status"].tolist()[:4] == [1, 0, 0, 1]
    assert loaded.outcomes["time"].tolist()[:2] == [3.0, 5.5]
    assert load_cohort(cohort_folder.path / "cohort.toml").fingerprint == loaded.fingerprint


def test_scores_are_computed_for_every_patient(cohort_folder):
    scores = load_cohort(cohort_folder.path).scores
    ssign = scores[scores["score"] == "ssign"].set_index("patient_id")
    # P03: pT3a 2, N0 0, M0 0, 3.5 cm 0, grade 4 3, no necrosis 0
    assert ssign.loc["P03", "value"] == "5"
    assert ssign.loc["P03", "risk"] == 5.0
    trace = json.loads(ssign.loc["P03", "trace"])
    assert {line["input"]: line["points"] for line in trace}["grade"] == 3


def test_every_problem_is_listed_with_its_place(cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5,no", "P01,soon,maybe")
    cohort_folder.replace("clinical.csv", "P02,8.0", "P01,8.0")
    cohort_folder.replace("clinical.csv", ",pT3a,N0,M0,4,35,", ",pT9,N0,M0,7,-3,")
    text = problems_of(cohort_folder.path)
    assert "6 problems, nothing was written" in text
    assert "clinical.csv, row 3, column 'Months': found 'soon'; expected a plain finite" in text
    assert "row 3, column 'Recurrence': found 'maybe'; expected 0 censored" in text
    assert "row 4, column 'Case': found 'P01'; expected each patient once" in text
    assert "row 5, column 'T': found 'pT9'" in text
    assert "row 5, column 'ISUP': found '7'" in text
    assert "row 5, column 'Diameter': found '-3'" in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('patient_id = "Case"', 'patient_id = "Cases"', "did you mean 'Case'?"),
        ('grade = "ISUP"', 'gradee = "ISUP"', "did you mean 'grade'?"),
        ("[slides]", "[slide]", "did you mean 'slides'?"),
        ('file = "clinical.csv"', 'fil = "clinical.csv"', "did you mean 'file'?"),
        ('unit = "mm"}', 'units = "mm"}', "did you mean 'unit'?"),
        ('grade = "ISUP"', 'grade = {column = "ISUP", pattern = "x"}', "this one has 0"),
        ('grade = "ISUP"', 'grade = {column = "ISUP", pattern = "(("}', "no regular expression"),
        ('time_unit = "months"', "time_unit = 3", "'days', 'months' or 'years'"),
        ('kind = "simulated"', 'kind = "imaginary"', "'real', 'simulated' or 'synthetic'"),
        ('time = "Months"\n', "", "a column for time"),
        ('unit = "mm"', 'unit = "inch"', "one of cm, mm"),
        ('name = "small"', 'name = "../x"', "letters, digits"),
        ("[outcome]", "[outcome", "expected TOML"),
        ('file = "slides.csv"', 'dir = "wsi"', "either file, or both dir and pattern"),
        ('file = "clinical.csv"', 'file = "gone.csv"', "no such file"),
        (', unit = "mm"}', "}", "looks like mm"),
        ('time_unit = "months"', 'time_unit = "years"', ""),
    ],
)
def test_manifest_mistakes_are_named(cohort_folder, old, new, message):
    cohort_folder.replace("cohort.toml", old, new)
    if message:
        assert message in problems_of(cohort_folder.path)
    else:
        warned = " ".join(load_cohort(cohort_folder.path).warnings)
        assert "median follow-up of" in warned


def test_impossible_time_unit_is_one_problem(cohort_folder):
    cohort_folder.replace("cohort.toml", 'time_unit = "months"', 'time_unit = "years"')
    rows = cohort_folder.read("clinical.csv").splitlines()
    scaled = [rows[0]] + [
        ",".join([cells[0], str(float(cells[1]) * 30), *cells[2:]])
        for cells in (row.split(",") for row in rows[1:])
    ]
    cohort_folder.write("clinical.csv", "\n".join(scaled))
    text = problems_of(cohort_folder.path)
    assert "1 problem" in text
    assert "another time unit" in text


def test_manifest_that_is_absent(tmp_path):
    assert "a cohort folder with cohort.toml" in problems_of(tmp_path / "nowhere")


def test_exclusions_carry_reasons_and_undetermined_rules_are_told(cohort_folder):
    cohort_folder.replace("clinical.csv", "pT1a,N0,M0,1,20", "pT1a,N0,M1,1,20")
    cohort_folder.replace("clinical.csv", "pT1b,N0,M0,2,25", "pT1b,N0,MX,2,25")
    cohort_folder.replace("clinical.csv", "P02,8.0,no", "P02,,no")
    cohort_folder.append(
        "cohort.toml", '[[exclude]]\nrule = "M == \'M1\'"\nreason = "metastatic at surgery"\n'
    )
    loaded = load_cohort(cohort_folder.path)
    gone = loaded.patients[loaded.patients["excluded"].astype(bool)]
    assert dict(zip(gone["patient_id"], gone["reason"], strict=True)) == {
        "P00": "metastatic at surgery",
        "P02": "RFS: time missing",
    }
    assert any("undetermined for 1 patients" in text for text in loaded.warnings)


def test_rule_with_an_unknown_column_is_a_problem(cohort_folder):
    cohort_folder.append("cohort.toml", '[[exclude]]\nrule = "agee < 3"\nreason = "young"\n')
    assert "did you mean 'age'" in problems_of(cohort_folder.path)


def test_negative_time_is_refused_unless_a_rule_excludes_the_patient(cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5", "P01,-5.5")
    assert "row 3, column 'Months': found -5.5" in problems_of(cohort_folder.path)
    cohort_folder.append("cohort.toml", '[[exclude]]\nrule = "time < 0"\nreason = "no date"\n')
    loaded = load_cohort(cohort_folder.path)
    assert loaded.exclusions["reason"].tolist() == ["no date"]
    assert any("immortal time" in text for text in loaded.warnings)


def test_days_become_months_and_keep_their_origin(cohort_folder):
    cohort_folder.replace("cohort.toml", 'time_unit = "months"', 'time_unit = "days"')
    cohort_folder.replace("clinical.csv", "P01,5.5", "P01,365.25")
    row = load_cohort(cohort_folder.path).outcomes.iloc[1]
    assert row["time"] == pytest.approx(12.0)
    assert (row["time_original"], row["time_unit"], row["origin"]) == (365.25, "days", "surgery")


def test_further_outcomes_and_components_stand_beside_the_primary(cohort_folder):
    cohort_folder.append(
        "cohort.toml",
        '[outcome.components]\nlocal = {column = "Nec", map = {present = true, absent = false}}\n'
        '[[further_outcomes]]\nendpoint = "OS"\norigin = "diagnosis"\ntime_unit = "months"\n'
        'time = "Months"\nevent = {column = "PS"}\n',
    )
    loaded = load_cohort(cohort_folder.path)
    assert loaded.outcomes["endpoint"].value_counts().to_dict() == {"RFS": 24, "OS": 24}
    primary = loaded.outcomes[loaded.outcomes["primary"].astype(bool)]
    assert json.loads(primary["components"].iloc[0]) == {"local": True}
    assert any("differing time origins" in text for text in loaded.warnings)


def test_index_tumour_supplies_the_scores(cohort_folder):
    cohort_folder.replace("clinical.csv", "Centre", "Centre,Tumour")
    text = cohort_folder.read("clinical.csv").splitlines()
    rows = [text[0]] + [row + ",1" for row in text[1:]]
    rows.append("P00,,,,,pT3b,N0,M0,4,15,absent,,,2")
    cohort_folder.write("clinical.csv", "\n".join(rows))
    cohort_folder.replace("cohort.toml", 'site = "Centre"', 'site = "Centre"\ntumor_no = "Tumour"')
    loaded = load_cohort(cohort_folder.path)
    first = loaded.patients.set_index("patient_id").loc["P00"]
    assert (first["tumor_no"], first["pT"], first["tumor_size_cm"]) == ("2", "T3b", 1.5)
    assert (first["age"], first["site"]) == (40.0, "A")  # completed from the other row
    assert loaded.exclusions["level"].tolist() == ["tumor"]
    assert "highest pT, then largest" in loaded.exclusions["reason"][0]


def test_rows_of_one_patient_that_contradict_each_other(cohort_folder):
    cohort_folder.replace("clinical.csv", "Centre", "Centre,Tumour")
    text = cohort_folder.read("clinical.csv").splitlines()
    rows = [text[0]] + [row + ",1" for row in text[1:]]
    rows.append("P00,99,yes,,,pT3b,N0,M0,4,15,absent,,,2")
    cohort_folder.write("clinical.csv", "\n".join(rows))
    cohort_folder.replace("cohort.toml", 'site = "Centre"', 'site = "Centre"\ntumor_no = "Tumour"')
    assert "found 99.0; expected the same as in row 2" in problems_of(cohort_folder.path)


def test_map_otherwise_pattern_and_missing_words(cohort_folder):
    rows = ["Case,First,Last,x"]
    rows += [f"K{n}_L,{'-' if n % 2 else n + 1},{n + 9},a" for n in range(8)]
    cohort_folder.write("clinical.csv", "\n".join(rows))
    manifest = cohort_folder.read("cohort.toml").split("[clinical]")[0]
    cohort_folder.write(
        "cohort.toml",
        manifest
        + """
[clinical]
file = "clinical.csv"
missing = ["-"]
[clinical.columns]
patient_id = {column = "Case", pattern = "(K\\\\d+)"}
time = {column = "First", otherwise = "Last"}
event = {column = "First", map = {"-" = 0, "*" = 1}}
[clinical.extra]
remark = "x"
""",
    )
    loaded = load_cohort(cohort_folder.path)
    assert loaded.patients["patient_id"].tolist()[:2] == ["K0", "K1"]
    assert loaded.outcomes["time"].tolist()[:3] == [1.0, 10.0, 3.0]
    assert loaded.outcomes["status"].tolist()[:3] == [1, 0, 1]


def test_formula_injection_and_odd_identifiers_are_refused(cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,", "=cmd|calc,")
    cohort_folder.replace("clinical.csv", "P02,", ",")
    text = problems_of(cohort_folder.path)
    assert "found '=cmd|calc'" in text
    assert "row 4, column 'Case'; expected a patient's identifier" in text


ARTIFICIAL = """
[source]
citation = "An artificial table for tests; these are no published numbers"
tnm_edition = 6
grading = "fuhrman"

[pT]
T1a = 0
T1b = 1000
T2 = 2000
T3 = 3000
T4 = 4000

[pN]
N0 = 0
"N+" = 100

[M]
M0 = 0
M1 = 10000

[grade]
1 = 0
2 = 1
3 = 2
4 = 3

[symptoms]
none = 0
local = 10
systemic = 20

[tumor_size]
unit = "mm"
size = [0, 100, 200]
points = [0, 0.5, 0.75]

[survival]
unit = "percent"
total_points = [0, 10000, 20000]
year_1 = [100, 90, 80]
year_2 = [100, 80, 60]
year_5 = [100, 50, 10]
year_10 = [100, 40, 0]
"""


def test_scores_take_the_manifests_parameters_and_point_table(cohort_folder):
    cohort_folder.replace("clinical.csv", ",pT3a,N0,M0,4,35,", ",pT4,N0,M0,4,35,")
    cohort_folder.write("points.toml", ARTIFICIAL)
    before = load_cohort(cohort_folder.path)
    cohort_folder.append(
        "cohort.toml",
        '[scores.ssign]\npt4_points = 4\n[scores.karakiewicz]\ntable = "points.toml"\n',
    )
    after = load_cohort(cohort_folder.path)
    value = {
        name: loaded.scores.set_index(["score", "patient_id"])["value"]
        for name, loaded in (("before", before), ("after", after))
    }
    assert int(value["after"]["ssign", "P03"]) - int(value["before"]["ssign", "P03"]) == 4
    assert set(after.scores["score"]) - set(before.scores["score"]) == {"karakiewicz"}
    versions = after.scores.groupby("score")["definition_version"].first()
    assert versions["karakiewicz"].startswith("table sha256:")
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("[scores.ssign]\npt4 = 4\n", "did you mean 'ssign.pt4_points'"),
        ('[scores.ssign]\npt4_points = "four"\n', "a value of type int"),
        ('[scores.karakiewicz]\ntable = "gone.toml"\n', "gone.toml"),
        ('[scores.karakiewicz]\ntable = "clinical.csv"\n', "clinical.csv"),
    ],
)
def test_score_settings_with_mistakes_are_named(cohort_folder, lines, message):
    cohort_folder.append("cohort.toml", lines)
    assert message in problems_of(cohort_folder.path)


def test_a_changed_point_table_is_a_new_fingerprint(cohort_folder):
    cohort_folder.write("points.toml", ARTIFICIAL)
    cohort_folder.append("cohort.toml", '[scores.karakiewicz]\ntable = "points.toml"\n')
    before = load_cohort(cohort_folder.path).fingerprint
    cohort_folder.replace("points.toml", "T4 = 4000", "T4 = 4001")
    assert load_cohort(cohort_folder.path).fingerprint != before


@pytest.mark.parametrize(
    "content", [b"\xff\xfe[cohort]", b"[cohort]\nname = '\xe9'\n", b"a" * 2**21]
)
def test_manifest_that_is_no_text_is_named(cohort_folder, content):
    (cohort_folder.path / "cohort.toml").write_bytes(content)
    assert "expected" in problems_of(cohort_folder.path)


# ---------------------------------------------------------------- slides


def test_frozen_and_normal_slides_are_left_out_with_the_reason(cohort_folder):
    cohort_folder.write(
        "slides.csv",
        "patient_id,path,mpp,specimen,preparation\nP00,a.svs,0.25,Tumor,FFPE\n"
        "P00,b.svs,,normal,\nP01,c.svs,NA,,frozen\nP02,TCGA-A3-3307-01A-01-TS1.svs,,,\n"
        "X99,d.svs,,,\n",
    )
    loaded = load_cohort(cohort_folder.path)
    reasons = dict(zip(loaded.slides["path"], loaded.slides["reason"].fillna(""), strict=True))
    assert reasons == {
        "a.svs": "",
        "b.svs": "normal tissue",
        "c.svs": "frozen section",
        "TCGA-A3-3307-01A-01-TS1.svs": "frozen section",
        "d.svs": "its patient is not in the clinical table",
    }
    told = " ".join(loaded.warnings)
    assert "slides of 1 patients who are not in the table: X99" in told
    assert "23 patients without a usable slide" in told
    assert "TCGA barcode" in told


def test_a_slide_table_without_such_columns_is_used_as_listed_with_a_warning(cohort_folder):
    cohort_folder.write("slides.csv", "patient_id,path\nP00,TCGA-A3-3307-01A-01-TS1.svs\n")
    loaded = load_cohort(cohort_folder.path)
    assert loaded.slides["excluded"].tolist() == [False]
    assert any("TCGA barcode" in text and "used as listed" in text for text in loaded.warnings)


@pytest.mark.parametrize(
    ("slides", "message"),
    [
        ("patient_id,file\nP00,a\n", "a column 'path'"),
        ("patient_id,path\nP00,a.svs\nP01,a.svs\n", "each file once"),
        ("patient_id,path,mpp\nP00,a.svs,-1\n", "micrometres a pixel"),
        ("patient_id,path,preparation\nP00,a.svs,pickled\n", "ffpe or frozen"),
        ("patient_id,path,colour\nP00,a.svs,red\n", "only the columns"),
        ("patient_id,path\n,a.svs\n", "row 2"),
        ("patient_id,path\nQ1,a.svs\n", "none matches"),
    ],
)
def test_slide_table_mistakes_are_named(cohort_folder, slides, message):
    cohort_folder.write("slides.csv", slides)
    assert message in problems_of(cohort_folder.path)


def test_pattern_does_not_give_a_patient_the_slides_of_another(cohort_folder):
    (cohort_folder.path / "wsi" / "P010.svs").write_bytes(b"somebody else")
    (cohort_folder.path / "wsi" / "P01_2.svs").write_bytes(b"a second one")
    cohort_folder.replace(
        "cohort.toml", 'file = "slides.csv"', 'dir = "wsi"\npattern = "{patient_id}*.svs"'
    )
    loaded = load_cohort(cohort_folder.path)
    slides = loaded.slides
    assert "1 files fit no patient: P010.svs" in loaded.warnings
    own = slides.loc[slides["patient_id"] == "P01", "path"].tolist()
    assert own == ["wsi/P01.svs", "wsi/P01_2.svs"]
    assert "wsi/P010.svs" not in set(slides["path"])


# ---------------------------------------------------------------- splits


def test_split_files_are_read_and_checked(cohort_folder):
    rows = [f"{p},0,0,{'train' if n < 16 else 'validation'}"
            for n, p in enumerate(cohort_folder.ids)]  # fmt: skip
    cohort_folder.write("splits/one.csv", "patient_id,repeat,fold,role\n" + "\n".join(rows))
    loaded = load_cohort(cohort_folder.path)
    assert loaded.splits["split"].unique().tolist() == ["one"]
    assert len(loaded.splits["sha256"][0]) == 64
    cohort_folder.append("splits/one.csv", "\nP00,0,0,validation\nZ,0,0,train\nP20,0,0,chief")
    text = problems_of(cohort_folder.path)
    assert "row 28, column 'role': found 'chief'" in text
    cohort_folder.replace("splits/one.csv", "\nP20,0,0,chief", "")
    text = problems_of(cohort_folder.path)
    assert "it is train and validation" in text
    assert "found 'Z'; expected a patient of the cohort" in text


# ---------------------------------------------------------------- suspicions


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("clinical.csv", "Recurrence", "Censored", "sounds like a censoring indicator"),
        ("clinical.csv", "P00,3.0", "P00,0.5", "1 events within 30 days"),
        ("clinical.csv", "P01,5.5", "P01,0", "follow-up of zero"),
        ("cohort.toml", 'origin = "surgery"', 'origin = "diagnosis"', ""),
        ("clinical.csv", "Centre", "date_of_birth", "looks like personal data"),
        ("slides.csv", "wsi/P00.svs", "wsi/19570304_P00.svs", "hold a date"),
    ],
)
def test_what_looks_wrong_is_told(cohort_folder, name, old, new, message):
    cohort_folder.replace(name, old, new)
    manifest = cohort_folder.read("cohort.toml")
    if name == "clinical.csv":
        cohort_folder.write("cohort.toml", manifest.replace(f'"{old}"', f'"{new}"'))
    if "Censored" in new:
        cohort_folder.replace(
            "cohort.toml", '{column = "Censored", map = {"yes" = 1, "no" = 0}}', '"Censored"'
        )
        text = cohort_folder.read("clinical.csv")
        cohort_folder.write("clinical.csv", text.replace(",yes,", ",1,").replace(",no,", ",0,"))
    told = " ".join(load_cohort(cohort_folder.path).warnings)
    assert message in told


def test_inverted_events_are_suspected(cohort_folder):
    cohort_folder.replace("cohort.toml", '{"yes" = 1, "no" = 0}', '{"yes" = 0, "no" = 1}')
    text = cohort_folder.read("clinical.csv")
    for number in range(0, 24, 3):  # the real events come early
        text = text.replace(f"P{number:02d},{3 + 2.5 * number},", f"P{number:02d},2.0,")
    cohort_folder.write("clinical.csv", text)
    assert "event coding looks inverted" in " ".join(load_cohort(cohort_folder.path).warnings)


def test_predictors_from_the_future_are_told(cohort_folder):
    cohort_folder.replace("clinical.csv", "Centre", "days_to_new_tumor_event")
    cohort_folder.replace("cohort.toml", 'site = "Centre"\n', "")
    cohort_folder.append("cohort.toml", '[clinical.extra]\nnte = "days_to_new_tumor_event"\n')
    assert "look into the future" in " ".join(load_cohort(cohort_folder.path).warnings)


@pytest.mark.parametrize(
    ("heading", "cells", "message"),
    [
        ("remark", [f"196{n % 10}-03-1{n % 10}" for n in range(24)], "dates of single persons"),
        ("number", [str(70_123_456 + 37 * n) for n in range(24)], "medical record numbers"),
        ("contact", [f"p{n}@example.org" for n in range(24)], "e-mail addresses"),
        ("Surname", ["x"] * 24, "personal data"),
    ],
)
def test_personal_data_in_any_column_is_told_without_its_values(
    cohort_folder, heading, cells, message
):
    rows = cohort_folder.read("clinical.csv").splitlines()
    rows = [f"{row},{cell}" for row, cell in zip(rows, [heading, *cells], strict=True)]
    cohort_folder.write("clinical.csv", "\n".join(rows))
    told = " ".join(load_cohort(cohort_folder.path).warnings)
    assert f"column {heading!r} looks like {message}" in told
    assert cells[0] not in told or cells[0] == "x"


def test_names_in_slide_paths_are_told(cohort_folder):
    cohort_folder.replace("slides.csv", "wsi/P00.svs", "wsi/Meyer_Anna_P00.svs")
    assert "what may be a name" in " ".join(load_cohort(cohort_folder.path).warnings)


def test_kits_like_json_registers_as_documented(cohort_folder):
    records = [
        {
            "case_id": f"case_{n:05d}",
            "age_at_nephrectomy": 40 + n,
            "gender": ("male", "female")[n % 2],
            "body_mass_index": 20.5 + n,
            "comorbidities": {"uncomplicated_diabetes_mellitus": n % 3 == 0},
            "tumor_necrosis": n % 2 == 0,
            "pathology_t_stage": ("1a", "3", "1b")[n % 3],
            "pathology_n_stage": "X",
            "pathology_m_stage": "0",
            "tumor_isup_grade": (1, 2, None, 4)[n % 4],
            "pathologic_size": 3.5 + n,
            "vital_status": ("censored", "dead")[n % 4 == 0],
            "vital_days_after_surgery": 100 * (n + 1),
        }
        for n in range(12)
    ]
    cohort_folder.write("kits.json", json.dumps(records))
    text = (Path(__file__).parents[2] / "docs" / "cohorts.md").read_text(encoding="utf-8")
    block = next(b.split("\n", 1)[1] for b in text.split("```") if '"kits.json"' in b)
    cohort_folder.write(
        "cohort.toml",
        '[cohort]\nname = "kits"\nkind = "real"\ngrading = "who_isup"\n[outcome]\n'
        'endpoint = "OS"\norigin = "surgery"\ntime_unit = "days"\n' + block,
    )
    loaded = load_cohort(cohort_folder.path)
    patients = loaded.patients
    assert patients["pT"].tolist()[:3] == ["T1a", "T3", "T1b"]
    assert patients["grade"].isna().sum() == 3
    assert json.loads(patients["extra"][0]) == {"bmi": 20.5, "diabetes": "true"}
    assert loaded.outcomes["status"].sum() == 3


@pytest.mark.parametrize("text", ["{}", "[1]", "[{", "[" * 100_000])
def test_json_that_is_no_table_is_named(cohort_folder, text):
    cohort_folder.write("a.json", text)
    cohort_folder.replace("cohort.toml", '"clinical.csv"', '"a.json"')
    assert "a.json" in problems_of(cohort_folder.path)
