# Reference values for ROC areas, their comparison and proportions.
# Run in this folder, after survival.R: Rscript roc.R
suppressMessages({library(pROC); library(survival)})
rows <- list()
add <- function(data, what, key, value) rows[[length(rows) + 1]] <<- data.frame(data = data, what = what,
  key = key, values = paste(sprintf("%.16g", as.numeric(value)), collapse = " "))

for (name in c("veteran", "lung", "rounded", "small")) {
  d <- read.csv(paste0(name, ".csv"))
  a <- roc(d$event, d$a, direction = "<", levels = c(0, 1), quiet = TRUE)
  b <- roc(d$event, d$b, direction = "<", levels = c(0, 1), quiet = TRUE)
  for (pair in list(list("a", a), list("b", b))) {
    r <- pair[[2]]
    add(name, "auc", pair[[1]], c(auc(r), sqrt(var(r, method = "delong")), ci.auc(r, method = "delong")[c(1, 3)]))
    ends <- order(-r$thresholds)
    add(name, "sensitivities", pair[[1]], r$sensitivities[ends])
    add(name, "specificities", pair[[1]], r$specificities[ends])
  }
  test <- roc.test(a, b, paired = TRUE, method = "delong")
  add(name, "roc.test", "a-b", c(auc(a) - auc(b), test$conf.int, test$statistic, test$p.value))
  fold <- concordance(event ~ a + strata(stratum), data = d)
  add(name, "concordance fold", "a", c(fold$concordance, sqrt(fold$var)))
}
for (n in c(7, 75, 174)) for (x in unique(round(c(0, 1, n / 3, n - 1, n)))) for (level in c(0.9, 0.95)) {
  key <- paste(x, n, level)
  add("none", "prop.test", key, prop.test(x, n, correct = FALSE, conf.level = level)$conf.int)
  add("none", "binom.test", key, binom.test(x, n, conf.level = level)$conf.int)
}
# The Matthews coefficient: its multinomial variance by numerical differentiation.
matthews <- function(p) (p[1] * p[3] - p[2] * p[4]) /
  sqrt((p[1] + p[4]) * (p[2] + p[3]) * (p[1] + p[2]) * (p[3] + p[4]))
f1 <- function(p) 2 * p[1] / (2 * p[1] + p[2] + p[4])
delta <- function(f, counts) {
  n <- sum(counts); p <- counts / n; h <- 1e-5
  g <- sapply(1:4, function(i) {
    at <- function(k) { q <- p; q[i] <- q[i] + k * h; f(q) }
    (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
  })
  sqrt((sum(p * g^2) - sum(p * g)^2) / n)
}
for (counts in list(c(43, 2, 127, 2), c(12, 2, 54, 7), c(10, 4, 52, 9), c(3, 5, 4, 6))) {
  key <- paste(counts, collapse = " ")
  add("none", "matthews", key, c(matthews(counts), delta(matthews, counts)))
  add("none", "f1", key, c(f1(counts), delta(f1, counts)))
}
out <- file("roc.csv", "w")
writeLines(c("# auc, roc.test: roc(event, score, direction = '<'); var, ci.auc, roc.test(method = 'delong')",
  "# concordance fold: survival::concordance(event ~ score + strata(stratum))",
  "# prop.test(x, n, correct = FALSE), binom.test(x, n); key: x n level",
  "# matthews, f1 (key: tp fp tn fn): value, multinomial standard error by numerical derivative",
  paste0("# pROC ", packageVersion("pROC"), ", survival ", packageVersion("survival"), ", ", R.version.string)), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
