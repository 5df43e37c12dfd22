"""What `crpnet-bench slide` tells of one file, as plain records."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from crpnet_bench.config import TilingConfig
from crpnet_bench.errors import InputError, SlideError
from crpnet_bench.slides.base import SlideReader
from crpnet_bench.slides.magnification import MPP_UNKNOWN
from crpnet_bench.slides.overview import histogram_picture, overview
from crpnet_bench.slides.quality import QUALITY_COLUMNS
from crpnet_bench.slides.reader import open_slide
from crpnet_bench.slides.tiling import TileAudit, TileBlock, audit_of, tile_slide

__all__ = ["slide_info", "slide_overview", "slide_tiles"]


def slide_info(path: Path, mpp: float | None) -> dict[str, Any]:
    """Format, levels, scale and the grid of tiles at 20x.

    Where nothing tells the scale: what the file is all the same, `mpp` None, and the `problem`.

    Raises:
        SlideError: the file cannot be used.
    """
    try:
        with open_slide(path, mpp=mpp) as reader:
            return _file_facts(path, reader) | _scale_facts(reader)
    except SlideError as error:
        if error.reason != MPP_UNKNOWN:
            raise
        with open_slide(path, mpp=1.0) as reader:  # any scale: nothing shown depends on it
            return _file_facts(path, reader) | {"mpp": None, "problem": str(error), "warnings": []}


def _file_facts(path: Path, reader: SlideReader) -> dict[str, Any]:
    return {
        "path": str(path),
        "vendor": reader.vendor,
        "read_by": reader.backend,
        "dimensions": list(reader.dimensions),
        "levels": [list(size) for size in reader.level_dimensions],
        "downsamples": [round(value, 4) for value in reader.level_downsamples],
    }


def _scale_facts(reader: SlideReader) -> dict[str, Any]:
    tiles = tile_slide(reader, TilingConfig())
    return {
        "mpp": [round(value, 6) for value in reader.mpp],
        "mpp_source": reader.magnification.source,
        "objective_power": reader.objective_power,
        "tile_px_level0": [round(value, 3) for value in tiles.grid.tile.span],
        "level_read": tiles.grid.tile.level,
        "grid": [tiles.grid.columns, tiles.grid.rows],
        "warnings": [*reader.warnings, *tiles.warnings],
    }


def slide_tiles(
    path: Path,
    mpp: float | None,
    threshold: float,
    *,
    table: Path | None = None,
    picture: Path | None = None,
) -> dict[str, Any]:
    """The audit of a slide's tiles.

    Args:
        path: the slide.
        mpp: as the manifest would give it.
        threshold: bits from which a tile is kept.
        table: a .csv to write, one row a tile that was read.
        picture: a .png of the entropies to write.

    Raises:
        SlideError: the file cannot be used.
        InputError: a file cannot be written.
    """
    config = TilingConfig(entropy_threshold=threshold, quality=True)
    with open_slide(path, mpp=mpp) as reader:
        tiles = tile_slide(reader, config)
        rows: list[dict[str, Any]] = []
        bits = np.full((tiles.grid.rows, tiles.grid.columns), np.nan)
        for block in tiles.blocks():
            bits[block.cells[:, 1], block.cells[:, 0]] = block.cell_entropy
            if table is not None:
                rows += _rows(block, tiles.grid.origin)
        audit = TileAudit(bits, threshold)
        warnings = [*reader.warnings, *tiles.warnings]
    if table is not None:
        _write_rows(table, rows)
    if picture is not None:
        _save(histogram_picture(audit), picture)
    return {**_counts(audit), "warnings": warnings}


def slide_overview(path: Path, mpp: float | None, threshold: float, out: Path) -> dict[str, Any]:
    """Draw the overview picture of a slide.

    Raises:
        SlideError: the file cannot be used.
        InputError: the picture cannot be written.
    """
    with open_slide(path, mpp=mpp) as reader:
        audit = _audit(reader, threshold)
        grid = tile_slide(reader, TilingConfig()).grid
        _save(overview(reader, grid, audit), out)
    return {"picture": str(out), **_counts(audit)}


def _audit(reader: SlideReader, threshold: float) -> TileAudit:
    tiles = tile_slide(reader, TilingConfig(entropy_threshold=threshold))
    return audit_of(tiles.grid, threshold, tiles.blocks())


def _counts(audit: TileAudit) -> dict[str, Any]:
    counts, edges = audit.histogram()
    return {
        "n_grid": audit.n_grid,
        "n_masked": audit.n_masked,
        "n_below": audit.n_below,
        "n_kept": audit.n_kept,
        "entropy_threshold": audit.threshold,
        "entropy_histogram": {
            f"{low:g}-{high:g}": count
            for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
            if count
        },
    }


def _rows(block: TileBlock, origin: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    rows, numbers = [], iter(range(len(block.coords)))
    for (column, row), bits, kept in zip(
        block.cells.tolist(), block.cell_entropy.tolist(), block.kept.tolist(), strict=True
    ):
        x, y = origin(column, row)
        entry = {"x": x, "y": y, "entropy": round(bits, 6), "kept": int(kept)}
        if kept and block.quality is not None:
            values = block.quality[next(numbers)].tolist()
            entry |= dict(zip(QUALITY_COLUMNS, values, strict=True))
        rows.append(entry)
    return rows


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["x", "y", "entropy", "kept", *QUALITY_COLUMNS])
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise _unwritable(path, error) from error


def _save(image: Any, path: Path) -> None:  # noqa: ANN401
    try:
        image.save(path)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be written ({error}); name a writable .csv or .png file")
