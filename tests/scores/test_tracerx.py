"""Leibovich from the raw TRACERx Renal table, against the score that it publishes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from crpnet_bench.scores.table import score_table

_COLUMNS = {
    "Subject": "patient_id",
    "T": "pT",
    "N": "pN",
    "M": "M",
    "Fuhrman Grade": "grade",
    "Size of primary tumour (mm)": "tumor_size_mm",
    "Necrosis": "necrosis",
    "Sarcomatoid change (Y/N)": "sarcomatoid",
}
# M0 tumours whose published score is another one: subject -> (published, computed).
# The trace of each stands in docs/scores.md.
DIFFERING = {
    "K099": (7, 6),
    "K110": (5, 4),
    "K150": (2, 1),
    "K156": (10, 9),
    "K167": (6, 5),
    "K169": (7, 8),
    "K176": (2, 3),
    "K245": (5, 6),
    "K304": (9, 8),
    "K306": (1, 0),
    "K446": (9, 11),
}


@pytest.fixture(scope="module")
def tumours(shared_data):
    (path,) = (shared_data / "clinical").glob("TRACERx*.txt")
    table = pd.read_csv(
        path, sep="\t", skiprows=1, dtype=str, keep_default_na=False, encoding="latin-1"
    )
    assert len(table) == 106
    return table


def scored(tumours, **options):
    frame = tumours[list(_COLUMNS)].rename(columns=_COLUMNS)
    return score_table(frame, tnm_edition=7, grading="fuhrman", **options)


def test_m0_agrees_in_71_of_82_and_the_others_are_known(tumours):
    result = scored(tumours)
    localized = tumours["M"] == "0"
    published = tumours["Leibovich score"].astype(int)
    assert localized.sum() == 82
    assert (result["leibovich_2003"] == published)[localized].sum() == 71
    differs = localized & (result["leibovich_2003"] != published)
    pairs = zip(published[differs], result["leibovich_2003"][differs], strict=True)
    assert dict(zip(result["patient_id"][differs], pairs, strict=True)) == DIFFERING


def test_m1_is_not_applicable(tumours):
    result = scored(tumours)
    metastatic = tumours["M"] == "1"
    assert metastatic.sum() == 24
    assert (result["leibovich_2003_reason"][metastatic] == "not applicable: M1").all()
    columns = ["leibovich_2003", "leibovich_2003_group", "leibovich_2003_min", "leibovich_2003_max"]
    assert result.loc[metastatic, columns].isna().all(axis=None)


def test_outside_its_scope_21_of_24_agree(tumours):
    result = scored(tumours, outside_scope=True)
    metastatic = tumours["M"] == "1"
    published = tumours["Leibovich score"].astype(int)
    assert (result["leibovich_2003"] == published)[metastatic].sum() == 21


def test_the_size_in_millimetres_scores_as_in_centimetres(tumours):
    frame = tumours[list(_COLUMNS)].rename(columns=_COLUMNS)
    in_cm = frame.drop(columns="tumor_size_mm").assign(
        tumor_size_cm=frame["tumor_size_mm"].astype(float) / 10
    )
    pd.testing.assert_frame_equal(score_table(frame), score_table(in_cm))


def test_the_documentation_lists_the_differing_tumours_with_their_trace(tumours):
    document = Path(__file__).parents[2].joinpath("docs", "scores.md").read_text(encoding="utf-8")
    result = scored(tumours, outside_scope=True)
    published = tumours["Leibovich score"].astype(int)
    for row in (published != result["leibovich_2003"]).to_numpy().nonzero()[0]:
        expected = [tumours["Subject"][row], f"M{tumours['M'][row]}"]
        expected += [str(published[row]), str(result["leibovich_2003"][row])]
        assert f"| {' | '.join(expected)} |" in document
