"""What must hold before a run is validated on another cohort.

Patients or slides of the training set in the other cohort are an error whatever is asked. Other
tiling, magnification or encoder is refused unless told, and then the result says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.benchmark.finished import FinishedRun
from crpnet_bench.config import RunConfig
from crpnet_bench.errors import InputError, NotFoundError, RunError
from crpnet_bench.home import Home
from crpnet_bench.registry import views
from crpnet_bench.registry.load import PENDING

__all__ = [
    "choose_endpoint",
    "feature_differences",
    "refuse_shared",
    "setting_differences",
    "training_patients",
]

_NAMED = 3
# Tiles encoded at a time change speed, not what a feature is.
_OF_NO_MATTER = {"encoder": {"batch_size", "views", "view_seed"}, "tiling": {"quality"}}


def training_patients(run: FinishedRun) -> set[str]:
    """Patients that any fold of the run was fitted on."""
    split = pd.read_csv(run.folder / "split.csv", dtype={"patient_id": str})
    return set(split.loc[split["role"] == "train", "patient_id"])


def refuse_shared(
    home: Home, run: FinishedRun, external: views.CohortRecord, slides: Sequence[SlideOutcome]
) -> None:
    """Refuse a cohort that shares patients or slides with the training patients of the run.

    Raises:
        InputError: names them.
    """
    record = run.record
    trained = training_patients(run)
    if external.name == record.cohort:
        raise InputError(
            f"{external.pinned}: the run was trained on this cohort; an external validation needs "
            "another one"
        )
    patients = views.patients(home, external.pinned)["patient_id"]
    _refuse(sorted(trained & set(patients)), "patients", external, record.cohort)
    own = views.slides(home, f"{record.cohort}@{record.cohort_version}")
    own = own[own["patient_id"].isin(list(trained))]
    seen = _identities(own, _run_slides(run, trained))
    found = _identities(views.slides(home, external.pinned), [slide.slide_id for slide in slides])
    _refuse(sorted(seen & found), "slides", external, record.cohort)


def _refuse(shared: Sequence[str], what: str, external: views.CohortRecord, trained: str) -> None:
    if shared:
        some = ", ".join(name[:16] for name in shared[:_NAMED])
        more = ", ..." if len(shared) > _NAMED else ""
        raise InputError(
            f"{external.pinned} shares {len(shared)} {what} with the training patients from "
            f"{trained} ({some}{more}); leave them out with [[exclude]] and register again, or, "
            "if they only bear the same name, rename them"
        )


def _run_slides(run: FinishedRun, patients: set[str]) -> list[str]:
    slides = pd.read_parquet(run.folder / "slides.parquet")
    return [str(name) for name in slides.loc[slides["patient_id"].isin(list(patients)), "slide_id"]]


def _identities(slides: pd.DataFrame, more: Sequence[str]) -> set[str]:
    """Content hashes; the file itself where the content was not hashed yet."""
    hashed = {str(name) for name in [*slides["slide_id"], *more]}
    return {name for name in hashed if name and not name.startswith(PENDING)} | set(slides["path"])


def choose_endpoint(
    run: FinishedRun, external: views.CohortRecord, *, force: bool
) -> tuple[str, list[str]]:
    """The run's endpoint, which the other cohort must have; with `force` its main one.

    Raises:
        NotFoundError: the cohort does not have the endpoint.
    """
    manifest = external.manifest
    known = [manifest.outcome.endpoint, *(more.endpoint for more in manifest.further_outcomes)]
    wanted = run.record.endpoint
    if wanted in known:
        return wanted, []
    if not force:
        raise NotFoundError(
            f"cohort {external.name!r} has no {wanted}, the run's endpoint; it has "
            f"{', '.join(known)}; --force validates against {known[0]} and says so"
        )
    return known[0], [f"endpoint: the run learned {wanted}, this cohort is judged by {known[0]}"]


def setting_differences(own: RunConfig, other: RunConfig, *, force: bool) -> list[str]:
    """How tiling and encoder of other settings differ from the run's.

    Raises:
        RunError: they differ and `force` is off.
    """
    told = []
    for section in ("tiling", "encoder"):
        a, b = (dict(getattr(config, section)) for config in (own, other))
        skipped = _OF_NO_MATTER[section]
        told += [
            f"{section}.{key}: trained with {a[key]!r}, validated with {b[key]!r}"
            for key in a
            if key not in skipped and a[key] != b[key]
        ]
    return _allowed(told, force=force)


def feature_differences(
    run: FinishedRun, slides: Sequence[SlideOutcome], *, force: bool
) -> list[str]:
    """Whether the features at hand were made as those the run was trained on.

    Raises:
        RunError: they were not and `force` is off.
    """
    before = _folders(pd.read_parquet(run.folder / "slides.parquet")["feature_path"].dropna())
    now = _folders([str(slide.feature_path) for slide in slides if slide.feature_path])
    if not before or not now or before == now:
        return []
    told = (
        f"features: trained on {', '.join(sorted(before))}, validated on {', '.join(sorted(now))}"
    )
    return _allowed([f"{told} (tiling and encoder)"], force=force)


def _folders(paths: Sequence[Any] | pd.Series[Any]) -> set[str]:
    return {str(path).replace("\\", "/").rsplit("/", 2)[-2] for path in paths}


def _allowed(differences: list[str], *, force: bool) -> list[str]:
    if differences and not force:
        raise RunError(
            f"tiles would not be made as in training: {'; '.join(differences)}; use the run's "
            "settings, or --force to validate all the same, which the result will say"
        )
    return differences
