"""Rows of a clinical table to patients: one row each, index tumour, exclusions with reasons."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import pandas as pd
import pydantic

from crpnet_bench.errors import InputError, Problem
from crpnet_bench.filters import parse_filter
from crpnet_bench.registry.cells import ColumnReader, Value, parse_extra, parser_of, plain_number
from crpnet_bench.registry.frames import typed_frame
from crpnet_bench.registry.manifest import problems_of
from crpnet_bench.registry.tables import TextTable
from crpnet_bench.schema import (
    PATIENT_LEVEL,
    ClinicalSection,
    CohortManifest,
    ExcludeRule,
    Patient,
    months,
)
from crpnet_bench.scores.components import completions, domain

__all__ = ["INDEX_TUMOR_RULE", "Exclusion", "PatientRows", "apply_rules", "read_patients"]

_LARGEST_MEDIAN_CM = 20.0
INDEX_TUMOR_RULE = "index tumour: highest pT, then largest"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Something that leaves, and why."""

    level: str  # patient | tumor | slide
    patient_id: str
    item: str
    reason: str


@dataclass
class PatientRows:
    """What one pass over the clinical table gave.

    `rows` holds one dict a patient: the fields of `Patient`, and `time`, `event`,
    `time.<ENDPOINT>`, `event.<ENDPOINT>`, `component.<NAME>` as they stand in the table;
    `row` is the spreadsheet's row number.
    """

    rows: list[Row] = field(default_factory=list)
    exclusions: list[Exclusion] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def frame(self) -> pd.DataFrame:
        """The rows as rules see them: further variables as columns, time in months."""
        return typed_frame(
            [
                {**{k: v for k, v in row.items() if k not in {"extra", "row"}}, **row["extra"]}
                for row in self.rows
            ]
        )


def read_patients(table: TextTable, manifest: CohortManifest, file: str) -> PatientRows:
    """Every patient of the table, with all bad cells, duplicates and contradictions listed.

    Args:
        table: the clinical table as text.
        manifest: what its columns mean.
        file: the manifest's name in messages.
    """
    words = frozenset(word.strip().casefold() for word in manifest.clinical.missing)
    reader = ColumnReader(table, words)
    columns = _read_columns(reader, manifest)
    _doubt_size_unit(reader, manifest.clinical)
    result = PatientRows(problems=reader.problems)
    if any(problem.row is None for problem in reader.problems):
        return result  # a column is absent: what else is wrong cannot be told
    names = list(columns)
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    for row, number in zip(rows, table.row_numbers, strict=True):
        row["row"] = number
    _merge(rows, manifest.clinical, table.file, result)
    _check_rows(result, table.file)
    return result


def _read_columns(reader: ColumnReader, manifest: CohortManifest) -> dict[str, list[Value]]:
    clinical = manifest.clinical
    columns: dict[str, list[Value]] = {
        name: reader.read(name, source, parser_of(name, source.unit))
        for name, source in clinical.columns.items()
    }
    for name, source in clinical.extra.items():
        columns[f"extra.{name}"] = parse_extra(reader.read(name, source, parser_of("extra")))
    for name, source in manifest.outcome.components.items():
        columns[f"component.{name}"] = reader.read(name, source, parser_of("component"))
    for more in manifest.further_outcomes:
        for part, source in (("time", more.time), ("event", more.event)):
            columns[f"{part}.{more.endpoint}"] = reader.read(part, source, parser_of(part))
    return columns


def _doubt_size_unit(reader: ColumnReader, clinical: ClinicalSection) -> None:
    """One problem instead of hundreds where millimetres are called centimetres."""
    source = clinical.columns.get("tumor_size")
    if source is None or source.unit == "mm" or reader.table.find(source.column, "tumor_size"):
        return
    sizes = [size for cell in reader.table.column(source.column) if (size := plain_number(cell))]
    if sizes and median(sizes) > _LARGEST_MEDIAN_CM:
        reader.problems[:] = [p for p in reader.problems if p.column != source.column]
        wanted = f'sizes in cm; the median of {median(sizes):g} looks like mm: unit = "mm"'
        reader.problems.append(Problem(reader.table.file, wanted, source.column))


def _merge(rows: Sequence[Row], clinical: ClinicalSection, file: str, result: PatientRows) -> None:
    """One row a patient; several only where the table numbers tumours."""
    source = clinical.columns["patient_id"].column
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        identifier = row["patient_id"]
        if identifier is None:
            if not any(p.row == row["row"] and p.column == source for p in result.problems):
                result.problems.append(Problem(file, "a patient's identifier", source, row["row"]))
        else:
            groups[identifier].append(row)
    numbered = "tumor_no" in clinical.columns
    for identifier, tumors in groups.items():
        if len(tumors) > 1 and not numbered:
            result.problems += _duplicates(tumors, source, file)
        elif numbered:
            result.problems += _same_number(identifier, tumors, clinical, file)
        index = max(tumors, key=_tumor_rank)
        result.problems += _contradictions(tumors, clinical, file)
        result.rows.append(_patient(index, tumors))
        result.exclusions += [
            Exclusion("tumor", identifier, str(row["tumor_no"]), f"not the {INDEX_TUMOR_RULE}")
            for row in tumors
            if row is not index and numbered
        ]
    _tell_tumors(result)


