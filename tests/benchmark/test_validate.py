from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.evaluate import evaluate_run
from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.fold import read_locked
from crpnet_bench.benchmark.ledger import ledger_lines
from crpnet_bench.benchmark.line_up import load_model
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest
from crpnet_bench.benchmark.validate import validate_run
from crpnet_bench.benchmark.validate_files import read_validations
from crpnet_bench.benchmark.validate_results import events_remark
from crpnet_bench.errors import InputError, NotFoundError, RunError
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views

MODELS = ["leibovich_2003", "karakiewicz_refit", "karakiewicz_refit+ssign"]


@pytest.fixture
def other(tmp_path, drawn, write_cohort):
    """Registers another cohort, `elsewhere`."""

    def register(home, patients=None):
        table = drawn(70, 7, prefix="X") if patients is None else patients
        register_cohort(home, write_cohort(tmp_path / "elsewhere", "elsewhere", table))

    return register


def run(home, config):
    return run_benchmark(home, config, device="cpu", progress=SilentProgress())


def validate(home, finished, cohort="elsewhere", **options):
    return validate_run(
        home, finished.record.run_id, cohort, device="cpu", progress=SilentProgress(), **options
    )


def external(home, finished, model):
    rows = views.predictions(home, finished.record.run_id)
    rows = rows[(rows["role"] == "external") & (rows["model"] == model)]
    return rows.set_index("patient_id")


def test_everything_is_locked(new_home, clinical_config, other):
    home = new_home()
    finished = run(home, clinical_config(models=MODELS))
    other(home)
    found = validate(home, finished)
    place = fold_folder(finished.folder, "repeat0-fold0", "karakiewicz_refit")
    locked, model = read_locked(place), load_model(place / "model")
    rows = external(home, finished, "karakiewicz_refit")
    assert len(rows) == 70
    patients = views.patients(home, "elsewhere").set_index("patient_id")
    by_hand = sum(
        coefficient * (_coded(patients, name) - model.means[name])
        for name, coefficient in model.coefficients.items()
    )
    known = rows["status"] == "ok"
    assert known.sum() > 60
    assert rows.loc[known, "risk"].astype(float).to_numpy() == pytest.approx(
        by_hand[rows.index[known]].to_numpy()
    )
    assert set(rows["cutoff"].dropna()) == {locked.cutoff}
    high = rows.loc[known, "risk"] > locked.cutoff
    assert (rows.loc[known, "risk_group"] == np.where(high, "high", "low")).all()
    assert set(found.metrics["model"]) == {*MODELS, "ssign"}
    assert set(found.metrics["role"]) == {"external"}


def _coded(patients, name):
    codes = {
        "pT": lambda v: float(v.removeprefix("p")[1]),
        "pN": lambda v: float(v.removeprefix("p") not in {"N0", "NX"}),
    }
    return patients[name].map(codes.get(name, float)).astype(float)


def test_results_are_stored_and_shown_with_the_run(new_home, clinical_config, other):
    home = new_home()
    finished = run(home, clinical_config(models=MODELS))
    other(home)
    found = validate(home, finished)
    stored = views.metrics(home, finished.record.run_id)
    assert set(stored["role"]) == {"train", "validation", "external"}
    (again,) = read_validations(finished.folder)
    pd.testing.assert_frame_equal(again.metrics, found.metrics)
    assert again.remarks == found.remarks
    evaluated = evaluate_run(home, finished.record.run_id, None)
    rows = evaluated.metrics.query("role == 'external' and metric == 'auc' and model == 'ssign'")
    expected = found.metrics.query("metric == 'auc' and model == 'ssign'")
    assert rows["value"].tolist() == expected["value"].tolist()


def test_the_change_is_that_of_the_metrics(new_home, clinical_config, other):
    """Transport and `metrics` come from the same indices, within sites too."""
    home = new_home()
    finished = run(home, clinical_config(models=MODELS))
    other(home)
    found = validate(home, finished)
    changes = found.transport.query("model == 'ssign'").set_index("metric")
    honest = finished.metrics[~finished.metrics["in_sample"]].query("model == 'ssign'")
    for role, column in (("validation", "internal"), ("train", "training")):
        own = honest[honest["role"] == role].set_index("metric")["value"]
        assert changes[column].tolist() == [own["auc"], own["c_index"]]
    outside = found.metrics.query("model == 'ssign'").set_index("metric")["value"]
    for metric in ("auc", "c_index"):
        row = changes.loc[metric]
        assert row["external"] == outside[metric]
        assert row["external_within_sites"] == outside[f"{metric}_within_sites"]
        assert row["change"] == pytest.approx(row["external"] - row["internal"])
        assert row["training_change"] == pytest.approx(row["external"] - row["training"])


