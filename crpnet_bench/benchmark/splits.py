"""Splits by patient: made from a seed, or taken over from neighbouring tools.

Every function gives `patient_id, repeat, fold, role`; the file that is written from it is the
source, the registry keeps its rows and sha256.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from crpnet_bench.benchmark.split_formats import read_foreign_split
from crpnet_bench.errors import InputError, ValidationError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.load import PENDING
from crpnet_bench.registry.split_files import identical_across_roles, read_all_splits, write_split
from crpnet_bench.registry.store import Registry

__all__ = [
    "FEWEST_SITE_EVENTS",
    "METHODS",
    "MadeSplit",
    "SplitRequest",
    "create_split",
    "import_split",
    "k_fold",
    "leave_one_site_out",
    "random_split",
    "site_preserved",
]

FEWEST_SITE_EVENTS = 10
_SOLVER_SECONDS = 20.0
_COLUMNS = ["patient_id", "repeat", "fold", "role"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """What `split create` was asked for.

    Attributes:
        method: a key of METHODS.
        name: of the file; derived from the method if empty.
        seed: of all randomness.
        validation: fraction held out by `random`.
        test: further fraction for testing, by `random`.
        folds: number of folds.
        repeats: how often the folds are drawn anew.
        min_events: events that a site needs to be a fold of its own.
    """

    method: str = "random"
    name: str = ""
    seed: int = 0
    validation: float = 0.3
    test: float = 0.0
    folds: int = 5
    repeats: int = 1
    min_events: int = FEWEST_SITE_EVENTS


@dataclass(frozen=True)
class MadeSplit:
    """A split that was written and registered."""

    name: str
    path: Path
    sha256: str
    table: pd.DataFrame
    notes: tuple[str, ...]


# ---------------------------------------------------------------- making


def random_split(
    patients: pd.DataFrame, *, validation: float = 0.3, test: float = 0.0, seed: int = 0
) -> pd.DataFrame:
    """One split, stratified by event.

    Args:
        patients: `patient_id`, `event` (bool).
        validation: fraction of the validation patients, above 0.
        test: fraction of the test patients, 0 for none.
        seed: of the draw.

    Returns:
        `patient_id`, `repeat` 0, `fold` 0, `role`. Counts are those nearest to the fractions
        within events and within the others.

    Raises:
        InputError: impossible fractions, or too few patients for them.
    """
    if validation <= 0 or test < 0 or validation + test >= 1:
        raise InputError(
            f"fractions validation {validation:g} and test {test:g}; expected validation above 0 "
            "and both together below 1"
        )
    rng = np.random.default_rng(seed)
    roles = np.full(len(patients), "train", dtype=object)
    for stratum in _strata(patients):
        shuffled = rng.permutation(stratum)
        held, tested = (round(len(stratum) * part) for part in (validation, test))
        roles[shuffled[:held]] = "validation"
        roles[shuffled[held : held + tested]] = "test"
    table = _table(patients, roles, repeat=0, fold=0)
    wanted = {"train", "validation"} | ({"test"} if test else set())
    if set(table["role"]) != wanted:
        raise InputError(
            f"{len(patients)} patients are too few for fractions {validation:g} and {test:g}"
        )
    return table


def k_fold(
    patients: pd.DataFrame, *, folds: int = 5, repeats: int = 1, seed: int = 0
) -> pd.DataFrame:
    """(Repeated) k-fold cross-validation, stratified by event.

    Args:
        patients: `patient_id`, `event` (bool).
        folds: number of folds; each patient is validated once a repeat.
        repeats: how often the folds are drawn anew.
        seed: of the draws.

    Raises:
        InputError: fewer than two folds, or fewer events than folds.
    """
    _check_folds(patients, folds)
    rng = np.random.default_rng(seed)
    parts = []
    for repeat in range(repeats):
        fold_of = np.empty(len(patients), dtype=np.int64)
        start = 0
        for stratum in _strata(patients):
            # Going on where the last stratum ended keeps the folds' sizes within one of another.
            fold_of[rng.permutation(stratum)] = (np.arange(len(stratum)) + start) % folds
            start += len(stratum)
        parts.append(_cross_validation(patients, fold_of, repeat))
    return pd.concat(parts, ignore_index=True)


def site_preserved(
    patients: pd.DataFrame, *, folds: int = 3, seed: int = 0
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Cross-validation in which no site stands on two sides, events spread as evenly as can be.

    Sites are whole; the assignment minimises the summed distance of each fold's events and
    non-events from an equal share (a mixed-integer linear programme solved by HiGHS through
    scipy). After the idea of Howard et al., Nat Commun 12:4423 (2021).

    Args:
        patients: `patient_id`, `event` (bool), `site`.
        folds: number of folds; each gets at least one site.
        seed: breaks ties by the order in which sites are numbered.

    Returns:
        The split, and notes: sites a fold, and the gap where the solver ran out of time.

    Raises:
        InputError: fewer sites than folds, or a patient without a site.
    """
    sites = _sites(patients)
    names = sorted(set(sites))
    if not 2 <= folds <= len(names):
        raise InputError(f"{folds} folds of {len(names)} sites; expected 2 to {len(names)} folds")
    _check_folds(patients, folds)
    order = list(np.random.default_rng(seed).permutation(names))
    event = patients["event"].to_numpy(dtype=bool)
    counts = np.array(
        [[(event & (sites == s)).sum(), (~event & (sites == s)).sum()] for s in order],
        dtype=np.float64,
    )
    fold_of_site, gap = _spread(counts, folds)
    fold_of = np.array([fold_of_site[order.index(site)] for site in sites], dtype=np.int64)
    notes = [
        f"fold {fold}: sites {', '.join(sorted(s for s, f in zip(order, fold_of_site, strict=True) if f == fold))}"  # noqa: E501
        for fold in range(folds)
    ]
    if gap > 1e-6:
        notes.append(f"the solver stopped at its time limit, at most {gap:.1%} from the best")
    return _cross_validation(patients, fold_of, 0), tuple(notes)


