"""The field's terms in plain words, for tooltips beside numbers and above columns."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["COLUMN_TERMS", "EXPLAINED", "TERM_TITLES"]

TERM_TITLES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "at_risk": "At risk",
    "attention": "Attention",
    "auc": "AUC",
    "auc_t": "Time-dependent AUC",
    "brier": "Brier score",
    "calibration": "Calibration",
    "c_index": "C-index",
    "competing": "Competing deaths",
    "confusion": "Confusion matrix",
    "evidence": "Evidence",
    "follow_up": "Reverse Kaplan-Meier",
    "holm": "Holm",
    "hr": "Hazard ratio (HR)",
    "hr_per_sd": "HR per SD",
    "index_of_accuracy": "Index of prediction accuracy",
    "interaction": "Interaction P",
    "interval": "95 % interval",
    "ipcw": "Weighed for censoring",
    "kaplan_meier": "Kaplan-Meier",
    "ledger": "Ledger",
    "locked": "Locked",
    "logrank": "Log-rank test",
    "net_benefit": "Net benefit",
    "observed_expected": "Observed/expected",
    "out_of_fold": "Out-of-fold, apparent",
    "precision": "Precision",
    "probability": "Probability",
    "recall": "Recall",
    "rho": "Spearman's rho",
    "risk": "Risk",
    "roc": "ROC curve",
    "slope": "Calibration slope",
    "specificity": "Specificity",
    "wanted": "100 events",
}

EXPLAINED: Mapping[str, str] = {
    "c_index": "Of all pairs of patients in which it is known who had the event first: the share "
    "in which the model gave that patient the higher risk. 0.5 is guessing, 1 is perfect.",
    "auc": "The chance that a patient with a recorded event has a higher risk than one without. "
    "0.5 is guessing, 1 is perfect. It ignores how long patients were followed.",
    "auc_t": "The chance that a patient who has the event by the given time has a higher risk than "
    "one who is still free of it then. 0.5 is guessing, 1 is perfect.",
    "hr": "How many times as often the event happens, at any moment, in one group as in the "
    "other. 1 means no difference. A wide interval means few events.",
    "hr_per_sd": "How many times as often the event happens for each standard deviation of the "
    "risk among training patients: the same step for every model.",
    "calibration": "Whether a predicted risk of 20 % means that 20 of 100 such patients have the "
    "event. A model can rank patients well and still be badly calibrated.",
    "slope": "1 is right. Below 1 the predictions are too extreme: high ones too high, low ones "
    "too low.",
    "observed_expected": "Events that happened for each one predicted. 1 is right; above 1 the "
    "model predicts too few.",
    "brier": "The mean squared distance between the predicted probability and what happened. 0 is "
    "perfect; lower is better.",
    "index_of_accuracy": "How much smaller the Brier score is than that of knowing the average "
    "only. 0 % is no better, negative is worse.",
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
    "interval": "Values that the data do not contradict. If the study were repeated many times, 95 "
    "of 100 such intervals would hold the true value. Wide: few patients or events.",
    "kaplan_meier": "The share of patients still free of the event at each time. Those who leave "
    "early (censored, ticks) count until they leave.",
    "logrank": "Tests whether the curves differ more than chance makes them. It says nothing about "
    "how large the difference is: the hazard ratio does.",
    "at_risk": "Patients still followed and free of the event at that time. Where few are left, "
    "the curve is uncertain.",
    "competing": "Who dies without the event can no longer have it. Kaplan-Meier calls such "
    "patients censored and overstates the event; the cumulative incidence does not.",
    "follow_up": "How long patients were followed: Kaplan-Meier with the roles of event and "
    "censoring exchanged, so that patients with an early event do not shorten it.",
    "roc": "True positives against false positives at every threshold. The farther above the "
    "diagonal, the better the model separates.",
    "confusion": "How many patients with and without a recorded event the model called positive "
    "and negative.",
    "accuracy": "Of all patients, the share called rightly. Where events are rare, calling nobody "
    "positive is already right for most.",
    "precision": "Of the patients called positive, the share who had the event (positive "
    "predictive value).",
    "recall": "Of the patients who had the event, the share called positive (sensitivity).",
    "specificity": "Of the patients without the event, the share called negative.",
    "holm": "A P value made larger because several comparisons were made at once.",
    "rho": "Whether two values rise together, by their ranks: 1 always, 0 not at all, -1 one falls "
    "as the other rises.",
    "risk": "The model's own scale; only the order of patients means something. Each model has "
    "another scale.",
    "probability": "The model's own probability of a recorded event, at any time; not corrected "
    "for length of follow-up.",
    "attention": "How much a tile weighs in the slide's risk, relative to the slide's other tiles.",
    "evidence": "Attention times what the tile says: red raises the risk, blue lowers it.",
    "wanted": "Fewer than 100 events leave discrimination and calibration uncertain (Collins et "
    "al., Stat Med 2016).",
    "ledger": "Each time that a run met the outcomes of a cohort. After many looks a good result "
    "may be chance.",
}

# Heading of a table's column -> its term.
COLUMN_TERMS: Mapping[str, str] = {
    "AUC": "auc",
    "Brier score": "brier",
    "C-index": "c_index",
    "Calibration slope": "slope",
    "Class": "locked",
    "HR per SD": "hr_per_sd",
    "Index of prediction accuracy, %": "index_of_accuracy",
    "Observed/expected": "observed_expected",
    "Of 100 events wanted": "wanted",
    "Of 100 wanted": "wanted",
    "P, Holm": "holm",
    "Probability": "probability",
    "Reverse Kaplan-Meier median, months": "follow_up",
    "Risk": "risk",
    "Risk group": "locked",
    "Slope": "slope",
    "Spearman's rho (95 % CI)": "rho",
}
