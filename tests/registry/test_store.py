from __future__ import annotations

import random
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from crpnet_bench.errors import (
    NotFoundError,
    RegistryError,
    RegistryLockedError,
    SchemaVersionError,
    ValidationError,
)
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.load import TABLE_COLUMNS, load_cohort
from crpnet_bench.registry.migrations import SCHEMA_VERSION
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import METRIC_COLUMNS, PREDICTION_COLUMNS, RunRecord, conform


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def registered(home, cohort_folder) -> Home:
    with Registry(home).write() as registry:
        registry.register_cohort(load_cohort(cohort_folder.path))
    return home


def a_run(run_id: str = "r1", cohort: str = "small") -> RunRecord:
    return RunRecord(
        run_id=run_id,
        created="2026-01-01T00:00:00+00:00",
        status="done",
        cohort=cohort,
        cohort_version=1,
        cohort_kind="simulated",
        endpoint="RFS",
        split="one",
        split_sha256="0" * 64,
        models=("ssign",),
        primary_model="ssign",
        primary_metric="auc",
        seed=0,
        device="cpu",
        config_fingerprint="f",
        config={"a": 1},
        environment={},
    )


def predictions_of(run_id: str, cohort: str = "small") -> pd.DataFrame:
    row = {"run_id": run_id, "model": "ssign", "cohort": cohort, "patient_id": "P00", "risk": 1.5}
    row["role"] = "train"
    return conform(pd.DataFrame([row]), PREDICTION_COLUMNS)


def metrics_of(run_id: str, cohort: str = "small") -> pd.DataFrame:
    row = {"run_id": run_id, "model": "ssign", "cohort": cohort, "metric": "auc", "value": 0.7}
    return conform(pd.DataFrame([row]), METRIC_COLUMNS)


# ---------------------------------------------------------------- schema


def test_tables_of_the_registry_hold_the_contracts_columns():
    with Registry.memory() as registry:
        for table, columns in {
            **TABLE_COLUMNS,
            "predictions": PREDICTION_COLUMNS,
            "metrics": METRIC_COLUMNS,
        }.items():
            stored = registry.query(
                "SELECT column_name FROM information_schema.columns WHERE table_name = ?", table
            )
            assert set(columns) <= set(stored["column_name"]), table


# ---------------------------------------------------------------- cohorts


def test_what_was_registered_is_read_back(registered):
    record = views.cohort(registered, "small")
    assert record.pinned == "small@1"
    assert record.manifest.cohort.title == "A small cohort"
    patients = views.patients(registered, "small")
    assert len(patients) == 24
    assert patients.set_index("patient_id").loc["P03", "grade"] == 4
    assert patients["ecog"].dtype == "Int64"
    outcomes = views.outcomes(registered, "small@1")
    assert outcomes.set_index("patient_id").loc["P01", ["time", "status"]].tolist() == [5.5, 0]
    slides = views.slides(registered, "small")
    assert Path(slides["path"][0]).is_file()
    assert set(views.scores(registered, "small")["score"]) >= {"ssign", "uiss_2002"}
    assert views.cohorts(registered)["events"].tolist() == [8]


def test_registering_again_changes_nothing_and_publishes_nothing(registered, cohort_folder):
    before = views.snapshot_number(registered)
    with Registry(registered).write() as registry:
        assert registry.register_cohort(load_cohort(cohort_folder.path)) == (1, False)
    assert views.snapshot_number(registered) == before


