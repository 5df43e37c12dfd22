"""`changhai-sim`: simulated patients whose summaries are those that the CRPNet article prints.

No patient of the study is in it, and nothing can be learned from it about tumours: the article
prints margins, and this is one of the many cohorts that have them. What it is for: running the
ordinary evaluation on patients whose published results are known (`crpnet-bench reproduce`).

- Clinical columns have the margins of Supplementary Tables 1 and 2: counts exactly; means, SDs,
  medians and quartiles (type 7) to the printed digits. T1 and T2 agree with the diameter.
- The risks and classes of CRPNet, UISS, SSIGN and Karakiewicz are **assigned**, never computed
  from the clinical columns. On the 174 + 75 patients that Table 1 counts, its confusion matrices
  hold exactly and its AUCs to 0.005. Nine training patients have no prediction.
- Times are such that CRPNet's two C-indices hold to 0.01, those of the other models, T stage and
  grade come in the printed order, and 18 of the 19 validation events lie above the median risk.

Necrosis, ECOG and symptoms are not published, so there are no such columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.audit.classifiers import confusion_tables
from crpnet_bench.audit.paper import BaselineRow, Paper, load_paper, shipped_cohort
from crpnet_bench.errors import InputError
from crpnet_bench.results import write_atomically
from crpnet_bench.synthetic.assigned_risks import AreaNotReachedError, Band, assign_risks
from crpnet_bench.synthetic.follow_up import ConcordanceTarget, draw_times, search_times
from crpnet_bench.synthetic.printed_margins import layouts, place, with_mean_sd, with_quartiles

__all__ = [
    "COHORT_NAME",
    "MODELS",
    "SPLIT",
    "T_STAGES",
    "UNSCORED_REASON",
    "SimulatedChanghai",
    "column_of",
    "level_of",
    "load_article",
    "make_changhai_sim",
    "simulate_changhai",
]

COHORT_NAME = "changhai-sim"
MODELS = ("CRPNet", "UISS", "SSIGN", "Karakiewicz")
T_STAGES = ("T1a", "T1b", "T2a", "T2b", "T3a", "T3b", "T3c", "T4")
UNSCORED_REASON = "not among the 174 training patients that Table 1 of the article counts"
SPLIT = "article"

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Texts = NDArray[np.str_]

_ROLES = {"training": "train", "validation": "validation"}
_ORGAN_CONFINED = ("T1a", "T1b", "T2a", "T2b")
_SIZE_EDGES = (40, 70, 100)  # mm: T1a, T1b, T2a end here, T2b begins beyond the last
_SIZE_SPAN = (8, 160)
_BMI_UNIT, _BMI_SPAN = 0.001, (16.5, 36.0)
_BMI_MEAN_UNIT = 0.0001
_COLUMN_OF = {
    "Age": "age",
    "BMI (kg/m2)": "bmi",
    "Pathological T stage": "pT",
    "Pathological N stage": "pN",
    "Tumor diameter (mm)": "diameter_mm",
    "WHO/ISUP stage": "grade",
    "Gender": "sex",
    "Smoking History": "smoking",
    "Drinking History": "drinking",
    "Hypertension": "hypertension",
    "Coronary Heart Disease": "coronary_heart_disease",
    "Diabetes": "diabetes",
    "Tumor side": "side",
}
_DRAWN_FREELY = (
    "sex", "smoking", "drinking", "hypertension", "coronary_heart_disease", "diabetes", "side",
)  # fmt: skip
# Whole-numbered risks: the negative class ends, the positive class ends (both inclusive).
_RISK_STEPS = {
    "CRPNet": (4999, 9999),
    "UISS": (2, 4),
    "SSIGN": (5, 12),
    "Karakiewicz": (139, 260),
}
_HIGH_EVENTS = 18  # of 19: the standard error of log 12.078 fits no other split of the events
_LOW_HALF_ENDS = 2499
_TOLERANCE, _MARGIN = 0.006, 0.004
_ATTEMPTS = 40
_MOST_AGREEMENT = 0.95
_GRADES = {"Stage I": 1, "Stage II": 2, "Stage III": 3, "Stage IV": 4}


@dataclass(frozen=True)
class SimulatedChanghai:
    """A simulated cohort in memory.

    Attributes:
        clinical: one row a patient, the columns of `clinical.csv`.
        split: `patient_id, repeat, fold, role`.
        published: the assigned risks and classes, one row a patient and model.
        seed: what it was made from.
    """

    clinical: pd.DataFrame
    split: pd.DataFrame
    published: pd.DataFrame
    seed: int


@dataclass(frozen=True)
class _Group:
    """The patients of one published group, before they get names."""

    clinical: pd.DataFrame
    event: Bools
    scored: Bools
    risks: Mapping[str, NDArray[np.int64]]
    positive: Mapping[str, Bools]


def load_article() -> Paper:
    """The printed figures of the CRPNet article, as shipped in `cohorts/changhai`."""
    return load_paper(shipped_cohort("changhai") / "audit.toml")


def make_changhai_sim(folder: Path, seed: int = 0) -> Path:
    """Write the simulated cohort as a complete cohort folder.

    Args:
        folder: where `cohort.toml`, `clinical.csv`, `published_predictions.csv` and
            `splits/article.csv` are written; made if it is not there.
        seed: the same seed gives the same files, byte for byte.

    Returns:
        The folder.
    """
    cohort = simulate_changhai(seed)
    tables = {
        "clinical.csv": cohort.clinical,
        f"splits/{SPLIT}.csv": cohort.split,
        "published_predictions.csv": cohort.published,
    }
    for name, table in tables.items():
        text = table.to_csv(index=False, lineterminator="\n")
        write_atomically(folder / name, text.encode())
    write_atomically(folder / "cohort.toml", _MANIFEST.format(seed=seed).encode())
    return folder


def simulate_changhai(seed: int = 0, article: Paper | None = None) -> SimulatedChanghai:
    """Simulate the cohort; whatever cannot be placed or reached raises, nothing is returned half.

    Args:
        seed: any whole number from 0.
        article: the printed figures; read from the shipped file if not given.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed: found {seed}; expected a whole number from 0")
    paper = article or load_article()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 183, 75]))
    groups = {name: _simulate_group(paper, name, rng) for name in _ROLES}
    return _named(groups, seed, rng)


