"""Where things lie: one folder, the home, holds registry, features and runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOME_VARIABLE", "Home"]

HOME_VARIABLE = "CRPNET_BENCH_HOME"


@dataclass(frozen=True, slots=True)
class Home:
    """Paths inside a home; nothing is created by naming it."""

    root: Path

    @classmethod
    def resolve(cls, given: Path | None = None) -> Home:
        """`given`, else the environment variable, else `.crpnet` in the current folder."""
        chosen = given or os.environ.get(HOME_VARIABLE) or ".crpnet"
        return cls(Path(chosen).expanduser().absolute())

    @property
    def registry(self) -> Path:
        """The database that writing commands open."""
        return self.root / "registry.duckdb"

    @property
    def views(self) -> Path:
        """Published read-only copies and their pointer `CURRENT`."""
        return self.root / "views"

    @property
    def cohorts(self) -> Path:
        """Built-in cohorts are made here."""
        return self.root / "cohorts"

    @property
    def features(self) -> Path:
        """Feature files: `<fingerprint>/<slide_id>.h5`."""
        return self.root / "features"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.root / "runs"
