from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.split_formats import read_foreign_split
from crpnet_bench.benchmark.splits import (
    SplitRequest,
    create_split,
    import_split,
    k_fold,
    leave_one_site_out,
    random_split,
    site_preserved,
)
from crpnet_bench.errors import InputError, ValidationError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.split_files import check_split


def patients(events: int, others: int, sites: int = 4) -> pd.DataFrame:
    n = events + others
    return pd.DataFrame(
        {
            "patient_id": [f"P{number:03d}" for number in range(n)],
            "event": [number < events for number in range(n)],
            "site": [f"S{number % sites}" for number in range(n)],
        }
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 40), st.integers(4, 60), st.integers(0, 5))
def test_random_split_is_stratified_and_repeatable(events: int, others: int, seed: int):
    frame = patients(events, others)
    split = random_split(frame, validation=0.3, seed=seed)
    assert split.equals(random_split(frame, validation=0.3, seed=seed))
    assert check_split(split, set(frame["patient_id"]), "s") == []
    held = split.loc[split["role"] == "validation", "patient_id"]
    had = frame.loc[frame["patient_id"].isin(held), "event"].sum()
    assert had == round(events * 0.3)
    assert len(held) - had == round(others * 0.3)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 30), st.integers(5, 40), st.integers(2, 5), st.integers(1, 3))
def test_k_fold_validates_everyone_once_a_repeat(events, others, folds, repeats):
    frame = patients(events, others)
    split = k_fold(frame, folds=folds, repeats=repeats, seed=1)
    assert check_split(split, set(frame["patient_id"]), "s") == []
    held = split[split["role"] == "validation"]
    assert held.groupby("repeat")["patient_id"].nunique().eq(events + others).all()
    sizes = held.groupby(["repeat", "fold"]).size()
    assert sizes.max() - sizes.min() <= 1
    with_event = held.merge(frame, on="patient_id").groupby(["repeat", "fold"])["event"].sum()
    assert with_event.max() - with_event.min() <= 1


def test_repeats_are_drawn_anew():
    split = k_fold(patients(10, 20), folds=3, repeats=2, seed=0)
    by_repeat = [
        set(split[(split["repeat"] == r) & (split["fold"] == 0) & (split["role"] == "validation")]
            ["patient_id"])
        for r in (0, 1)
    ]  # fmt: skip
    assert by_repeat[0] != by_repeat[1]


def distance(counts: np.ndarray, fold_of: tuple[int, ...], folds: int) -> float:
    shares = np.zeros((folds, counts.shape[1]))
    for site, fold in enumerate(fold_of):
        shares[fold] += counts[site] / counts.sum(axis=0)
    return float(np.abs(shares - 1 / folds).sum())


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=4, max_size=6))
def test_site_preserved_is_as_even_as_the_best_of_all_assignments(sizes):
    rows = [
        {"patient_id": f"{site}-{n}", "event": n < events, "site": f"S{site}"}
        for site, (events, others) in enumerate(sizes)
        for n in range(events + others)
    ]
    frame = pd.DataFrame(rows)
    folds = 2
    split, notes = site_preserved(frame, folds=folds)
    held = split[split["role"] == "validation"].merge(frame, on="patient_id")
    assert held.groupby("site")["fold"].nunique().eq(1).all()
    counts = np.array(sizes, dtype=float)
    chosen = held.groupby("site")["fold"].first().sort_index().tolist()
    best = min(
        distance(counts, assignment, folds)
        for assignment in itertools.product(range(folds), repeat=len(sizes))
        if len(set(assignment)) == folds
    )
    assert distance(counts, tuple(chosen), folds) == pytest.approx(best, abs=1e-6)
    assert len(notes) == folds


def test_leave_one_site_out_groups_small_sites_or_calls_them_not_estimable():
    frame = pd.concat([patients(24, 40, 2), patients(8, 20, 4).assign(
        patient_id=lambda f: "Q" + f["patient_id"], site=lambda f: "T" + f["site"])])  # fmt: skip
    split, notes = leave_one_site_out(frame)
    assert split["fold"].nunique() == 2
    assert "not estimable: TS0, TS1, TS2, TS3 have 8 events together" in notes[-1]
    always = set(frame.loc[frame["site"].str.startswith("T"), "patient_id"])
    assert set(split.loc[split["patient_id"].isin(always), "role"]) == {"train"}
    split, notes = leave_one_site_out(frame, min_events=8)
    assert split["fold"].nunique() == 3
    assert notes[2].startswith("fold 2: TS0, TS1, TS2, TS3 (28 patients, 8 events)")
    with pytest.raises(InputError, match="no site has 50 events"):
        leave_one_site_out(frame, min_events=50)


def test_leave_one_site_out_without_a_limit_makes_every_site_a_fold_and_no_empty_one():
    frame = patients(6, 18).assign(event=lambda f: f["event"] & (f["site"] != "S0"))
    split, notes = leave_one_site_out(frame, min_events=0)
    held = split[split["role"] == "test"].merge(frame, on="patient_id")
    assert held.groupby("fold")["site"].unique().map(list).tolist() == [
        [site] for site in sorted(set(frame["site"]))
    ]
    assert split["fold"].nunique() == len(notes) == frame["site"].nunique()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: random_split(f, validation=1.0), "fractions"),
        (lambda f: random_split(f.head(1)), "too few"),
        (lambda f: k_fold(f, folds=40), "expected at least 2"),
        (lambda f: site_preserved(f, folds=9), "expected 2 to 4 folds"),
        (lambda f: site_preserved(f.assign(site=None), folds=2), "map a `site` column"),
    ],
)
def test_impossible_requests_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make(patients(6, 10))


