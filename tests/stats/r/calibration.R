# Reference values for calibration and net benefit. Run here, after time_dependent.R:
# Rscript calibration.R
suppressMessages({library(survival); library(prodlim); library(geepack)})
rows <- list()
add <- function(dataset, analysis, key, quantity, value)
  rows[[length(rows) + 1]] <<- data.frame(dataset, analysis, key, quantity,
    value = sprintf("%.17g", value))
cloglog <- function(p) log(-log(1 - p))
for (name in c("tied", "untied")) for (outcome in c("event", "status")) {
  d <- read.csv(paste0(name, ".csv"))
  d$outcome <- d[[outcome]]
  t <- 6.53
  fit <- if (outcome == "event") prodlim(Hist(time, outcome) ~ 1, d) else prodlim(Hist(time, outcome) ~ 1, d)
  pseudo <- as.numeric(jackknife(fit, times = t, cause = 1))
  if (outcome == "event") pseudo <- 1 - pseudo
  for (i in c(1, 2, 50, 120)) add(name, outcome, i, "pseudo", pseudo[i])
  d$pseudo <- pseudo; d$cll <- cloglog(d$probability); d$id <- seq_len(nrow(d))
  a <- geese(pseudo ~ offset(cll), id = id, data = d, mean.link = "cloglog", corstr = "independence",
    control = geese.control(epsilon = 1e-13, maxit = 200))
  b <- geese(pseudo ~ cll, id = id, data = d, mean.link = "cloglog", corstr = "independence",
    control = geese.control(epsilon = 1e-13, maxit = 200))
  add(name, outcome, "fit", "intercept", a$beta[1]); add(name, outcome, "fit", "intercept_se", sqrt(a$vbeta[1, 1]))
  add(name, outcome, "fit", "slope", b$beta[2]); add(name, outcome, "fit", "slope_se", sqrt(b$vbeta[2, 2]))
  add(name, outcome, "fit", "slope_intercept", b$beta[1])
  risk <- function(x) { s <- summary(survfit(Surv(time, factor(outcome, 0:2)) ~ 1, x), times = t, extend = TRUE); c(s$pstate[2], s$std.err[2]) }
  all <- risk(d)
  add(name, outcome, "all", "observed", all[1]); add(name, outcome, "all", "se", all[2])
  for (threshold in c(0.2, 0.4, 0.6)) {
    w <- threshold / (1 - threshold)
    positive <- d$probability >= threshold
    r <- risk(d[positive, ])[1]
    add(name, outcome, threshold, "net_benefit", mean(positive) * (r - (1 - r) * w))
    add(name, outcome, threshold, "treat_all", all[1] - (1 - all[1]) * w)
  }
}
out <- file("calibration.csv", "w")
writeLines(c(
  "# At time 6.53. pseudo: prodlim::jackknife(prodlim(Hist(time, outcome) ~ 1), times, cause = 1)",
  "# intercept: geepack::geese(pseudo ~ offset(cloglog(probability)), mean.link = 'cloglog'); slope: pseudo ~ cloglog",
  "# observed: survival::survfit; net_benefit: share * (R - (1 - R) * w) with R from survfit among probability >= threshold",
  paste0("# ", R.version.string, "; survival ", packageVersion("survival"), "; prodlim ",
    packageVersion("prodlim"), "; geepack ", packageVersion("geepack"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
