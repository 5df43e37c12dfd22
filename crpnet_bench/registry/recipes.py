"""Recipes of public cohorts that come with the program: manifest and splits, no patient rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import crpnet_bench
from crpnet_bench.errors import NotFoundError, did_you_mean

__all__ = ["copy_recipe", "recipe_folder"]


def recipe_folder(name: str) -> Path:
    """The folder of a recipe, in an installed package or beside the source.

    Raises:
        NotFoundError: there is no such recipe.
    """
    package = Path(crpnet_bench.__file__).parent
    roots = [root for root in (package / "_cohorts", package.parent / "cohorts") if root.is_dir()]
    for root in roots:
        if (root / name / "cohort.toml").is_file():
            return root / name
    known = [path.parent.name for root in roots for path in root.glob("*/cohort.toml")]
    raise NotFoundError(f"no recipe {name!r}; {did_you_mean(name, known)}")


def copy_recipe(name: str, target: Path) -> None:
    """Copy manifest, splits and README of a recipe into a folder."""
    shutil.copytree(recipe_folder(name), target, dirs_exist_ok=True)
