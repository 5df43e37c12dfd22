"""The file format: what is refused, and how the message helps."""

from __future__ import annotations

from pathlib import Path

import pytest

from crpnet_bench.audit import load_paper, shipped_cohort
from crpnet_bench.errors import NotFoundError, ValidationError


def refuse(tmp_path: Path, text: str) -> str:
    file = tmp_path / "paper.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValidationError) as caught:
        load_paper(file)
    return str(caught.value)


CLASSIFIER = """
[[classifier]]
model = "A"
group = "test"
place = "Table 2"
n = 100
events = 30
"""


def test_unknown_key_names_the_nearest_known_one(tmp_path: Path):
    message = refuse(tmp_path, CLASSIFIER + 'acuracy = "90.00%"')
    assert "classifier 1: acuracy" in message
    assert "did you mean 'accuracy'?" in message


def test_unknown_key_in_a_nested_entry(tmp_path: Path):
    message = refuse(tmp_path, CLASSIFIER + '[[classifier.again]]\nplase = "text"\nfn = "3"')
    assert "did you mean 'place'?" in message


def test_unknown_section(tmp_path: Path):
    assert "did you mean 'hazard_ratio'?" in refuse(tmp_path, '[[hazard_ratios]]\nvariable = "x"')


def test_all_problems_are_listed_at_once(tmp_path: Path):
    message = refuse(tmp_path, CLASSIFIER + 'accuracy = 0.9\nrecall = "93"\nauc = "0.8"')
    assert "3 problems" in message
    assert "in quotes" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[sum]]\nwhat = "n"\nplace = "p"\ntotal = "3"\n', "parts"),
        (CLASSIFIER.replace("30", "130"), "events: at most n = 100"),
        ('[[bound]]\nwhat = "n"\nplace = "p"\nvalue = "3"\n', "at_most or at_least"),
        (
            '[[baseline]]\ngroup="g"\nplace="p"\ncolumns=["a","b"]\nn=["1"]\n',
            "2 numbers, one a column",
        ),
        (
            '[[baseline]]\ngroup="g"\nplace="p"\ncolumns=["a","b"]\nn=["1","2"]\n'
            '[[baseline.row]]\nname="Sex"\nlevels.M=["1"]\n',
            "2 cells a line",
        ),
        ("not toml at all", "TOML in UTF-8"),
    ],
)
def test_impossible_entries(tmp_path: Path, text: str, expected: str):
    assert expected in refuse(tmp_path, text)


def test_missing_file(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no such file"):
        load_paper(tmp_path / "absent.toml")


def test_unknown_shipped_cohort():
    with pytest.raises(NotFoundError, match="does not come with"):
        shipped_cohort("elsewhere")
