"""From feature files to bags: read into memory, or mapped where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crpnet_bench.benchmark.tile_pixels import with_pixels
from crpnet_bench.models.base import Bag
from crpnet_bench.slides.features import read_features
from crpnet_bench.slides.packed import pack_bags

__all__ = ["PACK_ABOVE", "BagSource", "SlideFiles", "read_bags"]

SlideFiles = Sequence[tuple[str, Path]]
"""The slides of a patient: identity and feature file."""

PACK_ABOVE = 2 * 1024**3
"""Bytes of feature files above which a cohort is packed and memory-mapped."""


@dataclass(frozen=True)
class BagSource:
    """Where the bags of a cohort lie; small enough to be sent to another machine.

    Attributes:
        files: slides with features, by patient.
        pack: folder of the pack.
        slides: the slide files, by identity.
    """

    files: Mapping[str, SlideFiles]
    pack: Path
    slides: Mapping[str, Path]

    def read(self) -> dict[str, Bag]:
        """The bags, as `read_bags` gives them, able to read their tiles' pixels."""
        return with_pixels(read_bags(self.files, self.pack), self.files, self.slides)


def read_bags(
    files: Mapping[str, SlideFiles], pack: Path, *, pack_above: int = PACK_ABOVE
) -> dict[str, Bag]:
    """The bag of each patient, with views and wider fields where the feature files hold them.

    Args:
        files: slides with features, by patient.
        pack: folder of the pack; written only for a large cohort.
        pack_above: bytes of all feature files together above which the bags are memory-mapped.

    Returns:
        Bags of the same numbers and types, mapped or not.

    Raises:
        InputError: a feature file is damaged, or mapped ones are not of one encoder.
        RunError: the pack cannot be written.
    """
    size = sum(path.stat().st_size for own in files.values() for _, path in own)
    if size <= pack_above:
        return {patient: _read(own) for patient, own in files.items()}
    packed = pack_bags({patient: [path for _, path in own] for patient, own in files.items()}, pack)
    return {
        patient: Bag(
            bag.features,
            bag.slide,
            bag.coords,
            _ids(files[patient]),
            bag.views,
            context=bag.context,
        )
        for patient, bag in packed.items()
    }


def _ids(slides: SlideFiles) -> tuple[str, ...]:
    return tuple(slide_id for slide_id, _ in slides)


def _read(slides: SlideFiles) -> Bag:
    parts = [read_features(path) for _, path in slides]
    counts = [len(part.coords) for part in parts]
    views = [part.views for part in parts if part.views is not None]
    factors = set.intersection(*(set(part.context) for part in parts))
    return Bag(
        features=np.concatenate([part.features for part in parts]),
        slide=np.repeat(np.arange(len(parts), dtype=np.int32), counts),
        coords=np.concatenate([part.coords for part in parts]),
        slide_ids=_ids(slides),
        views=np.concatenate(views) if views else None,
        context={
            factor: np.concatenate([part.context[factor] for part in parts])
            for factor in sorted(factors)
        },
    )
