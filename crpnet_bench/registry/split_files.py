"""Split files: `patient_id,repeat,fold,role`, by patient, hashed.

The file is the source; the registry holds its rows and its sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd
import pydantic

from crpnet_bench.errors import InputError, Problem, ValidationError
from crpnet_bench.registry.manifest import problems_of
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.results import write_atomically
from crpnet_bench.schema import SplitRow

__all__ = [
    "SPLIT_COLUMNS",
    "check_split",
    "identical_across_roles",
    "read_all_splits",
    "read_split",
    "split_sha256",
    "write_split",
]

SPLIT_COLUMNS = ("patient_id", "repeat", "fold", "role")
_ROLES = ("train", "validation", "test")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def split_sha256(path: Path) -> str:
    """The sha256 of a split file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_split(
    path: Path, patients: Collection[str] | None = None
) -> tuple[pd.DataFrame, list[Problem]]:
    """Read and check one split file.

    Args:
        path: `<name>.csv`.
        patients: the cohort's patients; None means that any are accepted.

    Returns:
        The rows (SPLIT_COLUMNS, in file order) and everything wrong with them.
    """
    name = f"splits/{path.name}"
    table, problems = read_text_table(path, name=name)
    if table is None:
        return _frame([]), problems
    if not _NAME.fullmatch(path.stem):
        problems.append(Problem(name, "a name of letters, digits, - _ and . only"))
    if tuple(table.columns) != SPLIT_COLUMNS:
        wanted = f"the columns {','.join(SPLIT_COLUMNS)}"
        problems.append(Problem(name, wanted, value=",".join(table.columns)))
        return _frame([]), problems
    rows = _rows(table, problems)
    frame = _frame(rows)
    numbers = dict(enumerate(table.row_numbers))
    problems += check_split(frame, patients, name, numbers) if not problems else []
    return frame, problems


def read_all_splits(folder: Path, patients: Collection[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Every split file of a cohort folder.

    Args:
        folder: of the cohort; files lie in its `splits/`.
        patients: the cohort's patients.

    Returns:
        `split`, `sha256` and SPLIT_COLUMNS of all files, and everything wrong with them.
    """
    frames, problems = [_frame([]).assign(split="", sha256="")], []
    for path in sorted((folder / "splits").glob("*.csv")):
        frame, found = read_split(path, patients)
        problems += found
        if not found:
            frames.append(frame.assign(split=path.stem, sha256=split_sha256(path)))
    whole = pd.concat([frame.astype("object") for frame in frames], ignore_index=True)
    whole = whole.astype(
        {"patient_id": "string", "repeat": "Int64", "fold": "Int64", "role": "string",
         "split": "string", "sha256": "string"}
    )  # fmt: skip
    return whole[["split", "sha256", *SPLIT_COLUMNS]], problems


def _rows(table: TextTable, problems: list[Problem]) -> list[SplitRow]:
    rows = []
    for number, cells in zip(table.row_numbers, table.rows, strict=True):
        try:
            rows.append(SplitRow.model_validate(dict(zip(SPLIT_COLUMNS, cells, strict=True))))
        except pydantic.ValidationError as error:
            problems += [
                Problem(table.file, found.expected, found.column, number, found.value)
                for found in problems_of(error, table.file, SplitRow)
            ]
    return rows


def _frame(rows: list[SplitRow]) -> pd.DataFrame:
    frame = pd.DataFrame([row.model_dump() for row in rows], columns=list(SPLIT_COLUMNS))
    return frame.astype(
        {"patient_id": "string", "repeat": "Int64", "fold": "Int64", "role": "string"}
    )


def check_split(
    split: pd.DataFrame,
    patients: Collection[str] | None,
    name: str,
    row_numbers: Mapping[int, int] | None = None,
) -> list[Problem]:
    """Patients on two sides, listed twice or unknown; folds without training or held-out rows.

    Args:
        split: SPLIT_COLUMNS.
        patients: the cohort's patients; None means that any are accepted.
        name: the split's name in messages.
        row_numbers: place in the frame -> row in its file.
    """
    places = row_numbers or {}
    problems: list[Problem] = []
    seen: dict[tuple[str, int, int], str] = {}
    known = None if patients is None else frozenset(patients)
    for place, (patient, repeat, fold, role) in enumerate(
        split[list(SPLIT_COLUMNS)].itertuples(index=False, name=None)
    ):
        row = places.get(place)
        if known is not None and patient not in known:
            problems.append(Problem(name, "a patient of the cohort", "patient_id", row, patient))
        before = seen.get((patient, repeat, fold))
        if before is None:
            seen[patient, repeat, fold] = role
        elif before == role:
            wanted = f"each patient once in repeat {repeat}, fold {fold}"
            problems.append(Problem(name, wanted, "patient_id", row, patient))
        else:
            wanted = f"one role in repeat {repeat}, fold {fold}; it is {before} and {role}"
            problems.append(Problem(name, wanted, "patient_id", row, patient))
    return problems or _empty_sides(split, name)


def _empty_sides(split: pd.DataFrame, name: str) -> list[Problem]:
    problems = []
    for (repeat, fold), rows in split.groupby(["repeat", "fold"]):
        roles = set(rows["role"])
        if "train" not in roles or len(roles) == 1:
            wanted = f"train and validation or test rows in repeat {repeat}, fold {fold}"
            problems.append(Problem(name, wanted, "role", value=", ".join(sorted(roles))))
    return problems


def identical_across_roles(split: pd.DataFrame, slides: pd.DataFrame, name: str) -> list[Problem]:
    """Slides of identical content whose patients stand on different sides of a fold.

    Args:
        split: SPLIT_COLUMNS.
        slides: `slide_id`, `patient_id`; slides whose content is not hashed yet are skipped
            by the caller.
        name: the split's name in messages.
    """
    several = slides[slides["slide_id"].duplicated(keep=False)]
    owners = several.groupby("slide_id")["patient_id"].unique()
    shared = {str(slide): sorted(set(who)) for slide, who in owners.items() if len(set(who)) > 1}
    problems = []
    for slide, who in shared.items():
        rows = split[split["patient_id"].isin(who)]
        for (repeat, fold), part in rows.groupby(["repeat", "fold"]):
            if part["role"].nunique() > 1:
                wanted = (
                    f"slides of identical content on one side of repeat {repeat}, fold {fold}; "
                    f"slide {slide[:12]} belongs to {' and '.join(who)}"
                )
                problems.append(Problem(name, wanted))
    return problems


def write_split(split: pd.DataFrame, path: Path, patients: Collection[str] | None = None) -> str:
    """Check a split, write it in canonical order, return its sha256.

    Raises:
        ValidationError: patients on two sides, twice or unknown.
        InputError: the name cannot be one of a split.
    """
    if not _NAME.fullmatch(path.stem):
        raise InputError(f"split name {path.stem!r}; expected letters, digits, - _ and . only")
    problems = check_split(split, patients, path.stem)
    if problems:
        raise ValidationError(problems, f"split {path.stem}")
    order = split.assign(role=pd.Categorical(split["role"], categories=list(_ROLES)))
    order = order.sort_values(["repeat", "fold", "role", "patient_id"], kind="stable")
    text = order[list(SPLIT_COLUMNS)].to_csv(index=False, lineterminator="\n")
    write_atomically(path, text.encode())
    return split_sha256(path)
