# Each target makes what it needs: `make up` and `make test` are all a fresh clone wants.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
SOURCES := gridmark.py kernels qualify scheduler server reports tests
# where this is set, as container images like to, each of the thousand interpreters that tests start compiles all anew
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest

.PHONY: up test lint bench bench-market bench-proof bench-scale bench-replay bench-decisions soak gpu-test gpu-bench gpu-bench-repeat gpu-bench-profiles gpu-bench-search clean

up: $(INSTALLED)
	$(BIN)/gridmark up

test: $(INSTALLED)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(PYTEST) --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder -m 'not alone'
	$(PYTEST) -m alone

lint: $(INSTALLED)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/mypy

# side by side with C, torch, numpy and iperf3 on this machine; writes reports/samples/bench-cpu.json
bench: $(INSTALLED)
	$(BIN)/python -m tests.bench

# how fast the market is; writes reports/samples/bench-market.json
bench-market: $(INSTALLED)
	$(BIN)/python -m tests.bench.market

# what a proof costs node and server, and how often a cheat is caught; writes reports/samples/bench-proof.json
bench-proof: $(INSTALLED)
	$(BIN)/python -m tests.bench.proof

# a market of 10,000 and 100,000 nodes: placements, offers, agents, a crash; SCALE="--only place-10k" for a part
bench-scale: $(INSTALLED)
	$(BIN)/python -m tests.bench.scale $(SCALE)

# decisions a second of the placement alone, without a disk
bench-replay: $(INSTALLED)
	$(BIN)/python -m tests.bench.replay

# random histories, a writer killed at every statement, real agents and cut links; SOAK=... for more of each
soak: $(INSTALLED)
	$(BIN)/python -m tests.soak $(SOAK)

# 10,000 simulated runs of a GPU each with and without a fault, judged by the real rules: 5 minutes
bench-decisions: $(INSTALLED)
	$(BIN)/python -m tests.bench.decisions

# on a machine with an NVIDIA GPU, its driver and cupy (pip install 'gridmark[cuda13]'), for the comparisons nvcc too;
# each stays below nine minutes, ends with a table, and without a GPU exits with 3 (the tests: skip) and a reason
gpu-test: $(INSTALLED)
	timeout 540 $(BIN)/pytest tests/gpu

# our figures beside torch's own and programs like BabelStream, nvbandwidth, nccl-tests (tests/gpu/peers), then a quick
# report; writes reports/samples/<gpu>.json, .html and bench-<gpu>.json
gpu-bench: $(INSTALLED)
	timeout 540 $(BIN)/python -m tests.gpu.bench

# how figures repeat over 20 runs of the command (RUNS=n)
RUNS ?= 20
gpu-bench-repeat: $(INSTALLED)
	timeout 540 $(BIN)/python -m tests.gpu.bench.repeat --runs $(RUNS)

# the whole quick and standard profiles against their time; keeps the standard report as reports/samples/<gpu>.json
gpu-bench-profiles: $(INSTALLED)
	timeout 540 $(BIN)/python -m tests.gpu.bench.profiles

# our choice of shapes beside an exhaustive search of seven minutes, all precisions together
gpu-bench-search: $(INSTALLED)
	timeout 540 $(BIN)/python -m tests.gpu.bench --search 420

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gridmark needs python3 >= 3.11, found $$($(PYTHON) --version); set PYTHON=..." >&2; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[node,server,containers,dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist gridmark-report.html
