"""A small registered cohort with a run whose predictions are drawn, not trained."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.builtin import ensure_cohort
from crpnet_bench.benchmark.published_store import keep_document, keep_run
from crpnet_bench.config import RunConfig
from crpnet_bench.evaluation import evaluate
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.registry.load import load_cohort
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import PREDICTION_COLUMNS, RunRecord, conform, write_record, write_table
from crpnet_bench.synthetic.changhai import COHORT_NAME, simulate_changhai

RUN_ID = "20260101-000000-drawn-abcdef01"
SCORES = ("uiss_2002", "ssign", "leibovich_2003")
_MANIFEST = """
[cohort]
name = "{name}"
title = "Drawn patients for tests of the pages"
kind = "simulated"
tnm_edition = 8
grading = "who_isup"
default_split = "fixed"

[outcome]
endpoint = "RFS"
events = "local or distant recurrence"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"

[clinical.columns]
patient_id = "Case"
time = "Months"
event = "Status"
age = "Age"
sex = "Sex"
pT = "pT"
pN = "pN"
M = "M"
grade = "Grade"
tumor_size = {{column = "Size", unit = "cm"}}
necrosis = {{column = "Necrosis", map = {{"yes" = true, "no" = false}}}}
ecog = "ECOG"
symptoms = "Symptoms"
site = "Site"

[slides]
file = "slides.csv"

[[exclude]]
rule = "age < 18"
reason = "minor"
"""


def write_cohort(folder: Path, name: str = "drawn", patients: int = 150, seed: int = 3) -> Path:
    """A cohort folder whose outcome depends on a hidden signal, stage and grade."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=patients)
    stage = rng.choice(8, size=patients, p=[0.35, 0.2, 0.08, 0.07, 0.2, 0.04, 0.02, 0.04])
    grade = np.clip(np.round(2.2 + 0.8 * rng.normal(size=patients) + 0.2 * signal), 1, 4)
    size = np.clip(3 + 0.9 * stage + rng.normal(size=patients), 0.8, 16).round(1)
    hazard = np.exp(1.3 * signal + 0.22 * stage + 0.25 * (grade - 2)) / 160
    event, death = rng.exponential(1 / hazard), rng.exponential(500, size=patients)
    censoring = rng.uniform(12, 110, size=patients)
    time = np.minimum.reduce([event, death, censoring])
    status = np.select([time == event, time == death], [1, 2], 0)
    names = np.array(["pT1a", "pT1b", "pT2a", "pT2b", "pT3a", "pT3b", "pT3c", "pT4"])
    necrosis = np.where(rng.random(patients) < 0.15 + 0.08 * (grade - 1), "yes", "no")
    table = pd.DataFrame(
        {
            "Case": [f"D{i:05d}" for i in range(patients)],
            "Months": np.maximum(time, 0.1).round(1),
            "Status": status,
            "Age": np.where(np.arange(patients) == 7, 16, rng.normal(62, 11, patients).round()),
            "Sex": rng.choice(["male", "female"], size=patients, p=[0.7, 0.3]),
            "pT": names[stage],
            "pN": rng.choice(["pN0", "pNX", "pN1"], size=patients, p=[0.6, 0.35, 0.05]),
            "M": "M0",
            "Grade": grade.astype(int),
            "Size": size,
            "Necrosis": np.where(np.arange(patients) % 29 == 3, "", necrosis),
            "ECOG": rng.choice([0, 1, 2], size=patients, p=[0.7, 0.25, 0.05]),
            "Symptoms": rng.choice(["none", "local", "systemic"], size=patients, p=[0.6, 0.3, 0.1]),
            "Site": rng.choice(["North", "South"], size=patients),
        }
    )
    folder.mkdir(parents=True)
    (folder / "cohort.toml").write_text(_MANIFEST.format(name=name), encoding="utf-8")
    table.to_csv(folder / "clinical.csv", index=False)
    slides = [f"{case},{case}.svs" for case in table["Case"]]
    (folder / "slides.csv").write_text("\n".join(["patient_id,path", *slides]) + "\n")
    for case in table["Case"][:20] if patients <= 200 else ():
        (folder / f"{case}.svs").write_bytes(case.encode())
    roles = np.where(np.arange(patients) % 10 < 6, "train", "validation")
    split = pd.DataFrame({"patient_id": table["Case"], "repeat": 0, "fold": 0, "role": roles})
    (folder / "splits").mkdir()
    split[table["Age"] >= 18].to_csv(folder / "splits" / "fixed.csv", index=False)
    (folder / "signal.json").write_text(json.dumps(dict(zip(table["Case"], signal, strict=True))))
    return folder


