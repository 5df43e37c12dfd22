from __future__ import annotations

import pandas as pd

from crpnet_bench.benchmark.fold import Fold, fit_fold, fits_of_fold
from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData
from crpnet_bench.progress import SilentProgress


class _Notes:
    """A model that notes on whom it is to be fitted, and never is."""

    name = title = "notes"
    needs_bags = False

    def __init__(self):
        self.fits = []

    def fit(self, data, *, seed, progress):
        self.fits.append((data.patient_ids, seed))
        raise ModelError("only notes")


def test_the_fits_of_a_fold_are_known_before_they_are_made(tmp_path):
    ids = [f"p{n:02d}" for n in range(20)]
    outcomes = pd.DataFrame({"time": 1.0, "status": 1, "label": [0, 1] * 10}, index=ids)
    data = CohortData(pd.DataFrame(index=pd.Index(ids)), outcomes=outcomes)
    roles = pd.Series(["train"] * 14 + ["validation"] * 6, index=ids)
    fold, model = Fold(1, 2, roles), _Notes()
    settings = {"seed": 5, "inner_folds": 3}
    fit_fold(model, data, fold, tmp_path / "m", progress=SilentProgress(), **settings)
    known = fits_of_fold(data, fold, **settings)
    assert len(known) == 4
    assert sorted(known) == sorted(model.fits)
