"""What looks wrong in a cohort although every cell can be read.

Each check answers with sentences for the user, stored as warnings with the cohort. Values
that may identify a person are never repeated in them, only counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

from crpnet_bench.errors import InputError
from crpnet_bench.filters import parse_filter
from crpnet_bench.registry.tables import TextTable
from crpnet_bench.schema import DAYS_PER_MONTH, CohortManifest

__all__ = ["Evidence", "known_later", "looks_personal", "sounds_personal", "suspicions"]

Row = Mapping[str, Any]

# Headers of columns that are known only after time zero.
_LATER = re.compile(
    r"new[ _]?(tumou?r|neoplasm)|recurren|relapse|progress|adjuvant|post[ _-]?op|days[ _]to[ _]"
    r"|follow[ _-]?up|vital|death|dead|died|surviv|last[ _]contact|treatment[ _]outcome"
    r"|tumou?r[ _]status|salvage",
    re.IGNORECASE,
)
_BEFORE_OP = re.compile(r"neo[ _-]?adjuvant|pre[ _-]?op|days[ _]to[ _]birth", re.IGNORECASE)
_CENSORING = re.compile(r"censor", re.IGNORECASE)
_PERSONAL_HEADER = re.compile(
    r"birth|\bdob\b|surname|(first|last|family|given|full|patient)[ _]?name|^name$|\bmrn\b|medical"
    r"[ _]?record|hospital[ _]?(no|number|id)|\bssn\b|social[ _]?security|insurance|passport"
    r"|e-?mail|phone|telephone|address|post(al)?[ _]?code|zip[ _]?code|national[ _]?id",
    re.IGNORECASE,
)
_AGE_HEADER = re.compile(r"year[ _]of[ _]birth|days[ _]to[ _]birth|birth[ _]days", re.IGNORECASE)
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d{2}[-_./]?(?:0[1-9]|1[0-2])[-_./]?(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0?[1-9]|[12]\d|3[01])[-_./](?:0?[1-9]|1[0-2])[-_./](?:19|20)\d{2})(?!\d)"
)
_RECORD_NUMBER = re.compile(r"(?<![\dA-Za-z])\d{6,10}(?![\dA-Za-z])")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# Smith_John, Smith, John; words that slides are named by are no names.
_NAMES = re.compile(r"(?<![A-Za-z])([A-Z][a-z]{2,})[_ ,-]{1,2}([A-Z][a-z]{2,})(?![A-Za-z])")
_NO_NAMES = frozenset(
    {"slide", "case", "patient", "tumor", "tumour", "normal", "left", "right", "kidney", "scan",
     "image", "block", "frozen", "region", "small", "large", "site", "cohort", "hospital", "center",
     "centre", "stain", "series", "sample", "biopsy", "upper", "lower", "pole", "level", "section"}
)  # fmt: skip
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.\w+")
_ORIGIN_WORDS = {"diagnos": "diagnosis", "surg": "surgery", "nephrectomy": "surgery"}
_COMMON_SHARE = 0.2  # a column counts as holding something when a fifth of its cells does


@dataclass(frozen=True)
class Evidence:
    """Everything that was read of one cohort."""

    table: TextTable
    manifest: CohortManifest
    rows: Sequence[Row]
    outcomes: Sequence[Row]
    excluded: Mapping[str, str]
    slides: Sequence[Row]
    scores: Sequence[Row]

    @cached_property
    def primary(self) -> list[Row]:
        """The primary outcomes of the patients who stay."""
        return [r for r in self.outcomes if r["primary"] and r["patient_id"] not in self.excluded]

    @cached_property
    def staying(self) -> list[Row]:
        """The patients who stay."""
        return [row for row in self.rows if row["patient_id"] not in self.excluded]

    def column_of(self, variable: str) -> str:
        """The table's column behind a variable."""
        return self.manifest.clinical.columns[variable].column


def suspicions(evidence: Evidence) -> list[str]:
    """One sentence for each thing that the user should look at."""
    return [sentence for check in _CHECKS for sentence in check(evidence)]


def looks_personal(text: str) -> str | None:
    """What in a text may identify a person: a date, a record number, an address, a name.

    >>> looks_personal("scan_1957-03-04.ndpi"), looks_personal("TCGA-A3-3307-01Z-00-DX1.svs")
    ('a date', None)
    >>> looks_personal("wsi/Smith_John.svs"), looks_personal("Kidney_Tumour_1.svs")
    ('what may be a name', None)
    """
    text = _UUID.sub("", text)
    if _DATE.search(text):
        return "a date"
    if _EMAIL.search(text):
        return "an e-mail address"
    if _RECORD_NUMBER.search(text):
        return "a number like that of a medical record"
    pairs = (pair for found in _NAMES.findall(text) for pair in [{w.lower() for w in found}])
    return "what may be a name" if any(not pair & _NO_NAMES for pair in pairs) else None


