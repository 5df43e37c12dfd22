# Reference values for Kaplan-Meier, log-rank, Cox, proportional hazards and concordance.
# Run in this folder: Rscript survival.R
suppressMessages(library(survival))
set.seed(20)

write_data <- function(data, name) write.csv(data, paste0(name, ".csv"), row.names = FALSE, quote = FALSE)
v <- survival::veteran
veteran <- data.frame(time = v$time, event = v$status, group = as.character(v$celltype),
  stratum = v$trt, a = v$karno, b = v$age, c = as.numeric(v$prior > 0))
l <- na.omit(survival::lung[, c("time", "status", "age", "sex", "ph.ecog", "pat.karno")])
lung <- data.frame(time = l$time, event = l$status - 1, group = paste0("ecog", l$ph.ecog),
  stratum = 1 + seq_len(nrow(l)) %% 3, a = l$age, b = l$pat.karno, c = as.numeric(l$sex == 2))
n <- 240
a <- round(rnorm(n), 1); b <- sample(0:4, n, TRUE); c <- rbinom(n, 1, 0.3)
latent <- rexp(n, 0.08 * exp(0.5 * a - 0.2 * b + 0.7 * c)); censoring <- runif(n, 0, 30)
rounded <- data.frame(time = ceiling(pmin(latent, censoring)), event = as.numeric(latent <= censoring),
  group = sample(c("x", "y", "z"), n, TRUE), stratum = sample(1:3, n, TRUE), a = a, b = b, c = c)
small <- data.frame(time = c(1, 1, 2, 2, 2, 3, 4, 4, 5, 5, 6, 6, 7, 8), event = c(1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1),
  group = rep(c("x", "y"), 7), stratum = rep(1:2, each = 7), a = c(5, 1, 4, 4, 2, 3, 5, 2, 2, 2, 1, 3, 3, 1),
  b = c(1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1), c = c(0, 1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0))
sets <- list(veteran = veteran, lung = lung, rounded = rounded, small = small)
for (name in names(sets)) write_data(sets[[name]], name)

rows <- list()
add <- function(data, what, key, value) {
  value <- as.numeric(value)
  rows[[length(rows) + 1]] <<- data.frame(data = data, what = what, key = key,
    values = paste(sprintf("%.16g", value), collapse = " "))
}
exact <- coxph.control(eps = 1e-13, iter.max = 60, toler.chol = 1e-14)

curves <- function(name, d) {
  for (type in c("log-log", "log", "plain")) {
    fit <- survfit(Surv(time, event) ~ 1, data = d, conf.type = type)
    table <- summary(fit)$table
    key <- function(quantity) paste(type, quantity)
    add(name, "survfit", key("ci_low"), fit$lower); add(name, "survfit", key("ci_high"), fit$upper)
    add(name, "survfit", key("median"), table[c("median", "0.95LCL", "0.95UCL")])
  }
  for (quantity in c("time", "surv", "n.risk", "n.event", "n.censor")) add(name, "survfit", quantity, fit[[quantity]])
  add(name, "survfit", "se", fit$std.err * fit$surv)
  for (share in c(0.3, 0.7, 1, 1.2)) {
    tau <- share * max(d$time)
    add(name, "rmst", format(tau, digits = 15), summary(fit, rmean = tau)$table[c("rmean", "se(rmean)")])
  }
  fit90 <- survfit(Surv(time, event) ~ 1, data = d, conf.type = "log-log", conf.int = 0.9)
  add(name, "survfit", "level 0.9 ci_low", fit90$lower)
}

tests <- function(name, d) {
  for (rho in c(0, 1, 0.5)) for (stratified in c(FALSE, TRUE)) {
    fit <- if (stratified) survdiff(Surv(time, event) ~ group + strata(stratum), data = d, rho = rho)
      else survdiff(Surv(time, event) ~ group, data = d, rho = rho)
    total <- function(x) if (is.matrix(x)) rowSums(x) else x
    key <- paste(rho, stratified)
    add(name, "survdiff", key, c(fit$chisq, fit$pvalue))
    add(name, "survdiff observed", key, total(fit$obs)); add(name, "survdiff expected", key, total(fit$exp))
  }
}

