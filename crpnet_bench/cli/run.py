"""`crpnet-bench run`: train and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
    note,
    open_home,
    progress,
)
from crpnet_bench.cli.explain import warn_of_pictures

__all__ = ["files_by_name", "named_models", "run"]


def run(
    cohort: Annotated[str | None, typer.Argument(help="NAME or NAME@VERSION [demo].")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Model; may be repeated. A+B fuses two; imported:NAME=FILE reads a csv."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="A file in the cohort's splits/.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="One of the cohort's endpoints.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, TOML.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repeat everything with so many seeds.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this interrupted run.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw where networks looked, as `explain` does.")
    ] = False,
    engine: EngineOption = "local",
    ray_address: RayAddressOption = None,
    num_cpus: CpusOption = None,
    num_gpus: GpusOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate CRPNet and its rivals on a cohort; without arguments on `demo`."""
    from crpnet_bench.benchmark.declaration import run_settings
    from crpnet_bench.benchmark.engines import ClusterOptions, open_engine
    from crpnet_bench.benchmark.environment import choose_device
    from crpnet_bench.benchmark.explain import explain_run
    from crpnet_bench.benchmark.fine_tuning_cost import cost_notes
    from crpnet_bench.benchmark.runner import run_benchmark
    from crpnet_bench.cli.run_output import run_document, show_run

    where, bars = open_home(home), progress()
    given = {"cohort": cohort, "endpoint": endpoint, "split": split, "seed": seed, "seeds": seeds}
    settings = run_settings(where, config, given | named_models(model), resume)
    chosen = choose_device(device, elsewhere=engine == "ray")
    for sentence in cost_notes(settings, chosen):
        note(f"note: {sentence}")
    cluster = ClusterOptions(ray_address, num_cpus, num_gpus)
    with open_engine(engine, cluster, chosen) as tasks:
        finished = run_benchmark(
            where, settings, device=chosen, progress=bars, resume=resume, engine=tasks
        )
    emit(run_document(where, finished), as_json=True) if as_json else show_run(where, finished)
    failed = len(finished.failures)
    if explain:  # what was computed is shown whatever becomes of the pictures
        failed += warn_of_pictures(explain_run(where, finished.record.run_id, progress=bars))
    raise typer.Exit(FAILURES_RECORDED if failed else 0)


def named_models(names: list[str] | None) -> dict[str, Any]:
    """Settings from `--model`: `imported:NAME=FILE` names a model and its file."""
    from crpnet_bench.config import IMPORTED

    if not names:
        return {"models": None}
    given = [name for name in names if name.startswith(IMPORTED) and "=" in name]
    files = files_by_name([name.removeprefix(IMPORTED) for name in given])
    plain = [name.partition("=")[0] if name in given else name for name in names]
    return {"models": plain, "imported": files or None}


def files_by_name(given: list[str]) -> dict[str, str]:
    """NAME=FILE as a mapping."""
    from crpnet_bench.errors import ConfigError

    pairs = [text.partition("=") for text in given]
    for name, equals, file in pairs:
        if not (name and equals and file):
            raise ConfigError(f"imported {name!r}; expected NAME=FILE")
    return {name: file for name, _, file in pairs}
