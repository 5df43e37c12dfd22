"""What must hold before a run is validated on another cohort.

Patients or slides of the training set in the other cohort are an error whatever is asked. Other
tiling, magnification or encoder is refused unless told, and then the result says so. Another device
or numeric precision is only said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.benchmark.finished import FinishedRun
from crpnet_bench.config import IMPORTED, RunConfig
from crpnet_bench.errors import InputError, NotFoundError, RunError
from crpnet_bench.home import Home
from crpnet_bench.models.encoders import fingerprints_by_arithmetic
from crpnet_bench.registry import views
from crpnet_bench.registry.load import PENDING
from crpnet_bench.slides.features import read_attributes

__all__ = [
    "allowed",
    "choose_endpoint",
    "feature_differences",
    "refuse_shared",
    "refuse_without_tiles",
    "setting_differences",
    "training_patients",
]

_NAMED = 3
# Tiles encoded at a time change speed, not what a feature is.
_OF_NO_MATTER = {"encoder": {"batch_size", "views", "view_seed"}, "tiling": {"quality"}}
# How the same numbers are computed: they differ in their last digits.
_ARITHMETIC = {"backend", "precision"}
_SAME_SCALE = 0.1  # scanners of one nominal magnification differ by less


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
    _refuse(sorted(trained & set(patients)), "patient", external, record.cohort)
    own = views.slides(home, f"{record.cohort}@{record.cohort_version}")
    own = own[own["patient_id"].isin(list(trained))]
    seen = _identities(own, _run_slides(run, trained))
    found = _identities(views.slides(home, external.pinned), [slide.slide_id for slide in slides])
    _refuse(sorted(seen & found), "slide", external, record.cohort)


def _refuse(shared: Sequence[str], what: str, external: views.CohortRecord, trained: str) -> None:
    if shared:
        some = ", ".join(name[:16] for name in shared[:_NAMED])
        more = ", ..." if len(shared) > _NAMED else ""
        count = f"{len(shared)} {what}{'' if len(shared) == 1 else 's'}"
        namesakes = "; patients who only bear the same name need another one"
        raise InputError(
            f"{external.pinned} shares {count} with the training patients from {trained} "
            f"({some}{more}); leave them out with [[exclude]] and register again"
            + (namesakes if what == "patient" else "")
        )


def refuse_without_tiles(
    external: views.CohortRecord, slides: Sequence[SlideOutcome], *, force: bool
) -> None:
    """Refuse to look at outcomes when no slide can be read: the look would be spent on nothing.

    Raises:
        RunError: the cohort has slides, none of them has features, and `force` is off.
    """
    if not slides or force or any(slide.feature_path for slide in slides):
        return
    first = slides[0]
    why = f"{first.path.name}: {first.reason}" + (f"; {first.remedy}" if first.remedy else "")
    raise RunError(
        f"{external.pinned}: none of its {len(slides)} slides has features ({why}), so no network "
        "of the run could be judged; outcomes were not looked at; --force validates the models "
        "without tiles alone"
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


def setting_differences(own: RunConfig, other: RunConfig) -> tuple[list[str], list[str]]:
    """How tiling and encoder of other settings differ from the run's.

    Returns:
        What a validation refuses unless told, and what is only said: how numbers are computed.
    """
    refused: list[str] = []
    said: list[str] = []
    for section in ("tiling", "encoder"):
        a, b = (dict(getattr(config, section)) for config in (own, other))
        for key in a:
            if key not in _OF_NO_MATTER[section] and a[key] != b[key]:
                told = f"{section}.{key}: trained with {a[key]!r}, validated with {b[key]!r}"
                (said if key in _ARITHMETIC else refused).append(told)
    return refused, said


def feature_differences(
    run: FinishedRun, own: RunConfig, other: RunConfig, slides: Sequence[SlideOutcome]
) -> tuple[list[str], list[str]]:
    """Whether the features at hand were made as those the run was trained on.

    Args:
        run: the run.
        own: its settings.
        other: the settings of the features at hand, alike in tiling and encoder.
        slides: of the other cohort.

    Returns:
        As `setting_differences`.
    """
    table = pd.read_parquet(run.folder / "slides.parquet")
    before = [Path(str(path)) for path in table["feature_path"].dropna()]
    now = [slide.feature_path for slide in slides if slide.feature_path]
    if not before or not now:
        return [], []
    if own.encoder.name.startswith(IMPORTED):
        return _imported_differences(before, now, own.encoder.name)
    trained, found = before[0].parent.name, now[0].parent.name
    if trained == found:
        return [], []
    tiling, _, encoder = trained.partition("-")
    known = fingerprints_by_arithmetic(own.encoder)
    refused = [
        f"features: the run was trained on {trained}, which is not what {words} of the run's "
        f"settings gives here, {found}"
        for words, same in (
            ("the tiling", tiling == own.tiling.fingerprint()),
            ("the encoder (its weights)", encoder in known),
        )
        if not same
    ]
    if refused:
        return refused, []
    here = (known | fingerprints_by_arithmetic(other.encoder)).get(found.partition("-")[2], found)
    if known[encoder] == here:
        return [], []
    return [], [
        f"features: computed in {known[encoder]} in training, in {here} here; encoder, weights "
        "and tiling are the same"
    ]


def _imported_differences(
    before: Sequence[Path], now: Sequence[Path], name: str
) -> tuple[list[str], list[str]]:
    """What the files of another tool tell of their tiles; the encoder they do not tell."""
    refused = []
    trained = [read_attributes(path) for path in before if path.exists()]
    found = [read_attributes(path) for path in now]
    for key, close in (("tile_px", 0.0), ("mpp", _SAME_SCALE)):
        a, b = ({round(float(one[key]), 3) for one in each if key in one}
                for each in (trained, found))  # fmt: skip
        odd = [value for value in b if all(abs(value / one - 1) > close for one in a)]
        if a and odd:
            refused.append(f"features: {key} of training {_some(a)}, of this cohort {_some(odd)}")
    return refused, [
        f"features of another tool under the name {name!r}: that both cohorts' are of one encoder "
        "rests on that name"
    ]


def _some(values: Iterable[float]) -> str:
    ordered = sorted(values)
    told = ", ".join(f"{value:g}" for value in ordered[:_NAMED])
    return told + (", ..." if len(ordered) > _NAMED else "")


def allowed(differences: list[str], *, force: bool) -> list[str]:
    """These differences, which the result has to name.

    Raises:
        RunError: there are some and `force` is off.
    """
    if differences and not force:
        raise RunError(
            f"tiles would not be made as in training: {'; '.join(differences)}; use the run's "
            "settings, or --force to validate all the same, which the result will say"
        )
    return differences