def test_a_changed_file_is_the_next_version_and_the_old_one_stays(registered, cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5", "P01,6.5")
    with Registry(registered).write() as registry:
        assert registry.register_cohort(load_cohort(cohort_folder.path)) == (2, True)
    for name, time_of_p01 in (("small@1", 5.5), ("small@2", 6.5), ("small", 6.5)):
        outcomes = views.outcomes(registered, name).set_index("patient_id")
        assert outcomes.loc["P01", "time"] == time_of_p01


def test_a_new_split_file_is_taken_up_in_place(registered, cohort_folder):
    rows = [f"{p},0,0,{'train' if n < 16 else 'validation'}"
            for n, p in enumerate(cohort_folder.ids)]  # fmt: skip
    cohort_folder.write("splits/one.csv", "patient_id,repeat,fold,role\n" + "\n".join(rows))
    with Registry(registered).write() as registry:
        assert registry.register_cohort(load_cohort(cohort_folder.path)) == (1, False)
    split = views.splits(registered, "small", "one")
    assert split["role"].value_counts().to_dict() == {"train": 16, "validation": 8}
    with pytest.raises(NotFoundError, match="did you mean 'one'"):
        views.splits(registered, "small", "onee")


def test_a_folder_that_moved_is_the_same_version(registered, cohort_folder, tmp_path):
    moved = cohort_folder.path.rename(tmp_path / "elsewhere")
    with Registry(registered).write() as registry:
        assert registry.register_cohort(load_cohort(moved)) == (1, False)
    assert views.slides(registered, "small")["path"][0].startswith(str(moved))


def test_deferred_slides_get_their_identity_from_the_extraction(registered):
    slides = views.slides(registered, "small")
    assert slides["slide_id"].str.startswith("pending-").all()
    outcomes = pd.DataFrame(
        {"slide_id": ["a" * 64], "path": [slides["path"][0]], "status": ["done"], "n_kept": [5]}
    )
    with Registry(registered).write() as registry:
        registry.store_slide_outcomes("small", 1, outcomes)
    after = views.slides(registered, "small")
    assert after["slide_id"].tolist()[0] == "a" * 64
    assert after["slide_id"].str.startswith("pending-").sum() == 23
    assert views.slide_outcomes(registered, "small")["n_kept"].tolist() == [5]


def test_identical_slides_on_two_sides_are_refused_when_extraction_finds_them(
    registered, cohort_folder
):
    rows = [f"{p},0,0,{'train' if n else 'validation'}" for n, p in enumerate(cohort_folder.ids)]
    cohort_folder.write("splits/one.csv", "patient_id,repeat,fold,role\n" + "\n".join(rows))
    with Registry(registered).write() as registry:
        registry.register_cohort(load_cohort(cohort_folder.path))
    paths = views.slides(registered, "small")["path"].tolist()[:2]
    outcomes = pd.DataFrame({"slide_id": ["a" * 64] * 2, "path": paths, "status": "done"})
    with (
        pytest.raises(ValidationError, match="identical content on one side"),
        Registry(registered).write() as registry,
    ):
        registry.store_slide_outcomes("small", 1, outcomes)
    assert views.slide_outcomes(registered, "small").empty  # undone as a whole


def test_unknown_cohorts_and_versions_are_named(registered):
    with pytest.raises(NotFoundError, match="did you mean 'small'"):
        views.cohort(registered, "smal")
    with pytest.raises(NotFoundError, match="has no version 7; there are \\[1\\]"):
        views.cohort(registered, "small@7")
    with pytest.raises(NotFoundError, match="expected NAME or NAME@VERSION"):
        views.cohort(registered, "small@two")
    with pytest.raises(NotFoundError, match="has no OS"):
        views.outcomes(registered, "small", "OS")


# ---------------------------------------------------------------- runs


def test_a_run_is_imported_once_and_read_back(registered):
    for _ in range(2):
        with Registry(registered).write() as registry:
            registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
    assert [record.run_id for record in views.runs(registered)] == ["r1"]
    assert views.runs(registered)[0].config == {"a": 1}
    assert views.predictions(registered, "r1")["risk"].tolist() == [1.5]
    assert views.metrics(registered, ["r1"])["value"].tolist() == [0.7]
    with pytest.raises(NotFoundError, match="did you mean 'r1'"):
        views.metrics(registered, "r11")


def test_removing_a_cohort_leaves_no_row_in_any_file(registered):
    with Registry(registered).write() as registry:
        registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
    with Registry(registered).write() as registry:
        assert registry.remove_cohort("small") == ["r1"]
    assert views.cohorts(registered).empty
    files = sorted(path.name for path in registered.views.glob("*.duckdb"))
    assert len(files) == 1
    for file in (registered.registry, registered.views / files[0]):
        assert b"P03" not in file.read_bytes()
    with (
        pytest.raises(NotFoundError, match="there are none yet"),
        Registry(registered).write() as registry,
    ):
        registry.remove_cohort("small")


# ---------------------------------------------------------------- files and versions


def test_nothing_registered_is_one_sentence(home):
    with pytest.raises(NotFoundError, match="nothing is registered"):
        views.cohorts(home)
    assert views.is_empty(home)
    assert views.snapshot_number(home) == 0


def test_last_three_views_are_kept(registered):
    for number in range(5):
        with Registry(registered).write() as registry:
            registry.import_run(a_run(f"r{number}"), predictions_of("r"), metrics_of("r"))
    kept = sorted(path.name for path in registered.views.glob("registry-*"))
    assert kept == ["registry-4.duckdb", "registry-5.duckdb", "registry-6.duckdb"]
    assert (registered.views / "CURRENT").read_text().strip() == "6"


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "pointer"])
def test_damaged_views_are_told_and_mended_by_the_next_write(registered, damage):
    view = registered.views / "registry-1.duckdb"
    if damage == "missing":
        view.unlink()
    elif damage == "truncated":
        view.write_bytes(view.read_bytes()[:5000])
    elif damage == "garbage":
        view.write_bytes(b"not a database" * 500)
    else:
        (registered.views / "CURRENT").write_text("yesterday\n")
    with pytest.raises(RegistryError, match="any writing command"):
        views.cohorts(registered)
    with Registry(registered).write() as registry:
        registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
    assert len(views.cohorts(registered)) == 1


