"""Clinical variables as models see them: one number each, rising with the expected risk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crpnet_bench.errors import ModelError
from crpnet_bench.models.base import CohortData

__all__ = [
    "CLINICAL_VARIABLES",
    "COLOUR_VARIABLES",
    "KARAKIEWICZ_VARIABLES",
    "Variable",
    "coded",
    "known_variables",
    "linear_predictor",
    "missing_values",
    "unseen_values",
]


@dataclass(frozen=True, slots=True)
class Variable:
    """A clinical variable as a model sees it.

    Attributes:
        name: column of `CohortData.patients`.
        word: as it is printed.
        code: from a value that is not missing to a number.
    """

    name: str
    word: str
    code: Callable[[Any], float]


_SYMPTOMS = {"none": 0.0, "local": 1.0, "systemic": 2.0}
_NEGATIVE_NODES = {"N0", "NX"}  # pNX counts as pN0, as in the scores


def _code_sex(value: object) -> float:
    return float(str(value) == "male")


def _code_stage(value: object) -> float:
    # The letters of T1 and T2 are sizes, and the size is a variable of its own.
    return float(str(value).removeprefix("p")[1])


def _code_nodes(value: object) -> float:
    return float(str(value).removeprefix("p") not in _NEGATIVE_NODES)


def _code_metastasis(value: object) -> float:
    return float(str(value).endswith("M1"))


def _code_symptoms(value: object) -> float:
    return _SYMPTOMS[str(value)]


# One coefficient a variable: ordered where a nomogram has categories. A cohort with some
# twenty events does not carry a dozen dummy variables.
CLINICAL_VARIABLES = (
    Variable("age", "age", float),
    Variable("sex", "sex", _code_sex),
    Variable("pT", "pT", _code_stage),
    Variable("pN", "pN", _code_nodes),
    Variable("M", "M", _code_metastasis),
    Variable("tumor_size_cm", "tumor size", float),
    Variable("grade", "grade", float),
    Variable("necrosis", "necrosis", float),
    Variable("ecog", "ECOG", float),
    Variable("symptoms", "symptoms", _code_symptoms),
)
# Mean optical density of the tissue; a number of the slide, not of the patient's record.
COLOUR_VARIABLES = tuple(
    Variable(f"stain_{channel}", f"{channel} density of the slide", float)
    for channel in ("red", "green", "blue")
)
_BY_NAME = {variable.name: variable for variable in (*CLINICAL_VARIABLES, *COLOUR_VARIABLES)}

KARAKIEWICZ_VARIABLES = tuple(
    _BY_NAME[name] for name in ("pT", "pN", "M", "tumor_size_cm", "grade", "symptoms")
)


def known_variables(names: Iterable[str], model: str) -> tuple[Variable, ...]:
    """The variables of a checkpoint by name.

    Raises:
        ModelError: this program does not know one of them.
    """
    wanted = list(names)
    unknown = sorted(set(wanted) - set(_BY_NAME))
    if unknown:
        raise ModelError(f"checkpoint of {model!r}: unknown variables {unknown}")
    return tuple(_BY_NAME[name] for name in wanted)


def coded(data: CohortData, variables: Sequence[Variable]) -> pd.DataFrame:
    """The variables as numbers, missing as NaN; a column that the cohort lacks is all NaN.

    Returns:
        A column a variable, by patient_id in the order of `data`.
    """
    columns = {}
    for variable in variables:
        values = data.patients.get(variable.name, pd.Series(pd.NA, index=data.patients.index))
        numbers = [np.nan if pd.isna(value) else variable.code(value) for value in values]
        columns[variable.name] = np.array(numbers, dtype=np.float64)
    return pd.DataFrame(columns, index=data.patients.index)


def missing_values(table: pd.DataFrame) -> dict[str, str]:
    """Patients with a missing value, and which."""
    reasons = {}
    for patient, row in table.isna().iterrows():
        if row.any():
            reasons[str(patient)] = f"missing: {', '.join(table.columns[row.to_numpy()])}"
    return reasons


def unseen_values(
    data: CohortData, table: pd.DataFrame, constant: Mapping[str, float]
) -> dict[str, str]:
    """Patients with another value of a variable that was the same for all in training.

    Args:
        data: the patients.
        table: their variables as `coded` gives them.
        constant: variable -> its only value in training.
    """
    reasons: dict[str, str] = {}
    for name, value in constant.items():
        for patient in table.index[table[name].notna() & (table[name] != value)]:
            seen = data.patients.loc[patient, name]
            reasons.setdefault(
                str(patient),
                f"{name} is {seen}, which no training patient had: its effect is unknown",
            )
    return reasons


def linear_predictor(
    table: pd.DataFrame, coefficients: Mapping[str, float], means: Mapping[str, float]
) -> NDArray[np.float64]:
    """Sum of coefficient * (variable - mean), shape (patients,)."""
    each = [
        coefficient * (table[name].to_numpy(np.float64) - means[name])
        for name, coefficient in coefficients.items()
    ]
    return np.asarray(np.sum(each, axis=0), dtype=np.float64)