def column_of(characteristic: str) -> str:
    """The column of `clinical.csv` for a row of the supplementary tables."""
    return _COLUMN_OF[characteristic]


def level_of(characteristic: str, level: str) -> str:
    """How a printed level is written in `clinical.csv`, as text.

    >>> level_of("Pathological N stage", "NO"), level_of("WHO/ISUP stage", "Stage III")
    ('N0', '3')
    """
    if characteristic == "Pathological N stage":
        return level.replace("NO", "N0")
    if characteristic == "WHO/ISUP stage":
        return str(_GRADES[level])
    return level if characteristic == "Pathological T stage" else level.lower()


def _simulate_group(paper: Paper, name: str, rng: np.random.Generator) -> _Group:
    clinical = _clinical(paper, name, rng)
    event = clinical["recurrence"].to_numpy(dtype=np.bool_)
    for _ in range(_ATTEMPTS):
        scored = _scored(paper, name, event, rng)
        try:
            risks, positive = _assigned(paper, name, clinical, scored, rng)
        except AreaNotReachedError:
            continue
        order = _order_of(paper, name, clinical, scored, risks)
        target = ConcordanceTarget(order, event, _printed_c(paper, name), _TOLERANCE, _MARGIN)
        times = search_times(target, draw_times(event, rng), rng)
        if times is not None and _ordered_among_scored(order[:, scored], event, times, scored):
            return _Group(clinical.assign(time_months=times), event, scored, risks, positive)
    raise RuntimeError(f"no {name} cohort with the printed indices in {_ATTEMPTS} attempts")


# --- Clinical columns --------------------------------------------------------------------


def _clinical(paper: Paper, name: str, rng: np.random.Generator) -> pd.DataFrame:
    table = paper.baseline_of(name)
    strata = [
        _stratum({row.name: row for row in table.row}, column, int(size.value), rng)
        for column, size in enumerate(table.n)
    ]
    for recurrence, stratum in enumerate(strata):
        stratum["recurrence"] = recurrence
    whole = pd.concat(strata, ignore_index=True).astype({"age": "int64"})
    return whole.iloc[rng.permutation(len(whole))].reset_index(drop=True)