def register(home: Home, folder: Path) -> views.CohortRecord:
    """Register without looking at the slide files."""
    with Registry(home).write() as registry:
        registry.register_cohort(load_cohort(folder))
    return views.cohort(home, load_cohort(folder).name)


def _predicted(frame: pd.DataFrame, train: pd.Series, model: str) -> pd.DataFrame:
    """Risk of one model with its locked cut-off, class and scale, learned on `train` rows."""
    cutoff, sd = frame.loc[train, "risk"].median(), frame.loc[train, "risk"].std()
    center = frame.loc[train, "risk"].quantile(0.72)
    probability = 1 / (1 + np.exp(-(frame["risk"] - center) / (sd or 1)))
    return frame.assign(
        model=model,
        probability=probability,
        predicted_class=(probability >= 0.5).astype("Int64"),
        risk_group=np.where(frame["risk"] > cutoff, "high", "low"),
        threshold=0.5,
        cutoff=cutoff,
        risk_sd=sd,
        status="ok",
    )


def drawn_predictions(home: Home, folder: Path, run_id: str, seed: int = 0) -> pd.DataFrame:
    """Predictions of four models on the split of a registered cohort."""
    record = views.cohort(home, load_cohort(folder).name)
    split = views.splits(home, record.pinned, "fixed").set_index("patient_id")["role"]
    signal = pd.Series(json.loads((folder / "signal.json").read_text())).reindex(split.index)
    rng = np.random.default_rng(seed)
    base = pd.DataFrame({"patient_id": split.index, "role": split.to_numpy()})
    train = base["role"] == "train"
    noisy = base.assign(risk=signal.to_numpy() + 0.7 * rng.normal(size=len(base)))
    fitted = base.assign(risk=signal.to_numpy() + 0.2 * rng.normal(size=len(base)))
    parts = [
        _predicted(noisy, train, "crpnet")[lambda f: f["role"] == "validation"].assign(
            in_sample=False
        ),
        _predicted(fitted, train, "crpnet")[train.to_numpy()].assign(in_sample=True),
        _predicted(noisy, train, "crpnet")[train.to_numpy()].assign(
            in_sample=False, inner_fold=np.arange(int(train.sum())) % 5
        ),
    ]
    for member in range(2):
        own = noisy.assign(risk=noisy["risk"] + 0.5 * rng.normal(size=len(noisy)))
        parts.append(
            _predicted(own, train, "crpnet")[lambda f: f["role"] == "validation"].assign(
                in_sample=False, member=member, risk_group=pd.NA, cutoff=pd.NA
            )
        )
    scores = views.scores(home, record.pinned)
    for name in SCORES:
        own = scores[scores["score"] == name].set_index("patient_id").reindex(split.index)
        table = base.assign(risk=own["risk"].to_numpy(float), reason=own["reason"].to_numpy(object))
        known = table["risk"].notna()
        rows = _predicted(table, train & known, name)
        rows.loc[~known, ["probability", "predicted_class", "risk_group", "cutoff", "risk_sd"]] = (
            pd.NA
        )
        rows.loc[~known, "status"] = "missing"
        for role, in_sample in (("train", True), ("train", False), ("validation", False)):
            part = rows[(rows["role"] == role).to_numpy()].assign(in_sample=in_sample)
            if role == "train" and not in_sample:
                part = part.assign(inner_fold=np.arange(len(part)) % 5)
            parts.append(part)
    table = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    return conform(
        table.assign(
            run_id=run_id,
            cohort=record.name,
            cohort_version=record.version,
            split="fixed",
            repeat=0,
            fold=0,
            seed=seed,
        ),
        PREDICTION_COLUMNS,
    )


def import_run(home: Home, folder: Path, run_id: str, seed: int = 0) -> RunRecord:
    """Evaluate drawn predictions and take them into the registry, as a run does."""
    cohort = views.cohort(home, load_cohort(folder).name)
    predictions = drawn_predictions(home, folder, run_id, seed)
    outcomes = views.outcomes(home, cohort.pinned)[["patient_id", "time", "status"]]
    config = RunConfig(cohort=cohort.name, models=("crpnet", *SCORES), seed=seed)
    record = RunRecord(
        run_id=run_id,
        created=datetime(2026, 1, 1 + seed, tzinfo=UTC).isoformat(timespec="seconds"),
        status="done",
        cohort=cohort.name,
        cohort_version=cohort.version,
        cohort_kind="simulated",
        endpoint="RFS",
        split="fixed",
        split_sha256="0" * 64,
        models=("crpnet", *SCORES),
        primary_model="crpnet",
        primary_metric="auc",
        seed=seed,
        device="cpu",
        config_fingerprint=config.fingerprint(),
        config=config.model_dump(mode="json"),
        environment={"python": "3"},
    )
    metrics = evaluate(predictions, outcomes)
    place = home.runs / run_id
    write_record(record, place)
    write_table(predictions, place / "predictions.parquet")
    write_table(metrics, place / "metrics.parquet")
    with Registry(home).write() as registry:
        registry.import_run(record, predictions, metrics)
    return record


