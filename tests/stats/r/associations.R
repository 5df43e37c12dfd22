# Reference values for correlation, cut-off search, P value adjustment, interaction and follow-up.
# Run here, after time_dependent.R: Rscript associations.R
suppressMessages({library(survival); library(maxstat)})
rows <- list()
add <- function(analysis, key, quantity, value)
  rows[[length(rows) + 1]] <<- data.frame(analysis, key, quantity, value = sprintf("%.17g", value))
d <- read.csv("tied.csv"); u <- read.csv("untied.csv")
correlate <- function(key, x, y) for (m in c("pearson", "spearman", "kendall")) {
  fit <- suppressWarnings(cor.test(x, y, method = m))
  add(m, key, "value", fit$estimate); add(m, key, "p", fit$p.value)
  if (m == "pearson") { add(m, key, "low", fit$conf.int[1]); add(m, key, "high", fit$conf.int[2]) }
}
set.seed(3)
free <- rank(d$other + runif(nrow(d)) * 1e-3)
write.csv(data.frame(free), "free.csv", row.names = FALSE)
correlate("tied", d$score, d$other)
correlate("nine", u$time[1:9], free[1:9])
correlate("thirty", u$time[1:30], free[1:30])
correlate("all", u$time, free)
for (name in c("tied", "untied")) for (minprop in c(0.1, 0.25)) for (p in c("Lau92", "Lau94")) {
  data <- get(substr(name, 1, 1)); if (name == "tied") data <- d else data <- u
  fit <- maxstat.test(Surv(time, event) ~ score, data = data, smethod = "LogRank", pmethod = p,
    minprop = minprop, maxprop = 1 - minprop)
  key <- paste(name, minprop)
  add(p, key, "cutpoint", fit$estimate); add(p, key, "statistic", fit$statistic); add(p, key, "p", fit$p.value)
  add(p, key, "tried", length(fit$stats))
}
p <- c(0.01, 0.02, 0.03, 0.04, 0.05, NA, 0.9, 0.02)
for (m in c("holm", "BH", "bonferroni")) for (i in seq_along(p))
  if (!is.na(p[i])) add("adjust", tolower(m), i, p.adjust(p, m)[i])
d$high <- d$score > 0.2
interaction <- anova(coxph(Surv(time, event) ~ high + group, d), coxph(Surv(time, event) ~ high * group, d))
add("interaction", "3 levels", "statistic", interaction[2, "Chisq"])
add("interaction", "3 levels", "df", interaction[2, "Df"])
add("interaction", "3 levels", "p", interaction[2, 4])
follow <- summary(survfit(Surv(time, event == 0) ~ 1, d, conf.type = "log-log"))$table
add("follow_up", "tied", "median", follow["median"])
add("follow_up", "tied", "low", follow["0.95LCL"]); add("follow_up", "tied", "high", follow["0.95UCL"])
out <- file("associations.csv", "w")
writeLines(c(
  "# cor.test(x, y, method); maxstat::maxstat.test(Surv(time, event) ~ score, smethod = 'LogRank', pmethod, minprop);",
  "# p.adjust; anova(coxph(S ~ high + group), coxph(S ~ high * group)); survfit(Surv(time, event == 0) ~ 1)",
  paste0("# ", R.version.string, "; survival ", packageVersion("survival"), "; maxstat ",
    packageVersion("maxstat"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
