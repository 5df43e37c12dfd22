"""Every page on drawn patients and on an empty home, through Streamlit's own test harness."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from streamlit.testing.v1 import AppTest

from crpnet_bench.benchmark.evaluate import evaluate_run
from crpnet_bench.benchmark.onboarding import remove_cohort
from crpnet_bench.home import HOME_VARIABLE, Home
from crpnet_bench.registry import views
from crpnet_bench.reporting.published import PUBLISHED_RUN
from crpnet_bench.reporting.tables import format_interval
from crpnet_bench.reporting.terms import EXPLAINED
from crpnet_bench.synthetic.changhai import COHORT_NAME

DASHBOARD = Path(__file__).parents[2] / "dashboard"
PAGES = sorted(path.name for path in (DASHBOARD / "app_pages").glob("*.py"))
RUN = "20260101-000000-drawn-abcdef01"

Opened = Callable[..., AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Opens the app on a home."""
    monkeypatch.syspath_prepend(str(DASHBOARD))

    def start(home: Home, page: str | None = None, **query: str) -> AppTest:
        monkeypatch.setenv(HOME_VARIABLE, str(home.root))
        app = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=120)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        return app.switch_page(f"app_pages/{page}").run() if page else app

    return start


@pytest.fixture
def copied_home(drawn_home: Home, tmp_path: Path) -> Home:
    """A home that a test may damage."""
    shutil.copytree(drawn_home.root, tmp_path / "copy")
    return Home(tmp_path / "copy")


def part_of(app: AppTest, key: str, part: str) -> AppTest:
    """Open one part of a page."""
    return app.button_group(key=key).set_value(part).run()


def hold(app: AppTest) -> None:
    """Nothing went wrong on the page."""
    assert not app.exception, [error.value for error in app.exception]
    assert not app.error, [error.value for error in app.error]


def text_of(app: AppTest) -> str:
    """All words of the page."""
    blocks = (app.markdown, app.caption, app.header, app.info, app.warning, app.error, app.code)
    return "\n".join(str(element.value) for block in blocks for element in block)


def table_of(app: AppTest, place: int = 0):
    """A table of the page, by its first column."""
    frame = app.dataframe[place].value
    return frame.set_index(frame.columns[0])


@pytest.mark.parametrize("page", PAGES)
def test_every_page_and_every_part_opens(opened: Opened, drawn_home: Home, page: str):
    app = opened(drawn_home, page)
    hold(app)
    for group in app.button_group:
        if group.key and group.key.endswith("_part"):
            for part in group.options[1:]:
                hold(part_of(app, group.key, part))


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_home_tells_the_next_command(opened: Opened, empty_home: Home, page: str):
    app = opened(empty_home, page)
    hold(app)
    assert str(empty_home.root) in text_of(app)
    assert any("crpnet-bench" in code.value for code in app.code)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_on_the_articles_simulated_patients(
    opened: Opened, validated_home: Home, page: str
):
    app = opened(validated_home, page, cohort=COHORT_NAME)
    hold(app)
    assert app.selectbox(key="run").value == PUBLISHED_RUN
    for group in app.button_group:
        if group.key and group.key.endswith("_part"):
            for part in group.options[1:]:
                hold(part_of(app, group.key, part))


def test_an_external_cohort_stands_beside_training_and_validation(
    opened: Opened, validated_home: Home
):
    app = opened(validated_home, "external.py", cohort="drawn")
    hold(app)
    shown = table_of(app)
    assert list(shown.index) == ["Training, out-of-fold", "Validation", "External: elsewhere"]
    assert shown.loc["External: elsewhere", "C-index"] != "n/a"
    assert any("looked at once" in warning.value for warning in app.warning)
    change = app.dataframe[-1].value["Validation to external"].iloc[0]
    assert change == "falls by 0.100 (95 % CI 0.020 to 0.180)"
    mix = table_of(part_of(app, "external_part", "Case-mix"))
    assert "External: elsewhere (n = 149)" in mix.columns
    ledger = app.button_group(key="external_part").set_value("Ledger").run().dataframe[0].value
    assert "validate" in set(ledger["Command"])


