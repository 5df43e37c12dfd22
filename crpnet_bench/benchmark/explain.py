"""Where the network looked: pictures of a run's attention, made once, shown by the dashboard.

For each slide `runs/<run>/explain/<model>/<slide>/`, or, for a cohort that the run was validated
on, `runs/<run>/external/<cohort>/explain/<model>/<slide>/` gets

- `thumbnail.jpg`: the slide itself, at most 800 pixels a side;
- `attention.png`: over it, each tile's attention, ranked within the slide;
- `evidence.png`: over it, attention times the tile's logit: red speaks for the event, blue
  against it;
- `tiles.geojson`: every tile as a square in level-0 pixels, with its numbers, as QuPath reads it;
- `high-1.jpg` ... and `low-1.jpg` ...: the most and the least attended tiles;
- `explain.json`: what was drawn, and a warning where attention is nearly uniform.

Label and macro images of a slide are never opened.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.benchmark.attention import ATTENTION_FILE
from crpnet_bench.benchmark.explain_pictures import CutSlide, draw_pictures
from crpnet_bench.benchmark.finished import external_folder
from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import NotFoundError, RunError, SlideError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.results import read_record, write_atomically
from crpnet_bench.slides.features import read_attributes

__all__ = ["UNIFORM_FROM", "Explained", "effective_share", "explain_run", "newest_run"]

UNIFORM_FROM = 0.9  # effective share of the tiles from which attention says little
_ROLE_ORDER = ("validation", "test", "external", "train")  # predictions of strangers come first


@dataclass(frozen=True, slots=True)
class Explained:
    """What was made for one slide.

    Attributes:
        slide_id, patient_id, model: whose attention.
        fold, role: the fit that looked (or of how many it is the mean), and the patient's role.
        folder: where the pictures lie; empty when nothing could be drawn.
        tiles: how many were looked at.
        effective_share: tiles that attention effectively uses, over all (1 is uniform).
        warning: attention is nearly uniform; else None.
        failure: why there are no pictures; else None.
    """

    slide_id: str
    patient_id: str
    model: str
    fold: str
    role: str
    folder: str
    tiles: int
    effective_share: float
    warning: str | None = None
    failure: str | None = None


def newest_run(home: Home) -> str:
    """The run that finished or began last.

    Raises:
        NotFoundError: there is no run.
    """
    records = [read_record(path.parent) for path in home.runs.glob("*/run.json")]
    if not records:
        raise NotFoundError(f"no run in {home.root}; `crpnet-bench run` makes one")
    return max(records, key=lambda record: (record.created, record.run_id)).run_id


def explain_run(
    home: Home,
    run_id: str,
    slide: str | None = None,
    model: str | None = None,
    cohort: str | None = None,
    progress: Progress | None = None,
) -> tuple[Explained, ...]:
    """Draw the attention of a run's slides; pictures that are there are made anew.

    Args:
        home: where the run lies.
        run_id: the run.
        slide: id of a slide, or the beginning of one; None for all.
        model: which model; None for every model with attention.
        cohort: NAME or NAME@VERSION of a cohort that the run was validated on; None for the run's
            own patients.
        progress: told of slides.

    Raises:
        NotFoundError: no such run, validation, slide or model.
        RunError: no attention was written.
    """
    source = _source(home, run_id, cohort)
    chosen = _chosen(_attention(source, model), slide)
    slides = _slides(source, {slide_id for (_, slide_id), _ in chosen})
    results = []
    with (progress or SilentProgress()).task("explain", len(chosen), "slides") as task:
        for (name, slide_id), tiles in chosen:
            place = source.folder / "explain" / name / slide_id
            results.append(_explain_slide(slides.get(slide_id), tiles, place, name))
            task.advance()
    return tuple(results)


@dataclass(frozen=True, slots=True)
class _Source:
    """Whose attention is drawn.

    Attributes:
        title: in messages.
        folder: of the run, or of its validation on another cohort.
        files: attention of each model (and fold).
        tiling: of the run.
    """

    title: str
    folder: Path
    files: tuple[Path, ...]
    tiling: TilingConfig


def _source(home: Home, run_id: str, cohort: str | None) -> _Source:
    run = _run_folder(home, run_id)
    record = read_record(run)
    title, folder, pattern = f"run {run_id}", run, f"folds/*/*/{ATTENTION_FILE}"
    if cohort is not None and cohort not in {
        record.cohort,
        f"{record.cohort}@{record.cohort_version}",
    }:
        folder, pattern = _validation_folder(run, cohort), f"*/{ATTENTION_FILE}"
        title = f"{title} on {folder.name}"
    files = tuple(sorted(folder.glob(pattern)))
    if not files:
        why = "none of its models reads tiles"
        if cohort is not None:
            why += f", or `crpnet-bench validate {run_id} {cohort}` was of an older version"
        raise RunError(f"{title} has no attention: {why}")
    tiling = TilingConfig.model_validate(record.config.get("tiling", {}))
    return _Source(title, folder, files, tiling)


def _validation_folder(run: Path, cohort: str) -> Path:
    """That of the named version, else of the newest one."""
    known = [path.parent.name for path in run.glob("external/*/validation.json")]
    versions = [name for name in known if cohort in {name, name.partition("@")[0]}]
    if not versions:
        raise NotFoundError(
            f"run {run.name} was not validated on {cohort!r}; {did_you_mean(cohort, known)}"
        )
    return external_folder(run, max(versions, key=lambda name: int(name.rpartition("@")[2])))


def _run_folder(home: Home, run_id: str) -> Path:
    known = sorted(path.parent.name for path in home.runs.glob("*/run.json"))
    if run_id not in known:
        raise NotFoundError(f"run {run_id!r} does not exist; {did_you_mean(run_id, known)}")
    return home.runs / run_id


def _attention(source: _Source, model: str | None) -> pd.DataFrame:
    """One row a tile and model, from the fold in which the patient was not trained on."""
    names = sorted({path.parent.name for path in source.files})
    if model is not None and model not in names:
        raise NotFoundError(
            f"{source.title} has no attention of {model!r}; {did_you_mean(model, names)}"
        )
    parts = [_read(path) for path in source.files if model in {None, path.parent.name}]
    table = pd.concat(parts, ignore_index=True)
    place = table["role"].map({role: rank for rank, role in enumerate(_ROLE_ORDER)})
    table = table.assign(place=place).sort_values(["place", "fold"], kind="stable")
    first = table.groupby(["model", "slide_id"])["fold"].transform("first")
    return table[table["fold"] == first].drop(columns="place")


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path).assign(model=path.parent.name)
    # A validation's rows name their fold, or of how many folds they are the mean.
    return table if "fold" in table else table.assign(fold=path.parent.parent.name)


def _chosen(looked: pd.DataFrame, slide: str | None) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    if slide is not None:
        matching = looked["slide_id"].str.startswith(slide)
        if not matching.any():
            known = sorted(set(looked["slide_id"]))
            raise NotFoundError(f"no slide {slide!r} in this run; {did_you_mean(slide, known)}")
        looked = looked[matching]
    return [
        ((str(name), str(slide_id)), tiles)
        for (name, slide_id), tiles in looked.groupby(["model", "slide_id"], sort=True)
    ]


def _slides(source: _Source, wanted: set[str]) -> dict[str, CutSlide]:
    table = pd.read_parquet(source.folder / "slides.parquet")
    known = table[table["slide_id"].isin(list(wanted))].to_dict("records")
    return {
        str(row["slide_id"]): _cut_slide(row["path"], row.get("feature_path"), source.tiling)
        for row in known
    }


def _cut_slide(path: str, features: object, tiling: TilingConfig) -> CutSlide:
    """The slide with the scale and tiles that its features were made with, where they are there."""
    if not isinstance(features, str) or not Path(features).exists():
        return CutSlide(Path(path), None, tiling)
    made = read_attributes(Path(features))
    mpp = made["mpp_level0"][0] if made["mpp_source"] == "manifest" else None
    if "mpp" not in made or "tile_px" not in made:  # of a tool that does not tell
        return CutSlide(Path(path), mpp, None)
    return CutSlide(Path(path), mpp, TilingConfig(mpp=made["mpp"], tile_px=made["tile_px"]))


# ---------------------------------------------------------------- one slide


def effective_share(attention: NDArray[np.floating]) -> float:
    """exp(entropy) of the weights over their number: 1 where all tiles weigh the same.

    >>> round(effective_share(np.array([0.25, 0.25, 0.25, 0.25])), 3)
    1.0
    >>> round(effective_share(np.array([1.0, 0.0, 0.0, 0.0])), 3)
    0.25
    """
    weights = np.asarray(attention, dtype=np.float64)
    weights = weights / weights.sum()
    positive = weights[weights > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()) / weights.size)


def _explain_slide(
    slide: CutSlide | None, tiles: pd.DataFrame, place: Path, model: str
) -> Explained:
    first = tiles.iloc[0]
    share = effective_share(tiles["attention"].to_numpy(float))
    warning = None
    if share >= UNIFORM_FROM:
        warning = (
            f"attention is nearly uniform ({100 * share:.0f} % of the tiles count effectively): "
            "the picture says little about where the risk comes from"
        )
    result = Explained(
        slide_id=str(first["slide_id"]),
        patient_id=str(first["patient_id"]),
        model=model,
        fold=str(first["fold"]),
        role=str(first["role"]),
        folder=str(place),
        tiles=len(tiles),
        effective_share=share,
        warning=warning,
    )
    try:
        draw_pictures(slide, tiles, place)
    except SlideError as error:
        failed = {**asdict(result), "folder": "", "failure": str(error)}
        return Explained(**failed)
    document = {key: value for key, value in asdict(result).items() if key != "folder"}
    write_atomically(place / "explain.json", json.dumps(document, indent=2).encode())
    return result
