"""How a risk goes with clinical variables: its correlations, its performance in their levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from crpnet_bench.evaluation import evaluate
from crpnet_bench.reporting.clinical_groups import level_order
from crpnet_bench.reporting.clinical_models import risk_of
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.survival import FEWEST_PATIENTS
from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.stats.correlations import Correlation, correlation
from crpnet_bench.stats.multiplicity import adjust_p_values

__all__ = ["correlations", "correlations_table", "level_metrics"]


def level_metrics(
    sample: Sample, model: str, variables: Sequence[str], metric: str = "c_index"
) -> pd.DataFrame:
    """One metric of a model in every level of some groupings, by the same evaluation.

    Returns:
        variable, level, and the columns of `metrics`; levels of fewer than 5 patients are left
        out.
    """
    groups = sample.groups[[name for name in variables if name in sample.groups]]
    wanted: dict[str, set[str]] = {}
    for variable in groups:
        for level in level_order(groups[variable]):
            members = set(groups.index[groups[variable] == level])
            if len(members) >= FEWEST_PATIENTS:
                wanted[f"{variable}: {level}"] = members
    rows = sample.predictions[sample.predictions["model"] == model]
    outcomes = sample.patients[["patient_id", "time", "status"]]
    table = evaluate(rows, outcomes, subgroups=wanted, settings=sample.settings)
    table = table[(table["metric"] == metric)].reset_index(drop=True)
    names = [str(name).partition(": ") for name in table["subgroup"]]
    return table.assign(
        variable=[variable if level else "All patients" for variable, _, level in names],
        level=[level for _, _, level in names],
    )


def correlations(sample: Sample, model: str) -> dict[str, Correlation]:
    """Spearman's correlation of a model's risk with grade, T stage and diameter."""
    rows = sample.of_model(model)
    found: dict[str, Correlation] = {}
    for name, column in (
        ("Grade", "grade"),
        ("T stage", "pT"),
        ("Tumour diameter", "tumor_size_cm"),
    ):
        if column in rows:
            values = risk_of(rows, column)
            known = values.notna().to_numpy()
            found[name] = correlation(
                rows["risk"].to_numpy(float)[known], values.to_numpy()[known], "spearman"
            )
    return found


def correlations_table(found: Mapping[str, Correlation]) -> pd.DataFrame:
    """Correlations as text, with P values adjusted by Holm's method."""
    adjusted = adjust_p_values([one.p_value for one in found.values()])
    return pd.DataFrame(
        [
            {
                "Variable": name,
                "Patients": str(one.n),
                "Spearman's rho (95 % CI)": "not estimable"
                if one.value is None
                else format_interval(one.value, one.ci_low, one.ci_high, digits=2),
                "P": "" if one.p_value is None else format_p(one.p_value),
                "P, Holm": "" if np.isnan(p) else format_p(float(p)),
            }
            for (name, one), p in zip(found.items(), adjusted, strict=True)
        ]
    )
