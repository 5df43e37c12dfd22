"""Times and events of patients to outcomes in months; who has none leaves with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from crpnet_bench.errors import Problem
from crpnet_bench.registry.patients import PatientRows, Row
from crpnet_bench.schema import CohortManifest, OutcomeSection, months

__all__ = ["LONGEST_MONTHS", "EndpointColumns", "endpoints_of", "read_outcomes"]

LONGEST_MONTHS = 1_500.0  # 125 years
_LONGEST_MEDIAN = 600.0  # 50 years: no cohort is followed so long, the unit is wrong


@dataclass(frozen=True, slots=True)
class EndpointColumns:
    """Where one endpoint stands: variables in a row, columns in the table."""

    section: OutcomeSection
    time: str
    event: str
    time_column: str
    time_unit: str
    primary: bool

    @property
    def endpoint(self) -> str:
        """Its name, such as RFS."""
        return self.section.endpoint


def endpoints_of(manifest: CohortManifest) -> list[EndpointColumns]:
    """The primary endpoint, then the further ones."""
    time = manifest.clinical.columns["time"]
    unit = time.unit or manifest.outcome.time_unit
    primary = EndpointColumns(manifest.outcome, "time", "event", time.column, unit, primary=True)
    return [
        primary,
        *(
            EndpointColumns(
                more,
                f"time.{more.endpoint}",
                f"event.{more.endpoint}",
                more.time.column,
                more.time.unit or more.time_unit,
                primary=False,
            )
            for more in manifest.further_outcomes
        ),
    ]


def read_outcomes(
    found: PatientRows, manifest: CohortManifest, excluded: dict[str, str], file: str
) -> list[dict[str, Any]]:
    """One record a patient and endpoint that is known.

    Patients without the primary endpoint are added to `excluded`, with the reason.
    Negative and impossible times of patients who stay are problems.

    Args:
        found: patients; warnings and problems are added to it.
        manifest: names the endpoints.
        excluded: patient -> reason, from the rules; is added to.
        file: the clinical table's name in messages.
    """
    records: list[dict[str, Any]] = []
    for columns in endpoints_of(manifest):
        if _unit_is_wrong(found, columns, file):
            continue
        usable = _usable(found, columns, excluded, file)
        records += [_record(row, columns, manifest) for row in usable]
        _tell_coverage(found, columns, len(usable))
    if not found.problems and not any(record["primary"] for record in records):
        found.problems.append(
            Problem(
                file, f"at least one patient with time and event of {manifest.outcome.endpoint}"
            )
        )
    return records


def _unit_is_wrong(found: PatientRows, columns: EndpointColumns, file: str) -> bool:
    known = [abs(row[columns.time]) for row in found.rows if row[columns.time] is not None]
    if not known or months(median(known), columns.time_unit) <= _LONGEST_MEDIAN:
        return False
    years = months(median(known), columns.time_unit) / 12
    wanted = (
        f"another time unit: with {columns.time_unit} the median follow-up is {years:.0f} years"
    )
    found.problems.append(Problem(file, wanted, columns.time_column, value=median(known)))
    return True


def _usable(
    found: PatientRows, columns: EndpointColumns, excluded: dict[str, str], file: str
) -> list[Row]:
    usable = []
    for row in found.rows:
        time, event = row[columns.time], row[columns.event]
        stays = row["patient_id"] not in excluded
        if time is None or event is None:
            if stays and columns.primary:
                what = "time" if time is None else "event"
                excluded[row["patient_id"]] = f"{columns.endpoint}: {what} missing"
            continue
        in_months = months(time, columns.time_unit)
        if 0 <= in_months <= LONGEST_MONTHS:
            usable.append(row)
        elif stays:
            wanted = f"0 to {LONGEST_MONTHS / 12:.0f} years (or exclude the patient by a rule)"
            found.problems.append(Problem(file, wanted, columns.time_column, row["row"], time))
    return usable


def _tell_coverage(found: PatientRows, columns: EndpointColumns, usable: int) -> None:
    if not columns.primary and usable < len(found.rows):
        found.warnings.append(
            f"{columns.endpoint}: known for {usable} of {len(found.rows)} patients"
        )


def _record(
    row: Mapping[str, Any], columns: EndpointColumns, manifest: CohortManifest
) -> dict[str, Any]:
    components = {name: row[f"component.{name}"] for name in manifest.outcome.components}
    return {
        "patient_id": row["patient_id"],
        "endpoint": columns.endpoint,
        "primary": columns.primary,
        "time": months(row[columns.time], columns.time_unit),
        "status": int(row[columns.event]),
        "origin": columns.section.origin,
        "time_original": row[columns.time],
        "time_unit": columns.time_unit,
        "components": json.dumps(components) if columns.primary and components else None,
    }
