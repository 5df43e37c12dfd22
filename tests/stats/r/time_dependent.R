# Reference values for time-dependent AUC, rates and Brier scores.
# Run in this folder: Rscript time_dependent.R
# Needs survival, riskRegression, timeROC, prodlim.
suppressMessages({library(survival); library(riskRegression); library(timeROC); library(prodlim)})

# Many tied times, events and censorings at the same time, tied scores, competing events.
set.seed(7)
n <- 120
score <- round(rnorm(n), 1)
other <- round(rnorm(n), 1)
event_time <- ceiling(rexp(n, exp(0.6 * score) / 10))
censoring_time <- ceiling(runif(n, 1, 25))
time <- pmin(event_time, censoring_time)
event <- as.integer(event_time <= censoring_time)
status <- ifelse(event == 1 & runif(n) < 0.35, 2L, event)
group <- sample(c("a", "b", "c"), n, replace = TRUE)
tied <- data.frame(time, event, status, score, other, probability = round(plogis(score), 6), group)
write.csv(tied, "tied.csv", row.names = FALSE, quote = FALSE)

# The same patients without any tied time.
untied <- tied
untied$time <- rank(tied$time + runif(n) * 0.9, ties.method = "first") / 7.5
write.csv(untied, "untied.csv", row.names = FALSE, quote = FALSE)

rows <- list()
add <- function(dataset, analysis, key, time, quantity, value) {
  rows[[length(rows) + 1]] <<- data.frame(dataset, analysis, key, time,
    quantity, value = sprintf("%.17g", value))
}
from_score <- function(dataset, analysis, formula, data, predictions, times) {
  fit <- Score(predictions, formula = formula, data = data, times = times, cause = 1,
    metrics = c("AUC", "Brier"), summary = c("ibs", "ipa"), cens.model = "km", null.model = TRUE)
  auc <- as.data.frame(fit$AUC$score)
  for (i in seq_len(nrow(auc))) for (q in c("AUC", "se", "lower", "upper"))
    add(dataset, paste0(analysis, "_auc"), auc$model[i], auc$times[i], q, auc[i, q])
  brier <- as.data.frame(fit$Brier$score)
  for (i in seq_len(nrow(brier))) for (q in c("Brier", "se", "lower", "upper", "IBS", "IPA"))
    add(dataset, paste0(analysis, "_brier"), brier$model[i], brier$times[i], q, brier[i, q])
}
times <- c(3, 6, 10, 15)
for (name in c("tied", "untied")) {
  data <- get(name)
  from_score(name, "survival", Surv(time, event) ~ 1, data, list(model = data$probability), times)
  from_score(name, "competing", Hist(time, status) ~ 1, data, list(model = data$probability), times)
  contrast <- as.data.frame(Score(list(a = data$score, b = data$other), data = data, times = times,
    formula = Surv(time, event) ~ 1, metrics = "AUC", cens.model = "km", null.model = FALSE)$AUC$contrasts)
  for (i in seq_len(nrow(contrast))) for (q in c("delta.AUC", "se", "p"))
    add(name, "contrast", "b-a", contrast$times[i], q, contrast[i, q])
  for (outcome in c("event", "status")) {
    # Half integers: timeROC does not count an event exactly at t.
    fit <- SeSpPPVNPV(0.2, data$time, data[[outcome]], data$score, cause = 1,
      times = c(6.53, 10.53), iid = TRUE)
    competing <- outcome == "status"
    for (i in 1:2) {
      t <- fit$times[i]
      add(name, paste0("rates_", outcome), "score", t, "sensitivity", fit$TP[i])
      add(name, paste0("rates_", outcome), "score", t, "specificity",
        1 - (if (competing) fit$FP_2 else fit$FP)[i])
      add(name, paste0("rates_", outcome), "score", t, "ppv", fit$PPV[i])
      add(name, paste0("rates_", outcome), "score", t, "npv",
        (if (competing) fit$NPV_2 else fit$NPV)[i])
      se <- fit$inference
      add(name, paste0("rates_", outcome), "score", t, "sensitivity_se", se$vect_se_Se[i])
      add(name, paste0("rates_", outcome), "score", t, "specificity_se",
        (if (competing) se$vect_se_Sp2 else se$vect_se_Sp1)[i])
      add(name, paste0("rates_", outcome), "score", t, "ppv_se", se$vect_se_PPV[i])
      add(name, paste0("rates_", outcome), "score", t, "npv_se",
        (if (competing) se$vect_se_NPV2 else se$vect_se_NPV1)[i])
    }
  }
}
out <- file("time_dependent.csv", "w")
writeLines(c(
  "# survival, competing: riskRegression::Score(list(model = probability), Surv(time, event) ~ 1 or",
  "#   prodlim::Hist(time, status) ~ 1, cause = 1, metrics = c('AUC', 'Brier'), cens.model = 'km')",
  "# rates: timeROC::SeSpPPVNPV(0.2, time, event or status, score, cause = 1, iid = TRUE)",
  paste0("# ", R.version.string, "; riskRegression ", packageVersion("riskRegression"),
    "; timeROC ", packageVersion("timeROC"), "; prodlim ", packageVersion("prodlim"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
