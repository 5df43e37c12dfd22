from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.finished import fold_folder
from crpnet_bench.benchmark.fusion import fuse_out_of_fold, learn_fusion
from crpnet_bench.benchmark.line_up import expand, load_model, parts_of
from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.errors import ConfigError, ModelError
from crpnet_bench.progress import SilentProgress


def _drawn(n=200, seed=0, **effects):
    generator = np.random.default_rng(seed)
    ids = [f"p{i:03d}" for i in range(n)]
    risks = pd.DataFrame({name: generator.normal(size=n) for name in effects}, index=ids)
    hazard = np.exp(sum(size * risks[name] for name, size in effects.items())) / 40
    event = generator.exponential(1 / hazard)
    censoring = generator.uniform(10, 100, n)
    outcomes = pd.DataFrame(
        {
            "time": np.minimum(event, censoring),
            "status": (event <= censoring).astype(int),
            "label": (event <= censoring).astype(int),
        },
        index=ids,
    )
    inner = pd.Series(np.arange(n) % 5, index=ids)
    return risks, outcomes, inner


def test_weights_are_those_of_a_cox_model_stratified_by_inner_fold():
    risks, outcomes, inner = _drawn(a=1.0, b=0.3)
    weights = learn_fusion(risks, outcomes, inner)
    scaled = (risks - risks.mean()) / risks.std(ddof=1)
    cox = stats.cox_ph(outcomes["time"], outcomes["status"], scaled, strata=inner)
    assert weights.weight == pytest.approx([cox.terms["a"].coef, cox.terms["b"].coef])
    assert weights.weight[0] > 2 * weights.weight[1] > 0


def test_an_inner_fold_is_fused_by_weights_of_the_others():
    risks, outcomes, inner = _drawn(a=1.0, b=0.3)
    fused = fuse_out_of_fold(risks, outcomes, inner)
    others = inner.index[inner != 2]
    weights = learn_fusion(risks.loc[others], outcomes.loc[others], inner.loc[others])
    held_out = inner.index[inner == 2]
    assert fused.loc[held_out, "risk"].to_numpy() == pytest.approx(
        weights.risk(risks.loc[held_out])
    )
    changed = outcomes.copy()
    changed.loc[held_out, "time"] = 1.0
    again = fuse_out_of_fold(risks, changed, inner)
    pd.testing.assert_series_equal(again.loc[held_out, "risk"], fused.loc[held_out, "risk"])


def test_noise_does_not_drag_a_good_part_down():
    risks, outcomes, inner = _drawn(n=400, a=1.0, noise=0.0)
    fused = fuse_out_of_fold(risks, outcomes, inner)
    c = {
        name: stats.concordance_index(outcomes["time"], outcomes["status"], risk).value
        for name, risk in (("a", risks["a"]), ("fused", fused["risk"]))
    }
    assert c["fused"] > c["a"] - 0.02


def test_nothing_is_found_where_there_is_nothing():
    """Null check: mean C of fused risks, out-of-fold and on new patients, over 40 seeds."""
    inside, outside = [], []
    for seed in range(40):
        risks, outcomes, inner = _drawn(n=300, seed=seed, a=0.0, b=0.0)
        trained = risks.index[:150]
        parts = (risks.loc[trained], outcomes.loc[trained], inner.loc[trained])
        fused = fuse_out_of_fold(*parts)
        inside.append(_c(outcomes.loc[trained], fused["risk"], inner.loc[trained]))
        new = risks.index[150:]
        outside.append(_c(outcomes.loc[new], learn_fusion(*parts).risk(risks.loc[new])))
    assert np.mean(outside) == pytest.approx(0.5, abs=0.03)
    assert np.mean(inside) == pytest.approx(0.5, abs=0.03)


def _c(outcomes, risk, fold=None):
    return stats.concordance_index(outcomes["time"], outcomes["status"], risk, fold=fold).value


def test_a_patient_without_one_part_is_missing_with_the_reason():
    risks, outcomes, inner = _drawn(a=1.0, b=0.3)
    risks.loc["p007", "b"] = np.nan
    fused = fuse_out_of_fold(risks, outcomes, inner)
    assert fused.loc["p007", ["status", "reason"]].tolist() == ["missing", "no risk of b"]
    assert (fused["status"] == "ok").sum() == 199


def test_a_part_without_spread_is_named():
    risks, outcomes, inner = _drawn(a=1.0, b=0.3)
    with pytest.raises(ModelError, match="out-of-fold risks of b are all equal"):
        learn_fusion(risks.assign(b=1.0), outcomes, inner)


def test_names():
    assert parts_of("crpnet+clinical") == ("crpnet", "cox_clinical")
    assert expand(["ssign+leibovich_2003", "ssign"]) == (
        "ssign",
        "leibovich_2003",
        "ssign+leibovich_2003",
    )
    with pytest.raises(ConfigError, match="different models"):
        parts_of("ssign+ssign")


def test_in_a_run_the_fusion_combines_the_risks_of_its_parts(new_home, clinical_config):
    home = new_home()
    name = "karakiewicz_refit+ssign"
    config = clinical_config(models=[name])
    finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    assert finished.record.models == ("karakiewicz_refit", "ssign", name)
    assert finished.record.primary_model == name
    fitted = load_model(fold_folder(finished.folder, "repeat0-fold0", name) / "model")
    rows = pd.read_parquet(finished.folder / "predictions.parquet")
    rows = rows[(rows["role"] == "validation") & (rows["status"] == "ok")]
    wide = rows.pivot_table(index="patient_id", columns="model", values="risk").astype(float)
    wide = wide.dropna()
    assert wide[name].to_numpy() == pytest.approx(fitted.weights.risk(wide))
    assert any("log hazard ratio per SD of the out-of-fold risk" in note for note in finished.notes)


def test_a_failed_part_fails_the_fusion_with_the_reason(new_home, clinical_config, drawn):
    patients = drawn(60, 1).assign(grade="NA", pT="NA", size="NA")
    home = new_home(patients=patients)
    config = clinical_config(models=["ssign+karakiewicz_refit"])
    finished = run_benchmark(home, config, device="cpu", progress=SilentProgress())
    failure = finished.record.failures[-1]
    assert failure.startswith("ssign+karakiewicz_refit repeat0-fold0: ssign, a part of the fusion")
