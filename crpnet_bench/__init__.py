"""crpnet-bench: cohort registry, benchmark and dashboard for ccRCC recurrence prediction.

For research only. Importing this package loads nothing heavy: the submodules
(`stats`, `scores`, `evaluation`, ...) are imported when they are named.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
