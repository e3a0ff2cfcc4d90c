# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TEST_ARGS ?=
sources := $(shell git ls-files cpp python cmake CMakeLists.txt pyproject.toml 2>/dev/null)

MCU_PACKAGES := qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi \
  qemu-system-misc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf clang lld

.PHONY: demo test test-extended test-mcu lint types stubs docs notebooks asan fuzz test-aarch64 test-avx512 wheel sdist clean help

help:  ## what there is
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'

# The package is built apart from its installation, so that .ci/run builds it while it fetches the test tools.
build/wheel/.built: $(BIN)/python $(sources)
	rm -rf $(@D)
	$(PIP) wheel --quiet --no-deps -w $(@D) .
	@touch $@

$(VENV)/.installed: build/wheel/.built
	$(PIP) uninstall --quiet --yes tersor
	$(PIP) install --quiet $(<D)/*.whl
	@touch $@

# torch first, by its pin: what depends on it then takes that build.
$(VENV)/.test-tools: $(BIN)/python constraints.txt pyproject.toml
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt --group test
	@touch $@

$(VENV)/.docs-tools: $(BIN)/python pyproject.toml
	$(PIP) install --quiet --group docs
	@touch $@

demo: $(VENV)/.installed  ## compress the embedded network for three targets and measure it
	$(BIN)/tersor demo

test: $(VENV)/.test-tools $(VENV)/.installed  ## the suite
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not extended" $(TEST_ARGS)

test-extended: $(VENV)/.test-tools $(VENV)/.installed  ## the tests that take minutes each
	$(BIN)/python -m pytest -m extended $(TEST_ARGS)

test-mcu: $(VENV)/.test-tools $(VENV)/.installed  ## generated C on emulated microcontrollers; installs what is missing (Debian)
	@for tool in qemu-system-arm arm-none-eabi-gcc qemu-system-riscv32 riscv64-unknown-elf-gcc clang wasm-ld; do \
	  command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
	  sudo=$$(command -v sudo || true); $$sudo apt-get update -qq && \
	  $$sudo apt-get install -y -qq $(MCU_PACKAGES); fi
	$(BIN)/python -m pytest tests/codegen $(TEST_ARGS)

lint: $(VENV)/.test-tools  ## ruff and clang-format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	git ls-files 'cpp/*.h' 'cpp/*.cpp' | xargs $(BIN)/clang-format --dry-run --Werror

types: $(VENV)/.test-tools $(VENV)/.installed  ## mypy --strict
	$(BIN)/mypy

stubs: $(VENV)/.test-tools $(VENV)/.installed  ## type stubs of the extension, from its signatures
	$(BIN)/python tests/bindings/write_stubs.py

notebooks: $(VENV)/.test-tools $(VENV)/.installed  ## every notebook from top to bottom
	$(BIN)/python -m pytest tests/notebooks $(TEST_ARGS)

docs: $(VENV)/.docs-tools $(VENV)/.installed  ## the documentation site, into build/site-docs
	$(BIN)/mkdocs build --strict

asan:  ## C++ and kernel tests under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/sanitizers/run_asan.sh

fuzz:  ## libFuzzer on the readers of files and coded streams, for a minute
	tests/sanitizers/run_fuzz.sh

test-aarch64:  ## C++ tests, cross-compiled, under qemu-aarch64
	tests/cross/run_aarch64.sh

test-avx512: $(VENV)/.test-tools $(VENV)/.installed  ## kernel tests on an emulated processor with AVX-512 and VNNI
	PYTHON=$(BIN)/python tests/cross/run_avx512.sh

wheel: $(BIN)/python  ## a wheel for this machine, into dist/
	$(PIP) wheel --no-deps -w dist .

sdist: $(BIN)/python  ## a source distribution, into dist/
	$(PIP) install --quiet build && $(BIN)/python -m build --sdist

clean:
	rm -rf build dist $(VENV)
