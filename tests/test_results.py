from __future__ import annotations

import pandas as pd
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.results import (
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    conform,
    read_record,
    read_table,
    write_atomically,
    write_table,
)


def test_conform_fills_absent_columns_with_missing_not_zero():
    frame = conform(pd.DataFrame({"patient_id": ["a"], "risk": [0.5]}), PREDICTION_COLUMNS)
    assert list(frame.columns) == list(PREDICTION_COLUMNS)
    assert frame["predicted_class"].isna().all()
    assert frame["risk"].tolist() == [0.5]


def test_conform_refuses_columns_outside_the_contract():
    with pytest.raises(InputError, match="unknown columns"):
        conform(pd.DataFrame({"p_value": [1]}), METRIC_COLUMNS)


def test_conform_refuses_values_of_another_type():
    with pytest.raises(InputError, match="'risk'"):
        conform(pd.DataFrame({"risk": ["high"]}), PREDICTION_COLUMNS)


def test_tables_survive_a_round_trip(tmp_path):
    frame = conform(
        pd.DataFrame({"metric": ["auc"], "value": [0.75], "member": [None]}), METRIC_COLUMNS
    )
    write_table(frame, tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "m.parquet", METRIC_COLUMNS), frame)


def test_a_write_leaves_no_temporary_file(tmp_path):
    write_atomically(tmp_path / "deep" / "a.txt", b"x")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_a_damaged_record_names_the_file_and_the_remedy(tmp_path):
    (tmp_path / "run.json").write_text('{"run_id": "x"')
    with pytest.raises(InputError, match=r"run.json: Invalid JSON.*; expected the record of a run"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_text('{"run_id": 3}')
    with pytest.raises(InputError, match=r"run.json: run_id: .*restore the file"):
        read_record(tmp_path)


def test_a_table_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone.parquet: no such file"):
        read_table(tmp_path / "gone.parquet", METRIC_COLUMNS)
