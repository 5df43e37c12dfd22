import numpy as np
import pytest

from crpnet_bench.errors import InputError
from crpnet_bench.stats import event_rates, logrank


def test_counts_and_test_of_groups_that_are_large_enough():
    generator = np.random.default_rng(0)
    group = np.repeat(["a", "b", "c", "d"], [30, 20, 5, 4])
    time = generator.integers(1, 40, group.size)
    event = generator.random(group.size) < 0.4
    found = event_rates(time, event, group)
    assert [(one.group, one.n) for one in found.groups] == [("a", 30), ("b", 20), ("c", 5)]
    for one in found.groups:
        assert one.events == event[group == one.group].sum()
        assert one.rate == event[group == one.group].mean()
    assert found.left_out == 4
    rates = [event[group == label].mean() for label in "abc"]
    assert found.spread == max(rates) - min(rates)
    large = group != "d"
    assert found.p_value == logrank(time[large], event[large], group[large]).p_value


def test_equals_survdiff(data, r_survival):
    """The groups are large in every set of test data, so none is left out."""
    name, d = data
    found = event_rates(d.time, d.event, d.group, smallest=1)
    assert found.p_value == pytest.approx(r_survival(name, "survdiff", "0 FALSE")[1], rel=1e-9)


def test_one_group_or_nobody_has_no_test():
    one = event_rates([1, 2, 3], [1, 0, 1], ["a"] * 3, smallest=2)
    assert (one.p_value, one.reason, one.spread) == (None, "only one group", 0.0)
    nobody = event_rates([], [], [])
    assert (nobody.groups, nobody.reason) == ((), "no patients")
    small = event_rates([1, 2, 3], [1, 0, 1], ["a", "b", "c"])
    assert (small.groups, small.left_out) == ((), 3)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(InputError, match="smallest"):
        event_rates([1], [1], ["a"], smallest=0)
    with pytest.raises(InputError):
        event_rates([1, 2], [1], ["a", "b"])