def test_the_link_is_learned_on_out_of_fold_risks(new_home, clinical_config, other):
    home = new_home()
    finished = run(home, clinical_config(models=["karakiewicz_refit"]))
    other(home)
    found = validate(home, finished)
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    rows = rows[(rows["role"] == "train") & ~rows["in_sample"].astype(bool)]
    rows = rows.merge(views.outcomes(home, "drawn"), on="patient_id", suffixes=("", "_of"))
    rows = rows[rows["risk"].notna()]
    link = stats.fit_risk_link(
        rows["time"], (rows["status_of"] == 1).astype(int), rows["risk"].astype(float), 36.0
    )
    shown = external(home, finished, "karakiewicz_refit")
    shown = shown[shown["status"] == "ok"].join(
        views.outcomes(home, "elsewhere").set_index("patient_id"), rsuffix="_of"
    )
    expected = stats.calibration(
        shown["time"].astype(float),
        (shown["status_of"] == 1).astype(int),
        link.probability(shown["risk"].astype(float)),
        36.0,
    )
    at = found.metrics[found.metrics["horizon_months"].eq(36).fillna(value=False)]
    metrics = at.set_index("metric")["value"]
    assert metrics["observed_expected"] == pytest.approx(expected.observed_expected.value)
    assert metrics["calibration_intercept"] == pytest.approx(expected.intercept.value)
    assert metrics["calibration_slope"] == pytest.approx(expected.slope.value)


def test_folds_are_averaged_and_the_result_says_so(new_home, clinical_config, other):
    home = new_home(SplitRequest(method="k-fold", folds=3, name="three"))
    finished = run(home, clinical_config(split="three", models=["karakiewicz_refit"]))
    other(home)
    found = validate(home, finished)
    assert "risk, cut-off and scale are means over the 3 fitted folds of the run" in found.remarks
    places = [
        fold_folder(finished.folder, f"repeat0-fold{fold}", "karakiewicz_refit")
        for fold in range(3)
    ]
    rows = external(home, finished, "karakiewicz_refit")
    assert rows["cutoff"].iloc[0] == pytest.approx(
        np.mean([read_locked(place).cutoff for place in places])
    )
    assert rows["repeat"].eq(0).all()
    assert rows.index.is_unique


def test_every_look_is_in_the_ledger_before_outcomes_are_read(new_home, clinical_config, other):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    other(home)
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    first = validate(home, finished, clock=lambda: noon)
    second = validate(home, finished)
    looks = views.ledger(home).query("command == 'validate'")
    assert looks["cohort"].tolist() == ["elsewhere", "elsewhere"]
    assert "2026-05-01T12:00:00+00:00" in looks["looked"].tolist()
    assert any("look 1 of this run" in text for text in first.remarks)
    assert any("look 2 of this run" in text and "only the first" in text for text in second.remarks)
    assert len(views.predictions(home, finished.record.run_id).query("role == 'external'")) == 70


def test_a_new_version_of_a_cohort_is_not_blind_again(new_home, clinical_config, other, drawn):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    other(home)
    validate(home, finished)
    other(home, drawn(69, 7, prefix="X"))
    found = validate(home, finished)
    assert found.cohort == "elsewhere@2"
    (told,) = (text for text in found.remarks if text.startswith("ledger"))
    assert told.endswith("1 more at other versions of elsewhere; only the first was blind")
    assert "once at other versions of elsewhere" in ledger_lines(home, finished.record)[-1]


def test_other_settings_leave_what_they_do_not_name(new_home, clinical_config, other, tmp_path):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"], tiling={"mpp": 1.0}))
    other(home)
    settings = tmp_path / "other.toml"
    settings.write_text('[encoder]\nprecision = "float32"\n')
    found = validate(home, finished, other_settings=settings)
    told = [text for text in found.remarks if "trained with" in text]
    assert told == ["encoder.precision: trained with 'auto', validated with 'float32'"]


def share_one(home, finished, role, other, drawn):
    """Register another cohort in which one patient is of that role in the run; return the id."""
    split = pd.read_csv(finished.folder / "split.csv")
    shared = split.loc[split["role"] == role, "patient_id"].iloc[0]
    patients = drawn(30, 3, prefix="X")
    patients.loc[4, "patient_id"] = shared
    other(home, patients)
    return shared


