"""Public clinical files to cohort folders."""
