"""Words that mean the same everywhere: titles of models and variables; colours of groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENDPOINT_TITLES",
    "GROUP_COLORS",
    "METRIC_TITLES",
    "ROLE_TITLES",
    "VARIABLE_TITLES",
    "event_words",
    "group_color",
    "kind_sentence",
    "model_title",
    "not_real",
    "readable",
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
    "grade": "Grade",
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
    "patient_id": "Identifier",
    "time": "Follow-up time",
    "event": "Outcome",
    "age": "Age, years",
    "sex": "Sex",
    "symptoms": "Symptoms",
    "ecog": "ECOG performance status",
    "pT": "Pathological T stage",
    "pN": "Pathological N stage",
    "M": "M stage",
    "grade": "Grade",
    "tumor_size_cm": "Tumour diameter, cm",
    "tumor_size": "Tumour diameter, cm",
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

# Endpoint -> what happens, and what those are to whom it has not; else a recurrence.
_EVENTS: Mapping[str, tuple[str, str]] = {
    "OS": ("Death", "Alive"),
    "DSS": ("Cancer death", "Free of cancer death"),
    "PFI": ("Progression", "Free of progression"),
    "PFS": ("Progression or death", "Alive without progression"),
    "MFS": ("Metastasis", "Free of metastasis"),
}

ENDPOINT_TITLES: Mapping[str, str] = {
    "RFS": "recurrence-free survival",
    "TTR": "time to recurrence",
    "MFS": "metastasis-free survival",
    "PFI": "progression-free interval",
    "PFS": "progression-free survival",
    "DFS": "disease-free survival",
    "DSS": "disease-specific survival",
    "OS": "overall survival",
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


def event_words(endpoint: str) -> tuple[str, str]:
    """What the endpoint's event is called, and how those are who have not had it.

    >>> event_words("PFI")
    ('Progression', 'Free of progression')
    """
    return _EVENTS.get(endpoint, ("Recurrence", "Free of recurrence"))


def variable_title(name: str) -> str:
    """A clinical variable's name for people."""
    return VARIABLE_TITLES.get(name, name.replace("_", " "))


# Names that the registry and runs write into sentences.
_IN_SENTENCES: Mapping[str, str] = {
    **_TITLES,
    "ecog": "ECOG",
    "tumor_size_cm": "tumour diameter",
    "tumor_size": "tumour diameter",
    "tnm_edition": "TNM edition",
    "who_isup": "WHO/ISUP",
    "fuhrman": "Fuhrman",
}
_WORDS = frozenset({"diameter", "grade", "necrosis"})  # names that are words as well
_NAME = re.compile(
    r"(?<![\w/.+-])("
    + "|".join(sorted(map(re.escape, set(_IN_SENTENCES) - _WORDS), key=len, reverse=True))
    + r")(?![\w/+-])"
)


def readable(sentence: str) -> str:
    """A warning or remark with titles in place of the names that programs use.

    >>> readable("uiss_2002 is determined for 48 patients; most often because ecog is missing")
    'UISS is determined for 48 patients; most often because ECOG is missing'
    """
    return _NAME.sub(lambda found: _IN_SENTENCES[found.group()], sentence)


def kind_sentence(kind: str) -> str:
    """What a reader must know about a cohort's kind; empty for real patients.

    >>> kind_sentence("synthetic")
    'Synthetic: drawn by a program, slides included; no patient is behind it.'
    """
    return {
        "synthetic": "Synthetic: drawn by a program, slides included; no patient is behind it.",
        "simulated": "Simulated: patients drawn by a program; no real patient is behind them.",
    }.get(kind, "")


def not_real(cohorts: pd.DataFrame, shown: Sequence[str]) -> str:
    """Which of the cohorts shown have patients that a program drew; empty where all are real.

    Args:
        cohorts: `views.cohorts`.
        shown: `NAME@VERSION`.
    """
    kinds = {
        f"{name}@{version}": str(kind)
        for name, version, kind in cohorts[["cohort", "version", "kind"]].itertuples(index=False)
    }
    drawn: dict[str, list[str]] = {}
    for name in dict.fromkeys(shown):
        if kinds.get(name, "real") != "real":
            drawn.setdefault(kinds[name], []).append(name.partition("@")[0])
    parts = [f"{kind} patients ({', '.join(names)})" for kind, names in drawn.items()]
    return f"{'; '.join(parts).capitalize()}." if parts else ""
