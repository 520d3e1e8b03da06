# Needs only python3, its venv module and make. Everything else goes into .venv, from the hash-pinned lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
STEPS ?= 2e6
SEED ?= 0
# Empty: a free name under runs/, so that a second `make train` never meets the first.
RUN ?=

# Processes start by the hundred in tests: where modules are compiled anew each time, that is two seconds more of each.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: train test test-all test-fast test-lowest test-newest test-outside lint lint-python lock wheel install clean

train: $(STAMP)  ## Train SeCA on smac/2s3z with a live display (RUN=, STEPS=, SEED= to change).
	$(BIN)/seca train seca --env smac/2s3z --seed $(SEED) --steps $(STEPS) $(if $(RUN),--out $(RUN))

test: $(STAMP)  ## What every change has to pass.
	$(BIN)/python -m pytest tests -n 2 --dist worksteal -m "not every"

test-all: $(STAMP)  ## The whole suite, before a release: every map, every method, battles by the thousand.
	$(BIN)/python -m pytest tests -n 2 --dist worksteal

test-fast: $(STAMP)  ## The inner loop: all but the slow tests.
	$(BIN)/python -m pytest tests -n 2 --dist worksteal -m "not slow and not every"

test-lowest test-newest: test-%: .venv-%/.installed  ## The fast tests at the lower bounds, and with the newest of all.
	.venv-$*/bin/python -m pytest tests -n 2 --dist worksteal -m "not slow and not every"

test-outside: .venv/.outside  ## Tests that need what few users do: Chromium (Debian's), Ray, submitit, rliable.
	$(BIN)/python -m pytest tests/report/test_page.py tests/report/test_statistics.py tests/view/test_browser.py \
	  tests/sweeps/test_on_ray.py tests/sweeps/test_on_slurm.py tests/host/test_actors.py

lint: lint-python  ## Format, lint and types, of Python and of the scripts of pages.
	@if command -v npx > /dev/null; then npx --yes --package typescript@5 tsc --project jsconfig.json; \
	  else echo "node is not installed: the scripts of pages are not type-checked"; fi

# Types need all that is imported, so what the tests of the outside install.
lint-python: .venv/.outside
	$(BIN)/ruff format --check seca tests benchmarks
	$(BIN)/ruff check seca tests benchmarks
	$(BIN)/pyrefly check

wheel: $(STAMP)  ## dist/seca-*.whl, without network.
	$(BIN)/python -m hatchling build -t wheel

lock:  ## Remake requirements.lock from pyproject.toml (needs uv).
	uv pip compile --universal pyproject.toml --extra dev --extra pettingzoo --extra gymnasium --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url -o requirements.lock

	uv pip compile --universal pyproject.toml --extra browser --extra ray --extra slurm --extra rliable \
	  --constraints requirements.lock --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  -o requirements-outside.lock

install: $(STAMP)

.venv/.outside: $(STAMP) requirements-outside.lock
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes \
	  -r requirements-outside.lock
	touch $@

# The stamp comes last, so that an installation cut short is taken up again.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("seca needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# Alone, lowest-direct takes a newer direct dependency where that allows a newer indirect one: hence the constraints.
RESOLUTION_lowest := lowest-direct --constraints .venv-lowest/bounds
RESOLUTION_newest := highest
.venv-%/.installed: pyproject.toml
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check uv
	grep -oE '"[A-Za-z-]+>=[0-9.]+"' pyproject.toml | tr -d '"' | sed 's/>=/==/' > .venv-$*/bounds
	.venv-$*/bin/uv pip install --python .venv-$*/bin/python --resolution $(RESOLUTION_$*) \
	  --editable '.[dev,pettingzoo,gymnasium]'
	touch $@

clean:
	rm -rf .venv .venv-lowest .venv-newest build dist .pytest_cache .ruff_cache
