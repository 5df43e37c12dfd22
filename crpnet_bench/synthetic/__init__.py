"""Synthetic slides with planted truth, and simulated bags."""
