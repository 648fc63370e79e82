# Every habit of the project has a target here; `make` alone lists them.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
SOURCES := ckernels runtime fl edge_agent cloud_broker walle_cli.py walle_demo.py
.DEFAULT_GOAL := help
.PHONY: help run test install build check fix conformance test-c fuzz bench bench-arm bench-peers demo-models golden size arm-test system-deps clean venv-version

help: ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## the demo: a broker, a server and three boards on this machine (Ctrl-C ends it)
	$(VENV)/bin/walle demo

test: build ## every test; system packages that are missing are named and their tests skipped
	$(RUN) -m pytest $(ARGS)

install: $(STAMP) ## make the virtual environment (PYTHON=python3.13 chooses the interpreter)

# Made again when pyproject.toml changes or another PYTHON is asked for.
$(STAMP): pyproject.toml | venv-version
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": choose one with PYTHON=") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "this Python lacks venv: make system-deps"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --quiet --editable '.[cloud,bench,dev]'
	@$(PYTHON) -c 'import sys; print(sys.version)' > $(VENV)/.version
	@touch $@

venv-version:
	@if [ -e $(STAMP) ] && [ '$(origin PYTHON)' != file ] && ! $(PYTHON) -c 'import sys; print(sys.version)' | cmp -s - $(VENV)/.version; then rm -f $(STAMP); fi

build: install ## compile the C kernels (again only when their sources changed)
	@$(RUN) -m ckernels.build > /dev/null

check: build ## format, lint, types, import ladder, C warnings, version against changelog
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(SOURCES)
	$(RUN) -m pytest -q tests/test_import_ladder.py tests/test_project.py

fix: install ## format and mend what ruff can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

conformance: build ## every operator as generated models against TFLite's reference kernels or onnxruntime
	$(RUN) -m tests.conformance

test-c: install ## the C kernels under AddressSanitizer and UndefinedBehaviorSanitizer
	$(RUN) -m ckernels.sanitized

arm-test: build ## the C kernels as ARM code under an emulator: Cortex-A53, A72, A76
	$(RUN) -m pytest -m arm $(ARGS)

bench: build ## latency of the shared models against the TFLite interpreter, interleaved, as ratios
	$(VENV)/bin/walle bench

bench-arm: build ## what the kernels cost on ARM by models of the cores: cycles of loops, instructions of inferences
	$(RUN) -m tests.arm_cost $(ARGS)

bench-peers: build ## one interleaved run against the peers' wheels; MODELS= PEERS= THREADS= choose, ARGS=--write keeps the tables
	$(RUN) -m tests.bench_peers $(if $(MODELS),--models $(MODELS)) $(if $(PEERS),--peers $(PEERS)) $(if $(THREADS),--threads $(THREADS)) $(ARGS)

demo-models: build ## train the demo's models again, print their accuracy
	$(RUN) specs/models/train.py

golden: build ## rewrite the expected files of golden tests; look at the diff before committing
	WALLE_GOLDEN=1 $(RUN) -m pytest -q tests/edge_agent
	@git diff --stat

fuzz: build ## every parser and the kernels, guided by coverage, for FUZZ_SECONDS each (default 60)
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(RUN) -m tests.fuzz
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(RUN) -m tests.fuzz_kernels

size: ## lines per package
	@for package in ckernels runtime fl edge_agent cloud_broker tests; do \
	  printf '%-14s %6d\n' $$package $$(git ls-files $$package | grep -E '\.(py|c|h|inc)$$' | xargs cat | wc -l); done

SYSTEM_PACKAGES := build-essential python3-dev python3-venv mosquitto chromium tmux qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross llvm-19 clang libclang-rt-dev
system-deps: ## Debian packages that some tests need: a broker, a browser, a terminal, an ARM emulator, compiler and analyser, clang for its fuzzer
	$(if $(filter 0,$(shell id -u)),,sudo) sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(SYSTEM_PACKAGES)'

clean: ## remove everything that was built
	rm -rf $(VENV) build *.egg-info ckernels/_ckernels*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
