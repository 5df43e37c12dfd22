"""Frames, tables and figures for documents and dashboard; reaches neither torch nor slides."""
