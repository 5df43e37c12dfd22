"""Who the patients of a synthetic cohort are: slides, outcomes, split, sites.

In training the sites' recurrence rates differ (a confounder on purpose). In validation each site
has its share of recurrences, and stains are dealt out so that the expected mean colour of a slide
says little about recurrence. The external cohort is judged as a whole: its sites are confounded
throughout, the other way round. `restrictions` says what a draw must fulfil besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from crpnet_bench.synthetic.clinical import (
    Clinical,
    Outcomes,
    clinical_predictor,
    draw_clinical,
    draw_outcomes,
    histology_predictor,
)
from crpnet_bench.synthetic.layout import SlidePlan, Tissue, plan_tissue
from crpnet_bench.synthetic.restrictions import Shares, fits, holds
from crpnet_bench.synthetic.staining import Deal, Dealer, Site

__all__ = ["CohortDesign", "CohortRecipe", "PlannedPatient", "design_cohort"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Columns = TypeVar("Columns", Clinical, Outcomes)

_DRAWS = 50_000  # of outcomes and split; about one in a hundred fits
_VALIDATION_SHARE = 0.3
_COLOUR_SIGNAL = 0.11  # |AUC - 0.5| of the expected mean colour in validation, at most
_DEATHS = 2  # at least so many deaths without recurrence


@dataclass(frozen=True, slots=True)
class CohortRecipe:
    """What makes one synthetic cohort differ from another.

    Args:
        name: of the cohort.
        title: in words.
        prefix: of patient identifiers.
        sites: the hospitals.
        planted: for each number of nests on a slide, how many patients have it.
        two_slides: how many patients have two slides.
        balanced_validation: whether site and stain say nothing about recurrence in validation.
        edition: raised when a seed gives other patients or pixels than before; a folder of
            another edition is not continued.
    """

    name: str
    title: str
    prefix: str
    sites: tuple[Site, ...]
    planted: tuple[int, ...]
    two_slides: int
    balanced_validation: bool
    edition: int = 1


@dataclass(frozen=True, slots=True)
class PlannedPatient:
    """One patient's slides and place in the cohort."""

    patient_id: str
    site: str
    role: str
    slides: tuple[SlidePlan, ...]

    @property
    def tiles(self) -> int:
        """Tissue tiles on all slides."""
        return sum(slide.tissue_tiles for slide in self.slides)

    def fraction(self, tissue: Tissue) -> float:
        """The share of tissue tiles planned to hold `tissue`; NaN without tissue."""
        count = sum(slide.count(tissue) for slide in self.slides)
        return count / self.tiles if self.tiles else float("nan")


@dataclass(frozen=True, slots=True)
class CohortDesign:
    """A whole cohort before a pixel is drawn; arrays have one entry a patient."""

    recipe: CohortRecipe
    patients: tuple[PlannedPatient, ...]
    clinical: Clinical
    outcomes: Outcomes
    histology: Floats  # NaN for the patient without tissue
    clinical_part: Floats


def design_cohort(recipe: CohortRecipe, seed: int) -> CohortDesign:
    """Plan every slide, patient and outcome; the same seed gives the same cohort.

    Raises:
        RuntimeError: no draw satisfied the restrictions, which would be a bug of the recipe.
    """
    rng = np.random.default_rng([seed, *recipe.name.encode()])
    tissue = _tissue_plans(rng, recipe)
    planted = _fraction(tissue, Tissue.SPINDLED)
    decoy = _fraction(tissue, Tissue.GRANULAR)
    histology = histology_predictor(planted)
    clinical = draw_clinical(rng, histology)
    clinical_part = clinical_predictor(clinical)
    coverage = _coverage(tissue)
    stroma = _fraction(tissue, Tissue.STROMA)
    shares = Shares(planted[:-1], decoy[:-1], stroma[:-1], coverage[:-1], clinical_part[:-1])
    outcomes, validation, deal = _draw_and_deal(
        rng, recipe, shares, histology + clinical_part, Dealer(recipe.sites, tissue)
    )
    histology[-1] = np.nan
    order = rng.permutation(len(tissue))  # identifiers say nothing about the patient
    patients = [
        PlannedPatient(
            f"{recipe.prefix}-{number:03d}",
            deal.sites[i],
            "validation" if validation[i] else "train",
            deal.slides[i],
        )
        for number, i in enumerate(order, start=1)
    ]
    return CohortDesign(
        recipe,
        tuple(patients),
        _reorder(clinical, order),
        _reorder(outcomes, order),
        histology[order],
        clinical_part[order],
    )


