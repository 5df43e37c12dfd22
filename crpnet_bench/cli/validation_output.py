"""An external validation on paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crpnet_bench.cli.common import print_table, warn
from crpnet_bench.cli.run_output import records, say, show_comparisons, show_metrics

if TYPE_CHECKING:
    from crpnet_bench.benchmark.validate_files import Validation

__all__ = ["show_validation", "validation_document"]


def validation_document(found: Validation) -> dict[str, Any]:
    """The validation as one JSON document."""
    return {
        "run": found.run_id,
        "cohort": found.cohort,
        "kind": found.kind,
        "endpoint": found.endpoint,
        "folder": str(found.folder),
        "remarks": list(found.remarks),
        "failures": list(found.failures),
        "metrics": records(found.metrics),
        "change": records(found.transport),
        "exploratory_comparisons": records(found.comparisons),
        "case_mix": records(found.case_mix),
    }


def show_validation(found: Validation, titles: Mapping[str, str]) -> None:
    """Everything of a validation, for people; titles are those of the run's models."""
    from crpnet_bench.reporting.validation_tables import (
        calibration_table,
        case_mix_table,
        transport_table,
    )

    kind = "" if found.kind == "real" else f" [{found.kind} data]"
    headings = show_metrics(found.metrics, titles, f"{found.cohort}{kind}, {found.endpoint}")
    say("\nCalibration (probabilities by a link locked on the run's out-of-fold risks)")
    print_table(calibration_table(found.metrics, headings))
    say("\nFrom the run's own validation to this cohort")
    print_table(transport_table(found.transport, headings))
    say("\nCase mix")
    print_table(case_mix_table(found.case_mix))
    show_comparisons(found.comparisons, headings)
    say("")
    for sentence in found.remarks:
        say(f"- {sentence}")
    say(f"Results in {found.folder}")
    for failure in found.failures:
        warn(failure)
