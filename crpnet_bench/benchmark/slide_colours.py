"""Mean colour of each patient's slides, for the model that knows nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from crpnet_bench.benchmark.extract import SlideOutcome
from crpnet_bench.errors import SlideError
from crpnet_bench.models.base import CohortData
from crpnet_bench.models.clinical_variables import COLOUR_VARIABLES
from crpnet_bench.progress import Progress
from crpnet_bench.slides.colour import stain_density
from crpnet_bench.slides.reader import open_slide

__all__ = ["COLOUR_MODEL", "with_colours"]

COLOUR_MODEL = "mean_colour"
_ANY_SCALE = 0.5  # a slide without a scale has a colour all the same


def with_colours(
    data: CohortData, slides: Sequence[SlideOutcome], progress: Progress
) -> CohortData:
    """The same data with a column a colour channel, the mean over each patient's usable slides.

    A patient none of whose slides can be read has no colour, and the model says so.
    """
    names = [variable.name for variable in COLOUR_VARIABLES]
    usable = [slide for slide in slides if slide.status == "done"]
    rows = []
    with progress.task("colours", len(usable), "slides") as task:
        for slide in usable:
            rows.append([slide.patient_id, *_colour(slide.path)])
            task.advance()
    means = pd.DataFrame(rows, columns=["patient_id", *names]).groupby("patient_id").mean()
    columns = {name: means[name].reindex(data.patient_ids).to_numpy(float) for name in names}
    return replace(data, patients=data.patients.assign(**columns))


def _colour(path: Path) -> list[float]:
    try:
        with open_slide(path, mpp=_ANY_SCALE) as reader:
            density = stain_density(reader)
    except SlideError:
        density = None  # its features were made before it broke
    return [float("nan")] * len(COLOUR_VARIABLES) if density is None else density.tolist()
