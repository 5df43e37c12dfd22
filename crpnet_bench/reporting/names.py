"""Words that mean the same everywhere: titles, plain explanations; colours of groups."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "EXPLAINED",
    "GROUP_COLORS",
    "METRIC_TITLES",
    "ROLE_TITLES",
    "VARIABLE_TITLES",
    "group_color",
    "kind_sentence",
    "model_title",
    "variable_title",
]

_TITLES: Mapping[str, str] = {
    "crpnet": "CRPNet",
    "crpnet-ms": "CRPNet, multi-scale",
    "crpnet-cox": "CRPNet, Cox loss",
    "crpnet-hazard": "CRPNet, hazard loss",
    "crpnet-ipcw": "CRPNet, IPCW loss",
    "crpnet-observed": "CRPNet, observed only",
    "crpnet-gated": "CRPNet, gated attention",
    "crpnet-finetuned": "CRPNet, trained on tiles",
    "crpnet+clinical": "CRPNet + clinical",
    "clam-sb": "CLAM-SB-like",
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
    "rsf_clinical": "Survival forest, clinical",
    "site_only": "Site alone",
    "mean_colour": "Mean colour",
}
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

    >>> model_title("uiss_2002"), model_title("my_model"), model_title("crpnet+ssign")
    ('UISS', 'my model', 'CRPNet + SSIGN')
    """
    if "+" in name and name not in _TITLES:
        return " + ".join(model_title(part) for part in name.split("+"))
    return _TITLES.get(name, name.replace("_", " "))


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
