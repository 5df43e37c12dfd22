from __future__ import annotations

import pytest

from crpnet_bench.errors import Problem, SlideError, ValidationError, did_you_mean, shorten


def test_a_problem_names_file_row_column_value_and_what_was_expected():
    problem = Problem("clinical.csv", "a grade from 1 to 4", column="Grade", row=7, value="G9")
    assert str(problem) == (
        "clinical.csv, row 7, column 'Grade': found 'G9'; expected a grade from 1 to 4"
    )


def test_a_validation_error_lists_every_problem_on_its_own_line():
    error = ValidationError(
        [Problem("a.csv", "a number", value="x"), Problem("b.csv", "a file")], "cohort 'x'"
    )
    lines = str(error).splitlines()
    assert lines[0] == "cohort 'x': 2 problems, nothing was written"
    assert len(lines) == 3


def test_a_slide_error_carries_reason_and_remedy_apart():
    error = SlideError("mpp unknown", "give mpp in slides.csv")
    assert (error.reason, error.remedy) == ("mpp unknown", "give mpp in slides.csv")


@pytest.mark.parametrize(
    ("word", "told"),
    [("crpnte", "did you mean 'crpnet'?"), ("zzz", "known: crpnet, ssign")],
)
def test_did_you_mean(word, told):
    assert did_you_mean(word, ["ssign", "crpnet"]) == told


def test_a_huge_cell_is_cut_in_a_message():
    assert len(shorten("x" * 10_000_000)) == 80
