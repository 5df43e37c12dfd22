"""The CRPNet article: the audit finds what arithmetic can find, and nothing else."""

from __future__ import annotations

import pytest

from crpnet_bench.audit import Finding, audit_paper, load_paper, shipped_cohort
from crpnet_bench.audit.classifiers import Table, confusion_tables
from crpnet_bench.audit.intervals import exact_binomial_fit
from crpnet_bench.benchmark.differences import load_differences

ARTICLE = load_paper(shipped_cohort("changhai") / "audit.toml")
FINDINGS = {finding.key: finding for finding in audit_paper(ARTICLE)}


def found(key: str) -> Finding:
    return FINDINGS[key]


def test_arithmetic_finds_these_numbers_of_the_list():
    differences = load_differences()
    serious = [finding.key for finding in FINDINGS.values() if finding.is_finding]
    numbers = {
        entry.number
        for entry in differences
        if entry.number is not None and any(entry.covers(key) for key in serious)
    }
    assert numbers == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 18}


def test_every_arithmetic_entry_of_the_list_is_found():
    wanted = {d.number for d in load_differences() if d.kind == "arithmetic" and d.number}
    assert wanted == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 18}


def test_nothing_is_found_that_the_list_does_not_hold():
    differences = load_differences()
    beyond = [
        finding.key
        for finding in FINDINGS.values()
        if finding.is_finding and not any(entry.covers(finding.key) for entry in differences)
    ]
    assert beyond == []


def test_list_is_numbered_from_1_to_21():
    assert [d.number for d in load_differences() if d.number] == list(range(1, 22))


@pytest.mark.parametrize(
    ("model", "group", "table"),
    [
        ("CRPNet", "training", Table(43, 2, 2, 127)),
        ("UISS", "training", Table(21, 4, 24, 125)),
        ("SSIGN", "training", Table(27, 5, 18, 124)),
        ("Karakiewicz", "training", Table(23, 5, 22, 124)),
        ("CRPNet", "validation", Table(12, 2, 7, 54)),
        ("UISS", "validation", Table(0, 0, 19, 56)),
        ("SSIGN", "validation", Table(10, 4, 9, 52)),
        ("Karakiewicz", "validation", Table(9, 3, 10, 53)),
    ],
)
def test_confusion_matrices_of_table_1(model: str, group: str, table: Table):
    search = confusion_tables(ARTICLE.classifier_of(model, group))
    assert search.best == table
    assert search.ties == 1


def test_38_of_40_cells_of_table_1_follow_from_counts():
    rates = ("accuracy", "precision", "recall", "fpr", "fnr")
    cells = {
        (entry.group, entry.model, name): found(f"classifier/{entry.group}/{entry.model}/{name}")
        for entry in ARTICLE.classifier
        for name in rates
    }
    wrong = {place for place, finding in cells.items() if finding.verdict != "consistent"}
    assert len(cells) == 40
    assert wrong == {("training", "CRPNet", "fnr"), ("validation", "UISS", "precision")}


def test_auc_intervals_are_exact_binomial_but_for_one():
    fits = [exact_binomial_fit(entry.auc, entry.n) for entry in ARTICLE.classifier]
    assert fits.count("at the printed AUC") == 3
    assert fits.count("inside its rounding") == 4
    assert found("auc/training/CRPNet/interval").recomputed == "0.9680-0.9998"


def test_all_twenty_count_rows_reproduce_under_one_rule():
    rows = [
        found(f"baseline/{table.group}/{row.name}/p")
        for table in ARTICLE.baseline
        for row in table.row
        if row.levels is not None
    ]
    assert len(rows) == 20
    assert {finding.verdict for finding in rows} == {"consistent"}


def test_means_reproduce_with_the_test_that_the_variances_ask_for():
    tests = {
        "baseline/training/Age/p": "Welch's t test",
        "baseline/validation/Age/p": "Welch's t test",
        "baseline/validation/BMI (kg/m2)/p": "t test, pooled variance",
    }
    for key, name in tests.items():
        assert found(key).verdict == "consistent"
        assert found(key).explanation == name


def test_sample_size_statements():
    assert found("sample_size/patients for one predictor").recomputed == "9.97"
    assert found("sample_size/predictors that 174 patients allow").recomputed == "17.46"
    assert found("sample_size/patients by ten events per variable").recomputed == "38.67"
    assert found("power/power for an odds ratio of 2").verdict == "consistent"
    needed = {
        "patients for one predictor": "295 for 1 predictor",
        "predictors that 174 patients allow": "326 for 17 predictors",
    }
    for what, size in needed.items():
        assert found(f"sample_size/{what}/all criteria").recomputed == size


def test_widths_of_hazard_ratios_give_the_split_away():
    assert "18 against 1 events" in found("hazard_ratio/validation/CRPNet").explanation
    assert "14 against 5 events" in found("hazard_ratio/validation/SSIGN").explanation
    assert "11 against 8 events" in found("hazard_ratio/validation/WHO/ISUP grade").explanation


def test_c_index_intervals_read_as_one_standard_error():
    told = [found(f"concordance/{g}/CRPNet").explanation for g in ("training", "validation")]
    assert "0.914-0.960" in told[0]
    assert "0.731-0.911" in told[1]


def test_every_finding_names_its_place():
    assert all(finding.place for finding in FINDINGS.values())
