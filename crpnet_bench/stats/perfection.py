"""What can be said of an index that is exactly 0 or 1 in the sample."""

from __future__ import annotations

__all__ = ["perfect_bound"]


def perfect_bound(
    value: float, pairs: int, level: float, what: str, kind: str
) -> tuple[float, str]:
    """A bound on the true index, and the sentence that says why there is no interval.

    Wald intervals shrink to a point when every pair is ordered alike. But `pairs` of them share
    no patient, so they are independent trials: an index of p would order all of them right with
    probability p ** pairs at most, and the exact (Clopper-Pearson) limit of `pairs` successes in
    `pairs` trials bounds p.

    >>> round(perfect_bound(1.0, 8, 0.95, "the AUC", "pairs")[0], 3)
    0.631
    """
    tail = ((1 - level) / 2) ** (1 / pairs)
    bound, side = (tail, "at least") if value == 1 else (1 - tail, "at most")
    order = "right" if value == 1 else "wrong"
    reason = (
        f"interval not estimable: all {kind} are ordered {order}; {what} is {side} {bound:.3f} "
        f"({pairs} independent pairs, exact binomial, {level:.0%})"
    )
    return bound, reason
