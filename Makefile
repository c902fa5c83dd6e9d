# make demo   a simulated night, reduced while it is "observed", with its live page
# make test   everything the tests need, and the tests
# make bench  times, rates, latency, memory and noise, measured; writes docs/benchmarks.md
# make bench-quick   two minutes of it; fails when the hot path falls behind its limit
# make soak   the highest rate that is sustained, page in a browser, then ten minutes of it: no frame lost, nothing grows
# make faults   ten minutes of faults injected into running nights; writes the figures of docs/reliability.md
# make faults-quick   the most dangerous minutes of it, three at most; part of CI
# make faults-night   an eight-hour night of 100,000 frames at full speed with faults of all kinds; writes its figures too
# make fuzz SECONDS=600 SEED=1   files that nobody can trust, drawn at random and then, if it is installed, by atheris
# make screenshots   pictures of the page for the documentation, into docs/images
# make lint   style and types
# make audit  asks whether weaknesses are known of what the locks pin
# make lock   renews the locks from pyproject.toml; UPGRADE=--upgrade takes the newest versions
PYTHON ?= python3
SECONDS ?= 600
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests and the workers that they start share the cores among them.
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest
# Nothing is installed but the files whose hashes stand in the locks, and nothing is built that brings tools of its own.
PIP := -m pip --disable-pip-version-check --quiet install
LOCKED := $(PIP) --require-hashes --only-binary=:all: --requirement
TOOLS := $(VENV)/tools/bin

.PHONY: demo test bench bench-quick soak faults faults-quick faults-night fuzz screenshots lint audit lock format clean

demo: $(VENV)/.installed
	@$(BIN)/opticam-live demo

test: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.browser.ensure_browser
	@$(BIN)/python -c "import stream.pipeline"  # compiled once, and not by four test processes at a time
	@$(PYTEST) -m "not clock and not faults" --numprocesses auto --maxprocesses 4 --dist loadfile
	@$(PYTEST) -m clock --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.installed
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks

bench-quick: $(VENV)/.installed
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks --quick

soak: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.browser.ensure_browser
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak

faults: $(VENV)/.installed-dev
	@rm -rf test-artifacts/faults
	@$(PYTEST) tests/faults -m faults --numprocesses 2 --dist loadfile
	@$(BIN)/python -m tests.faults.figures

faults-quick: $(VENV)/.installed-dev
	@FAULTS_FRAMES=$${FAULTS_FRAMES:-450} $(PYTEST) tests/faults -m "faults and not slow" --numprocesses 2 --dist loadfile

faults-night: $(VENV)/.installed-dev
	@FAULTS_FRAMES=$${FAULTS_FRAMES:-100000} $(PYTEST) tests/faults/test_mixed_night.py -m faults
	@$(BIN)/python -m tests.faults.figures night

fuzz: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --seed $(SEED)
	@$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --seed $(SEED) --engine atheris

screenshots: $(VENV)/.installed-dev
	@$(BIN)/python -m tests.browser.ensure_browser
	@$(BIN)/python -m tests.browser.screenshots

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

audit: $(VENV)/.installed $(VENV)/tools/.installed
	@$(BIN)/python -m tests.supply.audit $(TOOLS)/pip-audit

lock: $(VENV)/.installed $(VENV)/tools/.installed
	@$(BIN)/python -m tests.supply.lock $(TOOLS)/uv $(UPGRADE)

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-artifacts

$(VENV)/.installed: pyproject.toml locks/run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required; name one with: make PYTHON=python3.12")'
	@echo "Setting up $(VENV): this takes a few minutes the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(LOCKED) locks/run.txt
	@$(BIN)/python $(PIP) --no-index --no-deps --no-build-isolation --editable .
	@echo "Compiling the inner loops for this machine."
	@$(BIN)/python -c "import stream.pipeline"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed locks/dev.txt
	@echo "Installing what tests and checks need."
	@$(BIN)/python $(LOCKED) locks/dev.txt
	@touch $@

$(VENV)/tools/.installed: $(VENV)/.installed locks/tools.txt
	@test -x $(TOOLS)/python || $(BIN)/python -m venv $(VENV)/tools
	@$(TOOLS)/python $(LOCKED) locks/tools.txt
	@touch $@
