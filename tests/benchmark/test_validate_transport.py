from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench import stats
from crpnet_bench.benchmark.validate_transport import (
    change_remarks,
    primary_rows,
    training_rows,
    transport,
)
from crpnet_bench.reporting.validation_tables import TRANSPORT_COLUMNS, transport_table
from crpnet_bench.results import read_table, write_table

Z = 1.959963984540054


def rows(generator, n, rates, *, by_site, role="validation"):
    """Patients of two sites with these event rates; the risk rises with event and site."""
    site = np.repeat([0, 1], n // 2)
    event = (generator.random(n) < np.array(rates)[site]).astype(int)
    return pd.DataFrame(
        {
            "model": "net",
            "member": pd.array([pd.NA] * n, dtype="Int64"),
            "role": role,
            "in_sample": False,
            "patient_id": [f"{role}{i}" for i in range(n)],
            "risk": by_site * site + 0.8 * event + generator.normal(size=n),
            "event": event,
            "time": generator.uniform(1, 60, n),
            "site": np.where(site == 1, "B", "A"),
            "repeat": 0,
            "fold": 0,
            "inner_fold": pd.NA,
        }
    )


@pytest.fixture
def sets():
    """A risk that follows the site: rewarded at home, punished where rates are reversed."""
    generator = np.random.default_rng(0)
    return (
        rows(generator, 300, (0.7, 0.2), by_site=-2.0, role="train"),
        rows(generator, 200, (0.7, 0.2), by_site=-2.0),
        rows(generator, 200, (0.2, 0.7), by_site=-2.0, role="external"),
    )


def test_changes_have_the_standard_errors_of_independent_patients(sets):
    table = transport(*sets, ["net"], 0.95)
    assert list(table.columns) == list(TRANSPORT_COLUMNS)
    row = table.query("metric == 'auc'").iloc[0]
    training, inside, outside = (stats.roc_auc(one["event"], one["risk"]) for one in sets)
    assert row["external"] == outside.value
    for name, before in (("change", inside), ("training_change", training)):
        half = Z * np.hypot(before.se, outside.se)
        assert row[name] == pytest.approx(outside.value - before.value)
        assert row[f"{name}_low"] == pytest.approx(outside.value - before.value - half)
        assert row[f"{name}_high"] == pytest.approx(outside.value - before.value + half)


def test_pairs_of_one_site_are_counted_by_hand(sets):
    outside = sets[2]
    wins = pairs = 0.0
    for _, site in outside.groupby("site"):
        event = site.loc[site["event"] == 1, "risk"].to_numpy()
        other = site.loc[site["event"] == 0, "risk"].to_numpy()
        wins += (event[:, None] > other).sum()
        pairs += event.size * other.size
    table = transport(*sets, ["net"], 0.95)
    row = table.query("metric == 'auc'").iloc[0]
    assert row["external_within_sites"] == pytest.approx(wins / pairs)
    assert row["external_within_sites_low"] < wins / pairs < row["external_within_sites_high"]


def test_a_risk_that_follows_the_site_is_told(sets):
    told = change_remarks(transport(*sets, ["net"], 0.95), "net", "there@1")
    assert "there@1: falls by 0." in told[0]
    assert "in the training patients out of fold: falls by 0." in told[0]
    assert "its risk differs between the sites of there@1 against their event rates" in told[1]


def test_the_gain_by_site_is_flattering_at_home_and_a_loss_elsewhere(sets):
    row = transport(*sets, ["net"], 0.95).query("metric == 'auc'").iloc[0]
    assert row["training_site_gain_low"] > 0
    assert row["internal_site_gain_low"] > 0
    assert row["external_site_gain_high"] < 0
    assert row["external_site_gain"] == pytest.approx(
        row["external"] - row["external_within_sites"]
    )
    outside = sets[2]
    by_hand = stats.concordance_within(
        1.0 - outside["event"], outside["event"], outside["risk"], outside["site"]
    )
    assert row["external_site_gain_high"] == by_hand.gain.ci_high


def test_no_difference_is_said_to_be_none():
    generator = np.random.default_rng(1)
    same = [rows(generator, 200, (0.5, 0.5), by_site=0.0, role=role)
            for role in ("train", "validation", "external")]  # fmt: skip
    (told,) = change_remarks(transport(*same, ["net"], 0.95), "net", "there@1")
    assert "there@1: no difference shown" in told


def test_a_model_without_risks_is_missing_and_not_told(sets):
    empty = [one.assign(risk=np.nan) for one in sets]
    table = transport(*empty, ["net"], 0.95)
    assert table["change"].isna().all()
    assert change_remarks(table, "net", "there@1") == []


def test_training_rows_are_those_of_one_fold(sets):
    own = pd.concat(sets[:2], ignore_index=True)
    assert len(training_rows(own)) == 300
    assert len(primary_rows(own, "validation")) == 200
    folds = own.assign(fold=np.arange(len(own)) % 2)
    assert training_rows(folds).empty
    row = transport(training_rows(folds), *sets[1:], ["net"], 0.95).iloc[0]
    assert pd.isna(row["training"])
    assert pd.isna(row["training_change"])
    assert pd.notna(row["change"])


def test_the_table_leaves_out_what_no_row_has(sets):
    folds = transport(sets[0].iloc[:0], *sets[1:], ["net"], 0.95)
    shown = transport_table(folds, {"net": "Network"})
    assert "training, out of fold" not in shown
    assert "training to external" not in shown
    assert shown["model"].tolist() == ["Network", "Network"]
    assert shown["validation to external"].str.startswith("falls by").all()
    whole = transport_table(transport(*sets, ["net"], 0.95), {})
    assert whole["training to external"].str.startswith("falls by").all()


def test_a_table_of_an_older_version_is_read(sets, tmp_path):
    old = transport(*sets, ["net"], 0.95)[["model", "metric", "internal", "external", "change"]]
    write_table(old, tmp_path / "transport.parquet")
    table = read_table(tmp_path / "transport.parquet", TRANSPORT_COLUMNS)
    shown = transport_table(table, {})
    assert shown["validation to external"].str.contains("interval not estimable").all()
    assert "training, out of fold" not in shown
