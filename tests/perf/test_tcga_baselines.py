"""What clinical variables alone reach on TCGA-KIRC: fold-stratified C by site-preserved folds.

`pytest tests/perf/test_tcga_baselines.py -m perf -s` prints the tables of docs/benchmarks.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from textwrap import shorten

import pandas as pd
import pytest

from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.splits import SplitRequest, create_split
from crpnet_bench.config import RunConfig
from crpnet_bench.home import Home
from crpnet_bench.progress import SilentProgress
from crpnet_bench.reporting.tables import format_interval

RECIPE = Path(__file__).parents[2] / "cohorts" / "tcga_kirc" / "cohort.toml"
MODELS = (
    "site_only",
    "t_stage",
    "grade",
    "necrosis",
    "uiss_2002",
    "ssign",
    "leibovich_2003",
    "karakiewicz_refit",
    "cox_clinical",
    "rsf_clinical",
)
SPLITS = {
    "site-preserved, 5 folds": SplitRequest(method="site-preserved", folds=5, name="sites"),
    "random, 5 folds": SplitRequest(method="k-fold", folds=5, name="folds"),
    "random, 70/30": SplitRequest(method="random", name="random"),
}


@pytest.fixture(scope="module")
def home(shared_data, tmp_path_factory) -> Home:
    """TCGA-KIRC registered from the joined table, M0 by the recipe's rule."""
    folder = tmp_path_factory.mktemp("tcga")
    table = pd.read_csv(
        shared_data / "clinical" / "TCGA-KIRC_joined_clinical_outcomes_slides.csv",
        dtype=str,
        keep_default_na=False,
    )
    table["site"] = table["case_id"].str.split("-").str[1]
    table["tnm_edition"] = ""
    percent = pd.to_numeric(table["specimen_necrosis_pct"])
    table["necrosis"] = percent.gt(0).map({True: "1", False: "0"}).where(percent.notna(), "")
    table.to_csv(folder / "clinical.csv", index=False)
    text = RECIPE.read_text(encoding="utf-8").replace('site = "site"', NECROSIS)
    text = text.replace('default_split = "site-preserved-3"\n', "")
    text = text.replace('[slides]\nfile = "slides.csv"\n', "")
    (folder / "cohort.toml").write_text(text, encoding="utf-8")
    home = Home(folder / "home")
    register_cohort(home, folder)
    for request in SPLITS.values():
        create_split(home, "tcga_kirc", request)
    yield home
    shutil.rmtree(home.root)


# The biobank's estimate stands in for the pathologist's coagulative necrosis: an approximation.
NECROSIS = 'site = "site"\nnecrosis = "necrosis"'


@pytest.mark.perf
@pytest.mark.parametrize("endpoint", ["PFI", "OS"])
def test_clinical_baselines(home, endpoint, capsys):
    """Prints the tables; site alone has nothing to say of sites that it never saw."""
    columns, titles = {}, {}
    for title, request in SPLITS.items():
        config = RunConfig.from_mapping(
            {
                "cohort": "tcga_kirc",
                "split": request.name,
                "endpoint": endpoint,
                "models": list(MODELS),
                "primary_metric": "c_index",
            }
        )
        finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
        primary = finished.metrics[finished.metrics["role"] == finished.record.primary_role]
        columns[title] = {model: c_index(rows) for model, rows in primary.groupby("model")}
        assert set(columns[title]) == set(MODELS)
        titles |= dict(finished.titles)
    assert columns["site-preserved, 5 folds"]["site_only"].startswith("not estimable")
    assert not columns["random, 5 folds"]["site_only"].startswith("not estimable")
    with capsys.disabled():
        print(f"\n{endpoint}: Harrell's C (95 % CI), patients/events")
        for model in MODELS:
            print(
                titles[model], *(f"  {name}: {columns[name][model]}" for name in SPLITS), sep="\n"
            )


def c_index(rows: pd.DataFrame) -> str:
    """C of one model with interval, patients and events; or why there is none."""
    row = rows[rows["metric"] == "c_index"].iloc[0]
    if row["status"] != "ok":
        why = rows.loc[rows["metric"] == "n_missing", "reason"].iloc[0]
        return f"not estimable: {shorten(why, 120, placeholder=' ...')}"
    assert 0.4 < row["value"] < 0.9
    interval = format_interval(row["value"], row["ci_low"], row["ci_high"])
    return f"{interval}, {row['n']}/{row['events']}"
