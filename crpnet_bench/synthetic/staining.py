"""Deals out sites and stains: confounded with recurrence in training, balanced in validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.synthetic.histology import ColourForecast
from crpnet_bench.synthetic.layout import SlidePlan
from crpnet_bench.synthetic.restrictions import two_sample_auc
from crpnet_bench.synthetic.stains import Stain

__all__ = ["Dealer", "Deal", "Site"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Slides = tuple[SlidePlan, ...]

_DEALS = 100
_ENOUGH = 0.06  # a deal as balanced as this ends the search


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital, its stain, and its part in the confounding.

    Args:
        name: as in the clinical table.
        stain: of its laboratory.
        events: its share of the recurrences where site and outcome are confounded.
        others: its share of the patients without recurrence there.
    """

    name: str
    stain: Stain
    events: float
    others: float


@dataclass(frozen=True, slots=True)
class Deal:
    """Sites and stained slides, one entry a patient.

    Args:
        sites: names.
        slides: with their stains.
        colour_signal: how well the expected colour separates recurrences among the patients to
            be balanced: the largest |AUC - 0.5| of several colour scores; 0 where none are.
    """

    sites: list[str]
    slides: list[Slides]
    colour_signal: float


class Dealer:
    """Deals sites and stains to patients whose tissue is planned."""

    def __init__(self, sites: Sequence[Site], tissue: Sequence[Slides]) -> None:
        """Look at the tissue once.

        Args:
            sites: the hospitals.
            tissue: each patient's slides; those without any tissue take no part in the balance.
        """
        self._sites = sites
        self._tissue = tissue
        self._counted = np.array([any(s.tissue_tiles for s in slides) for slides in tissue])
        self._forecasts = [
            [ColourForecast(slide) for slide in slides]
            for slides, counted in zip(tissue, self._counted, strict=True)
            if counted
        ]

    def deal(self, rng: np.random.Generator, event: Flags) -> Deal:
        """Sites confounded with `event` (patients,) everywhere."""
        return self._once(rng, event, np.zeros_like(event))

    def deal_balanced(self, rng: np.random.Generator, event: Flags, validation: Flags) -> Deal:
        """Sites confounded in training only; of many deals one in which colour says little.

        Args:
            rng: source of randomness.
            event: who recurs, (patients,).
            validation: where sites are to be balanced, (patients,).
        """
        best = self._once(rng, event, validation)
        for _ in range(_DEALS - 1):
            if best.colour_signal <= _ENOUGH:
                break
            best = min(best, self._once(rng, event, validation), key=lambda d: d.colour_signal)
        return best

    def _once(self, rng: np.random.Generator, event: Flags, even: Flags) -> Deal:
        places = _deal_sites(rng, self._sites, event, even)
        slides = [
            tuple(replace(slide, stain=_vary(rng, site.stain)) for slide in own)
            for own, site in zip(self._tissue, places, strict=True)
        ]
        signal = 0.0
        if even.any():
            counted = self._counted
            signal = _colour_signal(self._colours(slides), event[counted], even[counted])
        return Deal([site.name for site in places], slides, signal)

    def _colours(self, slides: Sequence[Slides]) -> Floats:
        """Expected colours, (patients with tissue, 2, 3); slides of a patient averaged."""
        stained = [own for own, counted in zip(slides, self._counted, strict=True) if counted]
        return np.array(
            [
                np.mean(
                    [one.colour(s.stain) for one, s in zip(forecasts, own, strict=True)], axis=0
                )
                for forecasts, own in zip(self._forecasts, stained, strict=True)
            ]
        )


def _deal_sites(
    rng: np.random.Generator, sites: Sequence[Site], event: Flags, even: Flags
) -> list[Site]:
    """A site for each patient: equal shares where `even`, confounded shares elsewhere."""
    places = [sites[0]] * len(event)
    for side in (even, ~even):
        for group, confounded in (
            (event, [site.events for site in sites]),
            (~event, [site.others for site in sites]),
        ):
            members = rng.permutation(np.flatnonzero(side & group))
            share = [1 / len(sites)] * len(sites) if side is even else confounded
            edges = np.round(np.cumsum(share) * len(members))
            chosen = np.searchsorted(edges, np.arange(len(members)), side="right")
            for patient, number in zip(members, chosen, strict=True):
                places[patient] = sites[number]
    return places


def _vary(rng: np.random.Generator, stain: Stain) -> Stain:
    """The same laboratory on another day."""
    haematoxylin, eosin, thickness = np.exp(rng.normal(0, (0.06, 0.06, 0.06)))
    return Stain(
        stain.haematoxylin * float(haematoxylin),
        stain.eosin * float(eosin),
        stain.warmth + float(rng.normal(0, 0.015)),
        stain.thickness * float(thickness),
    )


def _colour_signal(colours: Floats, event: Flags, validation: Flags) -> float:
    """How well expected mean colour separates recurrences in validation: largest |AUC - 0.5|.

    Each channel by itself, over the whole slide and over its tissue, and the linear
    discriminant of all three channels that training suggests.

    Args:
        colours: (patients, 2, 3), as `ColourForecast.colour`, slides of a patient averaged.
        event: (patients,).
        validation: (patients,).
    """
    worst = 0.0
    for colour in (colours[:, 0], colours[:, 1]):
        learned = colour @ _discriminant(colour[~validation], event[~validation])
        for score in (*colour.T, learned):
            auc = two_sample_auc(score[validation], event[validation])
            worst = max(worst, abs(auc - 0.5))
    return worst


def _discriminant(colour: Floats, event: Flags) -> Floats:
    """Fisher's linear discriminant, (3,)."""
    within = np.cov(colour[event].T) + np.cov(colour[~event].T)
    difference = colour[event].mean(0) - colour[~event].mean(0)
    return np.asarray(np.linalg.solve(within + 1e-6 * np.eye(3), difference), dtype=np.float64)
