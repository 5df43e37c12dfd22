"""From a risk score to a probability at a horizon.

A network's cross-entropy output, a point score or a log hazard is no absolute risk. A Cox model of
the outcome on the score, fitted on out-of-fold scores of the training patients and then locked,
turns it into one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from crpnet_bench.errors import ModelError
from crpnet_bench.stats.at_times import horizons
from crpnet_bench.stats.cox import cox_ph
from crpnet_bench.stats.cox_result import CoxResult
from crpnet_bench.stats.inputs import (
    Floats,
    event_indicator,
    finite,
    same_length,
    survival_times,
)

__all__ = ["RiskLink", "fit_risk_link"]

_NAME = "risk"


@dataclass(frozen=True, slots=True, eq=False)
class RiskLink:
    """A locked map from score to probability.

    Attributes:
        horizon: time at which the probability holds.
        cox: the fitted model.
        n, events: patients and events it was learned on.
        reason: why there is no map, or None.
    """

    horizon: float
    cox: CoxResult
    n: int
    events: int
    reason: str | None = None

    def probability(self, risk: ArrayLike) -> Floats:
        """Probability of the event by the horizon, shape (n,).

        Raises:
            ModelError: nothing was fitted.
            InputError: a score is missing or infinite.
        """
        if self.reason is not None:
            raise ModelError(f"no probabilities: {self.reason}")
        score = finite(risk, _NAME)
        survival = self.cox.predict_survival({_NAME: score}, self.horizon)
        return np.asarray(1 - survival[:, 0], dtype=np.float64)


def fit_risk_link(time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float) -> RiskLink:
    """Learn the map; give out-of-fold risks of training patients, never a network's own.

    Args:
        time: follow-up, shape (n,).
        event: 0 or 1, shape (n,).
        risk: higher means earlier event, shape (n,).
        horizon: time of the probability, in the unit of `time`.

    Returns:
        The link; with a reason where no Cox model can be fitted or follow-up ends before the
        horizon.

    Raises:
        InputError: lengths differ or a value cannot be used.
    """
    asked, _ = horizons(horizon, "horizon")
    t = float(asked[0])
    times, events, score = survival_times(time), event_indicator(event), finite(risk, _NAME)
    n = same_length(time=times, event=events, risk=score)
    cox = cox_ph(times, events, {_NAME: score})
    reason = cox.reason or cox.terms[_NAME].reason if cox.terms[_NAME].coef is None else None
    if reason is None and n and t > times.max():
        reason = f"follow-up ends at {times.max():g}, before {t:g}"
    return RiskLink(t, cox, n, int(events.sum()), reason)