def test_an_external_cohort_can_be_chosen_on_every_page(opened: Opened, validated_home: Home):
    app = opened(validated_home, "kaplan_meier.py", cohort="drawn", patients="External: elsewhere")
    hold(app)
    assert "External: elsewhere" in text_of(app)
    hold(part_of(app, "km_part", "Side by side"))
    assert len(app.get("plotly_chart")) == 4


def test_a_removed_cohort_is_told_by_the_ledger_only(
    opened: Opened, validated_home: Home, tmp_path: Path
):
    shutil.copytree(validated_home.root, tmp_path / "copy")
    home = Home(tmp_path / "copy")
    remove_cohort(home, "elsewhere")
    app = opened(home, "external.py", cohort="drawn")
    hold(app)
    assert any("not applied to another cohort" in info.value for info in app.info)
    assert "elsewhere" not in text_of(app)
    assert not any("elsewhere" in warning.value for warning in app.warning)
    assert list(table_of(app, 1).index) == ["Training, out-of-fold", "Validation"]
    ledger = part_of(app, "external_part", "Ledger").dataframe[-1].value
    assert any(str(cohort).startswith("elsewhere@") for cohort in ledger["Cohort"])


def test_a_model_without_predictions_for_a_set_says_so(opened: Opened, validated_home: Home):
    app = opened(validated_home, "patients.py", cohort="drawn", patients="External: elsewhere")
    hold(app)
    app.selectbox(key="patient_model").set_value("ssign").run()
    hold(app)
    assert any(i.value == "SSIGN has no predictions for these patients." for i in app.info)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("subgroup", "rule"), [("Grade III-IV", "grade >= 3"), ("Male", "sex == male")]
)
def test_numbers_of_a_filtered_page_equal_the_evaluate_command(
    opened: Opened, drawn_home: Home, subgroup: str, rule: str
):
    app = opened(drawn_home, "classification.py", subgroup=subgroup)
    part_of(app, "class_part", "Table 1")
    hold(app)
    shown = table_of(app)
    metrics = evaluate_run(drawn_home, RUN, rule).metrics
    block = metrics[
        (metrics["subgroup"] == rule)
        & (metrics["role"] == "validation")
        & (metrics["model"] == "crpnet")
        & metrics["member"].isna()
    ].set_index("metric")
    for label, metric, scale, digits in (
        ("AUC", "auc", 1, 3),
        ("Harrell's C-index", "c_index", 1, 3),
        ("Recall, %", "recall", 100, 1),
        ("Hazard ratio per SD of training risk", "hr_per_sd", 1, 2),
    ):
        row = block.loc[metric]
        expected = format_interval(
            row["value"], row["ci_low"], row["ci_high"], scale=scale, digits=digits
        )
        assert shown.loc[label, "CRPNet"] == expected, label
    patients = block.loc["auc"]
    assert f"{patients['n']} patients, {patients['events']} events" in text_of(app)


def test_the_kaplan_meier_page_shows_the_commands_hazard_ratio(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "kaplan_meier.py", subgroup="T1-2")
    rule = "pT in (T1, T1a, T1b, T2, T2a, T2b)"
    metrics = evaluate_run(drawn_home, RUN, rule).metrics
    row = metrics[
        (metrics["subgroup"] == rule)
        & (metrics["role"] == "validation")
        & (metrics["model"] == "crpnet")
        & metrics["member"].isna()
        & (metrics["metric"] == "hr_high_low")
    ].iloc[0]
    assert f"HR {format_interval(row['value'], row['ci_low'], row['ci_high'], digits=2)}" in (
        text_of(app)
    )


# ---------------------------------------------------------------- filters


def test_an_address_opens_the_view_it_names(opened: Opened, drawn_home: Home):
    app = opened(
        drawn_home, patients="Training, apparent", subgroup="Necrosis", run=RUN, cohort="drawn"
    )
    assert app.selectbox(key="patients").value == "training-apparent"
    assert app.selectbox(key="subgroup").value == "Necrosis"
    assert app.query_params["run"] == RUN
    assert app.query_params["cohort"] == "drawn"


