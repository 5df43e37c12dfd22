"""Where registry, slides and models meet."""
