from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.imported import ImportedModel, read_risks
from crpnet_bench.benchmark.line_up import load_model
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.errors import ConfigError, RunError, ValidationError
from crpnet_bench.models.base import CohortData
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views


@pytest.fixture
def outside(tmp_path):
    """Writes an outside model's table."""

    def write(text, name="rival.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _data(n=20):
    ids = [f"p{i:02d}" for i in range(n)]
    label = (np.arange(n) % 3 == 0).astype(int)
    outcomes = pd.DataFrame({"time": 10.0, "status": label, "label": label}, index=ids)
    return CohortData(patients=pd.DataFrame(index=pd.Index(ids)), outcomes=outcomes)


def test_the_files_probability_is_taken_as_it_is(outside):
    rows = "\n".join(f"p{i:02d},{i},{i / 20}" for i in range(19))
    table = read_risks(outside(f"patient_id,risk,probability\n{rows}\n"))
    predicted = ImportedModel("imported:rival", table).fit(_data()).predict(_data())
    assert predicted.loc["p05", ["risk", "probability"]].tolist() == [5.0, 0.25]
    assert predicted.loc["p19", ["status", "reason"]].tolist() == [
        "missing",
        "no risk in rival.csv",
    ]


def test_every_bad_cell_is_listed(outside):
    path = outside("patient_id,risk,probability\na,1,0.5\na,2,0.4\nb,x,0.5\nc,1,1.5\nd,,0.2\n")
    with pytest.raises(ValidationError) as caught:
        read_risks(path)
    told = str(caught.value)
    for text in ("row 3, column 'patient_id'", "row 4, column 'risk'", "row 5, column 'prob",
                 "risk and probability both given"):  # fmt: skip
        assert text in told


def test_a_percentage_is_one_problem_a_row(outside):
    with pytest.raises(ValidationError) as caught:
        read_risks(outside("patient_id,risk,probability\na,1,50\nb,2,70%\n"))
    assert len(caught.value.problems) == 2


def test_unknown_columns_are_refused(outside):
    with pytest.raises(ValidationError, match="only the columns patient_id, risk, probability"):
        read_risks(outside("patient_id,risk,fold\na,1,0\n"))


def test_it_is_a_model_like_any_other(new_home, clinical_config, outside):
    home = new_home()
    patients = views.patients(home, "drawn")["patient_id"].tolist()
    rows = "\n".join(f"{patient},{(7 * i) % 11}" for i, patient in enumerate(patients[:-1]))
    path = outside(f"patient_id,risk\n{rows}\n")
    config = clinical_config(models=["ssign", "imported:rival"], imported={"rival": str(path)})
    options = {"device": "cpu", "progress": SilentProgress()}
    finished = run_benchmark(home, config, **options)
    content = path.read_bytes()
    assert finished.record.imported == {"rival": hashlib.sha256(content).hexdigest()}
    assert "imported:rival" in set(finished.metrics["model"])
    assert set(finished.comparisons["model_b"]) == {"imported:rival"}
    place = finished.folder / "folds" / "repeat0-fold0" / "imported-rival" / "model"
    assert load_model(place).table.sha256 == finished.record.imported["rival"]
    path.write_bytes(content + b"zz,1\n")
    with pytest.raises(RunError, match="imported predictions was"):
        run_benchmark(home, config, resume=finished.record.run_id, **options)


def test_risks_of_strangers_are_told(new_home, clinical_config, outside):
    home = new_home()
    patients = views.patients(home, "drawn")["patient_id"].tolist()
    rows = "\n".join(f"{patient},{i % 7}" for i, patient in enumerate([*patients, "Z1"]))
    path = outside(f"patient_id,risk\n{rows}\n")
    config = clinical_config(models=["imported:rival"], imported={"rival": str(path)})
    finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    assert (
        "rival.csv: 1 of 81 patient is not among those included in drawn@1 (Z1); their risks are "
        "not used"
    ) in finished.record.remarks


def test_a_name_needs_its_file(clinical_config):
    with pytest.raises(ConfigError, match="imported:rival is missing in imported"):
        clinical_config(models=["imported:rival"])
