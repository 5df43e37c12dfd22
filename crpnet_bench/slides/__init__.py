"""Slides: reading every format at one physical scale, tissue, tiles and feature files."""
