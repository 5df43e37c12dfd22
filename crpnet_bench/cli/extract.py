"""`crpnet-bench extract`: slides to features."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from crpnet_bench.cli.common import (
    FAILURES_RECORDED,
    CpusOption,
    EngineOption,
    GpusOption,
    HomeOption,
    JsonOption,
    RayAddressOption,
    emit,
    open_home,
    progress,
    warn,
)

__all__ = ["extract"]


def extract(
    cohort: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")],
    workers: Annotated[int, typer.Option(min=1, help="Slides read at a time.")] = 1,
    encoder: Annotated[str | None, typer.Option(help="Encoder instead of the settings'.")] = None,
    scales: Annotated[
        str | None, typer.Option(help="Magnifications, the tiles' first, such as 20,10,5.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    num_cpus: CpusOption = None,
    num_gpus: GpusOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tile and encode a cohort's slides; finished slides are skipped."""
    from crpnet_bench.benchmark.builtin import ensure_cohort
    from crpnet_bench.benchmark.engines import ClusterOptions, open_engine
    from crpnet_bench.benchmark.environment import choose_device
    from crpnet_bench.benchmark.inputs import extract_cohort, failure_lines, outcome_table
    from crpnet_bench.config import load_config

    where, bars = open_home(home), progress()
    chosen = choose_device(device, elsewhere=engine == "ray")
    cluster = ClusterOptions(ray_address, num_cpus, num_gpus)
    settings = load_config(config)
    tiling = settings.tiling.with_scales(scales) if scales else settings.tiling
    wanted = settings.encoder.model_copy(update={"name": encoder} if encoder else {})
    record = ensure_cohort(where, cohort, bars)
    with open_engine(engine, cluster, chosen) as tasks:
        outcomes = extract_cohort(
            where, record, tiling, wanted,
            device=chosen, workers=workers, progress=bars, engine=tasks,
        )  # fmt: skip
    unusable = failure_lines(outcomes)
    for line in unusable:
        warn(line)
    counts = Counter(outcome.status for outcome in outcomes)
    kept = sum(outcome.n_kept or 0 for outcome in outcomes)
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    document = {"slides": outcome_table(outcomes).to_dict("records")}
    emit(document, as_json=as_json, text=f"{len(outcomes)} slides: {told}; {kept} tiles kept")
    raise typer.Exit(FAILURES_RECORDED if unusable else 0)