def _stratum(
    rows: Mapping[str, BaselineRow], column: int, n: int, rng: np.random.Generator
) -> pd.DataFrame:
    """The patients of one column of a baseline table."""
    size, stage = _size_and_stage(rows, column, n, rng)
    severity = _severity(size, stage)
    grades = _counts(rows["WHO/ISUP stage"], column)
    stratum: dict[str, Any] = {
        "age": _summarised(rows["Age"], column, n, rng),
        "bmi": _summarised(rows["BMI (kg/m2)"], column, n, rng),
        "diameter_mm": size,
        "pT": stage,
        "pN": _by_severity({"N0": _counts(rows["Pathological N stage"], column)["NO"],
                            "N1": _counts(rows["Pathological N stage"], column)["N1"]},
                           severity, rng),
        "M": np.full(n, "M0"),
        "grade": _by_severity({_GRADES[level]: grades[level] for level in _GRADES}, severity, rng),
    }  # fmt: skip
    for printed, own in _COLUMN_OF.items():
        if own in _DRAWN_FREELY:
            counts = _counts(rows[printed], column)
            levels = np.repeat([level_of(printed, level) for level in counts], [*counts.values()])
            stratum[own] = rng.permutation(levels)
    return pd.DataFrame(stratum)


def _counts(row: BaselineRow, column: int) -> dict[str, int]:
    return {level: cells[column].count for level, cells in (row.levels or {}).items()}


def _summarised(row: BaselineRow, column: int, n: int, rng: np.random.Generator) -> Floats:
    if row.mean_sd is not None:
        unit = 1.0 if row.whole_numbers else _BMI_MEAN_UNIT
        values = with_mean_sd(row.mean_sd[column], n, unit, rng)
    elif row.median_iqr is not None:
        values = with_quartiles(row.median_iqr[column], n, _BMI_UNIT, _BMI_SPAN, rng)
    else:
        raise ValueError(f"{row.name}: neither mean nor median")
    return np.round(values, 4)


def _size_and_stage(
    rows: Mapping[str, BaselineRow], column: int, n: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Texts]:
    """Diameters (mm) with the printed quartiles, and stages that agree with them."""
    summary = rows["Tumor diameter (mm)"].median_iqr
    if summary is None:
        raise ValueError("Tumor diameter (mm): the article prints median and quartiles")
    stages = _counts(rows["Pathological T stage"], column)
    required = tuple(stages.get(stage, 0) for stage in _ORGAN_CONFINED)
    options = layouts(summary[column], n, _SIZE_EDGES, required)
    layout = options[rng.integers(len(options))]
    size = place(layout, n, _SIZE_EDGES, _SIZE_SPAN, rng)
    beyond = [s for s, count in stages.items() if s not in _ORGAN_CONFINED for _ in range(count)]
    waiting = iter(rng.permutation(np.array(beyond, dtype="<U3")))
    stage = np.empty(n, dtype="<U3")
    bounds = (0, *layout.cumulative, n)
    for k, (low, high) in enumerate(itertools.pairwise(bounds)):
        members = rng.permutation(np.arange(low, high))
        stage[members[: required[k]]] = _ORGAN_CONFINED[k]
        for member in members[required[k] :]:
            stage[member] = next(waiting)
    return size, stage


def _severity(size: NDArray[np.int64], stage: Texts) -> Floats:
    """A clinical tendency, so that columns and risks hang together as they do in patients."""
    logs = np.log(size.astype(np.float64))
    rank = np.array([T_STAGES.index(text) for text in stage], dtype=np.float64)
    return np.asarray((logs - logs.mean()) / logs.std() + 0.25 * rank, dtype=np.float64)


def _by_severity(
    counts: Mapping[Any, int], severity: Floats, rng: np.random.Generator
) -> NDArray[Any]:
    """Ordered levels with these counts, higher ones more often to the more severe."""
    tendency = 0.6 * severity + rng.normal(size=len(severity))
    levels = np.repeat(np.array(list(counts)), list(counts.values()))
    given = np.empty(len(severity), dtype=levels.dtype)
    given[np.argsort(tendency, kind="stable")] = levels
    return given


# --- Assigned risks ----------------------------------------------------------------------