def import_external(home: Home, folder: Path, run_id: str) -> None:
    """Apply a drawn run, locked, to another registered cohort, as `validate` does."""
    cohort = views.cohort(home, load_cohort(folder).name)
    patients = views.patients(home, cohort.pinned)["patient_id"]
    signal = pd.Series(json.loads((folder / "signal.json").read_text())).reindex(patients)
    known = views.predictions(home, run_id)
    locked = known[(known["model"] == "crpnet") & (known["role"] == "validation")].iloc[0]
    risk = signal.to_numpy() + np.random.default_rng(9).normal(size=len(patients))
    predictions = conform(
        pd.DataFrame(
            {
                "run_id": run_id,
                "model": "crpnet",
                "cohort": cohort.name,
                "cohort_version": cohort.version,
                "split": "fixed",
                "role": "external",
                "patient_id": patients,
                "risk": risk,
                "probability": 1 / (1 + np.exp(-risk)),
                "predicted_class": (risk >= 0).astype(int),
                "risk_group": np.where(risk > locked["cutoff"], "high", "low"),
                "threshold": 0.5,
                "cutoff": locked["cutoff"],
                "risk_sd": locked["risk_sd"],
                "in_sample": False,
                "status": "ok",
            }
        ),
        PREDICTION_COLUMNS,
    )
    outcomes = views.outcomes(home, cohort.pinned)[["patient_id", "time", "status"]]
    look = {
        "run_id": run_id, "cohort": cohort.name, "cohort_version": cohort.version,
        "command": "validate", "endpoint": "RFS", "primary_model": "crpnet",
        "models": "crpnet", "patients": len(patients), "remark": "",
    }  # fmt: skip
    with Registry(home).write() as registry:
        registry.record_look(look)
        registry.import_external(run_id, cohort.name, predictions, evaluate(predictions, outcomes))
    remarks = {"cohort": cohort.pinned, "remarks": ["looked at once"], "failures": []}
    place = home.runs / run_id / "external" / cohort.pinned / "validation.json"
    place.parent.mkdir(parents=True)
    place.write_text(json.dumps(remarks))
    changes = {
        "model": "crpnet",
        "metric": "auc",
        "level": 0.95,
        "internal": 0.9,
        "external": 0.8,
        "change": -0.1,
        "change_low": -0.18,
        "change_high": -0.02,
    }
    write_table(pd.DataFrame([changes]), place.with_name("transport.parquet"))


@pytest.fixture(autouse=True)
def _main_module_stays():
    """AppTest makes the page `__main__`; processes that are started later would run it."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before


@pytest.fixture(scope="session")
def drawn_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with one cohort of 150 patients and one run; nobody writes to it."""
    root = tmp_path_factory.mktemp("home")
    home = Home(root / "home")
    folder = write_cohort(root / "drawn")
    register(home, folder)
    import_run(home, folder, RUN_ID)
    return home


@pytest.fixture(scope="session")
def validated_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A run that was applied to a second cohort, beside the article's simulated patients."""
    root = tmp_path_factory.mktemp("validated")
    home = Home(root / "home")
    ensure_cohort(home, COHORT_NAME, SilentProgress())
    document = {"what": "w", "summary": {"differing": 0}, "rows": [
        {"part": "Table 1", "group": "validation", "what": "CRPNet AUC", "published": "0.879",
         "recomputed": "0.882", "mark": "m", "agrees": True, "numbers": [0.882], "spread": "",
         "note": "", "explanation": ""}]}  # fmt: skip
    keep_document(home, document)
    keep_run(home, simulate_changhai(0), clock=lambda: datetime(2025, 1, 1, tzinfo=UTC))
    for name in ("drawn", "elsewhere"):
        folder = write_cohort(root / name, name=name, seed=len(name))
        register(home, folder)
    import_run(home, root / "drawn", RUN_ID)
    import_external(home, root / "elsewhere", RUN_ID)
    return home


@pytest.fixture
def second_run(drawn_home: Home, tmp_path: Path) -> Home:
    """A copy of the drawn home with a further run, `second-run`."""
    shutil.copytree(drawn_home.root, tmp_path / "two")
    home = Home(tmp_path / "two")
    import_run(home, write_cohort(tmp_path / "drawn"), "second-run", seed=5)
    return home


@pytest.fixture
def empty_home(tmp_path: Path) -> Iterator[Home]:
    """A home in which nothing was registered."""
    return Home(tmp_path / "empty")
