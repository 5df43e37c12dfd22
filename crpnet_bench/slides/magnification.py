"""Micrometres a pixel: which field of a slide says so, and which fields disagree.

20x means 0.5 micrometres a pixel. A slide's own mpp comes first, then its objective power
(10 / power), then the value from the manifest; a slide with none of them has no scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crpnet_bench.errors import SlideError

__all__ = ["Magnification", "resolve_magnification"]

MPP_UNKNOWN = "mpp unknown"
_MPP_UNKNOWN_REMEDY = (
    "the file holds neither a usable mpp nor an objective power: give `mpp` in the slide table or "
    "the cohort's [slides] section, or --mpp for one file"
)
_POWER_TIMES_MPP = 10.0  # 20x is 0.5 micrometres a pixel
# Scanners write 72 or 96 dpi (353 and 265 micrometres) where they know nothing.
_PLAUSIBLE_MPP = (0.02, 20.0)
_SAME_MPP = 0.05  # relative; calibrations differ by a few per cent
_SAME_POWER = 0.5  # 40x objectives are sold between 0.17 and 0.26
_ISOTROPIC = 0.01


@dataclass(frozen=True, slots=True)
class Magnification:
    """The scale of level 0.

    Attributes:
        mpp: micrometres a pixel along x and y.
        source: "mpp", "objective power" or "manifest".
        warnings: fields that are implausible or contradict each other, in words.
    """

    mpp: tuple[float, float]
    source: str
    warnings: tuple[str, ...] = ()


def resolve_magnification(
    own_mpp: tuple[float, float] | None,
    power: float | None,
    manifest_mpp: float | None,
    other_mpp: Mapping[str, float] | None = None,
) -> Magnification:
    """Choose the scale of level 0 and report what contradicts it.

    Args:
        own_mpp: micrometres a pixel (x, y) as the slide states them.
        power: objective power as the slide states it.
        manifest_mpp: micrometres a pixel given beside the slide.
        other_mpp: further fields of the slide that imply a scale, by name.

    Raises:
        SlideError: with the reason "mpp unknown" when nothing usable is known.
    """
    warnings: list[str] = []
    if own_mpp is not None and not all(_plausible(value) for value in own_mpp):
        warnings.append(
            f"mpp {own_mpp[0]:g} x {own_mpp[1]:g} in the file is implausible and is not used"
        )
        own_mpp = None
    if power is not None and not _plausible(_POWER_TIMES_MPP / power if power > 0 else 0.0):
        warnings.append(f"objective power {power:g} in the file is implausible and is not used")
        power = None
    if manifest_mpp is not None and not _plausible(manifest_mpp):
        low, high = _PLAUSIBLE_MPP
        reason = f"mpp {manifest_mpp:g} from the manifest is outside {low:g} to {high:g}"
        raise SlideError(reason, "give micrometres a pixel, such as 0.25 for 40x")
    known = _first_known(own_mpp, power, manifest_mpp)
    if known is None:
        raise SlideError(MPP_UNKNOWN, "; ".join([*warnings, _MPP_UNKNOWN_REMEDY]))
    mpp, source = known
    warnings += _contradictions(mpp, source, power, manifest_mpp, other_mpp or {})
    return Magnification(mpp, source, tuple(warnings))


def _first_known(
    own_mpp: tuple[float, float] | None, power: float | None, manifest_mpp: float | None
) -> tuple[tuple[float, float], str] | None:
    if own_mpp is not None:
        return own_mpp, "mpp"
    if power is not None:
        return (_POWER_TIMES_MPP / power, _POWER_TIMES_MPP / power), "objective power"
    if manifest_mpp is not None:
        return (manifest_mpp, manifest_mpp), "manifest"
    return None


def _contradictions(
    mpp: tuple[float, float],
    source: str,
    power: float | None,
    manifest_mpp: float | None,
    other_mpp: Mapping[str, float],
) -> list[str]:
    found = []
    mean = (mpp[0] + mpp[1]) / 2
    stated = f"{source} says {mean:.4g} micrometres a pixel"
    if power is not None and not _agree(mean, _POWER_TIMES_MPP / power, _SAME_POWER):
        found.append(f"{stated}, objective power {power:g} implies {_POWER_TIMES_MPP / power:.4g}")
    if manifest_mpp is not None and not _agree(mean, manifest_mpp, _SAME_MPP):
        found.append(f"{stated}, the manifest says {manifest_mpp:.4g}; the slide's own is used")
    for name, value in other_mpp.items():
        if _plausible(value) and not _agree(mean, value, _SAME_MPP):
            found.append(f"{stated}, {name} implies {value:.4g}")
    if not _agree(mpp[0], mpp[1], _ISOTROPIC):
        found.append(f"pixels are not square: {mpp[0]:.4g} x {mpp[1]:.4g} micrometres")
    return found


def _plausible(mpp: float) -> bool:
    low, high = _PLAUSIBLE_MPP
    return low <= mpp <= high


def _agree(a: float, b: float, tolerance: float) -> bool:
    return max(a, b) <= min(a, b) * (1 + tolerance)
