# Reference values for the band around an ROC curve.
# Run in this folder, after survival.R: Rscript roc_band.R
suppressMessages(library(pROC))
set.seed(1)
at <- seq(0, 1, 0.1)
rows <- list()
for (name in c("veteran", "lung", "rounded")) {
  d <- read.csv(paste0(name, ".csv"))
  r <- roc(d$event, d$a, direction = "<", levels = c(0, 1), quiet = TRUE)
  band <- ci.se(r, specificities = 1 - at, boot.n = 10000, progress = "none")
  rows[[name]] <- data.frame(data = name, false_positive_rate = at, ci_low = band[, 1],
    ci_high = band[, 3])
}
file <- file("roc_band.csv", "w")
writeLines(c("# ci.se(roc(event, a, direction = '<'), specificities, boot.n = 10000), seed 1",
  paste0("# pROC ", packageVersion("pROC"), ", ", R.version.string)), file)
write.csv(do.call(rbind, rows), file, row.names = FALSE, quote = FALSE)
close(file)
