"""10,000 patients and as many slide rows: time and memory of a registration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REGISTER = """
import json, resource, sys, time
from pathlib import Path
from crpnet_bench.benchmark.onboarding import register_cohort
from crpnet_bench.home import Home
started = time.perf_counter()
done = register_cohort(Home(Path(sys.argv[1])), Path(sys.argv[2]), defer_hash=True)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
counts = {"patients": done.patients, "slides": done.slides}
print(json.dumps({"seconds": seconds, "mb": peak, **counts}))
"""


@pytest.mark.perf
def test_ten_thousand_patients_register_in_15_s_and_1_gb(cohort_folder, tmp_path: Path):
    patients = 10_000
    head, *rows = cohort_folder.read("clinical.csv").splitlines()
    cells = [row.split(",", 1)[1] for row in rows]
    clinical = [f"Q{n},{cells[n % len(cells)]}" for n in range(patients)]
    cohort_folder.write("clinical.csv", "\n".join([head, *clinical]))
    slides = [f"Q{n},wsi/Q{n}.svs" for n in range(patients)]
    cohort_folder.write("slides.csv", "\n".join(["patient_id,path", *slides]))
    found = subprocess.run(
        [sys.executable, "-c", REGISTER, str(tmp_path / "home"), str(cohort_folder.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = json.loads(found.stdout)
    assert (measured["patients"], measured["slides"]) == (patients, patients)
    assert measured["seconds"] < 15
    assert measured["mb"] < 1_000
