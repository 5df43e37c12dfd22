"""`cohort init`: looks at a clinical table and drafts `cohort.toml`, with its doubts written in.

A guess needs a header that sounds right and cells that can be read; everything unsure carries
the remark CHECK, for `cohort check` and a human to settle.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from crpnet_bench.errors import InputError, ValidationError
from crpnet_bench.registry.cells import parser_of, plain_number
from crpnet_bench.registry.manifest import MANIFEST_NAME
from crpnet_bench.registry.suspicions import known_later, sounds_personal
from crpnet_bench.registry.tables import TextTable, read_text_table
from crpnet_bench.registry.toml_text import Line, Section, TomlValue, toml_text
from crpnet_bench.results import write_atomically
from crpnet_bench.scores.components import is_missing

__all__ = ["Draft", "draft_manifest", "init_cohort"]

_MOST_SKIPPED = 4
_READABLE = 0.8  # of the known cells, for a guess without a remark
_MOST_EXTRA = 30
_MOST_MAPPED = 40
_SLIDE_SUFFIXES = (".svs", ".ndpi", ".tif", ".tiff", ".mrxs", ".scn", ".bif", ".vms", ".dcm")

# Headers, lower-case with single spaces, in order of preference.
_HEADERS: Mapping[str, Sequence[str]] = {
    "patient_id": (
        r"(patient|case|subject|participant|study) ?(id|no|number|barcode)?",
        r"(pid|id|case submitter id|bcr patient barcode|identifier|pseudonym)",
    ),
    "age": (r"age( at .*)?( years)?", r".*\bage\b.*"),
    "sex": (r"sex|gender", r".*\b(sex|gender)\b.*"),
    "pT": (r"p ?t( stage| category)?", r"t( stage)?|.*\bpathologic(al)? ?t\b.*|ajcc .* pt"),
    "pN": (r"p ?n( stage| category)?", r"n( stage)?|.*\bpathologic(al)? ?n\b.*|ajcc .* pn"),
    "M": (r"[pc]? ?m( stage| category)?", r".*\bpathologic(al)? ?m\b.*|ajcc .* pm"),
    "grade": (
        r".*\b(isup|fuhrman)\b.*",
        r"(tumou?r |histologic(al)? |nuclear )?grade|.*\bgrade\b.*",
    ),
    "tumor_size": (
        r".*\b(tumou?r|primary)\b.*\b(size|diameter|dimension|dim)\b.*",
        r".*\bsize of\b.*|(max(imum)? )?(size|diameter)( .*)?|.*\b(size|diameter)\b.*",
    ),
    "necrosis": (r"(coagulative |tumou?r )?necrosis", r".*\bnecrosis\b(?!.*(pct|percent|%)).*"),
    "sarcomatoid": (r".*sarcomatoid.*",),
    "rhabdoid": (r".*rhabdoid.*",),
    "ecog": (r".*\becog\b.*", r"(who )?performance status|ps"),
    "symptoms": (r".*\bsymptoms?\b.*", r"presentation"),
    "site": (r"(tissue source )?site|centre|center|hospital|institution",),
}
_ENDPOINT_WORDS: Mapping[str, str] = {
    "RFS": r"rfs|recurrence free( survival)?|relapse free( survival| status)?",
    "TTR": r"ttr|time to recurrence",
    "MFS": r"mfs|metastasis free( survival)?",
    "PFI": r"pfi|progression free interval",
    "DFS": r"dfs|disease free( survival)?",
    "PFS": r"pfs|progress(ion)? free( survival)?",
    "DSS": r"dss|css|(disease|cancer) specific survival",
    "OS": r"os|overall survival",
}
_TIME_WORDS = r"(time|months?|days?|years?|mo|d|y)"
_STATUS_WORDS = r"(event|status|indicator|censor(ed|ing)?)"
_ANY_TIME = r"(follow ?up|survival|time)( time)?( (in )?(months?|days?|years?))?"
_ANY_EVENT = (
    r"(recurrence|relapse|recurred|progression|event|status|death|died|vital status|outcome)"
)
_EVENT_VALUES: Mapping[str, int] = {
    "0": 0, "1": 1, "2": 2, "no": 0, "yes": 1, "n": 0, "y": 1, "false": 0, "true": 1,
    "alive": 0, "living": 0, "dead": 1, "deceased": 1, "death": 1, "censored": 0, "event": 1,
    "recurrence": 1, "recurred": 1, "relapse": 1, "progression": 1, "none": 0,
    "no recurrence": 0, "disease free": 0, "diseasefree": 0, "recurred/progressed": 1,
    "0:diseasefree": 0, "1:recurred/progressed": 1, "0:living": 0, "1:deceased": 1,
    "0:censored": 0, "1:progression": 1,
}  # fmt: skip


@dataclass
class Draft:
    """A drafted manifest.

    Attributes:
        text: of `cohort.toml`.
        found: variable -> column.
        doubts: what a human has to settle.
    """

    text: str = ""
    found: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def init_cohort(folder: Path, clinical: Path, slides: Path | None = None) -> Draft:
    """Draft `folder/cohort.toml` for a table.

    Args:
        folder: of the cohort; made if need be. An existing manifest is not overwritten.
        clinical: csv, tsv, txt, xlsx or parquet.
        slides: folder of the slides.

    Raises:
        InputError: a manifest exists.
        ValidationError: the table cannot be read.
    """
    target = folder / MANIFEST_NAME
    if target.exists():
        raise InputError(f"{target} exists; edit it, or name another folder")
    table, skipped = _read(clinical)
    names = _slide_names(slides) if slides is not None else []
    draft = draft_manifest(
        table,
        name=re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().name).strip("-_") or "cohort",
        file=_relative(clinical, folder),
        skip_rows=skipped,
        slide_dir=None if slides is None else _relative(slides, folder),
        slide_names=names,
    )
    write_atomically(target, draft.text.encode())
    return draft


def _read(clinical: Path) -> tuple[TextTable, int]:
    """The table below as many rows as make most of its headers sound right."""
    best: tuple[int, int, TextTable] | None = None
    first_problems = None
    for skipped in range(_MOST_SKIPPED + 1):
        table, problems = read_text_table(clinical, skip_rows=skipped)
        if first_problems is None:
            first_problems = problems
        if table is None:
            break
        known = sum(_column_like(table, patterns) is not None for patterns in _HEADERS.values())
        if not problems and (best is None or known > best[0]):
            best = known, skipped, table
    if best is None:
        raise ValidationError(first_problems or [], clinical.name)
    return best[2], best[1]


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()


def _slide_names(slides: Path) -> list[str]:
    if not slides.is_dir():
        raise InputError(f"{slides}: no such folder of slides")
    found = (path for path in slides.rglob("*") if path.suffix.lower() in _SLIDE_SUFFIXES)
    return [path.name for path in found]


def draft_manifest(
    table: TextTable,
    *,
    name: str,
    file: str,
    skip_rows: int = 0,
    slide_dir: str | None = None,
    slide_names: Sequence[str] = (),
) -> Draft:
    """The best guess for one table; see `init_cohort`."""
    draft = Draft()
    guess = _Guess(table, draft)
    endpoint, outcome = guess.outcome()
    columns = [*outcome, *guess.variables()]
    origin = guess.origin()
    extra = guess.extra()
    unit = guess.time_unit(draft.found.get("time"))
    sections = [
        Section(
            "cohort",
            [
                Line("name", name),
                Line("title", "", "CHECK: as it is printed"),
                Line("kind", "real"),
                Line("licence", "", "CHECK"),
                Line("tnm_edition", "unknown", "CHECK: 5, 6, 7 or 8"),
                Line("grading", guess.grading(), "CHECK: who_isup or fuhrman"),
            ],
            [f"A first draft from {Path(file).name}; every CHECK is a guess to confirm.",
             "Then: crpnet-bench cohort check DIR"],
        ),
        Section(
            "outcome",
            [
                Line("endpoint", endpoint, "CHECK: RFS, TTR, MFS, PFI, PFS, DFS, DSS or OS"),
                Line("events", "", "CHECK: what counts as an event, in words"),
                Line("origin", origin, "CHECK: surgery, diagnosis or other"),
                Line("time_unit", unit, "CHECK: days, months or years"),
            ],
        ),
        Section(
            "clinical",
            [
                Line("file", file),
                *([Line("skip_rows", skip_rows)] if skip_rows else []),
                *([Line("missing", guess.missing, "CHECK: further words for a missing cell")]
                  if guess.missing else []),
            ],
        ),
        Section("clinical.columns", columns),
        Section("clinical.extra", extra, ["Further baseline variables; uncomment what you need."]),
        _slides(slide_dir, slide_names),
        Section(
            "exclude",
            [Line("rule", "M == 'M1'"), Line("reason", "metastatic at surgery")],
            array=True,
            off="M" not in draft.found,
        ),
    ]  # fmt: skip
    draft.text = toml_text(sections)
    return draft


def _slides(slide_dir: str | None, names: Sequence[str]) -> Section:
    if slide_dir is None:
        return Section("slides", [Line("file", "slides.csv")],
                       ["A table patient_id,path[,mpp,specimen,preparation,tumor_no]."],
                       off=True)  # fmt: skip
    suffixes = Counter(Path(name).suffix for name in names)
    suffix = suffixes.most_common(1)[0][0] if suffixes else ".svs"
    lines = [
        Line("dir", slide_dir),
        Line("pattern", "{patient_id}*" + suffix, "CHECK: how files are named"),
    ]
    return Section("slides", lines)


class _Guess:
    """Guesses over one table; a column is given away once."""

    def __init__(self, table: TextTable, draft: Draft) -> None:
        self.table = table
        self.draft = draft
        self.missing: list[str] = []

    def outcome(self) -> tuple[str, list[Line]]:
        """The endpoint, and the lines of identifier, time and event."""
        lines = [self._line("patient_id")]
        for endpoint, words in _ENDPOINT_WORDS.items():
            time = self._free(rf"({words}) {_TIME_WORDS}|{_TIME_WORDS} to ({words})|({words}) "
                              rf"(status )?{_TIME_WORDS}")  # fmt: skip
            event = self._free(rf"({words})( {_STATUS_WORDS})?", other_than=time)
            if time and event:
                return endpoint, [*lines, self._time(time), self._event(event)]
        time = next(filter(None, (self._free(pattern) for pattern in (
            rf"({'|'.join(_ENDPOINT_WORDS.values())}) {_TIME_WORDS}", _ANY_TIME, rf".*{_ANY_TIME}"
        ))), None)  # fmt: skip
        event = next(filter(None, (self._free(pattern, other_than=time) for pattern in (
            rf"{_ANY_EVENT}( {_STATUS_WORDS})?", rf".*\b{_ANY_EVENT}\b.*"
        ))), None)  # fmt: skip
        spoken = [
            e for e, words in _ENDPOINT_WORDS.items() if time and _fits(time, rf".*\b({words})\b.*")
        ]
        return next(iter(spoken), "RFS"), [*lines, self._time(time), self._event(event)]

    def variables(self) -> list[Line]:
        """The lines of the clinical variables; those that are not there are commented out."""
        return [self._line(name) for name in _HEADERS if name != "patient_id"]

    def _line(self, variable: str) -> Line:
        column = self._best(variable)
        if column is None:
            required = variable == "patient_id"
            if required:
                self.draft.doubts.append(f"{variable}: no column found")
            return Line(variable, "?", "CHECK: not found", off=not required)
        self.draft.found[variable] = column
        unit, source = self._unit(variable, column), column
        bad = sorted(self._unreadable(variable, column, unit))
        value: dict[str, TomlValue] = {"column": source}
        remark = ""
        if unit:
            value["unit"] = unit
        if bad:
            value["map"] = dict.fromkeys(bad[:_MOST_MAPPED], "")
            remark = "CHECK: these cells count as missing until you say what they mean"
            self.draft.doubts.append(f"{variable} ({column}): cannot read {', '.join(bad[:5])}")
        return Line(variable, value if len(value) > 1 else source, remark)

    def _best(self, variable: str) -> str | None:
        for pattern in _HEADERS[variable]:
            options = [column for column in self._unused() if _fits(column, pattern)]
            options = [c for c in options if variable == "patient_id" or not known_later(c)]
            readable = [c for c in options if self._share_read(variable, c) >= _READABLE]
            for column in (*readable, *options):
                if self._share_read(variable, column) > 0:
                    return column
        return None

    def _share_read(self, variable: str, column: str) -> float:
        cells = self._known_cells(column)
        if not cells:
            return 0.0
        bad = self._unreadable(variable, column, self._unit(variable, column))
        share = 1.0 - sum(cell in bad for cell in cells) / len(cells)
        if variable == "patient_id":
            return share if len(set(cells)) >= 0.9 * len(cells) else 0.0
        return share

    def _unreadable(self, variable: str, column: str, unit: str | None) -> set[str]:
        parser = parser_of(variable, unit)
        bad = set()
        for cell in set(self._known_cells(column)):
            try:
                parser.parse(cell)
            except InputError:
                bad.add(cell)
        return bad

    def _unit(self, variable: str, column: str) -> str | None:
        if variable != "tumor_size":
            return None
        if re.search(r"\bmm\b", _plain(column)):
            return "mm"
        numbers = self._numbers(column)
        return "mm" if numbers and median(numbers) > 20 else "cm"

    def _numbers(self, column: str) -> list[float]:
        numbers = (plain_number(cell) for cell in self._known_cells(column))
        return [number for number in numbers if number is not None]

    def _time(self, column: str | None) -> Line:
        if column is None:
            self.draft.doubts.append("time: no column found")
            return Line("time", "?", "CHECK: not found")
        self.draft.found["time"] = column
        odd = {cell for cell in self._known_cells(column) if plain_number(cell) is None}
        self.missing += sorted(cell for cell in odd if len(cell) <= 3)
        if not odd:
            return Line("time", column, "CHECK")
        self.draft.doubts.append(f"time ({column}): cannot read {', '.join(sorted(odd)[:5])}")
        remark = 'CHECK: empty for some; otherwise = "..." names the column to take then'
        return Line("time", column, remark)

    def _event(self, column: str | None) -> Line:
        if column is None:
            self.draft.doubts.append("event: no column found")
            return Line("event", "?", "CHECK: not found")
        self.draft.found["event"] = column
        words = sorted(set(self._known_cells(column)) - set(self.missing))
        if all(plain_number(word) in {0.0, 1.0, 2.0} for word in words):
            return Line("event", column, "CHECK: 0 censored, 1 event, 2 competing death")
        coded: dict[str, int] = {}
        for word in words[:10]:
            coded[word] = _EVENT_VALUES.get(word.casefold(), 0)
        unsure = [word for word in words if word.casefold() not in _EVENT_VALUES]
        if unsure:
            self.draft.doubts.append(f"event ({column}): what is {', '.join(unsure[:5])}?")
        return Line("event", {"column": column, "map": coded}, "CHECK: 0 censored, 1 event")

    def time_unit(self, column: str | None) -> str:
        """From the header, else from the size of the numbers."""
        words = _plain(column or "")
        for unit, pattern in (("months", r"months?\b|\bmo\b"), ("days", r"days?\b"),
                              ("years", r"years?\b|\byrs?\b")):  # fmt: skip
            if re.search(pattern, words):
                return unit
        numbers = self._numbers(column) if column else []
        if numbers and median(numbers) > 240:
            return "days"
        return "years" if numbers and max(numbers) < 20 else "months"

    def origin(self) -> str:
        """Diagnosis where the table speaks of it, else surgery."""
        return "diagnosis" if "diagnos" in _plain(self.draft.found.get("time", "")) else "surgery"

    def grading(self) -> str:
        """From the header of the grade."""
        words = _plain(self.draft.found.get("grade", ""))
        return "who_isup" if "isup" in words else "fuhrman" if "fuhrman" in words else "unknown"

    def extra(self) -> list[Line]:
        """Columns that are left and may be baseline variables, commented out."""
        lines = []
        taken: set[str] = set()
        for column in self._unused():
            if known_later(column) or sounds_personal(column) or not self._known_cells(column):
                continue
            variable = re.sub(r"\W+", "_", column.casefold()).strip("_")[:40]
            if variable and variable[0].isalpha() and variable not in taken | set(_HEADERS):
                taken.add(variable)
                lines.append(Line(variable, column, off=True))
        return lines[:_MOST_EXTRA]

    def _unused(self) -> list[str]:
        used = set(self.draft.found.values())
        unique = Counter(self.table.columns)
        return [c for c in self.table.columns if c and c not in used and unique[c] == 1]

    def _free(self, pattern: str, other_than: str | None = None) -> str | None:
        options = (c for c in self._unused() if c != other_than and _fits(c, pattern))
        return next((c for c in options if self._known_cells(c)), None)

    def _known_cells(self, column: str) -> list[str]:
        return [cell for cell in self.table.column(column) if not is_missing(cell)]


def _column_like(table: TextTable, patterns: Iterable[str]) -> str | None:
    return next(
        (column for pattern in patterns for column in table.columns if _fits(column, pattern)),
        None,
    )


def _fits(column: str, pattern: str) -> bool:
    return re.fullmatch(pattern, _plain(column)) is not None


def _plain(column: str) -> str:
    """A header in lower case, its signs as single spaces."""
    return " ".join(re.sub(r"[^a-z0-9%]+", " ", column.casefold()).split())
