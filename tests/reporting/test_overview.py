from __future__ import annotations

import json
import shutil

import pytest

from crpnet_bench.errors import RegistryError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.reporting import cohort_figures as figures
from crpnet_bench.reporting.external import (
    case_mix,
    compared_sets,
    ledger_table,
    other_cohorts,
    performance_by_set,
    sets_metrics,
)
from crpnet_bench.reporting.names import readable
from crpnet_bench.reporting.overview import (
    attention_points,
    cohorts_table,
    newest_results,
    runs_table,
)
from crpnet_bench.reporting.published import (
    published_figure,
    published_results,
    published_table,
)
from crpnet_bench.reporting.queries import cohort_flow
from crpnet_bench.reporting.run_data import take
from crpnet_bench.stats.follow_up import median_follow_up


def test_the_newest_run_is_told_in_its_own_metrics(home, sample):
    newest = newest_results(home)
    first = newest.tiles[0]
    row = sample.metric("crpnet", "c_index")
    assert first.value == f"{row['value']:.3f}"
    assert f"{row['n']} validation patients, {row['events']} events" in newest.heading
    rival = max(
        sample.metric(model, "c_index")["value"] for model in sample.models if model != "crpnet"
    )
    assert newest.tiles[-1].value == f"{rival:.3f}"


def test_a_result_elsewhere_is_never_the_runs_own(home, tmp_path):
    shutil.copytree(home.root, tmp_path / "home")
    copied = Home(tmp_path / "home")
    record = views.runs(home)[0]
    later = record.model_copy(update={"run_id": "later", "created": "2030-01-01T00:00:00"})
    rows = [frame.assign(run_id="later", role="external") for frame in (
        views.predictions(home, record.run_id), views.metrics(home, record.run_id)
    )]  # fmt: skip
    with Registry(copied).write() as registry:
        registry.import_run(later, *rows)
    assert runs_table(copied).set_index("Run").loc["later", "Result"] == ""
    assert newest_results(copied) is None


def test_cohorts_and_runs_are_listed_with_their_kind(home):
    cohort = cohorts_table(home).iloc[0]
    assert (cohort["Kind"], cohort["Patients"], cohort["Excluded"]) == ("simulated", 149, 1)
    run = runs_table(home).iloc[0]
    assert run["Kind"] == "simulated"
    assert run["Primary"] == "AUC of CRPNet"


def test_what_needs_attention_names_cohort_and_warning(home):
    points = attention_points(home)
    warnings = views.cohort(home, "drawn").warnings
    assert {readable(warning) for warning in warnings} <= set(points["What"])
    assert not points["What"].str.contains("uiss_2002").any()


def test_the_flow_diagram_shows_every_step_and_reason(home):
    flow = cohort_flow(home, "drawn")
    figure = figures.flow_figure(flow, "flow")
    texts = [annotation.text or "" for annotation in figure.plot.layout.annotations]
    assert any("minor" in text and "1 patient," in text for text in texts)
    assert any("149 patients" in text for text in texts)
    assert len(figure.data) == len(flow)


def test_follow_up_is_the_reverse_kaplan_meier(home):
    outcomes = views.outcomes(home, "drawn")
    figure = figures.follow_up_figure(outcomes, "f")
    found = median_follow_up(outcomes["time"].to_numpy(float), outcomes["status"].to_numpy(int))
    assert f"median {found.median:.1f} months" in figure.caption


def test_missing_values_and_distributions_count_everybody(home):
    patients = views.patients(home, "drawn").merge(views.outcomes(home, "drawn"), on="patient_id")
    table = figures.missing_table(patients).set_index("Variable")
    assert table.loc["Necrosis", "Missing"] == int(patients["necrosis"].isna().sum()) > 0
    assert len(figures.missingness_figure(patients, "m").data) == len(table)
    figure = figures.distributions_figure(patients, "d")
    sex = [trace for trace in figure.plot.data if trace.x is not None and "female" in list(trace.x)]
    assert sum(sum(trace.y) for trace in sex) == len(patients)
    assert "patient_id" not in figure.data


