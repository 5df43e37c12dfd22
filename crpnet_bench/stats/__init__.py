"""Statistics that agree with R, with honest intervals and named reasons where there is no number.

Names are loaded from their module on first use, so that `import crpnet_bench.stats` stays light.
To add a function, write it in a module and name it twice here: in `_MODULES` for Python and in the
imports below it for type checkers (a test compares the two). A module must not bear the name of a
public function: importing it would put the module in the function's place.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# Module of this package -> the public names that live in it.
_MODULES = {
    "at_times": (
        "Estimates",
        "EstimatesAtTimes",
    ),
    "baseline": (
        "BaselineCell",
        "BaselineRow",
        "BaselineTable",
        "baseline_table",
    ),
    "brier": (
        "BrierScore",
        "brier_score",
        "integrated_brier_score",
    ),
    "competing_risks": (
        "CumulativeIncidence",
        "GroupedCumulativeIncidence",
        "cumulative_incidence",
    ),
    "concordance": (
        "ConcordanceComparison",
        "ConcordanceResult",
        "compare_concordance",
        "concordance_index",
    ),
    "concordance_bootstrap": ("bootstrap_concordance",),
    "confusion_matrix": (
        "ConfusionResult",
        "confusion",
    ),
    "correlations": (
        "Correlation",
        "correlation",
    ),
    "cox": ("cox_ph",),
    "cox_result": (
        "CoxResult",
        "CoxTerm",
    ),
    "cutpoint": (
        "CutpointResult",
        "maximally_selected_cutpoint",
    ),
    "discrimination": (
        "RocComparison",
        "RocCurve",
        "RocResult",
        "compare_auc",
        "roc_auc",
        "roc_curve",
    ),
    "estimate": (
        "Estimate",
        "not_estimable",
    ),
    "follow_up": (
        "FollowUp",
        "median_follow_up",
    ),
    "gray": (
        "GrayTest",
        "gray_test",
    ),
    "group_tests": (
        "GroupTest",
        "count_test",
        "mean_test",
        "mean_test_from_summary",
        "rank_test",
    ),
    "log_rank": (
        "LogRankResult",
        "logrank",
    ),
    "multiplicity": ("adjust_p_values",),
    "net_benefit": (
        "DecisionCurve",
        "NetBenefitCurve",
        "decision_curve",
    ),
    "proportional_hazards": (
        "ProportionalHazardsResult",
        "ProportionalHazardsTest",
        "proportional_hazards_test",
    ),
    "proportions": ("proportion_interval",),
    "rates_by_group": (
        "EventRates",
        "GroupRate",
        "event_rates",
    ),
    "recalibration": (
        "Calibration",
        "CalibrationCurve",
        "CalibrationGroup",
        "calibration",
    ),
    "risk_link": (
        "RiskLink",
        "fit_risk_link",
    ),
    "study_size": (
        "Power",
        "SampleSize",
        "SampleSizeCriterion",
        "cox_snell_r2_from_c_statistic",
        "largest_number_of_predictors",
        "power_logistic",
        "sample_size",
        "sample_size_for_events_per_variable",
        "sample_size_for_shrinkage",
        "validation_sample_size",
    ),
    "subdistribution": (
        "FineGrayResult",
        "FineGrayTerm",
        "fine_gray",
    ),
    "subgroups": (
        "InteractionTest",
        "SubgroupEffect",
        "interaction_test",
        "subgroup_effects",
    ),
    "survival_curve": (
        "CurvePoint",
        "KaplanMeier",
        "kaplan_meier",
    ),
    "time_dependent": (
        "AucDifference",
        "TimeDependentRates",
        "compare_time_dependent_auc",
        "time_dependent_auc",
        "time_dependent_rates",
    ),
    "within_groups": (
        "WithinGroups",
        "concordance_within",
    ),
}
_HOME = dict(sorted((name, module) for module, names in _MODULES.items() for name in names))

__all__ = list(_HOME)

if TYPE_CHECKING:
    from crpnet_bench.stats.at_times import Estimates as Estimates
    from crpnet_bench.stats.at_times import EstimatesAtTimes as EstimatesAtTimes
    from crpnet_bench.stats.baseline import BaselineCell as BaselineCell
    from crpnet_bench.stats.baseline import BaselineRow as BaselineRow
    from crpnet_bench.stats.baseline import BaselineTable as BaselineTable
    from crpnet_bench.stats.baseline import baseline_table as baseline_table
    from crpnet_bench.stats.brier import BrierScore as BrierScore
    from crpnet_bench.stats.brier import brier_score as brier_score
    from crpnet_bench.stats.brier import integrated_brier_score as integrated_brier_score
    from crpnet_bench.stats.competing_risks import CumulativeIncidence as CumulativeIncidence
    from crpnet_bench.stats.competing_risks import (
        GroupedCumulativeIncidence as GroupedCumulativeIncidence,
    )
    from crpnet_bench.stats.competing_risks import cumulative_incidence as cumulative_incidence
    from crpnet_bench.stats.concordance import ConcordanceComparison as ConcordanceComparison
    from crpnet_bench.stats.concordance import ConcordanceResult as ConcordanceResult
    from crpnet_bench.stats.concordance import compare_concordance as compare_concordance
    from crpnet_bench.stats.concordance import concordance_index as concordance_index
    from crpnet_bench.stats.concordance_bootstrap import (
        bootstrap_concordance as bootstrap_concordance,
    )
    from crpnet_bench.stats.confusion_matrix import ConfusionResult as ConfusionResult
    from crpnet_bench.stats.confusion_matrix import confusion as confusion
    from crpnet_bench.stats.correlations import Correlation as Correlation
    from crpnet_bench.stats.correlations import correlation as correlation
    from crpnet_bench.stats.cox import cox_ph as cox_ph
    from crpnet_bench.stats.cox_result import CoxResult as CoxResult
    from crpnet_bench.stats.cox_result import CoxTerm as CoxTerm
    from crpnet_bench.stats.cutpoint import CutpointResult as CutpointResult
    from crpnet_bench.stats.cutpoint import (
        maximally_selected_cutpoint as maximally_selected_cutpoint,
    )
    from crpnet_bench.stats.discrimination import RocComparison as RocComparison
    from crpnet_bench.stats.discrimination import RocCurve as RocCurve
    from crpnet_bench.stats.discrimination import RocResult as RocResult
    from crpnet_bench.stats.discrimination import compare_auc as compare_auc
    from crpnet_bench.stats.discrimination import roc_auc as roc_auc
    from crpnet_bench.stats.discrimination import roc_curve as roc_curve
    from crpnet_bench.stats.estimate import Estimate as Estimate
    from crpnet_bench.stats.estimate import not_estimable as not_estimable
    from crpnet_bench.stats.follow_up import FollowUp as FollowUp
    from crpnet_bench.stats.follow_up import median_follow_up as median_follow_up
    from crpnet_bench.stats.gray import GrayTest as GrayTest
    from crpnet_bench.stats.gray import gray_test as gray_test
    from crpnet_bench.stats.group_tests import GroupTest as GroupTest
    from crpnet_bench.stats.group_tests import count_test as count_test
    from crpnet_bench.stats.group_tests import mean_test as mean_test
    from crpnet_bench.stats.group_tests import mean_test_from_summary as mean_test_from_summary
    from crpnet_bench.stats.group_tests import rank_test as rank_test
    from crpnet_bench.stats.log_rank import LogRankResult as LogRankResult
    from crpnet_bench.stats.log_rank import logrank as logrank
    from crpnet_bench.stats.multiplicity import adjust_p_values as adjust_p_values
    from crpnet_bench.stats.net_benefit import DecisionCurve as DecisionCurve
    from crpnet_bench.stats.net_benefit import NetBenefitCurve as NetBenefitCurve
    from crpnet_bench.stats.net_benefit import decision_curve as decision_curve
    from crpnet_bench.stats.proportional_hazards import (
        ProportionalHazardsResult as ProportionalHazardsResult,
    )
    from crpnet_bench.stats.proportional_hazards import (
        ProportionalHazardsTest as ProportionalHazardsTest,
    )
    from crpnet_bench.stats.proportional_hazards import (
        proportional_hazards_test as proportional_hazards_test,
    )
    from crpnet_bench.stats.proportions import proportion_interval as proportion_interval
    from crpnet_bench.stats.rates_by_group import EventRates as EventRates
    from crpnet_bench.stats.rates_by_group import GroupRate as GroupRate
    from crpnet_bench.stats.rates_by_group import event_rates as event_rates
    from crpnet_bench.stats.recalibration import Calibration as Calibration
    from crpnet_bench.stats.recalibration import CalibrationCurve as CalibrationCurve
    from crpnet_bench.stats.recalibration import CalibrationGroup as CalibrationGroup
    from crpnet_bench.stats.recalibration import calibration as calibration
    from crpnet_bench.stats.risk_link import RiskLink as RiskLink
    from crpnet_bench.stats.risk_link import fit_risk_link as fit_risk_link
    from crpnet_bench.stats.study_size import Power as Power
    from crpnet_bench.stats.study_size import SampleSize as SampleSize
    from crpnet_bench.stats.study_size import SampleSizeCriterion as SampleSizeCriterion
    from crpnet_bench.stats.study_size import (
        cox_snell_r2_from_c_statistic as cox_snell_r2_from_c_statistic,
    )
    from crpnet_bench.stats.study_size import (
        largest_number_of_predictors as largest_number_of_predictors,
    )
    from crpnet_bench.stats.study_size import power_logistic as power_logistic
    from crpnet_bench.stats.study_size import sample_size as sample_size
    from crpnet_bench.stats.study_size import (
        sample_size_for_events_per_variable as sample_size_for_events_per_variable,
    )
    from crpnet_bench.stats.study_size import sample_size_for_shrinkage as sample_size_for_shrinkage
    from crpnet_bench.stats.study_size import validation_sample_size as validation_sample_size
    from crpnet_bench.stats.subdistribution import FineGrayResult as FineGrayResult
    from crpnet_bench.stats.subdistribution import FineGrayTerm as FineGrayTerm
    from crpnet_bench.stats.subdistribution import fine_gray as fine_gray
    from crpnet_bench.stats.subgroups import InteractionTest as InteractionTest
    from crpnet_bench.stats.subgroups import SubgroupEffect as SubgroupEffect
    from crpnet_bench.stats.subgroups import interaction_test as interaction_test
    from crpnet_bench.stats.subgroups import subgroup_effects as subgroup_effects
    from crpnet_bench.stats.survival_curve import CurvePoint as CurvePoint
    from crpnet_bench.stats.survival_curve import KaplanMeier as KaplanMeier
    from crpnet_bench.stats.survival_curve import kaplan_meier as kaplan_meier
    from crpnet_bench.stats.time_dependent import AucDifference as AucDifference
    from crpnet_bench.stats.time_dependent import TimeDependentRates as TimeDependentRates
    from crpnet_bench.stats.time_dependent import (
        compare_time_dependent_auc as compare_time_dependent_auc,
    )
    from crpnet_bench.stats.time_dependent import time_dependent_auc as time_dependent_auc
    from crpnet_bench.stats.time_dependent import time_dependent_rates as time_dependent_rates
    from crpnet_bench.stats.within_groups import WithinGroups as WithinGroups
    from crpnet_bench.stats.within_groups import concordance_within as concordance_within


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
