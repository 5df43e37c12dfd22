"""Where the network looked: pictures of a run's attention, made once, shown by the dashboard.

For each slide `runs/<run>/explain/<model>/<slide>/` gets

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
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.colors
from numpy.typing import NDArray
from PIL import Image

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import NotFoundError, RunError, SlideError, did_you_mean
from crpnet_bench.home import Home
from crpnet_bench.progress import Progress, SilentProgress
from crpnet_bench.results import RunRecord, read_record, write_atomically
from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.cutting import cut
from crpnet_bench.slides.grid import Grid, plan_grid
from crpnet_bench.slides.overview import thumbnail
from crpnet_bench.slides.reader import open_slide

__all__ = ["UNIFORM_FROM", "Explained", "effective_share", "explain_run", "newest_run"]

UNIFORM_FROM = 0.9  # effective share of the tiles from which attention says little
_SIDE = 800
_TILES_SHOWN = 6
_OPACITY = 0.5
_COLORS = 64
_ROLE_ORDER = ("validation", "test", "external", "train")  # predictions of strangers come first

Floats = NDArray[np.float64]
Tint = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Explained:
    """What was made for one slide.

    Attributes:
        slide_id, patient_id, model: whose attention.
        fold, role: the fit that looked, and the patient's role in it.
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
    progress: Progress | None = None,
) -> tuple[Explained, ...]:
    """Draw the attention of a run's slides; pictures that are there are made anew.

    Args:
        home: where the run lies.
        run_id: the run.
        slide: id of a slide, or the beginning of one; None for all.
        model: which model; None for every model with attention.
        progress: told of slides.

    Raises:
        NotFoundError: no such run, slide or model.
        RunError: the run wrote no attention.
    """
    folder = _run_folder(home, run_id)
    record = read_record(folder)
    looked = _attention(folder, record, model)
    chosen = _chosen(looked, slide)
    paths = _slide_paths(folder)
    results = []
    with (progress or SilentProgress()).task("explain", len(chosen), "slides") as task:
        for (name, slide_id), tiles in chosen:
            place = folder / "explain" / name / slide_id
            results.append(_explain_slide(paths.get(slide_id), tiles, place, name, record))
            task.advance()
    return tuple(results)


def _run_folder(home: Home, run_id: str) -> Path:
    known = sorted(path.parent.name for path in home.runs.glob("*/run.json"))
    if run_id not in known:
        raise NotFoundError(f"run {run_id!r} does not exist; {did_you_mean(run_id, known)}")
    return home.runs / run_id


def _attention(folder: Path, record: RunRecord, model: str | None) -> pd.DataFrame:
    """One row a tile and model, from the fold in which the patient was not trained on."""
    found = sorted(folder.glob("folds/*/*/attention.parquet"))
    names = sorted({path.parent.name for path in found})
    if not found:
        raise RunError(f"run {record.run_id} has no attention: none of its models reads tiles")
    if model is not None and model not in names:
        raise NotFoundError(
            f"run {record.run_id} has no attention of {model!r}; {did_you_mean(model, names)}"
        )
    parts = [
        pd.read_parquet(path).assign(model=path.parent.name, fold=path.parent.parent.name)
        for path in found
        if model in {None, path.parent.name}
    ]
    table = pd.concat(parts, ignore_index=True)
    place = table["role"].map({role: rank for rank, role in enumerate(_ROLE_ORDER)})
    table = table.assign(place=place).sort_values(["place", "fold"], kind="stable")
    first = table.groupby(["model", "slide_id"])["fold"].transform("first")
    return table[table["fold"] == first].drop(columns="place")


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


def _slide_paths(folder: Path) -> dict[str, Path]:
    table = pd.read_parquet(folder / "slides.parquet")
    known = table[table["slide_id"].notna()]
    return {
        str(slide_id): Path(str(path))
        for slide_id, path in known[["slide_id", "path"]].itertuples(index=False)
    }


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
    path: Path | None, tiles: pd.DataFrame, place: Path, model: str, record: RunRecord
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
        _draw(path, tiles, place, record)
    except SlideError as error:
        failed = {**asdict(result), "folder": "", "failure": str(error)}
        return Explained(**failed)
    document = {key: value for key, value in asdict(result).items() if key != "folder"}
    write_atomically(place / "explain.json", json.dumps(document, indent=2).encode())
    return result