def known_later(header: str) -> bool:
    """Whether a column sounds known only after time zero.

    >>> known_later("days_to_new_tumor_event"), known_later("Neoadjuvant therapy")
    (True, False)
    """
    return bool(_LATER.search(header)) and not _BEFORE_OP.search(header)


def sounds_personal(header: str) -> bool:
    """Whether a column sounds like a name, a birth date, a record number or an address.

    >>> sounds_personal("date_of_birth"), sounds_personal("year_of_birth")
    (True, False)
    """
    plain = header.replace("_", " ")
    return bool(_PERSONAL_HEADER.search(plain)) and not _AGE_HEADER.search(plain)


# ---------------------------------------------------------------- outcome


def _event_coding(evidence: Evidence) -> Iterator[str]:
    column = evidence.column_of("event")
    mapped = evidence.manifest.clinical.columns["event"].map is not None
    events = [r["time"] for r in evidence.primary if r["status"] == 1]
    others = [r["time"] for r in evidence.primary if r["status"] == 0]
    share = len(events) / max(1, len(evidence.primary))
    if _CENSORING.search(column) and not mapped:
        yield (
            f"column {column!r} sounds like a censoring indicator, where 1 means censored; "
            "if so, the event coding is inverted: map it"
        )
    elif share > 0.5 and others and median(events) > median(others):
        yield (
            f"event coding looks inverted: {share:.0%} of the patients have an event, and those "
            f"were followed longer (median {median(events):.0f} months) than the others "
            f"({median(others):.0f})"
        )
    if evidence.primary and not events:
        yield "no patient has an event: nothing can be estimated"


def _without_outcome(evidence: Evidence) -> Iterator[str]:
    endpoint = evidence.manifest.outcome.endpoint
    missing = Counter(
        reason for reason in evidence.excluded.values() if reason.startswith(f"{endpoint}: ")
    )
    for reason, count in missing.items():
        yield f"{count} of {len(evidence.rows)} patients are left out: {reason}"


def _times(evidence: Evidence) -> Iterator[str]:
    zero = sum(r["time"] == 0 for r in evidence.primary)
    origin = evidence.manifest.outcome.origin
    early = sum(r["status"] == 1 and 0 < r["time"] * DAYS_PER_MONTH <= 30 for r in evidence.primary)
    if zero:
        yield f"{zero} patients have a follow-up of zero: they add nothing to any estimate"
    if early:
        yield (
            f"{early} events within 30 days of {origin}: residual disease or a death after the "
            "operation rather than recurrence?"
        )
    known = [r["time"] for r in evidence.primary]
    if known and median(known) > 300:
        yield (
            f"median follow-up of {median(known) / 12:.0f} years: is {origin} time really in "
            f"{evidence.manifest.outcome.time_unit}?"
        )
    if len(known) >= 20 and max(known) < 6:
        yield f"nobody was followed for 6 months (longest {max(known):.1f}): is the unit right?"


def _origins(evidence: Evidence) -> Iterator[str]:
    manifest = evidence.manifest
    sections = [manifest.outcome, *manifest.further_outcomes]
    origins = {section.endpoint: section.origin for section in sections}
    if len(set(origins.values())) > 1:
        told = ", ".join(f"{endpoint} from {origin}" for endpoint, origin in origins.items())
        yield f"differing time origins: {told}"
    header = evidence.column_of("time").lower()
    chosen = manifest.outcome.origin
    for word, origin in _ORIGIN_WORDS.items():
        if word in header and chosen != origin:
            yield f"time column {header!r} sounds like time from {origin}, not {chosen}"
    gaps = [
        c for c in evidence.table.columns if re.search(r"time to (nephrectomy|surgery)", c, re.I)
    ]
    if gaps and manifest.outcome.origin == "surgery":
        yield f"column {gaps[0]!r} suggests that times may run from diagnosis, not surgery"


# ---------------------------------------------------------------- baseline


