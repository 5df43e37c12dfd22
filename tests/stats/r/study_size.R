# Reference values for sample sizes. Run in this folder: Rscript study_size.R
suppressMessages({library(pmsampsize); library(pmvalsampsize); library(pROC)})
rows <- list()
add <- function(analysis, arguments, table) {
  for (i in seq_len(nrow(table))) for (q in colnames(table))
    rows[[length(rows) + 1]] <<- data.frame(analysis, arguments, row = i, quantity = q,
      value = sprintf("%.17g", table[i, q]))
}
for (a in list(c(0.288, 24, 0.174, 0.9), c(0.57, 1, 45 / 174, 0.9), c(0.57, 17, 45 / 174, 0.9),
               c(0.1, 12, 0.05, 0.85), c(0.2, 8, 0.5, 0.95)))
  add("binary", paste(format(a, digits = 17), collapse = " "), suppressMessages(pmsampsize(type = "b",
    csrsquared = a[1], parameters = a[2], prevalence = a[3], shrinkage = a[4]))$results_table)
for (a in list(c(0.051, 30, 0.065, 2, 2.07), c(0.15, 10, 0.02, 5, 4.1)))
  add("survival", paste(format(a, digits = 17), collapse = " "), suppressMessages(pmsampsize(type = "s",
    csrsquared = a[1], parameters = a[2], rate = a[3], timepoint = a[4], meanfup = a[5]))$results_table)
for (a in list(c(0.018, 0.8, 1, 0.2, 0.1), c(0.3, 0.75, 0.2, 0.3, 0.1)))
  add("validation", paste(format(a, digits = 17), collapse = " "), suppressMessages(pmvalsampsize(
    type = "b", prevalence = a[1], cstatistic = a[2], lpnormal = c(-5, 2.5), oeciwidth = a[3],
    csciwidth = a[4], cstatciwidth = a[5], graph = FALSE))$results_table)
out <- file("study_size.csv", "w")
writeLines(c(
  "# binary: pmsampsize(type = 'b', csrsquared, parameters, prevalence, shrinkage)",
  "# survival: pmsampsize(type = 's', csrsquared, parameters, rate, timepoint, meanfup)",
  "# validation: pmvalsampsize(type = 'b', prevalence, cstatistic, lpnormal = c(-5, 2.5),",
  "#   oeciwidth, csciwidth, cstatciwidth); arguments in this order",
  paste0("# ", R.version.string, "; pmsampsize ", packageVersion("pmsampsize"),
    "; pmvalsampsize ", packageVersion("pmvalsampsize"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