models <- function(name, d) {
  new <- data.frame(a = as.numeric(quantile(d$a, c(0.1, 0.5, 0.9))), b = quantile(d$b, c(0.9, 0.5, 0.1)), c = c(0, 1, 0))
  times <- as.numeric(quantile(d$time, c(0, 0.2, 0.5, 0.8, 1)))
  for (ties in c("efron", "breslow")) for (stratified in c(FALSE, TRUE)) {
    formula <- if (stratified) Surv(time, event) ~ a + b + c + strata(stratum) else Surv(time, event) ~ a + b + c
    fit <- coxph(formula, data = d, ties = ties, control = exact)
    s <- summary(fit); key <- paste(ties, stratified)
    add(name, "coxph coef", key, coef(fit)); add(name, "coxph se", key, sqrt(diag(vcov(fit))))
    add(name, "coxph ci_low", key, s$conf.int[, 3]); add(name, "coxph ci_high", key, s$conf.int[, 4])
    add(name, "coxph p", key, s$coefficients[, 5])
    add(name, "coxph global", key, c(fit$loglik[2], fit$loglik[1], s$logtest[1], s$logtest[3], fit$wald.test, s$waldtest[3]))
    if (ties == "efron") add(name, "coxph lp", key, fit$linear.predictors)
    if (!stratified) {
      add(name, "survfit.coxph times", key, times)
      add(name, "survfit.coxph", key, summary(survfit(fit, newdata = new), times = times, extend = TRUE)$surv)
    } else for (level in sort(unique(d$stratum))) {
      one <- survfit(fit, newdata = cbind(new, stratum = level))
      add(name, paste("survfit.coxph stratum", level), key, sapply(1:3, function(i)
        summary(one[i], times = times, extend = TRUE)$surv))
    }
    for (transform in c("km", "rank", "identity", "log")) {
      zph <- cox.zph(fit, transform = transform)$table
      add(name, paste("cox.zph", transform), key, c(zph[, "chisq"], zph[, "p"]))
    }
  }
}

indices <- function(name, d) {
  index <- function(what, key, fit) add(name, what, key, c(fit$concordance, sqrt(fit$var),
    if (is.matrix(fit$count)) colSums(fit$count)[1:3] else fit$count[1:3]))
  tau <- as.numeric(quantile(d$time, 0.7))
  add(name, "tau", "", tau)
  for (score in c("a", "b")) {
    d$score <- d[[score]]
    index("concordance", score, concordance(Surv(time, event) ~ score, data = d, reverse = TRUE))
    index("concordance tau", score, concordance(Surv(time, event) ~ score, data = d, reverse = TRUE, ymax = tau))
    index("concordance fold", score, concordance(Surv(time, event) ~ score + strata(stratum), data = d, reverse = TRUE))
    index("concordance uno", score, concordance(Surv(time, event) ~ score, data = d, reverse = TRUE, timewt = "n/G2"))
    index("concordance uno tau", score, concordance(Surv(time, event) ~ score, data = d, reverse = TRUE, timewt = "n/G2", ymax = tau))
    index("concordance cluster", score, concordance(Surv(time, event) ~ score, data = d, reverse = TRUE, cluster = (seq_len(nrow(d)) - 1) %/% 2))
  }
  # Two risks as they are: models with one covariate and its coefficient held at 1.
  fits <- lapply(c("a", "b"), function(x) coxph(as.formula(paste("Surv(time, event) ~", x)), data = d, init = 1, iter.max = 0))
  pair <- concordance(fits[[1]], fits[[2]])
  contrast <- c(1, -1)
  add(name, "concordance difference", "a-b", c(sum(contrast * pair$concordance), sqrt(drop(contrast %*% vcov(pair) %*% contrast))))
}

for (name in names(sets)) { d <- sets[[name]]; curves(name, d); tests(name, d); models(name, d); indices(name, d) }
out <- file("survival.csv", "w")
writeLines(c("# survfit: survfit(Surv(time, event) ~ 1, conf.type); rmst: summary(fit, rmean = tau)$table",
  "# survdiff (key: rho, stratified): survdiff(Surv(time, event) ~ group [+ strata(stratum)], rho)",
  "# coxph (key: ties, stratified): coxph(Surv(time, event) ~ a + b + c [+ strata(stratum)], ties,",
  "#   control = coxph.control(eps = 1e-13, iter.max = 60)); survfit.coxph: survfit(fit, newdata)",
  "# cox.zph (key as coxph): cox.zph(fit, transform)$table, chisq then p",
  "# concordance: concordance(Surv(time, event) ~ score, reverse = TRUE [, timewt, ymax, strata])",
  paste0("# survival ", packageVersion("survival"), ", ", R.version.string)), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
