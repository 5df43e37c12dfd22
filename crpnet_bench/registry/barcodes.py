"""TCGA barcodes in file names: which patient, tissue and preparation a slide shows.

`TCGA-A3-3307-01Z-00-DX1.<uuid>.svs`: site A3, patient TCGA-A3-3307, sample type 01 (01-09
tumour, 10-19 normal), slide code DX (diagnostic, FFPE) or TS, BS, MS (frozen: top, bottom,
middle section). Source: the code tables of the Genomic Data Commons.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Barcode", "patient_barcode", "read_barcode", "site_of"]

_SLIDE = re.compile(
    r"(?P<patient>TCGA-(?P<site>[A-Z0-9]{2})-[A-Z0-9]{4})-(?P<sample>\d{2})[A-Z]"
    r"-\d{2}-(?P<code>DX|TS|BS|MS)[A-Z0-9]{1,2}(?![A-Z0-9])"
)
_PATIENT = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}")


@dataclass(frozen=True, slots=True)
class Barcode:
    """What a slide's name says."""

    patient_id: str
    site: str
    specimen: str  # tumour | normal
    preparation: str  # ffpe | frozen


def read_barcode(name: str) -> Barcode | None:
    """The barcode that a file name starts with, None where there is none.

    >>> read_barcode("TCGA-CR-7395-01A-01-TS1.svs").preparation
    'frozen'
    """
    found = _SLIDE.match(name)
    if found is None:
        return None
    return Barcode(
        patient_id=found["patient"],
        site=found["site"],
        specimen="normal" if 10 <= int(found["sample"]) <= 19 else "tumour",
        preparation="ffpe" if found["code"] == "DX" else "frozen",
    )


def patient_barcode(text: str) -> str | None:
    """The patient's barcode that a text starts with.

    >>> patient_barcode(" TCGA-A3-3307-01Z ")
    'TCGA-A3-3307'
    """
    found = _PATIENT.match(text.strip().upper())
    return found[0] if found else None


def site_of(patient_id: str) -> str | None:
    """The tissue source site of a patient's barcode.

    >>> site_of("TCGA-B0-5698")
    'B0'
    """
    found = _PATIENT.fullmatch(patient_id)
    return found[1] if found else None