def test_an_impossible_address_opens_the_default_view(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, run="no-such-run", cohort="nobody", patients="x", subgroup="'; DROP")
    hold(app)
    assert app.selectbox(key="run").value == RUN
    assert app.selectbox(key="subgroup").value == "All patients"


def test_filters_stay_when_the_page_changes(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "kaplan_meier.py")
    app.selectbox(key="subgroup").select("Grade I-II").run()
    app.switch_page("app_pages/classification.py").run()
    assert app.selectbox(key="subgroup").value == "Grade I-II"
    assert "grade <= 2" in text_of(app)


def test_apparent_results_are_called_too_good(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "comparison.py", patients="Training, apparent")
    assert any("too good" in warning.value for warning in app.warning)
    honest = opened(drawn_home, "comparison.py")
    assert not any("too good" in warning.value for warning in honest.warning)


def test_a_readers_own_rule_is_applied_and_a_wrong_one_is_one_sentence(
    opened: Opened, drawn_home: Home
):
    app = opened(drawn_home, "classification.py")
    app.selectbox(key="subgroup").select("Own rule").run()
    app.text_input(key="where").input("grade >= 3 and age < 70").run()
    hold(app)
    assert "grade >= 3 and age < 70" in text_of(app)
    app.text_input(key="where").input("stage = 3").run()
    assert not app.exception
    assert [error.value.partition(";")[0] for error in app.error] == [
        "rule 'stage = 3': no column 'stage'"
    ]


def test_fewer_than_five_patients_are_not_drawn(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "kaplan_meier.py")
    app.selectbox(key="subgroup").select("Own rule").run()
    app.text_input(key="where").input("age > 85").run()
    assert any("Fewer than 5 patients" in warning.value for warning in app.warning)
    assert not app.get("plotly_chart")


def test_groups_and_cut_offs_can_be_chosen(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "kaplan_meier.py")
    app.selectbox(key="cutoff").select("best").run()
    hold(app)
    assert "corrected for the search" in text_of(app)
    app.selectbox(key="cutoff").select("own").run()
    app.number_input(key="own").set_value(0.5).run()
    assert "no P value" in text_of(app)
    app.selectbox(key="groups").select("SSIGN group").run()
    hold(app)


def test_identifiers_can_be_replaced_by_numbers(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "patients.py")
    ids = set(views.patients(drawn_home, "drawn")["patient_id"])
    assert set(app.dataframe[0].value["Patient"]) <= ids
    app.toggle(key="numbers").set_value(True).run()
    hold(app)
    assert app.dataframe[0].value["Patient"].str.startswith("Patient ").all()
    shown = text_of(app) + " ".join(str(frame.value.to_csv()) for frame in app.dataframe)
    assert not any(one in shown for one in ids)


def test_another_run_of_the_same_cohort_is_not_mixed_up(opened: Opened, second_run: Home):
    shown = {}
    for run in (RUN, "second-run"):
        app = opened(second_run, "cohort.py", run=run)
        part_of(app, "cohort_part", "Follow-up")
        hold(app)
        shown[run] = app.dataframe[0].value.to_csv()
    assert shown[RUN] != shown["second-run"]


def test_figures_and_tables_can_be_taken_away(opened: Opened, drawn_home: Home):
    app = opened(drawn_home, "kaplan_meier.py")
    labels = {button.label for button in app.get("download_button")}
    assert {"Interactive HTML", "Data (CSV)", "CSV"} <= labels


# ---------------------------------------------------------------- a registry in trouble


def _damage_pointer(home: Home) -> None:
    (home.views / "CURRENT").write_bytes(b"\xff\xfe")


def _damage_view(home: Home) -> None:
    for path in home.views.glob("registry-*.duckdb"):
        path.write_bytes(b"no database")


def _lose_view(home: Home) -> None:
    for path in home.views.glob("registry-*.duckdb"):
        path.unlink()


def _set_schema(version: int) -> Callable[[Home], None]:
    def change(home: Home) -> None:
        path = home.views / f"registry-{views.snapshot_number(home)}.duckdb"
        with duckdb.connect(str(path)) as connection:
            connection.execute("UPDATE schema_info SET version = ?", [version])

    return change


