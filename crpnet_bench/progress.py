"""How long work tells that it goes on: a protocol, and the reporter that is silent.

Library functions take a `Progress`; the command line passes one that draws bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Progress", "SilentProgress", "Task"]


class Task(Protocol):
    """One bar: advances by counts and may say more in words."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report that `count` more units are done; `note` replaces the words beside the bar."""


class Progress(Protocol):
    """Something that can open a bar."""

    @contextmanager
    def task(self, description: str, total: int, unit: str = "") -> Iterator[Task]:
        """Open a bar of `total` units for the length of the with-block."""
        ...


class _SilentTask:
    def advance(self, count: int = 1, note: str = "") -> None:
        """Say nothing."""


class SilentProgress:
    """Reports to nobody; the default in tests and in library use."""

    @contextmanager
    def task(self, description: str, total: int, unit: str = "") -> Iterator[Task]:
        """A bar that is never drawn."""
        yield _SilentTask()
