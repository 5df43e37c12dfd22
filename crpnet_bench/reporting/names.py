"""Words and colours that mean the same everywhere: titles of models, one colour a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = [
    "EXPLAINED",
    "GROUP_COLORS",
    "METRIC_TITLES",
    "ROLE_TITLES",
    "VARIABLE_TITLES",
    "group_color",
    "kind_sentence",
    "model_color",
    "model_title",
    "variable_title",
]

_TITLES: Mapping[str, str] = {
    "crpnet": "CRPNet",
    "crpnet-ms": "CRPNet, multi-scale",
    "uiss": "UISS",
    "uiss_2002": "UISS",
    "uiss_2001": "UISS 2001",
    "ssign": "SSIGN",
    "karakiewicz": "Karakiewicz",
    "karakiewicz_refit": "Karakiewicz (refitted)",
    "leibovich_2003": "Leibovich",
    "grant": "GRANT",
    "keynote564": "KEYNOTE-564",
    "meanpool": "Mean pooling",
    "maxpool": "Max pooling",
    "diameter": "Tumour diameter",
    "oracle": "Oracle (planted truth)",
    "t_stage": "T stage",
    "grade": "WHO/ISUP grade",
    "necrosis": "Necrosis",
    "cox_clinical": "Cox, clinical variables",
}
# Okabe and Ito's colours, told apart with every common colour vision deficiency.
_COLORS: Mapping[str, str] = {
    "crpnet": "#0072B2",
    "uiss": "#E69F00",
    "uiss_2002": "#E69F00",
    "ssign": "#009E73",
    "karakiewicz_refit": "#CC79A7",
    "karakiewicz": "#CC79A7",
    "leibovich_2003": "#D55E00",
    "oracle": "#8C8C8C",
    "crpnet-ms": "#56B4E9",
    "meanpool": "#7B61A8",
    "maxpool": "#B8860B",
    "t_stage": "#5F6B7A",
    "grade": "#7C8896",
    "necrosis": "#98A2AE",
    "diameter": "#B3BBC4",
}
_FURTHER = ("#882255", "#44AA99", "#999933", "#AA4499", "#6699CC", "#B8860B", "#661100")

# Groups of one curve: low risk cool, high risk warm; further levels in a fixed order.
GROUP_COLORS = ("#2E86AB", "#C8553D", "#E0A030", "#5B8E7D", "#7B61A8", "#8C8C8C", "#56B4E9")
_GROUPS: Mapping[str, str] = {
    "Low risk": GROUP_COLORS[0],
    "Intermediate risk": GROUP_COLORS[2],
    "High risk": GROUP_COLORS[1],
}

VARIABLE_TITLES: Mapping[str, str] = {
    "age": "Age, years",
    "sex": "Sex",
    "symptoms": "Symptoms",
    "ecog": "ECOG performance status",
    "pT": "Pathological T stage",
    "pN": "Pathological N stage",
    "M": "M stage",
    "grade": "WHO/ISUP grade",
    "tumor_size_cm": "Tumour diameter, cm",
    "necrosis": "Necrosis",
    "sarcomatoid": "Sarcomatoid change",
    "rhabdoid": "Rhabdoid change",
    "site": "Site",
}

ROLE_TITLES: Mapping[tuple[str, bool], str] = {
    ("train", True): "Training, apparent",
    ("train", False): "Training, out-of-fold",
    ("validation", False): "Validation",
    ("test", False): "Test",
    ("external", False): "External",
}

METRIC_TITLES: Mapping[str, str] = {
    "auc": "AUC",
    "c_index": "C-index",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "fpr": "False-positive rate",
    "fnr": "False-negative rate",
    "npv": "Negative predictive value",
    "hr_per_sd": "Hazard ratio per SD",
    "hr_high_low": "Hazard ratio, high against low",
    "auc_t": "Time-dependent AUC",
    "sensitivity_t": "Sensitivity",
    "specificity_t": "Specificity",
    "ppv_t": "Positive predictive value",
    "npv_t": "Negative predictive value",
}

# Plain words for tooltips.
EXPLAINED: Mapping[str, str] = {
    "c_index": "Of all pairs of patients in which it is known who had the event first: the share "
    "in which the model gave that patient the higher risk. 0.5 is guessing, 1 is perfect.",
    "auc": "The chance that a patient with a recorded event has a higher risk than one without. "
    "0.5 is guessing, 1 is perfect. It ignores how long patients were followed.",
    "hr": "How many times as often the event happens, at any moment, in one group as in the "
    "other. 1 means no difference. A wide interval means few events.",
    "hr_per_sd": "How many times as often the event happens for each standard deviation of the "
    "risk among training patients: the same step for every model.",
    "calibration": "Whether a predicted risk of 20 % means that 20 of 100 such patients have the "
    "event. A model can rank patients well and still be badly calibrated.",
    "out_of_fold": "Each training patient is predicted by a model that was not fitted on him or "
    "her (inner cross-validation). Apparent results come from the model that was fitted on the "
    "same patients and are too good.",
    "ever": "A patient counts as positive when an event was recorded at any time. Patients who "
    "left early count as negative, so rates depend on the length of follow-up.",
    "ipcw": "Patients lost before the horizon are replaced by giving those who stayed a larger "
    "weight (inverse probability of censoring).",
    "net_benefit": "Events found by treating those above the threshold, less the needless "
    "treatments, these weighed by the odds of the threshold.",
    "locked": "Learned on out-of-fold risks of the training patients and never changed after.",
    "interaction": "Tests whether the hazard ratio differs between the subgroups. Without a small "
    "P value, differences between subgroups are likely to be chance.",
}


def model_title(name: str) -> str:
    """A model's name for people.

    >>> model_title("uiss_2002"), model_title("my_model")
    ('UISS', 'my model')
    """
    return _TITLES.get(name, name.replace("_", " "))


def model_color(name: str) -> str:
    """The model's colour, the same on every page and in every figure.

    >>> model_color("crpnet")
    '#0072B2'
    """
    if name in _COLORS:
        return _COLORS[name]
    digest = hashlib.sha256(name.encode()).digest()
    return _FURTHER[digest[0] % len(_FURTHER)]


def group_color(label: str, place: int) -> str:
    """Colour of the group at `place` among those shown."""
    return _GROUPS.get(label, GROUP_COLORS[place % len(GROUP_COLORS)])


def variable_title(name: str) -> str:
    """A clinical variable's name for people."""
    return VARIABLE_TITLES.get(name, name.replace("_", " "))


def kind_sentence(kind: str) -> str:
    """What a reader must know about a cohort's kind; empty for real patients.

    >>> kind_sentence("synthetic")
    'Synthetic: drawn by a program, slides included; no patient is behind it.'
    """
    return {
        "synthetic": "Synthetic: drawn by a program, slides included; no patient is behind it.",
        "simulated": "Simulated: patients drawn by a program; no real patient is behind them.",
    }.get(kind, "")