@pytest.mark.parametrize(
    ("break_it", "told"),
    [
        (_damage_pointer, "is damaged"),
        (_damage_view, "cannot be read"),
        (_lose_view, "does not exist"),
        (_set_schema(0), "brings it up to date"),
        (_set_schema(99), "update crpnet-bench"),
    ],
    ids=["pointer", "damaged", "missing", "older", "newer"],
)
def test_a_registry_in_trouble_is_one_sentence_and_the_page_recovers(
    opened: Opened, drawn_home: Home, copied_home: Home, break_it: Callable[[Home], None], told: str
):
    break_it(copied_home)
    app = opened(copied_home)
    assert not app.exception
    (error,) = app.error
    assert told in error.value
    assert "\n" not in error.value
    shutil.copytree(drawn_home.views, copied_home.views, dirs_exist_ok=True)
    hold(app.run())
    assert app.metric


def test_a_view_that_another_process_holds_is_one_sentence(opened: Opened, copied_home: Home):
    view = copied_home.views / f"registry-{views.snapshot_number(copied_home)}.duckdb"
    code = f"import duckdb, sys; c = duckdb.connect({str(view)!r}); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline()
        app = opened(copied_home)
        assert not app.exception
        assert [error.value.startswith("The registry cannot be read") for error in app.error] == [
            True
        ]
    finally:
        holder.communicate(b"\n", timeout=30)
    hold(app.run())


# ---------------------------------------------------------------- what pages may reach


def test_no_page_reaches_torch_or_openslide(drawn_home: Home):
    code = f"""
import os, sys
os.environ[{HOME_VARIABLE!r}] = {str(drawn_home.root)!r}
sys.path.insert(0, {str(DASHBOARD)!r})
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(DASHBOARD / "app.py")!r}, default_timeout=120).run()
for page in {PAGES!r}:
    app.switch_page("app_pages/" + page).run()
    assert not app.exception, app.exception[0].value
print(sorted({{"torch", "torchvision", "openslide"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"


# ---------------------------------------------------------------- the threshold


def test_the_locked_threshold_is_marked_and_one_press_brings_it_back(
    opened: Opened, drawn_home: Home
):
    app = part_of(opened(drawn_home, "classification.py"), "class_part", "Threshold")
    slider = app.slider(key="threshold_crpnet")
    assert slider.value == 0.5
    (back,) = [button for button in app.button if "locked" in button.label]
    assert back.disabled
    before = [one.value for one in app.metric]
    slider.set_value(0.2).run()
    hold(app)
    assert [one.value for one in app.metric] != before
    shown = text_of(app)
    assert f"locked classes: {before[0]}" in shown
    assert "the locked threshold, 0.500" in shown
    next(button for button in app.button if "locked" in button.label).click().run()
    assert app.slider(key="threshold_crpnet").value == 0.5
    assert [one.value for one in app.metric] == before


def test_each_model_keeps_its_own_threshold(opened: Opened, drawn_home: Home):
    app = part_of(opened(drawn_home, "classification.py"), "class_part", "Threshold")
    app.slider(key="threshold_crpnet").set_value(0.2).run()
    app.selectbox(key="threshold_model").select("ssign").run()
    hold(app)
    assert app.slider(key="threshold_ssign").value == 0.5


# ---------------------------------------------------------------- text that came with the data


def test_a_picture_in_an_address_is_shown_as_text(opened: Opened, drawn_home: Home):
    picture = "![x](http://example.org/x.png)"
    app = opened(drawn_home, "classification.py", subgroup="Own rule", where=picture)
    assert not app.exception
    (error,) = app.error
    assert "![x]" not in error.value
    assert r"!\[x\]" in error.value
    assert error.value.endswith("All patients are shown.")


@pytest.mark.parametrize("page", [page for page in PAGES if page not in {"published.py"}])
def test_terms_and_the_kind_of_patients_stand_on_every_page(
    opened: Opened, drawn_home: Home, page: str
):
    app = opened(drawn_home, page)
    if page == "cohort.py":
        part_of(app, "cohort_part", "Follow-up")
    told = [one.help for one in (*app.caption, *app.metric) if one.help]
    assert set(told) & set(EXPLAINED.values())
    if app.get("plotly_chart"):
        assert "Simulated patients (drawn)." in text_of(app)
