import numpy as np
import pytest

from crpnet_bench.synthetic.cohort_design import design_cohort
from crpnet_bench.synthetic.demo import DEMO_COHORTS
from crpnet_bench.synthetic.histology import ColourForecast
from crpnet_bench.synthetic.layout import Tissue
from crpnet_bench.synthetic.restrictions import two_sample_auc
from crpnet_bench.synthetic.tissues import Fields, painters

SEEDS = range(4)


class Design:
    """A design as arrays; `tissue` leaves out the patient whose glass is empty."""

    def __init__(self, name, seed):
        self.design = design_cohort(DEMO_COHORTS[name], seed)
        self.patients = self.design.patients
        self.tissue = np.array([patient.tiles > 0 for patient in self.patients])
        self.event = self.design.outcomes.status == 1
        self.validation = np.array([patient.role == "validation" for patient in self.patients])
        self.site = np.array([patient.site for patient in self.patients])
        self.planted = np.array([patient.fraction(Tissue.SPINDLED) for patient in self.patients])
        self.decoy = np.array([patient.fraction(Tissue.GRANULAR) for patient in self.patients])

    def auc(self, score, side):
        return two_sample_auc(score[side & self.tissue], self.event[side & self.tissue])

    def slides(self):
        return [slide for patient in self.patients for slide in patient.slides]


@pytest.fixture(scope="module", params=SEEDS)
def demo(request):
    return Design("demo", request.param)


@pytest.fixture(scope="module")
def external():
    return Design("demo-external", 0)


def test_two_sample_auc_counts_ties_half():
    event = np.array([True, True, False, False])
    assert two_sample_auc(np.array([3.0, 1, 1, 0]), event) == (1 + 1 + 0.5 + 1) / 4


def test_sizes(demo):
    assert len(demo.patients) == 100
    assert demo.validation.sum() in (29, 30, 31)
    assert 25 <= demo.event.sum() <= 30
    assert demo.event[demo.validation].sum() >= 7
    assert (demo.design.outcomes.status == 2).any()
    assert 2_800 <= sum(slide.tissue_tiles for slide in demo.slides()) <= 3_400


def test_special_slides(demo):
    assert [len(patient.slides) for patient in demo.patients].count(2) == 4
    assert [slide.pen for slide in demo.slides()].count(True) == 1
    assert (~demo.tissue).sum() == 1
    empty = np.flatnonzero(~demo.tissue)[0]
    assert np.isnan(demo.design.histology[empty])
    assert not demo.validation[empty]


def test_nests_take_1_to_15_percent(demo):
    some = demo.planted[demo.planted > 0]
    assert 0.01 <= some.min() < some.max() <= 0.15
    assert 30 <= some.size <= 40


def test_the_oracle_is_strong_but_finite(demo):
    assert 0.93 <= demo.auc(demo.design.histology, demo.validation) <= 0.98
    assert demo.auc(demo.design.histology, ~demo.validation) >= 0.90


def test_decoys_say_nothing(demo):
    for side in (demo.validation, ~demo.validation):
        assert 0.40 <= demo.auc(demo.decoy, side) <= 0.60
    stroma = np.array([patient.fraction(Tissue.STROMA) for patient in demo.patients])
    assert 0.40 <= demo.auc(stroma, demo.validation) <= 0.60


def test_clinical_variables_are_weaker(demo):
    histology = demo.auc(demo.design.histology, demo.validation)
    assert 0.55 <= demo.auc(demo.design.clinical_part, demo.validation) < histology


def rates(design, side):
    return [design.event[side & (design.site == site)].mean() for site in sorted(set(design.site))]


def test_site_and_recurrence_are_confounded_in_training_only(demo):
    training = rates(demo, ~demo.validation)
    assert training == sorted(training, reverse=True)
    assert training[0] > 1.8 * training[-1]
    validation = rates(demo, demo.validation)
    assert max(validation) - min(validation) < 0.15


def eosin(design):
    return np.array([patient.slides[0].stain.eosin for patient in design.patients])


def test_the_external_cohort_is_confounded_in_reverse(demo, external):
    assert demo.auc(eosin(demo), ~demo.validation) > 0.53
    assert external.auc(eosin(external), external.tissue) < 0.30
    rising = rates(external, external.tissue)  # from the strongest pink to the palest
    assert rising == sorted(rising)
    assert rising[-1] > 5 * rising[0]
    assert not set(demo.site) & set(external.site)


def test_external_stains_reach_half_way_to_another_tissue(demo, external):
    """Stroma at the pinkest site, nests at the palest: between those tissues' colours in `demo`."""

    def stain(design, site):
        return next(one.stain for one in design.design.recipe.sites if one.name == f"Site {site}")

    def pinkness(tissue, laboratory):
        eosin = [_eosin(tissue, seed) for seed in range(10)]
        return np.mean(eosin) * laboratory.eosin * laboratory.thickness

    palest_nest = pinkness(Tissue.SPINDLED, stain(demo, "D"))
    pinkest_stroma = pinkness(Tissue.STROMA, stain(demo, "A"))
    between = (palest_nest + pinkest_stroma) / 2
    assert pinkness(Tissue.STROMA, stain(external, "E")) == pytest.approx(between, rel=0.08)
    assert pinkness(Tissue.SPINDLED, stain(external, "G")) == pytest.approx(between, rel=0.08)


def _eosin(tissue, seed):
    """Mean concentration over scattered pixels of one tumour's tissue."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1568, (2, 1000)).astype(np.float32)
    painter = painters(np.random.default_rng([seed, 2]))[tissue]
    return float(np.maximum(painter.draw(x, y, Fields.scattered(rng, 1000)).eosin, 0).mean())


def test_external_sizes(external):
    assert len(external.patients) == 90
    assert 22 <= external.event.sum() <= 27
    assert (~external.tissue).sum() == 1


def test_the_external_oracle_is_as_strong(external):
    assert 0.93 <= external.auc(external.design.histology, external.tissue) <= 0.98


def test_expected_colour_says_little_in_validation(demo):
    colours = np.full((len(demo.patients), 2, 3), np.nan)
    for row, patient in enumerate(demo.patients):
        if patient.tiles:
            colours[row] = np.mean(
                [ColourForecast(slide).colour(slide.stain) for slide in patient.slides], axis=0
            )
    for channel in colours.reshape(len(colours), 6).T:
        assert abs(demo.auc(channel, demo.validation) - 0.5) <= 0.11


def test_the_same_seed_gives_the_same_cohort():
    first, second = (design_cohort(DEMO_COHORTS["demo"], 3) for _ in range(2))
    assert first.patients == second.patients
    assert np.array_equal(first.outcomes.months, second.outcomes.months)
    assert np.array_equal(first.clinical.grade, second.clinical.grade)


def test_identifiers_say_nothing(demo):
    number = np.arange(len(demo.patients), dtype=float)
    assert abs(demo.auc(number, demo.tissue) - 0.5) < 0.25