def _spread(counts: NDArray[np.float64], folds: int) -> tuple[Ints, float]:
    """Fold of each site, and the solver's relative gap.

    Variables: x[site, fold] in {0, 1}, then d[class, fold] >= |count - equal share|, each class
    scaled by its total, so that few events weigh as much as many non-events.
    """
    sites, classes = counts.shape
    total = counts.sum(axis=0)
    scaled = counts / np.maximum(total, 1.0)
    share = (total > 0) / folds
    assigned, deviations = sites * folds, classes * folds
    one_fold = sparse.kron(sparse.eye_array(sites), np.ones((1, folds)))
    some_site = sparse.kron(np.ones((1, sites)), sparse.eye_array(folds))
    in_fold = sparse.kron(scaled.T, sparse.eye_array(folds))  # (classes * folds, sites * folds)
    slack = sparse.eye_array(deviations)
    target = np.repeat(share, folds)
    constraints = [
        LinearConstraint(_beside(one_fold, sparse.coo_array((sites, deviations))), 1, 1),
        LinearConstraint(_beside(some_site, sparse.coo_array((folds, deviations))), 1, np.inf),
        LinearConstraint(_beside(in_fold, -slack), -np.inf, target),
        LinearConstraint(_beside(in_fold, slack), target, np.inf),
    ]
    solved = milp(
        np.concatenate([np.zeros(assigned), np.ones(deviations)]),
        integrality=np.concatenate([np.ones(assigned), np.zeros(deviations)]),
        bounds=Bounds(0, np.concatenate([np.ones(assigned), np.full(deviations, np.inf)])),
        constraints=constraints,
        options={"time_limit": _SOLVER_SECONDS},
    )
    if solved.x is None:
        raise InputError(f"no assignment of {sites} sites to {folds} folds: {solved.message}")
    chosen = solved.x[:assigned].reshape(sites, folds).argmax(axis=1)
    return chosen.astype(np.int64), float(getattr(solved, "mip_gap", 0.0) or 0.0)


def _beside(left: Any, right: Any) -> Any:  # noqa: ANN401 scipy's sparse types
    """Two sparse blocks side by side."""
    return sparse.csr_array(sparse.hstack([left, right]))


