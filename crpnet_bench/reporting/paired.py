"""One model against each other one, on the patients that both predict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crpnet_bench.reporting.names import model_title
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.tables import format_p
from crpnet_bench.stats.concordance import ConcordanceComparison, compare_concordance
from crpnet_bench.stats.discrimination import RocComparison, compare_auc
from crpnet_bench.stats.multiplicity import adjust_p_values

__all__ = ["paired_table"]

_FOLDS = ["repeat", "fold", "inner_fold"]


@dataclass(frozen=True, slots=True)
class _Paired:
    n: int
    c_index: ConcordanceComparison
    auc: RocComparison


def paired_table(sample: Sample, model: str) -> pd.DataFrame:
    """The model against each other one on the patients that both predict.

    Returns:
        Text cells; P values adjusted by Holm's method over the rows, for each index apart.
    """
    rivals = [other for other in sample.models if other != model]
    found = [_paired(sample, model, other) for other in rivals]
    c_index = adjust_p_values([one.c_index.p_value for one in found])
    auc = adjust_p_values([one.auc.p_value for one in found])
    return pd.DataFrame(
        [
            {"Against": model_title(other), "Patients": str(one.n)}
            | _cells("C-index", one.c_index, p_c)
            | _cells("AUC", one.auc, p_auc)
            for other, one, p_c, p_auc in zip(rivals, found, c_index, auc, strict=True)
        ]
    )


def _cells(
    name: str, one: ConcordanceComparison | RocComparison, adjusted: float
) -> dict[str, str]:
    return {
        f"{name}, difference (95 % CI)": _difference(one),
        f"{name}, P": "" if one.p_value is None else format_p(one.p_value),
        f"{name}, P Holm": "" if np.isnan(adjusted) else format_p(float(adjusted)),
    }


def _paired(sample: Sample, model: str, other: str) -> _Paired:
    keys = ["patient_id", *_FOLDS]
    rows = sample.predictions[sample.predictions["status"] == "ok"]
    rows = rows.drop_duplicates(["model", *keys])  # of several seeds the first
    a, b = (rows.loc[rows["model"] == name, [*keys, "risk"]] for name in (model, other))
    both = a.merge(b, on=keys, suffixes=("_a", "_b")).merge(
        sample.patients[["patient_id", "time", "status"]], on="patient_id"
    )
    codes = both[_FOLDS].astype("Float64").fillna(-1).groupby(_FOLDS).ngroup().to_numpy()
    fold = codes if len(np.unique(codes)) > 1 else None
    patients = both["patient_id"].to_numpy(object)
    cluster = patients if len(set(patients)) < len(both) else None
    event, level = (both["status"] == 1).to_numpy(), sample.settings.level
    ours, theirs = both["risk_a"].to_numpy(float), both["risk_b"].to_numpy(float)
    time = both["time"].to_numpy(float)
    return _Paired(
        n=len(set(patients)),
        c_index=compare_concordance(
            time, event, ours, theirs, fold=fold, cluster=cluster, level=level
        ),
        auc=compare_auc(event, ours, theirs, fold=fold, cluster=cluster, level=level),
    )


def _difference(one: ConcordanceComparison | RocComparison) -> str:
    if one.difference is None:
        return f"not estimable: {one.reason}"
    text = f"{one.difference:+.3f}"
    if one.ci_low is None or one.ci_high is None:
        return text
    return f"{text} ({one.ci_low:+.3f} to {one.ci_high:+.3f})"
