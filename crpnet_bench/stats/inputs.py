"""The one gate through which arrays enter the statistics.

Series keep no index here: rows are matched by position, so a shuffled or repeated
index cannot pair one patient's time with another's event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crpnet_bench.errors import InputError, shorten

__all__ = [
    "Bools",
    "Floats",
    "Ints",
    "binary_label",
    "codes",
    "event_indicator",
    "event_status",
    "finite",
    "same_length",
    "survival_times",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# R's `survival` calls two times tied when they differ by less than this, absolutely or
# relative to the mean time (`aeqSurv`): 0.1 * 3 and 0.3 are one time.
TIME_TOLERANCE = float(np.sqrt(np.finfo(np.float64).eps))


def finite(values: ArrayLike | Sequence[Any], name: str) -> Floats:
    """One-dimensional float64 without NaN or infinity.

    Raises:
        InputError: a value is missing, infinite or no number, or the array is not 1-D.
    """
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers; {error}") from error
    if array.ndim != 1:
        raise InputError(f"{name}: expected one dimension, found shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise InputError(
            f"{name}: {bad.size} of {array.size} values are missing or infinite "
            f"(first at position {bad[0]}); leave those patients out and say so"
        )
    return array


def survival_times(values: ArrayLike, name: str = "time") -> Floats:
    """Follow-up times, not negative, with near-equal times made equal as R does.

    Raises:
        InputError: a time is missing, infinite or negative.
    """
    time = finite(values, name)
    if np.any(time < 0):
        where = int(np.flatnonzero(time < 0)[0])
        raise InputError(
            f"{name}: found {time[where]:g} at position {where}; expected times from zero upwards"
        )
    return _tie_near_equal(time)


def _tie_near_equal(time: Floats) -> Floats:
    unique = np.unique(time)
    if unique.size < 2:
        return time
    gaps = np.diff(unique)
    tied = (gaps <= TIME_TOLERANCE) | (gaps / np.mean(np.abs(unique)) <= TIME_TOLERANCE)
    if not np.any(tied):
        return time
    cuts = unique[np.concatenate(([True], ~tied))]
    return cuts[np.searchsorted(cuts, time, side="right") - 1]


def event_indicator(values: ArrayLike, name: str = "event") -> Bools:
    """Events as booleans; only 0/1 or False/True are accepted, never 1/2 coding.

    Raises:
        InputError: a value is not 0 or 1.
    """
    array = finite(values, name)
    odd = array[(array != 0) & (array != 1)]
    if odd.size:
        raise InputError(
            f"{name}: found {shorten(float(odd[0]))}; expected 0 (censored) or 1 (event)"
        )
    return array.astype(np.bool_)


def event_status(values: ArrayLike, name: str = "status") -> Ints:
    """Status with competing events: 0 censored, 1 event, 2 competing death.

    Raises:
        InputError: a value is not 0, 1 or 2.
    """
    array = finite(values, name)
    odd = array[(array != 0) & (array != 1) & (array != 2)]
    if odd.size:
        raise InputError(
            f"{name}: found {shorten(float(odd[0]))}; "
            "expected 0 (censored), 1 (event) or 2 (competing death)"
        )
    return array.astype(np.int64)


def binary_label(values: ArrayLike, name: str = "label") -> Bools:
    """A two-class label as booleans, True for positive; 0/1 or False/True."""
    array = finite(values, name)
    odd = array[(array != 0) & (array != 1)]
    if odd.size:
        raise InputError(f"{name}: found {shorten(float(odd[0]))}; expected 0 or 1")
    return array.astype(np.bool_)


def codes(values: ArrayLike, name: str = "group") -> tuple[Ints, list[Any]]:
    """Group labels as codes 0..k-1 and the labels in sorted order.

    Raises:
        InputError: a label is missing.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name}: expected one dimension, found shape {array.shape}")
    labels = array.tolist()
    missing = [i for i, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise InputError(
            f"{name}: {len(missing)} of {len(labels)} labels are missing "
            f"(first at position {missing[0]}); leave those patients out and say so"
        )
    order = sorted(set(labels), key=lambda label: (str(type(label)), label))
    lookup = {label: code for code, label in enumerate(order)}
    return np.array([lookup[label] for label in labels], dtype=np.int64), order


def _is_missing(label: object) -> bool:
    """None, NaN (unequal to itself) or a value that cannot tell, such as pandas' NA."""
    try:
        return label is None or bool(label != label)  # noqa: PLR0124 NaN
    except TypeError:
        return True


def same_length(**arrays: NDArray[Any]) -> int:
    """The common length of the arrays.

    Raises:
        InputError: lengths differ; the message names each.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"lengths differ: {told}; expected one row a patient in each")
    return next(iter(lengths.values()))
