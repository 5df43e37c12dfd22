"""Words on a page: the field's terms with their tooltips, and text that came with the data."""

from __future__ import annotations

import re

import streamlit as st

from crpnet_bench.reporting.terms import EXPLAINED, TERM_TITLES

# Signs with which Markdown would begin a picture, a link, a formula or another type face.
_SIGNS = re.compile(r"([\\`*_\[\]$~]|:(?=//))")


def plain(text: object) -> str:
    r"""Text from a cohort, a run or an address, shown as it is.

    Identifiers, titles, reasons and rules may hold any sign, and a picture in one of them would
    make the browser ask another host.

    >>> plain("![x](http://example.org/x.png)")
    '!\\[x\\](http\\://example.org/x.png)'
    """
    return _SIGNS.sub(r"\\\1", str(text))


def code(text: str) -> str:
    """Text to be typed elsewhere, sign by sign: Markdown would print `>=` as one sign.

    >>> code("grade >= 3"), code("a ` b")
    ('` grade >= 3 `', '`` a ` b ``')
    """
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}"


def terms(*names: str) -> None:
    """A line of terms; each tells in plain words what it means when pointed at or focused."""
    with st.container(horizontal=True, gap="medium"):
        for name in names:
            st.caption(TERM_TITLES[name], help=EXPLAINED[name], width="content")