def test_zero_and_one_are_not_yes_and_no(home):
    patients = views.patients(home, "drawn").merge(views.outcomes(home, "drawn"), on="patient_id")
    labels = {
        str(label)
        for trace in figures.distributions_figure(
            patients[["patient_id", "ecog", "status"]], "d"
        ).plot.data
        for label in trace.x
    }
    assert labels == {"0", "1", "2"}


# ---------------------------------------------------------------- external


def test_sets_are_compared_without_the_apparent_one(data):
    assert [one.key for one in compared_sets(data)] == ["training-out-of-fold", "validation"]


def test_performance_by_set_counts_events_against_the_hundred_wanted(data):
    samples = [take(data, one) for one in compared_sets(data)]
    table = performance_by_set(data, samples, "crpnet", 60.0)
    assert table["Of 100 wanted"].tolist() == [f"{one.events} %" for one in samples]
    metrics = sets_metrics(samples, "crpnet", "c_index")
    assert metrics["value"].tolist() == [
        one.metric("crpnet", "c_index")["value"] for one in samples
    ]


def test_case_mix_needs_two_sets(data):
    samples = [take(data, one) for one in compared_sets(data)]
    table, caption = case_mix(samples)
    titles = [f"{one.patients_of.title} (n = {one.n})" for one in samples]
    assert list(table)[2:4] == titles
    assert "other patients" in caption
    assert case_mix(samples[:1])[0].empty


def test_the_ledger_and_other_cohorts_are_tables_even_when_empty(home, data):
    assert list(ledger_table(home, data.record).columns)[:2] == ["Cohort", "Looked"]
    assert other_cohorts(home, data.record).empty


# ---------------------------------------------------------------- the article


@pytest.fixture
def compared(tmp_path) -> Home:
    rows = [
        {"part": "Table 1", "group": "validation", "what": "CRPNet AUC", "published": "0.879",
         "recomputed": "0.882", "mark": "matched by construction", "agrees": True,
         "numbers": [0.882], "spread": "", "note": "", "explanation": ""},
        {"part": "Table 1", "group": "validation", "what": "CRPNet FPR", "published": "3.57%",
         "recomputed": "3.571%", "mark": "recomputed from printed counts", "agrees": None,
         "numbers": [0.03571], "spread": "", "note": "n", "explanation": ""},
        {"part": "Table 1", "group": "validation", "what": "CRPNet AUC interval",
         "published": "0.783-0.943", "recomputed": "", "mark": "not determined by the paper",
         "agrees": False, "numbers": [None, 0.79], "spread": "", "note": "",
         "explanation": "(7) why"},
    ]  # fmt: skip
    home = Home(tmp_path)
    (tmp_path / "published").mkdir()
    document = {"what": "what it is", "summary": {"differing": 1}, "rows": rows}
    (tmp_path / "published" / "reproduce.json").write_text(json.dumps(document))
    return home


def test_printed_and_recomputed_numbers_are_on_one_scale(compared):
    found = published_results(compared)
    figure = published_figure(found, "Table 1", "validation")
    assert figure.data["article"].tolist() == pytest.approx([0.879, 0.0357])
    assert figure.data["recomputed"].tolist() == [0.882, 0.03571]
    table = published_table(found, "Table 1", "validation").set_index("Quantity")
    assert table[""].tolist() == ["equal", "", "differs"]
    assert table["Explanation"].tolist() == ["", "n", "(7) why"]


def test_a_home_without_comparison_has_none_and_a_damaged_file_is_named(compared, tmp_path):
    assert published_results(Home(tmp_path / "other")) is None
    path = compared.root / "published" / "reproduce.json"
    path.write_text("{")
    with pytest.raises(RegistryError, match="crpnet-bench reproduce"):
        published_results(compared)
