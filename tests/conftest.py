"""Fixtures that every part uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real slides and clinical tables; tests that need them are skipped where they are absent."""
    folder = os.environ.get("CRPNET_BENCH_TEST_DATA")
    if not folder:
        pytest.skip("CRPNET_BENCH_TEST_DATA is not set: real slides and tables are not at hand")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"CRPNET_BENCH_TEST_DATA names {path}, which is not a folder")
    return path
