"""The registry of scores: one row each. A new score is a new file and a new row here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from crpnet_bench.errors import NotFoundError, did_you_mean
from crpnet_bench.scores.definition import Score, SurvivalTable
from crpnet_bench.scores.grant import GRANT
from crpnet_bench.scores.keynote564 import KEYNOTE564
from crpnet_bench.scores.leibovich import LEIBOVICH_2003
from crpnet_bench.scores.result import PublishedSurvival, ScoreResult
from crpnet_bench.scores.ssign import SSIGN
from crpnet_bench.scores.uiss import UISS_2001, UISS_2002

__all__ = ["SCORES", "get_score", "published_survival"]

SCORES: Mapping[str, Score] = MappingProxyType(
    {
        score.name: score
        for score in (UISS_2002, UISS_2001, SSIGN, LEIBOVICH_2003, GRANT, KEYNOTE564)
    }
)

# Cancer-specific survival goes by two names.
_SAME_ENDPOINT = {"CSS": "DSS"}


def get_score(name: str) -> Score:
    """A score by its name.

    Raises:
        NotFoundError: no score has that name.
    """
    try:
        return SCORES[name]
    except KeyError:
        raise NotFoundError(f"no score is named {name!r}; {did_you_mean(name, SCORES)}") from None


def published_survival(result: ScoreResult, endpoint: str) -> PublishedSurvival | None:
    """Published survival for a result, shown only beside the endpoint it was made for.

    Args:
        result: what a score gave.
        endpoint: endpoint of the cohort, such as `RFS`.

    Returns:
        The figures, or a record without figures whose `reason` says why; None for a
        score without published survival.

    >>> from crpnet_bench.scores import ClinicalInputs
    >>> result = SCORES["grant"].function(ClinicalInputs("T1a", "N0", grade=1, age=50))
    >>> published_survival(result, "OS").percent
    {5: 94}
    >>> published_survival(result, "RFS").reason
    'published for OS, the endpoint here is RFS'
    """
    score = SCORES.get(result.score)  # a score from a user's table is not in the registry
    if score is None or not score.survival:
        return None
    tables = score.survival
    table = next((table for table in tables if _stratum(table, result) in table.percent), tables[0])
    stratum = _stratum(table, result)
    reason = _why_not_shown(table, result, endpoint)
    return PublishedSurvival(
        score=result.score,
        endpoint=table.endpoint,
        stratum=stratum,
        percent=None if reason else table.percent[stratum or ""],
        source=table.source,
        confirmed=table.confirmed,
        reason=reason,
    )


def _stratum(table: SurvivalTable, result: ScoreResult) -> str | None:
    value = getattr(result, table.by)
    return None if value is None else str(value)


def _why_not_shown(table: SurvivalTable, result: ScoreResult, endpoint: str) -> str | None:
    if _SAME_ENDPOINT.get(endpoint, endpoint) != table.endpoint:
        return f"published for {table.endpoint}, the endpoint here is {endpoint}"
    if not result.in_scope:
        return "the score was not made for this patient"
    if _stratum(table, result) not in table.percent:
        return result.reason or f"nothing is published for {table.by} {_stratum(table, result)}"
    return None
