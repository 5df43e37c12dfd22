"""Split files of neighbouring tools, read as `patient_id, repeat, fold, role`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crpnet_bench.errors import InputError, Problem, ValidationError
from crpnet_bench.registry.tables import TextTable, read_text_table

__all__ = ["read_foreign_split"]

_COLUMNS = ["patient_id", "repeat", "fold", "role"]
_ROLES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_NUMBERED = re.compile(r"splits_(\d+)")
_FOLD = re.compile(r"fold_(\d+)")


def read_foreign_split(source: Path, patient_of: Mapping[str, str]) -> pd.DataFrame:
    """A neighbouring tool's split as `patient_id, repeat, fold, role`.

    - CLAM, PORPOISE, MCAT: `splits_<k>.csv`, columns train, val and perhaps test of unequal
      length, holding slides (CLAM) or cases.
    - Patho-Bench: `k=all.tsv`, a row a slide, columns `fold_<k>` valued train, val, test.
    - STAMP: `splits.json`.

    Args:
        source: a file, or the folder of CLAM's files.
        patient_of: case or slide (file name without its ending) -> patient of the cohort.

    Raises:
        ValidationError: lists unknown cases and values that are no role.
        InputError: the file is none of these formats.
    """
    problems: list[Problem] = []
    rows = _foreign_rows(source, problems)
    named = []
    for file, case, fold, role in rows:
        patient = patient_of.get(case) or patient_of.get(case.split(".")[0])
        if patient is None:
            problems.append(Problem(file, "a patient or slide of the cohort", "case", value=case))
        else:
            named.append((patient, 0, fold, role))
    if problems:
        raise ValidationError(dict.fromkeys(problems), f"split {source.name}")
    # Several slides of a patient name it several times; once a side is enough.
    return pd.DataFrame(named, columns=_COLUMNS).drop_duplicates(ignore_index=True)


ForeignRow = tuple[str, str, int, str]  # file, case, fold, role


def _foreign_rows(source: Path, problems: list[Problem]) -> list[ForeignRow]:
    if source.is_dir():
        files = sorted(path for path in source.glob("splits_*.csv")
                       if _NUMBERED.fullmatch(path.stem))  # fmt: skip
        if not files:
            raise InputError(f"{source}: no splits_<k>.csv in this folder")
        return [row for file in files for row in _ragged(file, problems)]
    if source.suffix == ".json":
        return _stamp(source)
    if source.suffix == ".tsv":
        return _patho_bench(source, problems)
    return _ragged(source, problems)


def _foreign_table(source: Path, problems: list[Problem]) -> TextTable | None:
    table, found = read_text_table(source)
    problems += found
    return table


def _ragged(source: Path, problems: list[Problem]) -> list[ForeignRow]:
    number = _NUMBERED.fullmatch(source.stem)
    fold = int(number[1]) if number else 0
    table = _foreign_table(source, problems)
    if table is None:
        return []
    roles = {column: _ROLES[column.lower()] for column in table.columns
             if column.lower() in _ROLES}  # fmt: skip
    if "train" not in roles.values() or len(roles) < 2:
        raise InputError(
            f"{source.name}: columns {', '.join(table.columns)}; expected those of CLAM or "
            "PORPOISE: train, val and perhaps test"
        )
    return [(source.name, case, fold, role) for column, role in roles.items()
            for case in table.column(column) if case]  # fmt: skip


def _patho_bench(source: Path, problems: list[Problem]) -> list[ForeignRow]:
    table = _foreign_table(source, problems)
    if table is None:
        return []
    folds = {column: int(found[1]) for column in table.columns
             if (found := _FOLD.fullmatch(column))}  # fmt: skip
    if "case_id" not in table.columns or not folds:
        raise InputError(
            f"{source.name}: columns {', '.join(table.columns)}; expected those of Patho-Bench: "
            "case_id, slide_id, fold_0, ..."
        )
    rows = []
    cases = table.column("case_id")
    for column, fold in folds.items():
        for number, case, word in zip(table.row_numbers, cases, table.column(column), strict=True):
            role = _ROLES.get(word.lower())
            if role is not None:
                rows.append((source.name, case, fold, role))
            elif word:
                problems.append(Problem(source.name, "train, val or test", column, number, word))
    return rows


def _stamp(source: Path) -> list[ForeignRow]:
    try:
        document = json.loads(source.read_text(encoding="utf-8"))
        folds: Sequence[Mapping[str, Sequence[str]]] = document["splits"]
        return [
            (source.name, str(case), number, role)
            for number, fold in enumerate(folds)
            for key, role in (("train_patients", "train"), ("test_patients", "test"))
            for case in fold[key]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{source.name}: not readable as STAMP\'s splits.json, {{"splits": [{{"train_patients"'
            f': [], "test_patients": []}}]}}; {error}'
        ) from error
