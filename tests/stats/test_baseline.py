"""Tests between groups against R, the article's printed P values, and the baseline table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.stats.baseline import baseline_table
from crpnet_bench.stats.group_tests import (
    count_test,
    mean_test,
    mean_test_from_summary,
    rank_test,
)

R = Path(__file__).parent / "r"
VALUES = pd.read_csv(R / "group_tests.csv", comment="#").set_index("key")

# Supplementary tables 1 (training) and 2 (validation) of the CRPNet article: counts without and
# with recurrence per level, and the P value as printed.
PRINTED_COUNTS = [
    ("training", "gender", [(97, 41), (38, 7)], "0.061"),
    ("training", "smoking", [(122, 43), (13, 5)], "1.000"),
    ("training", "drinking", [(127, 46), (8, 2)], "0.928"),
    ("training", "hypertension", [(72, 31), (63, 17)], "0.177"),
    ("training", "coronary heart disease", [(132, 44), (3, 4)], "0.145"),
    ("training", "diabetes", [(118, 39), (17, 9)], "0.294"),
    (
        "training",
        "T stage",
        [(100, 11), (3, 4), (3, 12), (27, 14), (1, 2), (1, 2), (0, 1), (0, 2)],
        "< 0.001",
    ),
    ("training", "N stage", [(135, 42), (0, 6)], "< 0.001"),
    ("training", "side", [(71, 29), (64, 19)], "0.350"),
    ("training", "grade", [(113, 27), (3, 1), (14, 12), (5, 8)], "< 0.001"),
    ("validation", "gender", [(43, 17), (13, 2)], "0.388"),
    ("validation", "smoking", [(52, 15), (4, 4)], "0.205"),
    ("validation", "drinking", [(52, 16), (4, 3)], "0.507"),
    ("validation", "hypertension", [(25, 6), (31, 13)], "0.318"),
    ("validation", "coronary heart disease", [(56, 18), (0, 1)], "0.253"),
    ("validation", "diabetes", [(52, 18), (4, 1)], "1.000"),
    ("validation", "T stage", [(41, 5), (12, 6), (1, 2), (1, 4), (1, 2)], "< 0.001"),
    ("validation", "N stage", [(55, 19), (1, 0)], "1.000"),
    ("validation", "side", [(25, 11), (31, 8)], "0.318"),
    ("validation", "grade", [(43, 10), (1, 2), (7, 6), (5, 1)], "0.069"),
]


def as_printed(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


@pytest.mark.parametrize(
    ("table", "printed"),
    [(table, printed) for _, _, table, printed in PRINTED_COUNTS],
    ids=[f"{cohort}-{name}" for cohort, name, _, _ in PRINTED_COUNTS],
)
def test_printed_counts_give_the_printed_p(table: list[tuple[int, int]], printed: str) -> None:
    assert as_printed(count_test(table).p_value) == printed


@pytest.mark.parametrize(
    ("mean", "sd", "n", "printed", "method"),
    [
        ([61.37, 64.042], [13.335, 9.0834], [135, 48], "0.128", "Welch's t test"),
        ([59.036, 59.053], [11.954, 5.2965], [56, 19], "0.993", "Welch's t test"),
        ([24.94, 24.514], [3.1616, 2.6147], [56, 19], "0.599", "t test, pooled variance"),
    ],
    ids=["training-age", "validation-age", "validation-bmi"],
)
def test_printed_means_give_the_printed_p(
    mean: list[float], sd: list[float], n: list[int], printed: str, method: str
) -> None:
    test = mean_test_from_summary(mean, sd, n)
    assert as_printed(test.p_value) == printed
    assert test.method == method


def test_counts_equal_r() -> None:
    for key, table in {
        "pearson": [[97, 41], [38, 7]],
        "yates": [[43, 17], [13, 2]],
        "fisher": [[56, 18], [0, 1]],
        "large": [[113, 27], [3, 1], [14, 12], [5, 8]],
    }.items():
        test = count_test(table)
        assert test.p_value == pytest.approx(VALUES.p[key], rel=1e-12)
        if key != "fisher":
            assert test.statistic == pytest.approx(VALUES.statistic[key], rel=1e-12)


def test_means_and_ranks_equal_r() -> None:
    data, untied = pd.read_csv(R / "tied.csv"), pd.read_csv(R / "untied.csv")
    pair = [data.score[data.event == k] for k in (1, 0)]
    three = [data.score[data.group == label] for label in "abc"]
    for key, test in {
        "welch": mean_test(*pair, equal_variance=False),
        "pooled": mean_test(*pair, equal_variance=True),
        "wilcoxon": rank_test(*pair),
        "wilcoxon_exact": rank_test(untied.time[:20], untied.time[20:45]),
        "anova": mean_test(*three, equal_variance=True),
        "welch_anova": mean_test(*three, equal_variance=False),
        "kruskal": rank_test(*three),
    }.items():
        assert test.p_value == pytest.approx(VALUES.p[key], rel=1e-10), key
        assert test.statistic == pytest.approx(VALUES.statistic[key], rel=1e-10), key


def test_tests_that_cannot_be_made_say_why() -> None:
    assert "one level" in count_test([[3, 4], [0, 0]]).reason
    assert "fewer than two" in mean_test([1.0], [2.0, 3.0]).reason
    assert "no variation" in mean_test([1.0, 1.0], [2.0, 2.0]).reason
    assert "all values are equal" in rank_test([1, 1], [1, 1]).reason
    assert "without patients" in rank_test([1, 1], []).reason


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 60
    return pd.DataFrame(
        {
            "age": rng.normal(60, 10, n).round(1),
            "size": np.where(np.arange(n) == 3, np.nan, rng.lognormal(3, 1, n).round(1)),
            "sex": rng.choice(["male", "female"], n),
            "grade": rng.choice([1, 2, 3, 4], n),
            "necrosis": pd.array(rng.choice([True, False, None], n), dtype="boolean"),
            "event": rng.integers(0, 2, n),
        },
        index=np.arange(n)[::-1] * 7,
    )


def test_table_counts_and_describes(frame: pd.DataFrame) -> None:
    table = baseline_table(frame, "event")
    groups = {k: frame[frame.event == k] for k in (0, 1)}
    assert dict(table.groups) == {0: len(groups[0]), 1: len(groups[1])}
    male = table.row("sex", "male")
    assert male.cells[1].count == (groups[1].sex == "male").sum()
    assert male.cells[1].percent == pytest.approx(100 * (groups[1].sex == "male").mean())
    assert male.overall.count == (frame.sex == "male").sum()
    assert table.row("sex").test.p_value == pytest.approx(
        count_test(pd.crosstab(frame.sex, frame.event)).p_value
    )
    age = table.row("age")
    assert age.kind == "mean"
    assert age.cells[0].sd == pytest.approx(groups[0].age.std())
    size = table.row("size")
    assert size.kind == "median"
    known = groups[0]["size"].dropna()
    assert (size.cells[0].q1, size.cells[0].q3) == pytest.approx(
        (known.quantile(0.25), known.quantile(0.75))
    )
    assert table.row("size", "missing").overall.count == 1
    assert [row.level for row in table.rows if row.variable == "grade"] == [1, 2, 3, 4]
    assert table.row("necrosis", "missing").overall.count == frame.necrosis.isna().sum()
    assert list(table.to_frame().columns) == [
        "variable", "level", "0", "1", "overall", "p_value", "test",
    ]  # fmt: skip


def test_labels_may_come_apart_from_the_frame_and_be_missing(frame: pd.DataFrame) -> None:
    labels = pd.Series(["train", None] * 30)
    table = baseline_table(frame, labels, ["age"])
    assert (table.n, table.left_out) == (30, 30)
    assert table.row("age").cells["train"].mean == pytest.approx(frame.age.iloc[::2].mean())
    assert "one group" in table.row("age").test.reason


def test_summaries_can_be_chosen(frame: pd.DataFrame) -> None:
    table = baseline_table(frame, "event", ["age", "grade"], {"age": "median", "grade": "mean"})
    assert table.row("age").kind == "median"
    assert table.row("grade").kind == "mean"


def test_an_all_missing_variable_is_a_row(frame: pd.DataFrame) -> None:
    frame["ecog"] = None
    row = baseline_table(frame, "event", ["ecog"]).row("ecog")
    assert row.kind == "missing"
    assert row.overall.text == "60 (100.0 %)"
    assert row.p_value is None


def test_wrong_names_are_named(frame: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="did you mean 'event'"):
        baseline_table(frame, "evnt")
    with pytest.raises(InputError, match="did you mean 'grade'"):
        baseline_table(frame, "event", ["grad"])
    with pytest.raises(InputError, match="a mean needs numbers"):
        baseline_table(frame, "event", ["sex"], {"sex": "mean"})
    with pytest.raises(InputError, match="lengths differ: outcome 3, frame 60"):
        baseline_table(frame, [0, 1, 0])
