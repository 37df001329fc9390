# Everything here works on a fresh checkout with Python 3.11 or later and make.

PYTHON ?= python3
VENV := .venv
LOCK := requirements.lock
BIN := $(VENV)/bin
# Whole files, in the order of tests/conftest.py.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
SOURCES := $(shell find src blocks tasks flows -name "*.py" -o -name "*.toml")

.PHONY: demo test test-ui test-oldest test-prefect test-cluster test-runners test-dask-ray chaos chaos-waiting \
	sleepers simulate bench bench-growth bench-large bench-peers lint lock build clean
.DEFAULT_GOAL := demo

demo: $(VENV)/installed  ## a storyboard without a key: simulated provider, local bucket, local Prefect
	$(BIN)/prefect-media demo

test: $(VENV)/installed  ## the branch coverage of the core must not fall below the floor in pyproject.toml
	$(BIN)/pytest $(PARALLEL) --cov --cov-report=

test-ui: $(VENV)/installed  ## Prefect's pages in headless Chromium, which has to be there; renews docs/images
	TEST_UI=required TEST_UI_SCREENSHOTS=docs/images $(BIN)/pytest tests/ui

test-oldest:  ## the tests that need Prefect, on the oldest version that is supported
	$(MAKE) VENV=.venv-oldest LOCK=requirements-oldest.lock test-prefect

test-prefect: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) -m "prefect and not ui"

test-cluster: $(VENV)/installed  ## 60 flow runs on PostgreSQL and three workers, parts of which are lost: ten minutes or so
	$(BIN)/python tests/support/cluster.py --runs 60 --workers 3

RUNNERS := prefect-dask==0.3.7 prefect-ray==0.6.0 prefect-docker==0.7.4 prefect-kubernetes==0.8.0
ROWS := build/runners.jsonl

test-runners:  ## our tasks on every task runner, and container workers' own classes; writes the table of docs/scaling.md
	$(MAKE) VENV=.venv-runners .venv-runners/runners
	mkdir -p build && rm -f $(ROWS)
	TEST_RUNNERS_ROWS=$(ROWS) .venv-runners/bin/pytest tests/tasks/test_task_runners.py tests/flows/test_containers.py
	.venv-runners/bin/python tests/support/runner_table.py $(ROWS) docs/scaling.md

test-dask-ray:  ## the two task runners for which `make test` lacks a package
	$(MAKE) VENV=.venv-runners .venv-runners/runners
	.venv-runners/bin/pytest tests/tasks/test_task_runners.py -k "Dask or Ray"

$(VENV)/runners: $(VENV)/installed Makefile
	$(BIN)/pip install --quiet $(RUNNERS)
	touch $@

simulate: $(VENV)/installed  ## histories on virtual time with faults by dice, for fifteen minutes; the tests play one
	cd tests && ../$(BIN)/python -m simulation --seconds 600
	cd tests && ../$(BIN)/python -m simulation.sleeping --seconds 300

chaos: $(VENV)/installed  ## 200 random kills, minutes long; CI does 20
	$(BIN)/python tests/support/chaos.py --kills 200 --store folder
	$(BIN)/python tests/support/chaos.py --kills 200 --store s3

chaos-waiting: $(VENV)/installed  ## 20 kills at each step of falling asleep and waking, half an hour; CI does one each
	$(BIN)/python tests/support/chaos_waiting.py --kills 20 --store folder
	$(BIN)/python tests/support/chaos_waiting.py --kills 20 --store s3

sleepers: $(VENV)/installed  ## 40 flow runs asleep on a worker with room for two; then with wakers that are killed
	$(BIN)/python tests/support/sleepers.py --runs 40 --latency 180
	$(BIN)/python tests/support/sleepers.py --runs 40 --latency 180 --wakers 2 --kills 10

bench: $(VENV)/installed  ## the figures of docs/performance.md, half an hour; for a few minutes: benchmarks/suite.py --quick
	$(BIN)/python benchmarks/suite.py --write docs/performance.md

bench-growth: $(VENV)/installed  ## what grows with the ledger, on a bucket that takes 20 ms to answer; minutes
	$(BIN)/python benchmarks/growth.py --write docs/performance.md

bench-large: $(VENV)/installed  ## up to ten thousand videos in one flow; minutes
	$(BIN)/python benchmarks/large.py --write docs/performance.md

bench-peers: $(VENV)/installed .venv-peers/installed  ## the same work by SDK and boto3, and by LiteLLM; minutes
	$(BIN)/python benchmarks/peers.py --python .venv-peers/bin/python --write docs/performance.md

.venv-peers/installed:
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet litellm boto3
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

build: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation

COMPILE := uv pip compile --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header

lock:  # needs uv; the oldest Prefect runs with the newest of everything else
	$(COMPILE) pyproject.toml -o requirements.lock
	cp requirements.lock requirements-oldest.lock
	sed -n 's/^ *"prefect>=\([0-9.]*\).*/prefect==\1/p' pyproject.toml | \
		$(COMPILE) pyproject.toml - -o requirements-oldest.lock

clean:
	rm -rf $(VENV) .venv-oldest .venv-runners .venv-peers build dist *.egg-info

# The packages of the lock, each with its hash.
$(VENV)/locked: $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r $(LOCK)
	touch $@

# Ourselves, editable. Strict mode links every file by itself, so a new or removed file needs another installation:
# the list of files is kept, and is newer than the installation when it has changed.
$(VENV)/installed: $(VENV)/locked pyproject.toml $(VENV)/files
	rm -rf build/__editable__.*
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --config-settings editable_mode=strict -e .
	touch $@

$(VENV)/files: $(VENV)/locked FORCE
	@echo $(sort $(SOURCES)) | cmp -s - $@ || echo $(sort $(SOURCES)) > $@

FORCE:
