"""Cohorts that come with the program: made under the home and registered on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.home import Home
from crpnet_bench.progress import Progress
from crpnet_bench.registry import views
from crpnet_bench.registry.store import Registry
from crpnet_bench.synthetic.changhai import make_changhai_sim
from crpnet_bench.synthetic.demo import make_demo

__all__ = ["BUILT_IN", "ensure_cohort"]

Maker = Callable[[Path, Progress], Path]

# Name -> what makes it; a new built-in cohort is a row here.
BUILT_IN: Mapping[str, Maker] = {
    "demo": lambda folder, progress: make_demo(folder, name="demo", progress=progress),
    "demo-external": lambda folder, progress: make_demo(
        folder, name="demo-external", progress=progress
    ),
    "changhai-sim": lambda folder, _: make_changhai_sim(folder),
}


def ensure_cohort(home: Home, name: str, progress: Progress) -> views.CohortRecord:
    """The registered cohort `name` (or `NAME@VERSION`); a built-in one is made if need be.

    Raises:
        NotFoundError: neither registered nor built in.
    """
    base = name.partition("@")[0]
    Registry(home).bring_up_to_date()
    if base in BUILT_IN and not _registered(home, base):
        folder = BUILT_IN[base](home.cohorts / base, progress)
        register_cohort(home, folder, progress=progress)
    return views.cohort(home, name)


def _registered(home: Home, name: str) -> bool:
    return not views.is_empty(home) and name in set(views.cohorts(home)["cohort"])
