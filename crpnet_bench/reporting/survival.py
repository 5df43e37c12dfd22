"""Survival of groups of patients: curves, tests, hazard ratios, risks at fixed times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crpnet_bench.reporting.groupings import HIGH, LOW, Grouping
from crpnet_bench.reporting.names import event_words
from crpnet_bench.reporting.run_data import Sample
from crpnet_bench.reporting.tables import format_interval, format_p
from crpnet_bench.stats.competing_risks import (
    GroupedCumulativeIncidence,
    cumulative_incidence,
)
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.follow_up import FollowUp, median_follow_up
from crpnet_bench.stats.log_rank import LogRankResult, logrank
from crpnet_bench.stats.survival_curve import ConfType, KaplanMeier, kaplan_meier

__all__ = [
    "FEWEST_EVENTS",
    "FEWEST_PATIENTS",
    "GroupedSurvival",
    "group_survival",
    "incidence_by_group",
    "left_out",
    "p_with_sign",
    "risk_table",
]

FEWEST_PATIENTS = 5  # smaller groups are not drawn
FEWEST_EVENTS = 5  # fewer events: no hazard ratio
_HORIZONS = (12.0, 36.0, 60.0)


@dataclass(frozen=True, eq=False)
class GroupedSurvival:
    """Curves of groups with their comparison.

    Attributes:
        grouping: who is where.
        curves: group -> Kaplan-Meier curve, in the order of the levels.
        test: log-rank test over the groups.
        p_text: the P value as it is shown, with the test's name.
        hazard_ratios: one sentence a group compared with the first.
        notes: what the reader has to know: groups that were left out, small numbers.
    """

    grouping: Grouping
    curves: Mapping[str, KaplanMeier]
    test: LogRankResult | None
    p_text: str
    hazard_ratios: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def n(self) -> int:
        """Patients in the curves."""
        return sum(curve.n for curve in self.curves.values())

    @property
    def events(self) -> int:
        """Events in the curves."""
        return sum(curve.n_events for curve in self.curves.values())


# ---------------------------------------------------------------- curves and comparison


def group_survival(
    grouping: Grouping, sample: Sample | None = None, conf_type: ConfType = "log-log"
) -> GroupedSurvival:
    """Kaplan-Meier curves of the groups with log-rank test and hazard ratios.

    Args:
        grouping: who is in which group.
        sample: where the groups are a model's locked ones, its own metrics are shown.
        conf_type: scale of the curves' intervals.
    """
    table, levels, notes = _drawn(grouping)
    curves = {
        level: kaplan_meier(
            part["time"].to_numpy(float), (part["status"] == 1).to_numpy(), conf_type
        )
        for level in levels
        for part in (table[table["group"] == level],)
    }
    test = None
    if grouping.tested and len(levels) > 1:
        test = logrank(
            table["time"].to_numpy(float),
            (table["status"] == 1).to_numpy(),
            table["group"].to_numpy(object),
        )
    if (table["status"] == 2).any():
        dead = int((table["status"] == 2).sum())
        notes.append(f"{dead} deaths without the event count as censored here.")
    return GroupedSurvival(
        grouping=grouping,
        curves=curves,
        test=test,
        p_text=_p_text(grouping, test),
        hazard_ratios=_hazard_ratios(grouping, table, levels, sample),
        notes=tuple(notes),
    )


def left_out(grouping: Grouping) -> list[str]:
    """Who is in no curve, and why."""
    return _drawn(grouping)[2]


def _drawn(grouping: Grouping) -> tuple[pd.DataFrame, list[str], list[str]]:
    table, notes = grouping.table, []
    sizes = table["group"].value_counts()
    small = [
        level
        for level in grouping.levels
        if grouping.clinical and int(sizes.get(level, 0)) < FEWEST_PATIENTS
    ]
    if small:
        notes.append(f"Not drawn, fewer than {FEWEST_PATIENTS} patients: {', '.join(small)}.")
        table = table[~table["group"].isin(small)]
    if grouping.missing:
        notes.append(f"Without a value and not in the curves: {grouping.missing}.")
    return table, [level for level in grouping.levels if level not in small], notes


def _p_text(grouping: Grouping, test: LogRankResult | None) -> str:
    if not grouping.tested:
        return "no P value: the cut-off was chosen while looking"
    if grouping.p_value is not None:
        return f"{p_with_sign(grouping.p_value)}, corrected for the search of the cut-off"
    if test is None:
        return "no test: one group only"
    if test.p_value is None:
        return f"log-rank test not estimable: {test.reason}"
    return f"log-rank {p_with_sign(test.p_value)}"


def p_with_sign(p: float) -> str:
    """A P value for running text.

    >>> p_with_sign(0.0312), p_with_sign(0.0001)
    ('P = 0.031', 'P <0.001')
    """
    text = format_p(p)
    return f"P {text}" if text.startswith("<") else f"P = {text}"


def _hazard_ratios(
    grouping: Grouping, table: pd.DataFrame, levels: Sequence[str], sample: Sample | None
) -> tuple[str, ...]:
    if len(levels) < 2 or not grouping.tested:
        return ()
    events = int((table["status"] == 1).sum())
    if events < FEWEST_EVENTS:
        return (f"no hazard ratio: {events} events, fewer than {FEWEST_EVENTS}",)
    if sample is not None and grouping.locked_model is not None:
        return (_from_metrics(sample, grouping.locked_model),)
    columns = {level: (table["group"] == level).to_numpy(float) for level in levels[1:]}
    fit = cox_ph(table["time"].to_numpy(float), (table["status"] == 1).to_numpy(), columns)
    return tuple(
        _sentence(
            f"{level} against {levels[0]}",
            fit.terms[level].hazard_ratio,
            fit.terms[level].ci_low,
            fit.terms[level].ci_high,
            fit.terms[level].reason or fit.reason,
            firth=fit.firth,
        )
        for level in levels[1:]
    )


def _from_metrics(sample: Sample, model: str) -> str:
    row = sample.metric(model, "hr_high_low")
    if row is None:
        return "no hazard ratio"
    value = None if row["status"] != "ok" else row["value"]
    firth = "irth" in str(row["ci_method"])
    name = f"{HIGH} against {LOW}" + (", stratified by fold" if sample.fold_wise else "")
    return _sentence(name, value, row["ci_low"], row["ci_high"], row["reason"], firth=firth)


def _sentence(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    reason: str | None,
    *,
    firth: bool,
) -> str:
    if value is None or pd.isna(value):
        return f"{name}: HR not estimable ({reason})"
    known = low is not None and not pd.isna(low)
    interval = ", 95 % CI by profile likelihood" if firth else ", 95 % CI by Wald"
    method = ", Firth" if firth else ""
    text = format_interval(value, low, high, digits=2)
    return f"{name}: HR {text}{method}{interval if known else ''}"


# ---------------------------------------------------------------- tables


def risk_table(
    survival: GroupedSurvival, endpoint: str, horizons: Sequence[float] = _HORIZONS
) -> pd.DataFrame:
    """Each group's size, median, and share with the event and number at risk at fixed times.

    Returns:
        Text cells, a column a group; words where there is no number.
    """
    table = survival.grouping.table
    columns = {
        level: _risks(curve, table[table["group"] == level], event_words(endpoint)[0], horizons)
        for level, curve in survival.curves.items()
    }
    names = list(next(iter(columns.values()), {}))
    return pd.DataFrame(
        {"": names} | {level: [cells[name] for name in names] for level, cells in columns.items()}
    )


def _risks(
    curve: KaplanMeier, patients: pd.DataFrame, event: str, horizons: Sequence[float]
) -> dict[str, str]:
    followed = median_follow_up(patients["time"].to_numpy(float), patients["status"].to_numpy(int))
    cells = {
        "Patients (events)": f"{curve.n} ({curve.n_events})",
        "Median follow-up, months": _median(followed),
        "Median time to the event, months": _median(curve),
    }
    for horizon in horizons:
        point, years = curve.at(horizon), f"{horizon / 12:g} year{'s' if horizon > 12 else ''}"
        cells[f"{event} by {years}, %"] = _share_with_event(
            point.value, point.ci_low, point.ci_high
        )
        cells[f"At risk at {years}"] = str(point.at_risk)
    return cells


def _median(curve: KaplanMeier | FollowUp) -> str:
    value, *ends = (
        "not reached" if end is None else f"{end:.1f}"
        for end in (curve.median, curve.median_ci_low, curve.median_ci_high)
    )
    known = curve.median is not None or curve.median_ci_low is not None
    return f"{value} ({ends[0]}-{ends[1]})" if known else value


def _share_with_event(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "follow-up too short"
    if low is None or high is None or np.isnan(low) or np.isnan(high):
        return f"{100 * (1 - value):.1f}"
    return format_interval(1 - value, 1 - high, 1 - low, scale=100, digits=1)


def incidence_by_group(grouping: Grouping) -> GroupedCumulativeIncidence | None:
    """Cumulative incidence with death as competing event; None where no such death is recorded."""
    table, levels, _ = _drawn(grouping)
    if not (table["status"] == 2).any() or not levels:
        return None
    found = cumulative_incidence(
        table["time"].to_numpy(float),
        table["status"].to_numpy(int),
        table["group"].to_numpy(object),
    )
    return found if isinstance(found, GroupedCumulativeIncidence) else None