def test_shared_patients_are_an_error_and_no_look(new_home, clinical_config, other, drawn):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    trained = share_one(home, finished, "train", other, drawn)
    with pytest.raises(InputError, match=f"shares 1 patient with the training .*{trained}"):
        validate(home, finished, force=True)
    assert views.ledger(home).query("command == 'validate'").empty


def test_the_runs_own_cohort_is_refused(new_home, clinical_config):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    with pytest.raises(InputError, match="trained on this cohort"):
        validate(home, finished, "drawn")


def test_other_tiles_are_refused_unless_told(new_home, clinical_config, other, tmp_path):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    other(home)
    settings = tmp_path / "other.toml"
    settings.write_text("[tiling]\nmpp = 1.0\n[encoder]\nbatch_size = 2\n")
    with pytest.raises(RunError, match=r"tiling.mpp: trained with 0.5, validated with 1.0"):
        validate(home, finished, other_settings=settings)
    found = validate(home, finished, other_settings=settings, force=True)
    assert "tiling.mpp: trained with 0.5, validated with 1.0" in found.remarks
    assert not any("batch_size" in text for text in found.remarks)
    assert "tiling.mpp" in views.ledger(home)["remark"].iloc[-1]


def test_another_endpoint_is_refused_unless_told(new_home, clinical_config, write_cohort, drawn,
                                                 tmp_path):  # fmt: skip
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"], endpoint="OS"))
    folder = write_cohort(tmp_path / "pfi", "elsewhere", drawn(70, 7, prefix="X"))
    text = (folder / "cohort.toml").read_text()
    (folder / "cohort.toml").write_text(text[: text.index("[[further_outcomes]]")])
    register_cohort(home, folder)
    with pytest.raises(NotFoundError, match="has no OS, the run's endpoint; it has RFS"):
        validate(home, finished)
    found = validate(home, finished, force=True)
    assert found.endpoint == "RFS"
    again = evaluate_run(home, finished.record.run_id, None).metrics
    rows = again[(again["role"] == "external") & (again["metric"] == "auc")]
    assert rows["value"].tolist() == found.metrics.query("metric == 'auc'")["value"].tolist()
    assert "endpoint: the run learned OS, this cohort is judged by RFS" in found.remarks


def test_an_outside_model_brings_its_risks_of_the_other_cohort(new_home, clinical_config, other,
                                                               tmp_path):  # fmt: skip
    home = new_home()
    other(home)
    for name in ("drawn", "elsewhere"):
        patients = views.patients(home, name)["patient_id"]
        table = pd.DataFrame({"patient_id": patients, "risk": np.arange(len(patients)) % 9})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    config = clinical_config(
        models=["imported:rival"], imported={"rival": str(tmp_path / "drawn.csv")}
    )
    finished = run(home, config)
    (tmp_path / "drawn.csv").unlink()
    without = validate(home, finished)
    lost = without.metrics.query("metric == 'n_missing'")["value"].iloc[0]
    assert lost == 70
    found = validate(home, finished, imported={"rival": str(tmp_path / "elsewhere.csv")})
    rows = external(home, finished, "imported:rival")
    assert rows["risk"].astype(int).tolist() == [i % 9 for i in range(70)]
    assert found.metrics.query("metric == 'n_missing'")["value"].iloc[0] == 0


def test_patients_known_from_home_are_told(new_home, clinical_config, other, drawn):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    judged = share_one(home, finished, "validation", other, drawn)
    found = validate(home, finished)
    assert any(text.startswith("1 of the patients of elsewhere@1 bear") and judged in text
               for text in found.remarks)  # fmt: skip


def test_events_are_held_against_the_hundred_wanted():
    assert "intervals are wide" in events_remark(24, 80)
    assert "intervals are wide" in events_remark(120, 180)
    assert "intervals" not in events_remark(120, 250)


def test_case_mix_names_both_cohorts(new_home, clinical_config, other):
    home = new_home()
    finished = run(home, clinical_config(models=["ssign"]))
    other(home)
    found = validate(home, finished)
    assert list(found.case_mix.columns) == [
        "variable", "level", "drawn, training", "elsewhere@1", "p_value", "test",
    ]  # fmt: skip
    assert {"age", "grade", "outcome", "median follow-up, months"} <= set(
        found.case_mix["variable"]
    )
    about = json.loads((found.folder / "validation.json").read_text())
    assert about["cohort"] == "elsewhere@1"
