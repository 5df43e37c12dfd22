"""How a model is drawn: one colour, one dash, one mark, the same on every page."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = ["model_color", "model_line", "model_symbol"]

_Look = tuple[str, str]  # colour, dash

# The first eight are Okabe and Ito's. All can be read on white and on the dark page; colours that
# become alike with a colour vision deficiency differ in their dash.
_LOOKS: Mapping[str, _Look] = {
    "crpnet": ("#0072B2", "solid"),
    "uiss_2002": ("#E69F00", "solid"),
    "ssign": ("#009E73", "solid"),
    "karakiewicz_refit": ("#CC79A7", "solid"),
    "leibovich_2003": ("#D55E00", "solid"),
    "crpnet-ms": ("#56B4E9", "solid"),
    "oracle": ("#8C8C8C", "dot"),
    "meanpool": ("#7B61A8", "dash"),
    "maxpool": ("#B8860B", "dot"),
    "uiss_2001": ("#C98A1B", "dashdot"),
    "grant": ("#8A9A2B", "dash"),
    "keynote564": ("#B0413E", "dash"),
    "crpnet-cox": ("#4B6BD6", "dash"),
    "crpnet-hazard": ("#7FA6E8", "dot"),
    "crpnet-ipcw": ("#2A9DAD", "dashdot"),
    "crpnet-observed": ("#8E7CE0", "longdash"),
    "crpnet-gated": ("#3C8DD9", "longdash"),
    "crpnet-finetuned": ("#1F7A8C", "dash"),
    "crpnet+clinical": ("#A05195", "longdash"),
    "clam-sb": ("#C2559D", "solid"),
    "cox_clinical": ("#A9694B", "longdashdot"),
    "rsf_clinical": ("#6B8E23", "dashdot"),
    "t_stage": ("#5F6B7A", "solid"),
    "grade": ("#7C8896", "dash"),
    "necrosis": ("#98A2AE", "dot"),
    "diameter": ("#A7ADB3", "dashdot"),
    "site_only": ("#77716B", "longdash"),
    "mean_colour": ("#D1495B", "dot"),
}
_SAME = {"uiss": "uiss_2002", "karakiewicz": "karakiewicz_refit"}
_COLORS = ("#AA4499", "#44AA99", "#999933", "#6699CC", "#C47A53", "#8F6BB5", "#B5657A")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS: Mapping[str, str] = {
    "solid": "square",
    "dash": "circle",
    "dot": "diamond",
    "dashdot": "triangle-up",
    "longdash": "cross",
    "longdashdot": "star",
}


def _look(name: str) -> _Look:
    known = _LOOKS.get(_SAME.get(name, name))
    if known is not None:
        return known
    digest = hashlib.sha256(name.encode()).digest()
    return _COLORS[digest[0] % len(_COLORS)], _DASHES[digest[1] % len(_DASHES)]


def model_color(name: str) -> str:
    """The model's colour.

    >>> model_color("crpnet")
    '#0072B2'
    """
    return _look(name)[0]


def model_line(name: str, width: float = 2.2) -> dict[str, object]:
    """The model's line: colour and dash, for plotly.

    >>> model_line("meanpool")
    {'color': '#7B61A8', 'dash': 'dash', 'width': 2.2}
    """
    color, dash = _look(name)
    return {"color": color, "dash": dash, "width": width}


def model_symbol(name: str) -> str:
    """The model's mark, one for each dash.

    >>> model_symbol("crpnet"), model_symbol("grade")
    ('square', 'circle')
    """
    return _SYMBOLS[_look(name)[1]]
