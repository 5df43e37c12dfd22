"""Who the patients of a synthetic cohort are, and how chance is kept from spoiling the design.

A cohort of a hundred patients is small: drawn without care, an ordinary draw has two validation
recurrences without a nest, or a validation side where pale slides happen to do well. As in a
planned experiment, the draw is therefore restricted, by rules that are the same for every seed
and never look at any model:

- the number of recurrences is 25 to 30 % of the patients;
- the *oracle* (true predictor of the planted fraction) reaches an AUC of 0.93 to 0.98 in
  validation and at least 0.90 in training;
- the share of granular decoys has an AUC of 0.40 to 0.60 on both sides, that of stroma in
  validation;
- in validation, the area of tissue has one of 0.38 to 0.62, and decoys and nests together, which
  look the same to the naked colour, one of 0.32 to 0.68;
- in validation the clinical part alone has an AUC of 0.55 to 0.85: weaker than the histology;
- in training the sites' recurrence rates differ (a confounder on purpose), in validation each
  site has its share of recurrences, dealt out so that the expected colour says little.

The external cohort is judged as a whole: there the first three rules hold over all patients, and
its sites stay confounded, the other way round.
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
from crpnet_bench.synthetic.histology import ColourForecast
from crpnet_bench.synthetic.layout import SlidePlan, Tissue, plan_tissue
from crpnet_bench.synthetic.stains import Stain

__all__ = [
    "CohortDesign",
    "CohortRecipe",
    "PlannedPatient",
    "Site",
    "design_cohort",
    "two_sample_auc",
]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Columns = TypeVar("Columns", Clinical, Outcomes)

_DRAWS = 20_000  # of outcomes and split; about one in ten fits, so the limit is never met
_DEALS = 100  # of sites and stains; the first that is balanced well, else the best, is taken
_BALANCED = 0.06
_VALIDATION_SHARE = 0.3
_EVENT_SHARE = (0.25, 0.30)
_ORACLE_VALIDATION = (0.93, 0.98)
_ORACLE_TRAINING = 0.90
_DECOY = (0.40, 0.60)
_COVERAGE = (0.38, 0.62)
_EOSINOPHILIC = (0.32, 0.68)
_CLINICAL = (0.55, 0.85)


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
    """

    name: str
    title: str
    prefix: str
    sites: tuple[Site, ...]
    planted: tuple[int, ...]
    two_slides: int
    balanced_validation: bool


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


def two_sample_auc(score: Floats, event: Flags) -> float:
    """Probability that an event scores higher than a non-event, ties counted half."""
    difference = score[event][:, None] - score[~event][None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


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
    shares = _Shares(planted[:-1], decoy[:-1], stroma[:-1], coverage[:-1], clinical_part[:-1])
    # The last patient is the one without tissue: no nests, no recurrence, in training.
    for outcomes, validation in _draws(rng, histology + clinical_part):
        event = outcomes.status == 1
        if recipe.balanced_validation:
            fits = _fits(shares, event[:-1], validation[:-1])
        else:
            fits = _holds(shares, event[:-1], np.ones(len(event) - 1, dtype=np.bool_))
        if fits:
            break
    else:
        message = f"{recipe.name}: no draw fits the design; the recipe contradicts itself"
        raise RuntimeError(message)
    slides, sites = _deal_best(rng, recipe, tissue, event, validation)
    histology[-1] = np.nan
    order = rng.permutation(len(slides))  # identifiers say nothing about the patient
    patients = [
        PlannedPatient(
            f"{recipe.prefix}-{number:03d}",
            sites[i],
            "validation" if validation[i] else "train",
            slides[i],
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
        outcomes.status[-1] = 0
        outcomes.months[-1] = 60
        validation = np.zeros(len(predictor), dtype=np.bool_)
        recurred = outcomes.status[:-1] == 1
        for group in (recurred, ~recurred):
            members = rng.permutation(np.flatnonzero(group))
            validation[members[: round(_VALIDATION_SHARE * len(members))]] = True
        yield outcomes, validation


@dataclass(frozen=True, slots=True)
class _Shares:
    """What is on the slides of each patient with tissue, (n,)."""

    planted: Floats
    decoy: Floats
    stroma: Floats
    coverage: Floats
    clinical: Floats


def _fits(shares: _Shares, event: Flags, validation: Flags) -> bool:
    """Whether a draw keeps the promises of the module's head."""
    training = ~validation
    return (
        _holds(shares, event, validation)
        and _within((_ORACLE_TRAINING, 1.0), shares.planted, event, training)
        and _within(_DECOY, shares.decoy, event, training)
        and _within(_CLINICAL, shares.clinical, event, validation)
        and _within(_COVERAGE, shares.coverage, event, validation)
        and _within(_EOSINOPHILIC, shares.planted + shares.decoy, event, validation)
    )


def _holds(shares: _Shares, event: Flags, judged: Flags) -> bool:
    """What holds for the patients on whom models are judged, in every cohort."""
    # The oracle's AUC is that of the planted fraction, of which it is a rising function.
    return (
        _EVENT_SHARE[0] <= event.mean() <= _EVENT_SHARE[1]
        and _within(_ORACLE_VALIDATION, shares.planted, event, judged)
        and _within(_DECOY, shares.decoy, event, judged)
        and _within(_DECOY, shares.stroma, event, judged)
    )


def _within(limits: tuple[float, float], score: Floats, event: Flags, side: Flags) -> bool:
    return limits[0] <= two_sample_auc(score[side], event[side]) <= limits[1]


def _deal_best(
    rng: np.random.Generator,
    recipe: CohortRecipe,
    tissue: list[tuple[SlidePlan, ...]],
    event: Flags,
    validation: Flags,
) -> tuple[list[tuple[SlidePlan, ...]], list[str]]:
    """Sites and stains; where validation is to be balanced, the best of many deals."""
    forecasts = [[ColourForecast(slide) for slide in plans] for plans in tissue[:-1]]
    best: tuple[float, list[tuple[SlidePlan, ...]], list[str]] | None = None
    for _ in range(_DEALS if recipe.balanced_validation else 1):
        places = _deal_sites(rng, recipe, event, validation)
        slides = [
            tuple(replace(slide, stain=_vary(rng, site.stain)) for slide in plans)
            for plans, site in zip(tissue, places, strict=True)
        ]
        colours = np.array(
            [
                np.mean([one.colour(slide.stain) for one, slide in zip(*pair, strict=True)], axis=0)
                for pair in zip(forecasts, slides[:-1], strict=True)
            ]
        )
        imbalance = _colour_signal(colours, event[:-1], validation[:-1])
        if best is None or imbalance < best[0]:
            best = (imbalance, slides, [site.name for site in places])
        if best[0] <= _BALANCED:
            break
    assert best is not None  # noqa: S101 - at least one deal was made
    return best[1], best[2]


def _deal_sites(
    rng: np.random.Generator, recipe: CohortRecipe, event: Flags, validation: Flags
) -> list[Site]:
    places: list[Site] = [recipe.sites[0]] * len(event)
    for side in (validation, ~validation):
        even = recipe.balanced_validation and side is validation
        for group, shares in (
            (event, [site.events for site in recipe.sites]),
            (~event, [site.others for site in recipe.sites]),
        ):
            members = rng.permutation(np.flatnonzero(side & group))
            share = np.full(len(shares), 1 / len(shares)) if even else np.array(shares)
            edges = np.round(np.cumsum(share) * len(members)).astype(int)
            for patient, site in zip(
                members, np.searchsorted(edges, np.arange(len(members)), side="right"), strict=True
            ):
                places[patient] = recipe.sites[site]
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
