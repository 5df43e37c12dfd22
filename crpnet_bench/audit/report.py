"""Findings as text for people and as a document for programs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from crpnet_bench.audit.finding import VERDICTS, Finding
from crpnet_bench.audit.paper import Paper

__all__ = ["document", "report"]

_WIDTH = 100


def report(findings: Sequence[Finding], *, everything: bool = False) -> str:
    """The findings by verdict, the gravest first; consistent ones only on request."""
    lines: list[str] = []
    for verdict, meaning in VERDICTS.items():
        mine = [finding for finding in findings if finding.verdict == verdict]
        lines.append(f"{verdict}: {len(mine)} ({meaning})")
        if verdict != "consistent" or everything:
            lines += [line for finding in mine for line in _lines(finding)]
            lines.append("")
    return "\n".join(lines)


def document(paper: Paper, findings: Sequence[Finding]) -> dict[str, Any]:
    """For `--json`: what was audited, counts by verdict and every finding."""
    counts = {verdict: sum(f.verdict == verdict for f in findings) for verdict in VERDICTS}
    return {
        "paper": paper.paper.model_dump(),
        "counts": counts,
        "findings": [finding.as_record() for finding in findings],
    }


def _lines(finding: Finding) -> list[str]:
    recomputed = f"; recomputed {finding.recomputed}" if finding.recomputed else ""
    head = f"{finding.what}: printed {finding.printed}{recomputed}"
    rest = [text for text in (finding.explanation, finding.place) if text]
    return [
        *textwrap.wrap(head, _WIDTH, initial_indent="  - ", subsequent_indent="    "),
        *(line for text in rest for line in _indented(text)),
    ]


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")