def _draw(path: Path | None, tiles: pd.DataFrame, place: Path, record: RunRecord) -> None:
    if path is None or not path.exists():
        raise SlideError(f"the slide file {path} is gone; pictures need it")
    tiling = TilingConfig.model_validate(record.config.get("tiling", {}))
    with open_slide(path) as reader:
        grid = plan_grid(reader, tiling.mpp, tiling.tile_px)
        small = thumbnail(reader, _SIDE)
        _save(small, place / "thumbnail.jpg")
        attention = tiles["attention"].to_numpy(float)
        evidence = attention * tiles["tile_logit"].to_numpy(float)
        for name, tint in (
            ("attention", _ranked_colors(attention)),
            ("evidence", _signed_colors(evidence)),
        ):
            _save(_overlay(small, reader, grid, tiles, tint), place / f"{name}.png")
        write_atomically(place / "tiles.geojson", _geojson(tiles, grid))
        _save_tiles(reader, grid, tiles, place)


def _save(pixels: Tint, path: Path) -> None:
    """As JPEG; a PNG gets 256 colours, or pictures of a cohort would fill gigabytes."""
    buffer = BytesIO()
    picture = Image.fromarray(pixels)
    if path.suffix == ".png":
        picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    else:
        picture.save(buffer, "JPEG", quality=88)
    write_atomically(path, buffer.getvalue())


def _ranked_colors(attention: Floats) -> Tint:
    """Rank within the slide, so that one very high weight does not hide the others."""
    order = np.argsort(np.argsort(attention, kind="stable"), kind="stable")
    return _colors("Inferno", order / max(len(attention) - 1, 1))


def _signed_colors(evidence: Floats) -> Tint:
    largest = float(np.abs(evidence).max()) or 1.0
    return _colors("RdBu_r", 0.5 + evidence / (2 * largest))


def _colors(scale: str, values: Floats) -> Tint:
    samples = plotly.colors.sample_colorscale(scale, list(np.linspace(0, 1, _COLORS)))
    table = [plotly.colors.unlabel_rgb(text) for text in samples]
    chosen = np.asarray(table, dtype=np.uint8)[np.round(values * (_COLORS - 1)).astype(int)]
    return np.asarray(chosen, dtype=np.uint8)


def _overlay(small: Tint, reader: SlideReader, grid: Grid, tiles: pd.DataFrame, tint: Tint) -> Tint:
    scale_x = small.shape[1] / reader.dimensions[0]
    scale_y = small.shape[0] / reader.dimensions[1]
    span_x, span_y = grid.tile.span
    shown = small.astype(np.float64)
    for (x, y), color in zip(_corners(tiles), tint, strict=True):
        rows = slice(round(y * scale_y), round((y + span_y) * scale_y))
        columns = slice(round(x * scale_x), round((x + span_x) * scale_x))
        shown[rows, columns] = shown[rows, columns] * (1 - _OPACITY) + color * _OPACITY
    return np.round(shown).astype(np.uint8)


def _corners(tiles: pd.DataFrame) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in tiles[["x", "y"]].itertuples(index=False)]


def _geojson(tiles: pd.DataFrame, grid: Grid) -> bytes:
    """Squares in level-0 pixels with their numbers, as QuPath's tiles."""
    span_x, span_y = grid.tile.span
    slide = uuid.UUID(str(tiles["slide_id"].iloc[0])[:32].ljust(32, "0"))
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(slide, f"{x},{y}")),
            "geometry": {"type": "Polygon", "coordinates": [_square(x, y, span_x, span_y)]},
            "properties": {
                "objectType": "tile",
                "measurements": {
                    "attention": float(attention),
                    "tile logit": float(logit),
                    "evidence": float(attention) * float(logit),
                },
            },
        }
        for (x, y), attention, logit in zip(
            _corners(tiles), tiles["attention"], tiles["tile_logit"], strict=True
        )
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _square(x: float, y: float, width: float, height: float) -> list[list[float]]:
    corners = ((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))
    return [[x + right * width, y + down * height] for right, down in corners]


def _save_tiles(reader: SlideReader, grid: Grid, tiles: pd.DataFrame, place: Path) -> None:
    ranked = tiles.sort_values("attention", ascending=False, kind="stable")
    shown = min(_TILES_SHOWN, len(ranked) // 2 or 1)
    for name, part in (("high", ranked.head(shown)), ("low", ranked.tail(shown).iloc[::-1])):
        for number, corner in enumerate(_corners(part), start=1):
            _save(_tile(reader, grid, corner), place / f"{name}-{number}.jpg")
    _forget_further(place, shown)


def _forget_further(place: Path, shown: int) -> None:
    """Tiles of an earlier drawing that showed more of them."""
    for number in range(shown + 1, _TILES_SHOWN + 1):
        for name in ("high", "low"):
            (place / f"{name}-{number}.jpg").unlink(missing_ok=True)


def _tile(reader: SlideReader, grid: Grid, corner: Sequence[int]) -> Tint:
    field = grid.tile
    width, height = (int(np.ceil(extent)) for extent in field.extent)
    region = reader.read(field.level, corner[0], corner[1], width, height)
    return cut(region, [(0.0, 0.0)], field).pixels(0)