def _scored(paper: Paper, name: str, event: Bools, rng: np.random.Generator) -> Bools:
    """Whom Table 1 counts: 174 of 183 in training, all 75 in validation."""
    entry = paper.classifier_of("CRPNet", name)
    if entry is None:
        raise ValueError(f"the figures hold no CRPNet row of {name}")
    scored = np.ones(len(event), dtype=np.bool_)
    for recurred, counted in ((True, entry.events), (False, entry.n - entry.events)):
        members = np.flatnonzero(event == recurred)
        scored[rng.choice(members, size=len(members) - counted, replace=False)] = False
    return scored


def _assigned(
    paper: Paper, name: str, clinical: pd.DataFrame, scored: Bools, rng: np.random.Generator
) -> tuple[dict[str, NDArray[np.int64]], dict[str, Bools]]:
    """Risk and class of every scored patient, by model; others hold -1 and False."""
    part = clinical[scored]
    event = part["recurrence"].to_numpy(dtype=np.bool_)
    severity = _severity(part["diameter_mm"].to_numpy(), part["pT"].to_numpy(dtype="<U3"))
    # How far the four models agree is not published, and decides every paired comparison: it
    # is drawn anew for each cohort, from nothing in common to almost everything.
    agreement = rng.uniform(0.0, _MOST_AGREEMENT)
    common = 0.5 * severity / severity.std() + rng.normal(size=len(severity))
    risks: dict[str, NDArray[np.int64]] = {}
    positive: dict[str, Bools] = {}
    for model in MODELS:
        entry = paper.classifier_of(model, name)
        if entry is None or entry.auc is None:
            raise ValueError(f"the figures hold no AUC of {model} in {name}")
        table = confusion_tables(entry).best
        bands = _bands(model, name, table.tp, table.fp, table.fn, table.tn)
        own = rng.normal(size=len(severity))
        tendency = agreement * common + (1 - agreement) * own
        risk, called = assign_risks(event, bands, entry.auc.value.value, tendency, rng)
        risks[model] = np.full(len(clinical), -1, dtype=np.int64)
        positive[model] = np.zeros(len(clinical), dtype=np.bool_)
        risks[model][scored], positive[model][scored] = risk, called
    return risks, positive


def _bands(model: str, name: str, tp: int, fp: int, fn: int, tn: int) -> tuple[Band, ...]:
    negative_ends, positive_ends = _RISK_STEPS[model]
    upper = Band(tp, fp, negative_ends + 1, positive_ends, positive=True)
    if (model, name) != ("CRPNet", "validation"):
        return (Band(fn, tn, 0, negative_ends, positive=False), upper)
    # The median split is another cut-off than the class: the low half holds the median patient
    # and one event, the patients between the two cut-offs hold the others.
    n, events = tp + fp + fn + tn, tp + fn
    low_events = events - _HIGH_EVENTS
    low_others = (n + 1) // 2 - low_events
    low = Band(low_events, low_others, 0, _LOW_HALF_ENDS, positive=False)
    middle = Band(
        fn - low_events, tn - low_others, _LOW_HALF_ENDS + 1, negative_ends, positive=False
    )
    return (low, middle, upper)


# --- Order of the C-indices --------------------------------------------------------------


def _printed_c(paper: Paper, name: str) -> float:
    found = [entry for entry in paper.concordance if entry.group == name]
    return found[0].value.value.value


def _order_of(
    paper: Paper,
    name: str,
    clinical: pd.DataFrame,
    scored: Bools,
    risks: Mapping[str, NDArray[np.int64]],
) -> Floats:
    """Risks in the printed order of their C-index, shape (models, patients).

    Necrosis is in the printed order, but nothing else about it is published.
    """
    known: dict[str, Floats] = {
        model: np.where(scored, risk, np.nan).astype(np.float64) for model, risk in risks.items()
    }
    known["T stage"] = clinical["pT"].map(T_STAGES.index).to_numpy(dtype=np.float64)
    known["WHO/ISUP grade"] = clinical["grade"].to_numpy(dtype=np.float64)
    order = next(entry for entry in paper.order if entry.group == name)
    return np.stack([known[model] for model in order.highest_first if model in known])


def _ordered_among_scored(order: Floats, event: Bools, times: Floats, scored: Bools) -> bool:
    """Whether the order holds as well when stage and grade are taken on the scored patients."""
    target = ConcordanceTarget(order, event[scored], 0.5, 1.0, _MARGIN / 4)
    unchanged = search_times(target, times[scored], np.random.default_rng(0), steps=1)
    return unchanged is not None and bool(np.array_equal(unchanged, times[scored]))


