"""Cohorts, slides, runs and their numbers in one DuckDB file, with versioned views for readers."""