def _duplicates(tumors: Sequence[Row], column: str, file: str) -> list[Problem]:
    first = tumors[0]["row"]
    expected = f"each patient once (also in row {first}); several tumours need tumor_no"
    return [Problem(file, expected, column, row["row"], row["patient_id"]) for row in tumors[1:]]


def _same_number(
    identifier: str, tumors: Sequence[Row], clinical: ClinicalSection, file: str
) -> list[Problem]:
    counts = Counter(row["tumor_no"] for row in tumors)
    column = clinical.columns["tumor_no"].column
    return [
        Problem(file, f"each tumour of {identifier} once", column, row["row"], row["tumor_no"])
        for row in tumors
        if counts[row["tumor_no"]] > 1
    ]


def _tumor_rank(row: Row) -> tuple[float, float]:
    stage, size = row.get("pT"), row.get("tumor_size")
    order = domain("pT")
    place = -1 if stage is None else max(order.index(full) for full in completions("pT", stage))
    return float(place), float(size or 0.0)


def _contradictions(tumors: Sequence[Row], clinical: ClinicalSection, file: str) -> list[Problem]:
    """Rows of one patient that disagree on what cannot differ between tumours."""
    if len(tumors) == 1 or "tumor_no" not in clinical.columns:
        return []
    problems = []
    for name in PATIENT_LEVEL:
        known = [row for row in tumors if row.get(name) is not None]
        for row in known[1:]:
            if row[name] != known[0][name]:
                expected = f"the same as in row {known[0]['row']}, it is the same patient"
                column = clinical.columns[name].column
                problems.append(Problem(file, expected, column, row["row"], row[name]))
    return problems


def _patient(index: Row, tumors: Sequence[Row]) -> Row:
    """The index tumour's row, completed by the patient's other rows where it says nothing."""
    others = [index, *(row for row in tumors if row is not index)]
    row = dict(index)
    for name in index:
        if name in PATIENT_LEVEL or "." in name:
            row[name] = next((r[name] for r in others if r[name] is not None), None)
    row["tumor_size_cm"] = row.pop("tumor_size", None)
    row["extra"] = {
        name.removeprefix("extra."): row.pop(name)
        for name in list(row)
        if name.startswith("extra.")
    }
    return row


def _tell_tumors(result: PatientRows) -> None:
    count = len({gone.patient_id for gone in result.exclusions})
    if count:
        result.warnings.append(
            f"{count} patients have several tumours; the scores are those of the {INDEX_TUMOR_RULE}"
        )


def _check_rows(result: PatientRows, file: str) -> None:
    """Hold each row to `Patient`; cells were parsed before, so this finds what is left."""
    fields = set(Patient.model_fields)
    for row in result.rows:
        try:
            Patient.model_validate({name: row[name] for name in fields & set(row)})
        except pydantic.ValidationError as error:
            for problem in problems_of(error, file, Patient):
                result.problems.append(
                    Problem(file, problem.expected, problem.column, row["row"], problem.value)
                )


def apply_rules(
    found: PatientRows, rules: Sequence[ExcludeRule], units: Mapping[str, str], file: str
) -> dict[str, str]:
    """Which patients leave by the manifest's rules: patient -> reason, the first that holds.

    A rule that is undetermined for a patient (a missing cell) keeps the patient and is told.

    Args:
        found: patients; warnings and problems are added to it.
        rules: `[[exclude]]`.
        units: time column -> unit, so that rules see months.
        file: the manifest's name in messages.
    """
    frame = _in_months(found.frame(), units)
    identifiers = [row["patient_id"] for row in found.rows]
    reasons: dict[str, str] = {}
    for number, rule in enumerate(rules, start=1):
        try:
            mask = parse_filter(rule.rule).evaluate(frame)
        except InputError as error:
            place = f"exclude.{number}.rule"
            found.problems.append(
                Problem(file, "a rule over the variables", place, value=str(error))
            )
            continue
        unknown = int(mask.isna().sum())
        if unknown:
            found.warnings.append(
                f"rule {rule.rule!r} is undetermined for {unknown} patients (missing cells); "
                "they are kept"
            )
        for identifier, holds in zip(identifiers, mask.to_numpy(bool, na_value=False), strict=True):
            if holds:
                reasons.setdefault(identifier, rule.reason)
    return reasons


def _in_months(frame: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    changed = frame.copy()
    for name, unit in units.items():
        if name in changed:
            changed[name] = changed[name].astype("Float64") * months(1.0, unit)
    return changed