def leave_one_site_out(
    patients: pd.DataFrame, *, min_events: int = FEWEST_SITE_EVENTS
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Each site with enough events is held out once; smaller ones form one fold together.

    Where even all small sites together have fewer events than `min_events`, their fold is not
    estimable and is left out: their patients only train.

    Args:
        patients: `patient_id`, `event` (bool), `site`.
        min_events: events that a fold needs; 0 makes every site a fold.

    Returns:
        The split (role `test` for the held-out site), and notes on each fold.

    Raises:
        InputError: one site only, or no fold has enough events.
    """
    sites = _sites(patients)
    event = patients["event"].to_numpy(dtype=bool)
    events = {site: int(event[sites == site].sum()) for site in sorted(set(sites))}
    large = [site for site, count in events.items() if count >= min_events]
    small = [site for site in events if site not in large]
    together = sum(events[site] for site in small)
    groups = [[site] for site in large] + ([small] if small and together >= min_events else [])
    if not groups or len(events) < 2:
        raise InputError(
            f"leave-one-site-out: no site has {min_events} events "
            f"(most: {max(events.values(), default=0)} of {len(events)} sites); "
            "not estimable, use site-preserved folds"
        )
    parts, notes = [], []
    for fold, group in enumerate(groups):
        held = np.isin(sites, group)
        parts.append(_table(patients, np.where(held, "test", "train"), repeat=0, fold=fold))
        count = sum(events[site] for site in group)
        notes.append(
            f"fold {fold}: {', '.join(group)} ({int(held.sum())} patients, {count} events)"
        )
    if small and together < min_events:
        notes.append(
            f"not estimable: {', '.join(small)} have {together} events together, fewer than "
            f"{min_events}; their patients only train"
        )
    return pd.concat(parts, ignore_index=True), tuple(notes)


def _check_folds(patients: pd.DataFrame, folds: int) -> None:
    events = int(patients["event"].sum())
    if folds < 2 or folds > min(events, len(patients) - events):
        raise InputError(
            f"{folds} folds with {events} events in {len(patients)} patients; expected at least 2 "
            "folds and an event and a patient without one in each"
        )


def _strata(patients: pd.DataFrame) -> list[Ints]:
    event = patients["event"].to_numpy(dtype=bool)
    return [np.flatnonzero(event), np.flatnonzero(~event)]


def _sites(patients: pd.DataFrame) -> NDArray[np.object_]:
    missing = patients["site"].isna()
    if missing.any():
        raise InputError(
            f"{int(missing.sum())} patients have no site "
            f"(first: {patients.loc[missing, 'patient_id'].iloc[0]}); map a `site` column"
        )
    return patients["site"].astype(str).to_numpy(dtype=object)


def _cross_validation(patients: pd.DataFrame, fold_of: Ints, repeat: int) -> pd.DataFrame:
    return pd.concat(
        [
            _table(patients, np.where(fold_of == fold, "validation", "train"), repeat, int(fold))
            for fold in np.unique(fold_of)
        ],
        ignore_index=True,
    )


def _table(patients: pd.DataFrame, roles: NDArray[Any], repeat: int, fold: int) -> pd.DataFrame:
    table = patients[["patient_id"]].reset_index(drop=True)
    return table.assign(repeat=repeat, fold=fold, role=roles)[_COLUMNS]


# ---------------------------------------------------------------- methods of the command

Made = tuple[pd.DataFrame, tuple[str, ...]]


def _random(patients: pd.DataFrame, asked: SplitRequest) -> Made:
    return random_split(patients, validation=asked.validation, test=asked.test, seed=asked.seed), ()


def _k_fold(patients: pd.DataFrame, asked: SplitRequest) -> Made:
    return k_fold(patients, folds=asked.folds, repeats=asked.repeats, seed=asked.seed), ()


def _site_preserved(patients: pd.DataFrame, asked: SplitRequest) -> Made:
    return site_preserved(patients, folds=asked.folds, seed=asked.seed)


def _leave_one_site_out(patients: pd.DataFrame, asked: SplitRequest) -> Made:
    return leave_one_site_out(patients, min_events=asked.min_events)


METHODS: Mapping[str, Callable[[pd.DataFrame, SplitRequest], Made]] = {
    "random": _random,
    "k-fold": _k_fold,
    "site-preserved": _site_preserved,
    "leave-one-site-out": _leave_one_site_out,
}


def _default_name(asked: SplitRequest) -> str:
    if asked.method == "random":
        shares = [1 - asked.validation - asked.test, asked.validation, asked.test]
        return "random-" + "-".join(f"{share * 100:.0f}" for share in shares if share)
    if asked.method == "leave-one-site-out":
        return asked.method
    repeats = f"{asked.repeats}x" if asked.repeats > 1 else ""
    return f"{asked.method.replace('k-fold', 'fold')}-{repeats}{asked.folds}"


def create_split(home: Home, cohort: str, asked: SplitRequest) -> MadeSplit:
    """Make a split of a registered cohort, write its file and register it.

    Args:
        home: whose registry.
        cohort: `NAME` (its newest version).
        asked: method and its numbers.

    Raises:
        NotFoundError: no such cohort.
        InputError: an unknown method, an existing name, or an impossible request.
        ValidationError: identical slides would stand on two sides.
    """
    if asked.method not in METHODS:
        raise InputError(f"method {asked.method!r}; {did_you_mean(asked.method, METHODS)}")
    record = views.cohort(home, cohort)
    patients = views.patients(home, record.pinned)
    status = views.outcomes(home, record.pinned).set_index("patient_id")["status"]
    patients = patients.assign(event=(patients["patient_id"].map(status) == 1).astype(bool))
    table, notes = METHODS[asked.method](patients, asked)
    return _store(home, record, asked.name or _default_name(asked), table, notes)


def _store(
    home: Home,
    record: views.CohortRecord,
    name: str,
    table: pd.DataFrame,
    notes: tuple[str, ...],
) -> MadeSplit:
    path = record.folder / "splits" / f"{name}.csv"
    if path.exists():
        raise InputError(f"{path} exists; delete it or choose another --name")
    slides = views.slides(home, record.pinned)
    hashed = slides[~slides["slide_id"].str.startswith(PENDING)]
    problems = identical_across_roles(table, hashed, name)
    if problems:
        raise ValidationError(problems, f"split {name}")
    everyone = views.patients(home, record.pinned, with_excluded=True)["patient_id"]
    sha256 = write_split(table, path, set(everyone))
    _register(home, record, set(everyone))
    return MadeSplit(name, path, sha256, table, notes)


def _register(home: Home, record: views.CohortRecord, patients: set[str]) -> None:
    """Take up the cohort's split files in its newest version."""
    splits, problems = read_all_splits(record.folder, patients)
    if problems:
        raise ValidationError(problems, f"splits of {record.name}")
    with Registry(home).write() as registry:
        registry.store_splits(record.name, record.version, splits)


def import_split(home: Home, cohort: str, source: Path, name: str = "") -> MadeSplit:
    """Read a split of CLAM, PORPOISE, Patho-Bench or STAMP for a registered cohort.

    Args:
        home: whose registry.
        cohort: `NAME` (its newest version).
        source: `splits_0.csv` or the folder with `splits_<k>.csv`; `k=all.tsv`; `splits.json`.
        name: of the new split; that of the source if empty.

    Raises:
        ValidationError: lists unknown cases, and patients or identical slides on two sides.
        InputError: the file is none of these formats, or the name is taken.
    """
    record = views.cohort(home, cohort)
    everyone = views.patients(home, record.pinned, with_excluded=True)["patient_id"]
    slides = views.slides(home, record.pinned, with_excluded=True)
    patient_of: dict[str, str] = {}
    for path, patient in zip(slides["path"], slides["patient_id"], strict=True):
        patient_of[Path(path).stem] = patient_of[Path(path).name.split(".")[0]] = patient
    patient_of |= {patient: patient for patient in everyone}
    table = read_foreign_split(source, patient_of)
    chosen = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", source.stem).strip("-.")
    return _store(home, record, chosen, table, (f"imported from {source.name}",))
