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
    "concordance": (
        "ConcordanceComparison",
        "ConcordanceResult",
        "compare_concordance",
        "concordance_index",
    ),
    "confusion_matrix": ("ConfusionResult", "confusion"),
    "cox": ("cox_ph",),
    "cox_result": ("CoxResult", "CoxTerm"),
    "discrimination": (
        "RocComparison",
        "RocCurve",
        "RocResult",
        "compare_auc",
        "roc_auc",
        "roc_curve",
    ),
    "estimate": ("Estimate", "not_estimable"),
    "log_rank": ("LogRankResult", "logrank"),
    "proportions": ("proportion_interval",),
    "survival_curve": ("CurvePoint", "KaplanMeier", "kaplan_meier"),
}
_HOME = dict(sorted((name, module) for module, names in _MODULES.items() for name in names))

__all__ = list(_HOME)

if TYPE_CHECKING:
    from crpnet_bench.stats.concordance import ConcordanceComparison as ConcordanceComparison
    from crpnet_bench.stats.concordance import ConcordanceResult as ConcordanceResult
    from crpnet_bench.stats.concordance import compare_concordance as compare_concordance
    from crpnet_bench.stats.concordance import concordance_index as concordance_index
    from crpnet_bench.stats.confusion_matrix import ConfusionResult as ConfusionResult
    from crpnet_bench.stats.confusion_matrix import confusion as confusion
    from crpnet_bench.stats.cox import cox_ph as cox_ph
    from crpnet_bench.stats.cox_result import CoxResult as CoxResult
    from crpnet_bench.stats.cox_result import CoxTerm as CoxTerm
    from crpnet_bench.stats.discrimination import RocComparison as RocComparison
    from crpnet_bench.stats.discrimination import RocCurve as RocCurve
    from crpnet_bench.stats.discrimination import RocResult as RocResult
    from crpnet_bench.stats.discrimination import compare_auc as compare_auc
    from crpnet_bench.stats.discrimination import roc_auc as roc_auc
    from crpnet_bench.stats.discrimination import roc_curve as roc_curve
    from crpnet_bench.stats.estimate import Estimate as Estimate
    from crpnet_bench.stats.estimate import not_estimable as not_estimable
    from crpnet_bench.stats.log_rank import LogRankResult as LogRankResult
    from crpnet_bench.stats.log_rank import logrank as logrank
    from crpnet_bench.stats.proportions import proportion_interval as proportion_interval
    from crpnet_bench.stats.survival_curve import CurvePoint as CurvePoint
    from crpnet_bench.stats.survival_curve import KaplanMeier as KaplanMeier
    from crpnet_bench.stats.survival_curve import kaplan_meier as kaplan_meier


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
