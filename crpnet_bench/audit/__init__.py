"""Does a paper's arithmetic hold? Printed figures as data, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from crpnet_bench.audit.baseline import check_baselines
from crpnet_bench.audit.counts import check_counts
from crpnet_bench.audit.finding import VERDICTS, Finding, Verdict
from crpnet_bench.audit.intervals import check_intervals
from crpnet_bench.audit.paper import Paper, load_paper, shipped_cohort
from crpnet_bench.audit.rates import check_classifiers
from crpnet_bench.audit.report import document, report
from crpnet_bench.audit.size import check_sizes

__all__ = [
    "VERDICTS",
    "Finding",
    "Paper",
    "Verdict",
    "audit_paper",
    "document",
    "load_paper",
    "report",
    "shipped_cohort",
]

# A new check is a function from a paper to findings, and a line here.
_CHECKS: tuple[Callable[[Paper], Iterator[Finding]], ...] = (
    check_counts,
    check_classifiers,
    check_intervals,
    check_sizes,
    check_baselines,
)


def audit_paper(paper: Paper) -> tuple[Finding, ...]:
    """Recompute what can be recomputed from a paper's printed figures.

    Args:
        paper: from `load_paper`.

    Returns:
        One finding a printed number, in the order of the checks; nothing is corrected.
    """
    return tuple(finding for check in _CHECKS for finding in check(paper))
