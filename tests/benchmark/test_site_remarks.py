from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from crpnet_bench.benchmark.runner import run_benchmark
from crpnet_bench.benchmark.site_remarks import run_site_remarks, site_remark
from crpnet_bench.progress import SilentProgress
from crpnet_bench.results import METRIC_COLUMNS, conform, read_record
from crpnet_bench.stats import logrank


def patients(rates, size=20):
    """`size` patients a site, the first `rate` of them with an event."""
    rows = [
        (f"{site}{i}", site, float(i + 1), int(i < size * rate))
        for site, rate in rates.items()
        for i in range(size)
    ]
    return pd.DataFrame(rows, columns=["patient_id", "site", "time", "status"])


UNEQUAL, EQUAL = patients({"A": 0.1, "B": 0.5}), patients({"C": 0.3, "D": 0.3})


def test_unequal_sites_are_told_with_counts_and_test():
    (told,) = site_remark({"here, training": UNEQUAL, "there@1": EQUAL})
    p = logrank(UNEQUAL["time"], UNEQUAL["status"], UNEQUAL["site"]).p_value
    assert f"here, training: B 10/20 (50%), A 2/20 (10%), log-rank P {p:.3f}" in told
    assert "there@1: C 6/20 (30%), D 6/20 (30%)" in told
    assert "within chance" not in told


def test_the_training_sites_decide():
    assert site_remark({"here": EQUAL, "there": UNEQUAL}) == []


def test_a_difference_within_chance_is_called_so():
    few = patients({"A": 0.2, "B": 0.4}, size=10)
    (told,) = site_remark({"here": few})
    assert "within chance but can be learned all the same" in told


@pytest.mark.parametrize("site", [None, "A"])
def test_one_site_or_none_is_no_remark(site):
    assert site_remark({"here": UNEQUAL.assign(site=site)}) == []


def test_small_sites_are_counted_but_not_named():
    small = patients({"E": 1.0}, size=3)
    (told,) = site_remark({"here": pd.concat([UNEQUAL, small])})
    assert "E " not in told
    assert "3 patients of smaller sites not counted" in told


def test_a_run_gives_the_index_within_sites_beside_the_overall_one():
    line = {"model": "net", "role": "validation", "in_sample": False, "subgroup": "all"}
    values = {"auc": (0.9, 0.8, 1.0), "auc_within_sites": (0.6, 0.4, 0.8)}
    metrics = conform(
        pd.DataFrame(
            [
                line | {"metric": name, "value": v, "ci_low": low, "ci_high": high, "status": "ok"}
                for name, (v, low, high) in values.items()
            ]
        ),
        METRIC_COLUMNS,
    )
    told = run_site_remarks(UNEQUAL, list(UNEQUAL["patient_id"]), metrics, "net", "validation")
    assert told[1] == (
        "net, validation patients: AUC 0.900 (0.800-1.000), among patients of one site "
        "0.600 (0.400-0.800)"
    )
    only_b = [name for name in UNEQUAL["patient_id"] if name.startswith("B")]
    assert run_site_remarks(UNEQUAL, only_b, metrics, "net", "validation") == ()


def test_the_record_of_a_run_keeps_what_was_said(new_home, clinical_config, drawn):
    table = drawn(80, 0)
    event = table["event"] == "yes"
    home = new_home(patients=table.assign(site=np.where(event, "A", "B")))
    finished = run_benchmark(
        home, clinical_config(models=["ssign"]), device="cpu", progress=SilentProgress()
    )
    rates, within = finished.record.remarks
    assert rates.startswith("event rates differ between the training sites (training patients: A")
    # All events are at one site: no pair of one site has an event and none.
    assert "AUC" in within
    assert "among patients of one site not estimable" in within
    assert read_record(finished.folder).remarks == finished.record.remarks