def _draw_and_deal(
    rng: np.random.Generator,
    recipe: CohortRecipe,
    shares: Shares,
    predictor: Floats,
    dealer: Dealer,
) -> tuple[Outcomes, Flags, Deal]:
    """The first draw of outcomes, split, sites and stains that keeps every promise."""
    # The last patient, without tissue, counts in none of them.
    everyone = np.ones(len(predictor) - 1, dtype=np.bool_)
    for outcomes, validation in _draws(rng, predictor):
        event = outcomes.status == 1
        if not recipe.balanced_validation:
            if holds(shares, event[:-1], everyone):
                return outcomes, validation, dealer.deal(rng, event)
        elif fits(shares, event[:-1], validation[:-1]):
            deal = dealer.deal_balanced(rng, event, validation)
            if deal.colour_signal <= _COLOUR_SIGNAL:
                return outcomes, validation, deal
    message = f"{recipe.name}: no draw fits the design; the recipe contradicts itself"
    raise RuntimeError(message)


def _reorder(columns: Columns, order: NDArray[np.intp]) -> Columns:
    return replace(
        columns, **{name: getattr(columns, name)[order] for name in type(columns).__slots__}
    )


def _tissue_plans(rng: np.random.Generator, recipe: CohortRecipe) -> list[tuple[SlidePlan, ...]]:
    """Every patient's slides, not yet stained; the last patient's glass is empty."""
    nests = rng.permutation(np.repeat(np.arange(len(recipe.planted)), recipe.planted))
    two = set(rng.choice(len(nests), recipe.two_slides, replace=False).tolist())
    one = [i for i in range(len(nests)) if i not in two]
    pen = int(rng.choice(one))
    plans = []
    for patient, count in enumerate(nests):
        # A second slide of the same tumour shows one nest fewer.
        counts = (int(count), max(0, int(count) - 1)) if patient in two else (int(count),)
        plans.append(tuple(_slide(rng, spindled, patient == pen) for spindled in counts))
    empty = plan_tissue(rng, tiles=0, spindled=0, granular=0, stroma=0)
    plans.append((SlidePlan(empty, _drawing_seed(rng)),))
    return plans


def _slide(rng: np.random.Generator, spindled: int, pen: bool) -> SlidePlan:
    tissue = plan_tissue(
        rng,
        tiles=int(rng.integers(28, 34)),
        spindled=spindled,
        granular=int(rng.integers(1, 13)),
        stroma=int(rng.integers(0, 6)),
    )
    return SlidePlan(tissue, _drawing_seed(rng), pen=pen, blur=float(rng.uniform(0.5, 0.95)))


def _drawing_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _fraction(plans: Sequence[tuple[SlidePlan, ...]], tissue: Tissue) -> Floats:
    counts = [sum(slide.count(tissue) for slide in slides) for slides in plans]
    tiles = [max(1, sum(slide.tissue_tiles for slide in slides)) for slides in plans]
    return np.asarray(np.array(counts) / np.array(tiles), dtype=np.float64)


def _coverage(plans: Sequence[tuple[SlidePlan, ...]]) -> Floats:
    """Tissue tiles of an average slide of each patient."""
    return np.array([np.mean([slide.tissue_tiles for slide in slides]) for slides in plans])


def _draws(rng: np.random.Generator, predictor: Floats) -> Iterator[tuple[Outcomes, Flags]]:
    """Outcomes, and a split of 70 to 30 stratified by recurrence, again and again."""
    for _ in range(_DRAWS):
        outcomes = draw_outcomes(rng, predictor)
        outcomes.status[-1] = 0  # no tissue: no recurrence, in training
        outcomes.months[-1] = 60
        validation = np.zeros(len(predictor), dtype=np.bool_)
        recurred = outcomes.status[:-1] == 1
        for group in (recurred, ~recurred):
            members = rng.permutation(np.flatnonzero(group))
            validation[members[: round(_VALIDATION_SHARE * len(members))]] = True
        if (outcomes.status == 2).sum() >= _DEATHS:
            yield outcomes, validation
