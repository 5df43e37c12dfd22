"""`changhai-sim` has what the article prints; every condition is counted again here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.audit.classifiers import confusion_tables
from crpnet_bench.errors import InputError
from crpnet_bench.synthetic.changhai import (
    MODELS,
    T_STAGES,
    UNSCORED_REASON,
    SimulatedChanghai,
    column_of,
    level_of,
    load_article,
    make_changhai_sim,
    simulate_changhai,
)

ARTICLE = load_article()
ROLES = {"training": "train", "validation": "validation"}
SEEDS = (0, 1, 46)  # 46: the scores start far from the AUC that they have to reach
NECROSIS = "necrosis"


@cache
def cohort(seed: int) -> SimulatedChanghai:
    return simulate_changhai(seed, ARTICLE)


def patients(sim: SimulatedChanghai, group: str) -> pd.DataFrame:
    whole = sim.clinical.merge(sim.split, on="patient_id", validate="one_to_one")
    return whole[whole["role"] == ROLES[group]]


def scored(sim: SimulatedChanghai, group: str, model: str) -> pd.DataFrame:
    published = sim.published[(sim.published["model"] == model) & (sim.published["status"] == "ok")]
    return patients(sim, group).merge(published, on="patient_id")


def area(event: np.ndarray, risk: np.ndarray) -> float:
    return float(np.mean(0.5 * (np.sign(risk[event][:, None] - risk[~event][None, :]) + 1)))


def harrell(frame: pd.DataFrame, risk: np.ndarray) -> float:
    time, event = frame["time_months"].to_numpy(), frame["recurrence"].to_numpy() == 1
    comparable = event[:, None] & (time[:, None] < time[None, :])
    return float(np.mean(0.5 * (np.sign(risk[:, None] - risk[None, :])[comparable] + 1)))


def check_counts_and_summaries(sim: SimulatedChanghai, group: str):
    table = ARTICLE.baseline_of(group)
    for recurrence, size in enumerate(table.n):
        mine = patients(sim, group).query("recurrence == @recurrence")
        assert len(mine) == size.value
        for row in table.row:
            values = mine[column_of(row.name)]
            if row.levels is not None:
                counts = values.astype(str).value_counts().to_dict()
                printed = {
                    level_of(row.name, k): v[recurrence].count for k, v in row.levels.items()
                }
                assert counts == {level: n for level, n in printed.items() if n}, row.name
            elif row.mean_sd is not None:
                cell = row.mean_sd[recurrence]
                assert cell.mean.agrees(values.mean())
                assert cell.sd.agrees(values.std(ddof=1))
            else:
                cell = row.median_iqr[recurrence]
                found = np.quantile(values, [0.25, 0.5, 0.75])
                printed_parts = (cell.q1, cell.median, cell.q3)
                assert all(p.agrees(f) for p, f in zip(printed_parts, found, strict=True)), row.name


def check_stage_fits_diameter(sim: SimulatedChanghai):
    for stage, low, high in (
        ("T1a", 0, 40), ("T1b", 40, 70), ("T2a", 70, 100), ("T2b", 100, np.inf),
    ):  # fmt: skip
        size = sim.clinical.loc[sim.clinical["pT"] == stage, "diameter_mm"]
        assert ((size > low) & (size <= high)).all(), stage


def check_models(sim: SimulatedChanghai, group: str):
    for model in MODELS:
        entry = ARTICLE.classifier_of(model, group)
        mine = scored(sim, group, model)
        event = mine["recurrence"].to_numpy() == 1
        called = mine["predicted_class"].to_numpy() == 1
        table = confusion_tables(entry).best
        counts = [(event & called).sum(), (~event & called).sum(), (event & ~called).sum()]
        assert (len(mine), event.sum()) == (entry.n, entry.events)
        assert counts == [table.tp, table.fp, table.fn]
        risk = mine["risk"].to_numpy(float)
        assert area(event, risk) == pytest.approx(entry.auc.value.value, abs=0.005)
        # The class is a cut of the risk: every positive lies above every negative.
        assert not called.any() or risk[called].min() > risk[~called].max()


def check_concordance(sim: SimulatedChanghai, group: str):
    found = {}
    for model in MODELS:
        mine = scored(sim, group, model)
        found[model] = harrell(mine, mine["risk"].to_numpy(float))
    printed = {"training": 0.937, "validation": 0.821}[group]
    assert found["CRPNet"] == pytest.approx(printed, abs=0.01)
    order = next(entry.highest_first for entry in ARTICLE.order if entry.group == group)
    for members in (patients(sim, group), scored(sim, group, "CRPNet")):
        found["T stage"] = harrell(members, members["pT"].map(T_STAGES.index).to_numpy())
        found["WHO/ISUP grade"] = harrell(members, members["grade"].to_numpy())
        values = [found[model] for model in order if model != NECROSIS]
        assert values == sorted(values, reverse=True)


def check_median_split(sim: SimulatedChanghai):
    mine = scored(sim, "validation", "CRPNet")
    high = mine["risk"] > mine["risk"].median()
    assert int(mine.loc[high, "recurrence"].sum()) == 18
    assert int(mine["recurrence"].sum()) == 19


def check_everything(sim: SimulatedChanghai):
    for group in ROLES:
        check_counts_and_summaries(sim, group)
        check_models(sim, group)
        check_concordance(sim, group)
    check_stage_fits_diameter(sim)
    check_median_split(sim)


@pytest.mark.parametrize("seed", SEEDS)
def test_cohort_has_everything_that_is_printed(seed: int):
    check_everything(cohort(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 200, 7))
def test_other_seeds_as_well(seed: int):
    check_everything(simulate_changhai(seed, ARTICLE))


def test_nine_training_patients_have_no_prediction_and_say_so():
    sim = cohort(0)
    missing = sim.published[sim.published["status"] == "missing"]
    whole = sim.clinical.merge(sim.split, on="patient_id").set_index("patient_id")
    assert set(missing["reason"]) == {UNSCORED_REASON}
    assert missing["risk"].isna().all()
    assert missing["predicted_class"].isna().all()
    for _, rows in missing.groupby("model"):
        members = whole.loc[rows["patient_id"]]
        assert set(members["role"]) == {"train"}
        assert (len(members), members["recurrence"].sum()) == (9, 3)


def test_seeds_differ_in_what_is_not_printed():
    assert not cohort(0).clinical.equals(cohort(1).clinical)


def test_negative_seed_is_refused():
    with pytest.raises(InputError, match="seed: found -1"):
        simulate_changhai(-1, ARTICLE)


def test_unpublished_variables_are_not_invented():
    columns = {name.lower() for name in cohort(0).clinical.columns}
    assert not columns & {"necrosis", "ecog", "symptoms"}


def test_same_seed_gives_the_same_files(tmp_path: Path):
    folders = [make_changhai_sim(tmp_path / name, seed=3) for name in ("a", "b")]
    names = sorted(
        str(file.relative_to(folders[0])) for file in folders[0].rglob("*") if file.is_file()
    )
    assert names == [
        "clinical.csv", "cohort.toml", "published_predictions.csv", "splits/article.csv",
    ]  # fmt: skip
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_files_hold_the_cohort(tmp_path: Path):
    folder = make_changhai_sim(tmp_path / "cohort")
    clinical = pd.read_csv(folder / "clinical.csv")
    split = pd.read_csv(folder / "splits" / "article.csv")
    published = pd.read_csv(folder / "published_predictions.csv")
    assert len(clinical) == 258
    assert clinical["patient_id"].is_unique
    assert split["role"].value_counts().to_dict() == {"train": 183, "validation": 75}
    assert set(published["model"]) == set(MODELS)
    assert published["status"].value_counts().to_dict() == {"ok": 4 * 249, "missing": 4 * 9}
    assert clinical["recurrence"].sum() == 67
