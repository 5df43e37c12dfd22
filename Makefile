# Two commands matter: `make run` does the main job on the embedded cohort, `make test` tests.
# Everything is installed into .venv; only Python 3.11 or newer, pip and make are needed.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
# Two files of tests side by side; threads that wait leave the core to the other.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile
export OMP_WAIT_POLICY ?= PASSIVE
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install run dashboard check format test test-slow test-browser test-perf lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	  --constraint constraints.txt --editable '.[dev,export]'
	@touch $@

install: $(INSTALLED)  ## make .venv with everything in it

run: $(INSTALLED)  ## train and evaluate on the embedded synthetic cohort
	@# Exit 3 is success with recorded failures: one slide of the demo has no tissue, on purpose.
	$(BIN)/crpnet-bench run --explain || [ $$? -eq 3 ]

dashboard: $(INSTALLED)  ## open the dashboard on this machine
	$(BIN)/streamlit run dashboard/app.py

check: $(INSTALLED)  ## lint, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(INSTALLED)  ## all tests but slow, browser, gpu and perf
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'not slow and not browser and not gpu and not perf' \
	  --cov --cov-report=term --cov-fail-under=85

test-slow: $(INSTALLED)  ## tests that take minutes
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m 'slow and not browser and not gpu and not perf'

test-browser: $(INSTALLED)  ## tests in a real Chromium (Debian: apt-get install chromium)
	$(BIN)/python -m pytest -m browser

test-perf: $(INSTALLED)  ## benchmarks, as ratios in one run
	$(BIN)/python -m pytest -m perf -s

lock: $(INSTALLED)  ## pin the versions that are installed now
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:  ## remove caches and the virtual environment
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
