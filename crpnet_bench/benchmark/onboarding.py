"""A cohort folder to the registry: check, identify slides by content, register, remove.

Here meets what the registry may not reach: slide files. Contents are hashed once and
remembered by path, size and time of change; headers are looked at by `check`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from crpnet_bench.errors import NotFoundError, Problem, RegistryError, SlideError, ValidationError
from crpnet_bench.home import Home
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.registry import views
from crpnet_bench.registry.load import PENDING, LoadedCohort, load_cohort
from crpnet_bench.registry.split_files import identical_across_roles
from crpnet_bench.registry.store import Registry
from crpnet_bench.results import conform
from crpnet_bench.slides.identity import content_hash
from crpnet_bench.slides.reader import open_slide

__all__ = [
    "CheckReport",
    "Registration",
    "check_cohort",
    "identify_slides",
    "register_cohort",
    "remove_cohort",
]

_NAMED = 5  # of many alike, this many are named in one sentence

FileKey = tuple[str, int, int]  # absolute path, size, mtime_ns


@dataclass(frozen=True, slots=True)
class Registration:
    """What registering a cohort did."""

    name: str
    version: int
    changed: bool
    patients: int
    included: int
    events: int
    slides: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a dry run found: errors refuse registration, warnings are recorded with it."""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether `cohort register` would take the cohort."""
        return not self.errors


@dataclass(frozen=True)
class IdentifiedCohort:
    """A loaded cohort whose slides are named by content, and what was hashed for it."""

    cohort: LoadedCohort
    hashes: Mapping[FileKey, str]
    problems: tuple[Problem, ...]


def register_cohort(
    home: Home,
    path: Path,
    *,
    defer_hash: bool = False,
    progress: Progress | None = None,
) -> Registration:
    """Check a cohort folder and store it, completely or not at all.

    Args:
        home: where the registry lies.
        path: the folder or its `cohort.toml`.
        defer_hash: do not look at slide files now; they get their identity at extraction.
        progress: told of hashed slides.

    Raises:
        ValidationError: lists everything that is wrong; nothing is written.
        RegistryError: the registry cannot be written.
    """
    loaded = load_cohort(path)
    known = _known_hashes(home)
    found = identify_slides(loaded, known, defer_hash=defer_hash, progress=progress)
    if found.problems:
        raise ValidationError(found.problems, f"cohort {loaded.name}")
    cohort = found.cohort.with_warnings(_shared_with_others(home, found.cohort))
    with Registry(home).write() as registry:
        registry.store_file_hashes(found.hashes)
        version, changed = registry.register_cohort(cohort)
    staying = cohort.patients[~cohort.patients["excluded"].astype(bool)]
    primary = cohort.outcomes[cohort.outcomes["primary"].astype(bool)]
    events = primary[(primary["status"] == 1) & primary["patient_id"].isin(staying["patient_id"])]
    return Registration(
        name=cohort.name,
        version=version,
        changed=changed,
        patients=len(cohort.patients),
        included=len(staying),
        events=len(events),
        slides=int((~cohort.slides["excluded"].astype(bool)).sum()),
        warnings=cohort.warnings,
    )


def check_cohort(home: Home, path: Path, *, progress: Progress | None = None) -> CheckReport:
    """Everything that is wrong or looks wrong, before any compute; writes nothing.

    Args:
        home: whose registry may hold the same slides already; need not exist.
        path: the folder or its `cohort.toml`.
        progress: told of slides that are hashed and opened.
    """
    try:
        loaded = load_cohort(path)
    except ValidationError as error:
        return CheckReport(tuple(str(problem) for problem in error.problems), ())
    found = identify_slides(loaded, _known_hashes(home), copies_only=True, progress=progress)
    return CheckReport(
        errors=tuple(str(problem) for problem in found.problems),
        warnings=(
            *found.cohort.warnings,
            *_shared_with_others(home, found.cohort),
            *_other_origins(home, found.cohort),
            *_headers(found.cohort, progress or SilentProgress()),
        ),
    )


def remove_cohort(home: Home, name: str) -> tuple[str, ...]:
    """Delete a cohort's rows, the views that held them and the folders of its runs.

    The cohort's own folder and feature files stay.

    Returns:
        The ids of the deleted runs.

    Raises:
        NotFoundError: no such cohort.
    """
    views.cohort(home, name)
    with Registry(home).write() as registry:
        run_ids = registry.remove_cohort(name)
    for run_id in run_ids:
        shutil.rmtree(home.runs / run_id, ignore_errors=True)
    return tuple(run_ids)


# ---------------------------------------------------------------- slides by content


def identify_slides(
    loaded: LoadedCohort,
    known: Mapping[FileKey, str],
    *,
    defer_hash: bool = False,
    copies_only: bool = False,
    progress: Progress | None = None,
) -> IdentifiedCohort:
    """Name each slide by the sha256 of its content, and tell copies.

    A second copy within a patient is excluded; copies of different patients are a warning,
    and an error where a split puts them on two sides.

    Args:
        loaded: the cohort.
        known: hashes of files that were seen before.
        defer_hash: leave every slide pending.
        copies_only: hash only files that share their size with another one, which is enough
            to find copies; the others stay pending.
        progress: told of each slide.
    """
    if defer_hash or loaded.slides.empty:
        return IdentifiedCohort(loaded, {}, ())
    slides, hashes, failed = _hash_all(
        loaded, known, progress or SilentProgress(), copies_only=copies_only
    )
    wanted = int((~slides["excluded"].astype(bool)).sum())
    if wanted and len(failed) == wanted:
        first = next(iter(failed.items()))
        expected = (
            f"slide files; none of {wanted} can be read, the first: {first[0]} ({first[1]}). Paths "
            "are relative to cohort.toml; --defer-hash registers without looking at slides"
        )
        return IdentifiedCohort(loaded, hashes, (Problem("slides", expected),))
    slides, remarks = _mark_copies(slides)
    cohort = replace(loaded, slides=slides).with_warnings([*_tell_failed(failed), *remarks])
    return IdentifiedCohort(cohort, hashes, tuple(_leaks(cohort)))


def _known_hashes(home: Home) -> dict[FileKey, str]:
    """Empty where readers are refused: the writer that follows mends the views."""
    try:
        return views.file_hashes(home)
    except RegistryError:
        return {}


def _hash_all(
    loaded: LoadedCohort, known: Mapping[FileKey, str], progress: Progress, *, copies_only: bool
) -> tuple[pd.DataFrame, dict[FileKey, str], dict[str, str]]:
    rows: list[dict[Any, Any]] = loaded.slides.to_dict("records")
    keys, failed = _file_keys(loaded)
    sizes = Counter(size for _, size, _ in {*keys.values(), *known})
    hashes: dict[FileKey, str] = {}
    with progress.task("slides by content", len(keys), "slides") as task:
        for row in rows:
            key = keys.get(row["path"])
            if key is None or (copies_only and key not in known and sizes[key[1]] < 2):
                continue  # no file, left out anyway, or alone in its size
            try:
                hashes[key] = known.get(key) or content_hash(Path(key[0]))
                row.update(slide_id=hashes[key], size=key[1], mtime_ns=key[2])
            except SlideError as error:
                failed[row["path"]] = error.reason
            task.advance()
    columns = {str(name): str(dtype) for name, dtype in loaded.slides.dtypes.items()}
    fresh = {key: sha256 for key, sha256 in hashes.items() if key not in known}
    return conform(pd.DataFrame(rows, columns=list(columns)), columns), fresh, failed


def _file_keys(loaded: LoadedCohort) -> tuple[dict[str, FileKey], dict[str, str]]:
    """Path in the cohort -> file, or -> why there is none; slides that are left out are skipped."""
    keys: dict[str, FileKey] = {}
    failed: dict[str, str] = {}
    for name in loaded.slides.loc[~loaded.slides["excluded"].astype(bool), "path"]:
        path = loaded.folder / name
        try:
            status = path.stat()
        except FileNotFoundError:
            failed[name] = "file not found"
        except (OSError, ValueError):
            failed[name] = "not readable"
        else:
            keys[name] = (str(path), status.st_size, status.st_mtime_ns)
    return keys, failed


def _tell_failed(failed: Mapping[str, str]) -> list[str]:
    reasons = sorted(set(failed.values()))
    return [
        f"{reason}: {_some(path for path, why in failed.items() if why == reason)}"
        for reason in reasons
    ]


def _mark_copies(slides: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    marked = slides.copy()
    hashed = ~slides["slide_id"].str.startswith(PENDING) & ~slides["excluded"].astype(bool)
    remarks = []
    several = slides[hashed & slides["slide_id"].duplicated(keep=False)]
    for slide_id, part in several.groupby("slide_id", sort=False):
        for patient, own in part.groupby("patient_id", sort=False):
            copies = own.index[1:]
            marked.loc[copies, "excluded"] = True
            marked.loc[copies, "reason"] = f"same content as {own['path'].iloc[0]}"
            remarks += [f"{slides['path'][i]} has the same content as {own['path'].iloc[0]} of "
                        f"{patient} and is left out" for i in copies]  # fmt: skip
        owners = part["patient_id"].unique().tolist()
        if len(owners) > 1:
            remarks.append(
                f"slides of identical content belong to {' and '.join(owners)} "
                f"({str(slide_id)[:12]}): whose is it?"
            )
    return marked, remarks


def _leaks(cohort: LoadedCohort) -> Iterable[Problem]:
    """Splits with slides of identical content on both sides."""
    slides = cohort.slides
    hashed = slides[~slides["slide_id"].str.startswith(PENDING) & ~slides["excluded"].astype(bool)]
    for name, split in cohort.splits.groupby("split"):
        yield from identical_across_roles(split, hashed, f"splits/{name}.csv")


def _shared_with_others(home: Home, cohort: LoadedCohort) -> list[str]:
    """Slides that another cohort of the registry holds as well."""
    if cohort.slides.empty:
        return []
    try:
        stored = views.read(
            home,
            "SELECT DISTINCT cohort, slide_id FROM slides "
            "WHERE cohort <> ? AND NOT starts_with(slide_id, ?)",
            [cohort.name, PENDING],
        )
    except (NotFoundError, RegistryError):
        return []  # nothing is registered yet, or the writer that follows mends the views
    shared = stored[stored["slide_id"].isin(cohort.slides["slide_id"])]
    return [
        f"{len(part)} slides are also in cohort {name!r}: it is no external validation for it"
        for name, part in shared.groupby("cohort")
    ]


def _other_origins(home: Home, cohort: LoadedCohort) -> list[str]:
    """Real cohorts of the registry whose times of the same endpoint start elsewhere."""
    outcome = cohort.manifest.outcome
    try:
        others = views.cohorts(home).drop_duplicates("cohort")  # the newest versions
    except (NotFoundError, RegistryError):
        return []
    others = others[
        (others["cohort"] != cohort.name)
        & (others["kind"] == "real")
        & (others["endpoint"] == outcome.endpoint)
        & (others["origin"] != outcome.origin)
    ]
    return [
        f"differing time origins: {outcome.endpoint} from {outcome.origin} here, from {origin} in "
        f"cohort {name!r}; do not pool them"
        for name, origin in zip(others["cohort"], others["origin"], strict=True)
    ]


def _headers(cohort: LoadedCohort, progress: Progress) -> list[str]:
    """Slides that cannot be opened or do not say their scale; no tile is read."""
    reasons: dict[str, list[str]] = {}
    used = cohort.slides[~cohort.slides["excluded"].astype(bool)]
    with progress.task("slide headers", len(used), "slides") as task:
        for path, mpp in zip(used["path"], used["mpp"], strict=True):
            try:
                given = None if pd.isna(mpp) else float(mpp)
                open_slide(cohort.folder / path, mpp=given).close()
            except SlideError as error:
                if error.reason != "file not found":  # told by the hashing
                    reasons.setdefault(str(error.reason), []).append(path)
            task.advance()
    return [f"{reason}: {_some(paths)}" for reason, paths in sorted(reasons.items())]


def _some(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
