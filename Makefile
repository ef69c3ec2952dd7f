# Each target makes what it needs: `make up` and `make test` are all a fresh clone wants.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
SOURCES := gridmark.py kernels qualify scheduler server reports tests

.PHONY: up test lint bench bench-market gpu-test gpu-bench clean

up: $(INSTALLED)
	$(BIN)/gridmark up

test: $(INSTALLED)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pytest

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

# on a machine with an NVIDIA GPU (and cupy: pip install 'gridmark[cuda13]'); each ends with a table
gpu-test: $(INSTALLED)
	timeout 540 $(BIN)/pytest tests/gpu

# our figures beside torch's own on the same GPU
gpu-bench: $(INSTALLED)
	timeout 540 $(BIN)/python -m tests.gpu

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gridmark needs python3 >= 3.11, found $$($(PYTHON) --version); set PYTHON=..." >&2; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[node,server,containers,dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist gridmark-report.html