def _units(evidence: Evidence) -> Iterator[str]:
    sizes = [row["tumor_size_cm"] for row in evidence.rows if row.get("tumor_size_cm")]
    if len(sizes) < 5:
        return
    middle = median(sizes)
    if middle < 1:
        yield f"tumour sizes have a median of {middle:g} cm: is the column in cm, not mm?"
    ages = [row["age"] for row in evidence.rows if row.get("age") is not None]
    if ages and median(ages) < 18:
        yield f"median age of {median(ages):g} years: is the unit right?"


def _known_later(evidence: Evidence) -> Iterator[str]:
    clinical = evidence.manifest.clinical
    baseline = {
        name: source.column
        for name, source in {**clinical.columns, **clinical.extra}.items()
        if name not in {"patient_id", "time", "event", "tumor_no"}
    }
    for name, column in baseline.items():
        if known_later(f"{column} {name}"):
            yield (
                f"{name} (column {column!r}) sounds known only after time zero: as a predictor "
                "it would look into the future"
            )


def _later_rules(evidence: Evidence) -> Iterator[str]:
    for rule in evidence.manifest.exclude:
        try:
            columns = parse_filter(rule.rule).columns
        except InputError:
            continue  # listed as a problem before
        later = [c for c in columns if c.split(".")[0] in {"time", "event"} or _LATER.search(c)]
        if later:
            yield (
                f"rule {rule.rule!r} needs {', '.join(later)}, known only after time zero: "
                "choosing patients by later survival biases every estimate (immortal time)"
            )


def _few_determined(evidence: Evidence) -> Iterator[str]:
    staying = {row["patient_id"] for row in evidence.staying}
    kept = [row for row in evidence.scores if row["patient_id"] in staying]
    reasons: dict[str, Counter[str]] = {}
    determined: Counter[str] = Counter()
    for row in kept:
        determined[row["score"]] += row["value"] is not None
        if row["value"] is None:
            reason = str(row["reason"]).removeprefix("not determined: ")
            reasons.setdefault(row["score"], Counter())[reason] += 1
    for score, counts in reasons.items():
        reason, count = counts.most_common(1)[0]
        yield (
            f"{score} is determined for {determined[score]} of {len(staying)} patients; "
            f"most often because {reason} ({count})"
        )


def _score_notes(evidence: Evidence) -> Iterator[str]:
    """What the scores themselves warn of, once each."""
    manifest = evidence.manifest.cohort
    if manifest.tnm_edition == "unknown":
        yield "tnm_edition is unknown: stages are used as they are, never converted"
    if manifest.grading == "unknown":
        yield "grading is unknown: grades are used one to one, Fuhrman and WHO/ISUP differ"
    for name, source in evidence.manifest.clinical.columns.items():
        if source.note:
            yield f"{name}: {source.note}"


# ---------------------------------------------------------------- persons


def _personal_columns(evidence: Evidence) -> Iterator[str]:
    table = evidence.table
    for column in dict.fromkeys(table.columns):
        what = "personal data" if sounds_personal(column) else _personal_cells(table.column(column))
        if what and column:
            yield f"column {column!r} looks like {what}: take it out of the file"


def _personal_cells(cells: Sequence[str]) -> str | None:
    """What most cells of a column are, if that may identify a person."""
    known = [cell for cell in cells if cell]
    enough = max(3.0, _COMMON_SHARE * len(cells))
    if sum(bool(_DATE.fullmatch(cell)) for cell in known) >= enough:
        return "dates of single persons"
    if sum(bool(_EMAIL.search(cell)) for cell in known) >= enough:
        return "e-mail addresses"
    numbers = {cell for cell in known if _RECORD_NUMBER.fullmatch(cell)}
    if len(numbers) >= max(3.0, 0.9 * len(cells)):  # as good as all, and no two alike
        return "medical record numbers"
    return None


def _personal_identifiers(evidence: Evidence) -> Iterator[str]:
    identifiers = [str(row["patient_id"]) for row in evidence.rows]
    yield from _told(identifiers, "patient identifiers", "use pseudonyms")


def _personal_paths(evidence: Evidence) -> Iterator[str]:
    paths = [str(row["path"]) for row in evidence.slides]
    yield from _told(paths, "slide paths", "personal data in file names?")


def _told(texts: Sequence[str], of_what: str, question: str) -> Iterator[str]:
    found = Counter(what for text in texts if (what := looks_personal(text)))
    for what, count in found.items():
        yield f"{count} of {len(texts)} {of_what} hold {what}: {question}"


_CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _without_outcome,
    _event_coding,
    _times,
    _origins,
    _units,
    _known_later,
    _later_rules,
    _few_determined,
    _score_notes,
    _personal_columns,
    _personal_identifiers,
    _personal_paths,
)
