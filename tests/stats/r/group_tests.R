# Reference values for tests between groups. Run here, after time_dependent.R: Rscript group_tests.R
d <- read.csv("tied.csv")
u <- read.csv("untied.csv")
rows <- list()
add <- function(key, test) rows[[length(rows) + 1]] <<- data.frame(key,
  statistic = sprintf("%.17g", if (is.null(test$statistic)) NA else unname(test$statistic)),
  p = sprintf("%.17g", test$p.value))
pearson <- matrix(c(97, 38, 41, 7), 2); yates <- matrix(c(43, 13, 17, 2), 2)
small <- matrix(c(56, 0, 18, 1), 2); large <- matrix(c(113, 3, 14, 5, 27, 1, 12, 8), 4)
add("pearson", chisq.test(pearson, correct = FALSE))
add("yates", suppressWarnings(chisq.test(yates, correct = TRUE)))
add("fisher", fisher.test(small))
add("large", suppressWarnings(chisq.test(large)))
high <- d$event == 1
add("welch", t.test(d$score[high], d$score[!high]))
add("pooled", t.test(d$score[high], d$score[!high], var.equal = TRUE))
add("wilcoxon", suppressWarnings(wilcox.test(d$score[high], d$score[!high])))
add("wilcoxon_exact", wilcox.test(u$time[1:20], u$time[21:45]))
add("anova", oneway.test(score ~ group, d, var.equal = TRUE))
add("welch_anova", oneway.test(score ~ group, d))
add("kruskal", kruskal.test(score ~ group, d))
out <- file("group_tests.csv", "w")
writeLines(c(
  "# chisq.test(correct = FALSE), chisq.test(correct = TRUE), fisher.test, chisq.test; t.test(score by event),",
  "# t.test(var.equal = TRUE), wilcox.test(score by event), wilcox.test(untied times 1-20, 21-45),",
  "# oneway.test(score ~ group, var.equal = TRUE), oneway.test(score ~ group), kruskal.test(score ~ group)",
  paste0("# ", R.version.string, "; stats ", packageVersion("stats"))), out)
write.csv(do.call(rbind, rows), out, row.names = FALSE, quote = FALSE)
close(out)