# ---------------------------------------------------------------- with a registry


@pytest.fixture
def home(tmp_path, cohort_folder) -> Home:
    where = Home(tmp_path / "home")
    register_cohort(where, cohort_folder.path)
    return where


@pytest.mark.parametrize("method", ["random", "k-fold", "site-preserved"])
def test_created_split_is_a_file_and_rows(home, cohort_folder, method):
    made = create_split(home, "small", SplitRequest(method, folds=2))
    assert made.path.parent == cohort_folder.path / "splits"
    stored = views.splits(home, "small", made.name)
    assert set(stored["sha256"]) == {made.sha256}
    assert len(stored) == len(made.table)
    with pytest.raises(InputError, match="exists"):
        create_split(home, "small", SplitRequest(method, folds=2))


def test_same_seed_gives_the_same_file(home):
    first = create_split(home, "small", SplitRequest(name="a", seed=3))
    second = create_split(home, "small", SplitRequest(name="b", seed=3))
    third = create_split(home, "small", SplitRequest(name="c", seed=4))
    assert first.sha256 == second.sha256 != third.sha256


def test_unknown_method_names_the_nearest(home):
    with pytest.raises(InputError, match="did you mean 'random'"):
        create_split(home, "small", SplitRequest("randm"))


def test_identical_slides_on_two_sides_refuse_a_split(home, cohort_folder):
    (cohort_folder.path / "wsi" / "P01.svs").write_bytes(b"content of P00")
    done = register_cohort(home, cohort_folder.path)
    assert any("identical content belong to P00 and P01" in text for text in done.warnings)
    rows = [{"patient_id": p, "role": "train" if p != "P00" else "val"} for p in cohort_folder.ids]
    train = [row["patient_id"] for row in rows if row["role"] == "train"]
    cohort_folder.write(
        "clam/splits_0.csv",
        "\n".join(
            [
                ",train,val",
                *(f"{n},{case},{'P00' if n == 0 else ''}" for n, case in enumerate(train)),
            ]
        ),
    )
    with pytest.raises(ValidationError, match="identical content on one side"):
        import_split(home, "small", cohort_folder.path / "clam")
    assert not (cohort_folder.path / "splits" / "clam.csv").exists()
    cohort_folder.write(
        "splits/bad.csv",
        "patient_id,repeat,fold,role\nP00,0,0,train\nP01,0,0,validation\n",
    )
    with pytest.raises(ValidationError, match="identical content on one side"):
        register_cohort(home, cohort_folder.path)


def test_clam_porpoise_pathobench_and_stamp_say_the_same(tmp_path):
    owners = {"P0": "P0", "P1": "P1", "P2": "P2", "P0-DX1": "P0", "P1-DX1": "P1", "P2-DX1": "P2"}
    folder = tmp_path / "clam"
    folder.mkdir()
    (folder / "splits_0.csv").write_text(",train,val,test\n0,P0-DX1,P1-DX1,P2-DX1\n")
    (folder / "splits_0_bool.csv").write_text(",train,val,test\nP0-DX1,True,False,False\n")
    (folder / "splits_1.csv").write_text(",train,val,test\n0,P1-DX1,P0-DX1,\n1,P2-DX1,,\n")
    clam = read_foreign_split(folder, owners)
    (tmp_path / "k=all.tsv").write_text(
        "case_id\tslide_id\tevent\tfold_0\tfold_1\n"
        "P0\tP0-DX1\t1\ttrain\tval\nP1\tP1-DX1\t0\tval\ttrain\nP2\tP2-DX1\t0\ttest\ttrain\n"
    )
    bench = read_foreign_split(tmp_path / "k=all.tsv", owners)
    order = ["fold", "role", "patient_id"]
    assert clam.sort_values(order).values.tolist() == bench.sort_values(order).values.tolist()
    (tmp_path / "splits_2.csv").write_text(",train,val\n0,P0,P1\n1,P2,\n")
    porpoise = read_foreign_split(tmp_path / "splits_2.csv", owners)
    assert porpoise["fold"].unique().tolist() == [2]
    assert set(porpoise["role"]) == {"train", "validation"}
    document = {"splits": [{"train_patients": ["P0", "P2"], "test_patients": ["P1"]}]}
    (tmp_path / "splits.json").write_text(json.dumps(document))
    stamp = read_foreign_split(tmp_path / "splits.json", owners)
    assert dict(zip(stamp["patient_id"], stamp["role"], strict=True))["P1"] == "test"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("splits_0.csv", ",train,val\n0,P9,P1\n", "found 'P9'"),
        ("splits_0.csv", "a,b\n0,1\n", "expected those of CLAM"),
        ("k=all.tsv", "case\tfold_0\nP0\ttrain\n", "expected those of Patho-Bench"),
        ("k=all.tsv", "case_id\tfold_0\nP0\tchief\n", "found 'chief'"),
        ("splits.json", "[]", "STAMP"),
    ],
)
def test_foreign_files_with_mistakes_are_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_foreign_split(tmp_path / name, {"P0": "P0", "P1": "P1"})


def test_two_slides_of_a_patient_on_two_sides_are_an_error(home, cohort_folder):
    cohort_folder.write("splits_0.csv", ",train,val\n0,P00,P00\n1,P01,P02\n")
    with pytest.raises(ValidationError, match="it is train and validation"):
        import_split(home, "small", cohort_folder.path / "splits_0.csv")