def set_version(path: Path, version: int) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE schema_info SET version = ?", [version])


def test_newer_schema_is_refused_by_readers_and_writers(registered):
    set_version(registered.registry, SCHEMA_VERSION + 1)
    set_version(registered.views / "registry-1.duckdb", SCHEMA_VERSION + 1)
    with pytest.raises(SchemaVersionError, match="update crpnet-bench"):
        views.cohorts(registered)
    with (
        pytest.raises(SchemaVersionError, match="update crpnet-bench"),
        Registry(registered).write(),
    ):
        pass


def test_older_view_names_the_command(registered):
    set_version(registered.views / "registry-1.duckdb", SCHEMA_VERSION - 1)
    with pytest.raises(SchemaVersionError, match="crpnet-bench cohort register"):
        views.cohorts(registered)


def test_a_file_of_another_program_is_left_alone(home):
    home.root.mkdir()
    with duckdb.connect(str(home.registry)) as connection:
        connection.execute("CREATE TABLE theirs (x INTEGER)")
    with pytest.raises(RegistryError, match="another program"), Registry(home).write():
        pass
    with duckdb.connect(str(home.registry)) as connection:
        assert connection.execute("SHOW TABLES").fetchall() == [("theirs",)]


def test_damaged_registry_names_the_remedy(home):
    home.root.mkdir()
    home.registry.write_bytes(b"x" * 10_000)
    with pytest.raises(RegistryError, match="replace it by a copy"), Registry(home).write():
        pass


# ---------------------------------------------------------------- several at a time


def test_an_exception_undoes_everything(registered, cohort_folder):
    cohort_folder.replace("clinical.csv", "P01,5.5", "P01,6.5")
    loaded = load_cohort(cohort_folder.path)
    with pytest.raises(KeyboardInterrupt), Registry(registered).write() as registry:  # noqa: PT012
        registry.register_cohort(loaded)
        raise KeyboardInterrupt
    assert views.cohorts(registered)["version"].tolist() == [1]
    with Registry(registered).write() as registry:
        assert registry.register_cohort(loaded) == (2, True)


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


HOLD = """
    import sys, time
    from pathlib import Path
    from crpnet_bench.home import Home
    from crpnet_bench.registry.store import Registry
    with Registry(Home(Path(sys.argv[1]))).write() as registry:
        registry._run("DELETE FROM patients")
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_held_registry_names_its_holder_and_readers_go_on(registered):
    holder = run_python(HOLD, str(registered.root))
    try:
        assert holder.stdout.readline().strip() == "held"
        started = time.monotonic()
        with (
            pytest.raises(RegistryLockedError, match=f"process {holder.pid}"),
            Registry(registered, wait=0.3).write(),
        ):
            pass
        assert time.monotonic() - started < 5
        assert len(views.patients(registered, "small")) == 24
    finally:
        holder.kill()
        holder.communicate()
    # the killed writer's transaction is gone, the lock as well
    with Registry(registered).write() as registry:
        assert len(registry.query("SELECT * FROM patients")) == 24


WRITE = """
    import sys
    from pathlib import Path
    import pandas as pd
    from crpnet_bench.home import Home
    from crpnet_bench.registry.store import Registry
    for number in range(int(sys.argv[2])):
        with Registry(Home(Path(sys.argv[1]))).write() as registry:
            outcomes = pd.DataFrame({"slide_id": [str(number)] * 50, "status": "done"})
            registry.store_slide_outcomes("small", 1, outcomes)