# --- Names and files ---------------------------------------------------------------------


def _named(groups: Mapping[str, _Group], seed: int, rng: np.random.Generator) -> SimulatedChanghai:
    """Give patients identifiers that tell nothing, and put the groups together."""
    sizes = {name: len(group.event) for name, group in groups.items()}
    numbers = rng.permutation(sum(sizes.values())) + 1
    clinical: list[pd.DataFrame] = []
    split: list[pd.DataFrame] = []
    published: list[pd.DataFrame] = []
    at = 0
    for name, group in groups.items():
        ids = np.array([f"SIM-{k:03d}" for k in numbers[at : at + sizes[name]]])
        at += sizes[name]
        clinical.append(group.clinical.assign(patient_id=ids))
        split.append(pd.DataFrame({"patient_id": ids, "role": _ROLES[name]}))
        published.extend(_published(model, ids, group) for model in MODELS)
    whole = pd.concat(clinical, ignore_index=True).sort_values("patient_id", ignore_index=True)
    roles = pd.concat(split, ignore_index=True).assign(repeat=0, fold=0)
    assigned = pd.concat(published, ignore_index=True)
    place_of = assigned["model"].map(MODELS.index)
    order = np.lexsort((assigned["patient_id"].to_numpy(dtype=str), place_of.to_numpy()))
    return SimulatedChanghai(
        clinical=whole[_CLINICAL_COLUMNS],
        split=roles[["patient_id", "repeat", "fold", "role"]].sort_values(
            "patient_id", ignore_index=True
        ),
        published=assigned.iloc[order].reset_index(drop=True),
        seed=seed,
    )


_CLINICAL_COLUMNS = [
    "patient_id", "time_months", "recurrence", "age", "sex", "bmi", "smoking", "drinking",
    "hypertension", "coronary_heart_disease", "diabetes", "pT", "pN", "M", "side",
    "diameter_mm", "grade",
]  # fmt: skip


def _published(model: str, ids: Texts, group: _Group) -> pd.DataFrame:
    scored = group.scored
    scale = 10_000 if model == "CRPNet" else 1  # a probability; the scores are points
    risk = pd.array(group.risks[model] / scale, dtype="Float64")
    predicted_class = pd.array(group.positive[model].astype(np.int64), dtype="Int64")
    risk[~scored] = pd.NA
    predicted_class[~scored] = pd.NA
    columns = {
        "patient_id": ids,
        "model": np.full(len(ids), model),
        "risk": risk,
        "predicted_class": predicted_class,
        "status": np.where(scored, "ok", "missing"),
        "reason": np.where(scored, "", UNSCORED_REASON),
    }
    return pd.DataFrame(columns)


_MANIFEST = """\
# Simulated: no patient of the study is in it. It has the margins that the CRPNet article prints
# (Supplementary Tables 1 and 2) and nothing else that could be learned about tumours.
# Made by crpnet_bench.synthetic.changhai.make_changhai_sim(folder, seed={seed}).

[cohort]
name = "changhai-sim"
title = "Simulated patients with the printed margins of the CRPNet article"
kind = "simulated"
licence = "GPL-3.0-or-later, as the program that made it"
tnm_edition = "unknown"           # the article does not say
grading = "who_isup"
default_split = "article"

[outcome]
endpoint = "TTR"                  # the article's PFS: its events are the recurrences
events = "recurrence; deaths are not published and count as censored"
origin = "surgery"
time_unit = "months"

[clinical]
file = "clinical.csv"
[clinical.columns]
patient_id = "patient_id"
time = "time_months"
event = "recurrence"
age = "age"
sex = "sex"
pT = "pT"
pN = "pN"
M = "M"
grade = "grade"
tumor_size = {{column = "diameter_mm", unit = "mm"}}
[clinical.extra]
bmi = "bmi"
smoking = "smoking"
drinking = "drinking"
hypertension = "hypertension"
coronary_heart_disease = "coronary_heart_disease"
diabetes = "diabetes"
side = "side"

# published_predictions.csv beside this file: risks and classes of CRPNet, UISS, SSIGN and
# Karakiewicz, assigned as published, never computed from the columns above.
# Necrosis, ECOG and symptoms are not published, so there are no such columns.
"""
