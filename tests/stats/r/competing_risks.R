# Reference values for cumulative incidence, Gray's test and the Fine-Gray model.
# Run in this folder, after time_dependent.R: Rscript competing_risks.R
suppressMessages({library(survival); library(cmprsk)})
rows <- list()
add <- function(dataset, analysis, key, time, quantity, value) {
  rows[[length(rows) + 1]] <<- data.frame(dataset, analysis, key, time,
    quantity, value = sprintf("%.17g", value))
}
curve <- function(dataset, key, data, conf_type) {
  fit <- survfit(Surv(time, factor(status, 0:2)) ~ 1, data = data, conf.type = conf_type)
  at <- summary(fit, times = c(1, 3, 6, 10, 15))
  for (i in seq_along(at$time)) {
    add(dataset, paste0("incidence_", conf_type), key, at$time[i], "value", at$pstate[i, 2])
    add(dataset, paste0("incidence_", conf_type), key, at$time[i], "se", at$std.err[i, 2])
    add(dataset, paste0("incidence_", conf_type), key, at$time[i], "lower", at$lower[i, 2])
    add(dataset, paste0("incidence_", conf_type), key, at$time[i], "upper", at$upper[i, 2])
    add(dataset, paste0("incidence_", conf_type), key, at$time[i], "competing", at$pstate[i, 3])
  }
}
for (name in c("tied", "untied")) {
  data <- read.csv(paste0(name, ".csv"))
  for (conf_type in c("log", "log-log", "plain")) curve(name, "all", data, conf_type)
  for (g in c("a", "b", "c")) curve(name, g, data[data$group == g, ], "log")
  for (rho in c(0, 1)) {
    test <- cuminc(data$time, data$status, data$group, rho = rho, cencode = 0)$Tests
    for (q in c("stat", "pv", "df")) add(name, "gray", "3 groups", rho, q, test["1", q])
    high <- data$score > 0
    test <- cuminc(data$time, data$status, high, rho = rho, cencode = 0)$Tests
    for (q in c("stat", "pv", "df")) add(name, "gray", "2 groups", rho, q, test["1", q])
  }
  for (columns in list("score", c("score", "other"))) {
    key <- paste(columns, collapse = "+")
    fit <- crr(data$time, data$status, as.matrix(data[, columns, drop = FALSE]), gtol = 1e-14)
    for (i in seq_along(columns)) {
      add(name, "crr", key, 0, paste0("coef_", columns[i]), fit$coef[i])
      add(name, "crr", key, 0, paste0("se_", columns[i]), sqrt(diag(fit$var))[i])
    }
    add(name, "crr", key, 0, "loglik", fit$loglik)
    add(name, "crr", key, 0, "loglik_null", fit$loglik.null)
  }
}
out <- file("competing_risks.csv", "w")
writeLines(c(
  "# incidence_*: survival::survfit(Surv(time, factor(status, 0:2)) ~ 1, conf.type = ...)",
  "# gray (time column: rho): cmprsk::cuminc(time, status, group, rho)$Tests",
  "# crr: cmprsk::crr(time, status, covariates, gtol = 1e-14)",
  paste0("# ", R.version.string, "; survival ", packageVersion("survival"),
    "; cmprsk ", packageVersion("cmprsk"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