"""
READ = """
    import sys
    from pathlib import Path
    from crpnet_bench.home import Home
    from crpnet_bench.registry import views
    for number in range(int(sys.argv[2])):
        rows = views.slide_outcomes(Home(Path(sys.argv[1])), "small")
        assert len(rows) in {0, 50} and rows["slide_id"].nunique() <= 1, rows
"""


def test_writers_and_readers_in_parallel_see_whole_commits_only(registered):
    processes = [run_python(code, str(registered.root), "4") for code in (WRITE, WRITE, READ)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(views.slide_outcomes(registered, "small")) == 50
    assert views.snapshot_number(registered) == 9


@pytest.mark.slow
def test_writers_killed_at_any_moment_leave_nothing_half(registered):
    delays = random.Random(0)  # noqa: S311 repeatable moments, no secret
    for _ in range(12):
        writer = run_python("print('up', flush=True)\n" + textwrap.dedent(WRITE),
                            str(registered.root), "1000")  # fmt: skip
        assert writer.stdout.readline().strip() == "up"
        time.sleep(1.0 + delays.random())
        writer.kill()
        writer.communicate()
        rows = views.slide_outcomes(registered, "small")
        assert len(rows) in {0, 50}
        assert rows["slide_id"].nunique() <= 1
        assert len(views.patients(registered, "small")) == 24
        with Registry(registered, wait=10).write() as registry:
            outcomes = pd.DataFrame({"slide_id": ["x"] * 50, "status": "done"})
            registry.store_slide_outcomes("small", 1, outcomes)
        assert set(views.slide_outcomes(registered, "small")["slide_id"]) == {"x"}
    assert len(list(registered.views.glob("registry-*.duckdb"))) == 3
    assert not list(registered.views.glob(".*"))


# ---------------------------------------------------------------- ledger and external validations


def a_look(command: str) -> dict[str, object]:
    return {
        "run_id": "r1",
        "cohort": "small",
        "cohort_version": 1,
        "command": command,
        "endpoint": "RFS",
        "primary_model": "crpnet",
        "models": "crpnet, ssign",
        "patients": 24,
        "remark": "",
    }


def test_looks_stay_when_the_cohort_goes(registered):
    with Registry(registered).write() as registry:
        registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
        registry.record_look(a_look("run"))
    with Registry(registered).write() as registry:
        registry.record_look(a_look("validate"))
    with Registry(registered).write() as registry:
        registry.remove_cohort("small")
    looks = views.ledger(registered)
    assert looks["command"].tolist() == ["run", "validate"]
    assert looks["looked"].notna().all()


def test_an_external_validation_is_replaced_and_outlives_another_import_of_the_run(registered):
    outside = predictions_of("r1").assign(cohort="other", role="external")
    numbers = metrics_of("r1").assign(cohort="other", role="external")
    with Registry(registered).write() as registry:
        registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
        for _ in range(2):
            registry.import_external("r1", "other", outside, numbers)
    with Registry(registered).write() as registry:
        registry.import_run(a_run(), predictions_of("r1"), metrics_of("r1"))
    assert sorted(views.predictions(registered, "r1")["cohort"]) == ["other", "small"]
    assert sorted(views.metrics(registered, "r1")["cohort"]) == ["other", "small"]


def test_an_older_registry_is_brought_up_to_date_and_published(registered):
    with Registry(registered).write() as registry:
        registry._run("DROP TABLE ledger")
        registry._run("UPDATE schema_info SET version = 1")
    with pytest.raises(SchemaVersionError, match="schema 1"):
        views.cohorts(registered)
    Registry(registered).bring_up_to_date()
    assert len(views.cohorts(registered)) == 1
    assert views.ledger(registered).empty


def test_a_long_query_draws_nothing_into_the_output(tmp_path):
    home = Home(tmp_path)
    with Registry(home).write() as registry:
        registry.store_file_hashes({("a", 1, 1): "b"})
        shown = registry.query("SELECT current_setting('enable_progress_bar') AS bar")
    assert not shown["bar"].any()
    assert not views.read(home, "SELECT current_setting('enable_progress_bar') AS bar")["bar"].any()


def test_a_home_made_anew_at_the_same_place_has_another_key(tmp_path: Path):
    home, seen = Home(tmp_path / "home"), []
    assert views.snapshot_key(home) == ""
    for _ in range(2):
        with Registry(home).write():
            pass
        seen.append((views.snapshot_number(home), views.snapshot_key(home)))
        shutil.rmtree(home.root)
    assert seen[0][0] == seen[1][0] == 1
    assert seen[0][1] != seen[1][1]
