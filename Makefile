# Everything a person types. `make` alone lists it.
#
# The tools live in .venv, made from PYTHON: by default the first Python of 3.11 or newer on this machine; for root the first one that other
# users can run too, because the tests then run as root and as a plain user.

DEMO ?= $(CURDIR)/.demo
SEEDS ?= 1000
KILLS ?= 500
ROWS ?=
BENCH ?=
SEED ?= 1
MIX ?= training

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell .ci/find-python)

.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-planner crash simulate lint format clean

help: ## this list
	@echo 'make TARGET, where TARGET is one of'; grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

# The scripts of the commands are copied by the installer, the package itself is used where it lies: only the first two make it stale.
$(VENV)/.installed: pyproject.toml hatch_build.py native/command.c $(wildcard scripts/*)
	@[ -n '$(PYTHON)' ] || { echo 'make: no Python of 3.11 or newer found; give one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@[ -x $(BIN)/python ] || { echo 'making $(VENV) with $(PYTHON)'; '$(PYTHON)' -m venv $(VENV) || { rm -rf $(VENV); \
		echo 'make: $(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)' >&2; exit 1; }; }
	@echo 'installing Penstock into $(VENV)'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable .
	@$(BIN)/python -m pip uninstall -qq --yes setuptools # its .pth file costs each start of Python, thus each command, 0.8 ms
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo 'installing what the tests need into $(VENV)'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: $(VENV)/.installed ## one machine, one cluster, the main job: a sweep on handwritten digits (examples/digits)
	@mkdir -p '$(DEMO)' && echo '*' > '$(DEMO)/.gitignore'
	@set -eu; \
	cpus=$$(nproc); [ $$cpus -ge 4 ] || cpus=4; \
	$(BIN)/penstock up --dir '$(DEMO)/cluster' --detach --cpus $$cpus; \
	eval "$$($(BIN)/penstock env --dir '$(DEMO)/cluster')"; \
	began=$$(date +%Y-%m-%dT%H:%M:%S); \
	echo; echo '== sinfo'; sinfo; \
	echo; echo '== examples/digits/run.sh'; PYTHON='$(CURDIR)/$(BIN)/python' examples/digits/run.sh; \
	echo; echo '== sacct'; sacct -S "$$began" --format=JobID%-14,JobName%-16,State,ExitCode,Elapsed,NCPUS,MaxRSS; \
	printf '%s\n' "" "The cluster is still up. In your shell:" \
	  "  eval \"\$$($(BIN)/penstock env --dir $(DEMO)/cluster)\"     puts sbatch, srun, squeue, ... on PATH for this cluster" \
	  "  sbatch --wrap 'hostname'; squeue; sacct                 what you know from Slurm" \
	  "  penstock status                                         its processes" \
	  "  ls examples/digits/results                              what the jobs wrote" \
	  "  penstock down --dir $(DEMO)/cluster                     stops it; nothing is forgotten, up brings it back"

test: $(VENV)/.installed-test ## everything that proves the project; what cannot run here is listed with the reason
	@.ci/suites '$(BIN)'

bench: $(VENV)/.installed ## the figures, beside a real Slurm where one is installed (ROWS=array1000,held8 BENCH='--json out.json')
	@$(BIN)/python benchmarks/run.py $(if $(ROWS),--rows $(ROWS)) $(BENCH)

bench-planner: $(VENV)/.installed ## the planner at 5,000 and 10,000 nodes with topology, and the memory of a pending job (SEED=1 MIX=training|held-out)
	@$(BIN)/python benchmarks/planner_scale.py --seed $(SEED) --mix $(MIX) && $(BIN)/python benchmarks/planner_memory.py

crash: $(VENV)/.installed-test ## the long crash proof: KILLS=500 random SIGKILLs under load
	@PENSTOCK_CRASH_KILLS=$(KILLS) $(BIN)/python -m pytest tests/e2e/test_crash.py -s

simulate: $(VENV)/.installed ## the seeded simulation of the whole system: SEEDS=1000
	@$(BIN)/python -m penstock.sim --seeds $(SEEDS)

lint: $(VENV)/.installed-test ## ruff, mypy, import-linter
	@.ci/suites '$(BIN)' lint

format: $(VENV)/.installed-test ## let ruff format the sources
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

clean: ## stops the demo's cluster, removes what was made here
	@[ ! -d '$(DEMO)/cluster' ] || $(BIN)/penstock down --dir '$(DEMO)/cluster' || true
	@rm -rf '$(DEMO)' $(VENV) examples/digits/results build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
