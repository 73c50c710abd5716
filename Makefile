# GNU make. `make help` lists the commands; each does its own set-up in .venv first.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# gcc's sanitizers, each in an environment and a build folder of its own.
SANITIZE_asan := address,undefined
SANITIZE_tsan := thread
SANITIZED := .venv-asan .venv-tsan

# Documents whose examples are tested.
PAGES := $(wildcard docs/*.md docs/how_to/*.md)

# Tests of what users call, run again under each of the other backends.
ESTIMATOR_TESTS := tests/test_neuron.py tests/test_train.py tests/test_network.py tests/test_estimator_checks.py

SOURCES := setup.py pyproject.toml README.md $(shell find src ext -type f \
	\( -name '*.py' -o -name '*.p[yx][xid]' -o -name '*.h' \) ! -name build_info.py)

.PHONY: help demo test test-long bench results docs-tables check-perf renew-floors docs asan tsan portability lint clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    train a sigmoid neuron on real data and print the result'
	@echo 'make test    run all tests, with each backend'
	@echo 'make test-long    try for hours to break what docs/promises.md promises'
	@echo 'make bench   time the kernels and the peers that are installed'
	@echo 'make results      measure all studies (STUDIES=... for some, SECONDS=7200), write the tables'
	@echo 'make docs-tables  write the tables of README and docs from the recorded results'
	@echo 'make docs    build the pages with the gallery of examples into docs/_build/html'
	@echo 'make check-perf    fail where something has become slower (GATE=... for its options)'
	@echo 'make renew-floors REASON=...    record floors measured here'
	@echo 'make asan    run the tests of the compiled kernels under sanitizers of gcc'
	@echo 'make tsan    run jobs of several threads under gcc'"'"'s sanitizer of threads'
	@echo 'make portability    compile the kernels for other compilers, processors and systems'
	@echo 'make lint    ruff, mypy, cython-lint, and the workflows against their schema'
	@echo 'make clean   remove .venv and what builds and tools leave behind'
	@echo 'PYTHON=...   the Python that makes .venv (now: $(PYTHON); 3.11 or newer)'

demo: $(VENV)/cli.stamp
	$(VENV)/bin/schuss train

test: $(VENV)/test.stamp
	SCHUSS_REQUIRE_EXT=1 $(PY) -m pytest -q -n 2 --dist loadgroup --doctest-glob='*.md' --pyargs tests/ schuss README.md $(PAGES)
	SCHUSS_BACKEND=numba $(PY) -m pytest -q -n 2 --dist loadgroup $(ESTIMATOR_TESTS)
	SCHUSS_BACKEND=numpy $(PY) -m pytest -q -n 2 --dist loadgroup $(ESTIMATOR_TESTS)

# SECONDS_PER_TARGET of each target of the fuzzer.
SECONDS_PER_TARGET ?= 1200
test-long: $(VENV)/test.stamp
	SCHUSS_LONG_TESTS=1 SCHUSS_EXAMPLES=10000 $(PY) -m pytest -q -n 2 --dist loadgroup \
	  tests/test_properties.py tests/test_dask.py tests/conformance/test_large.py
	$(PY) -m tests.kills --kills 200
	$(PY) -m pip install --quiet atheris
	for target in checkpoint expression model table; do \
	  $(PY) -m tests.fuzz $$target --runs 100000000 --seconds $(SECONDS_PER_TARGET) || exit 1; done
	$(PY) tests/interrupts.py
	$(PY) tests/network_stress.py --fits 100000
	$(PY) -m tests.stress_threads

bench: $(VENV)/bench.stamp
	$(VENV)/bin/schuss bench

# Every study of bench/, recorded in bench/results, with as many rounds as fit into SECONDS.
# STUDIES="epochs sgd" for some.
SECONDS ?= 7200
results: $(VENV)/bench.stamp
	$(PY) -m bench $(STUDIES) --seconds $(SECONDS)
	$(PY) -m bench tables

docs-tables: $(VENV)/bench.stamp
	$(PY) -m bench tables

docs: $(VENV)/docs.stamp
	$(PY) -m sphinx -W --keep-going -b html docs docs/_build/html

check-perf: $(VENV)/test.stamp
	$(PY) -m schuss.bench.gate --seconds 280 $(GATE)

renew-floors: $(VENV)/test.stamp
	$(PY) -m schuss.bench.gate floors --renew "$(REASON)"

# Python's own allocator would hand out memory from pools, where no overrun shows.
asan: .venv-asan/sanitized.stamp
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  PYTHONMALLOC=malloc SCHUSS_REQUIRE_EXT=1 \
	  $(<D)/bin/python -m pytest -q -n 2 --capture=sys -k cython -m 'not slow' tests/conformance

# Other packages' threads are not compiled with the sanitizer: there shall be none.
tsan: .venv-tsan/sanitized.stamp
	LD_PRELOAD="$$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS=halt_on_error=1 \
	  OPENBLAS_NUM_THREADS=1 SCHUSS_REQUIRE_EXT=1 \
	  $(<D)/bin/python -m pytest -q --capture=sys -k 'thread and not fork' \
	  tests/conformance tests/test_threads.py

portability: $(VENV)/test.stamp
	$(PY) tests/portability.py

lint: $(VENV)/dev.stamp
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint ext
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

clean:
	rm -rf docs/_build docs/command_line.md docs/gallery docs/sg_execution_times.rst
	rm -rf $(VENV) $(SANITIZED) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .benchmarks
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f src/schuss/_ext/build_info.py src/schuss/_ext/*/*.so ext/*.c ext/*.html

# The tests and benchmarks are worth nothing without the kernels; the demo runs without.
$(VENV)/test.stamp $(VENV)/bench.stamp $(VENV)/dev.stamp $(VENV)/docs.stamp: export SCHUSS_REQUIRE_EXT := 1

# Installed from a wheel, so that what is tested is what users get. Modules of earlier
# builds are removed first: setuptools would pack those that the sources no longer have.
$(VENV)/%.stamp: $(VENV)/made.stamp $(SOURCES)
	@echo 'Building schuss and installing what "$*" needs into $(VENV) (one to three minutes) ...'
	@if [ -d build ]; then find build -path 'build/lib*' -name '*.py' -delete; fi
	@$(PY) -m pip install --quiet '.[$*]'
	@touch $@

.venv-%/sanitized.stamp: .venv-%/made.stamp $(SOURCES)
	@echo 'Building schuss with -fsanitize=$(SANITIZE_$*) into $(@D) (two to five minutes) ...'
	@rm -rf $(@D)/build
	@printf '[build]\nbuild_base = $(@D)/build\n' > $(@D)/build.cfg
	@CC=gcc CFLAGS='-fsanitize=$(SANITIZE_$*) -fno-omit-frame-pointer -g' \
	  DIST_EXTRA_CONFIG='$(CURDIR)/$(@D)/build.cfg' \
	  SCHUSS_REQUIRE_EXT=1 $(@D)/bin/python -m pip install --quiet '.[test]'
	@touch $@

$(VENV)/made.stamp $(SANITIZED:=/made.stamp):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'schuss needs Python 3.11 or newer, but "$(PYTHON)" is' \
	    "$$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version || echo missing)." \
	    'Name another: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(@D) || { \
	  rm -rf $(@D); \
	  echo '"$(PYTHON) -m venv" failed. On Debian and Ubuntu its second half is a package' \
	    'of its own: apt install python3-venv. Then run make $(MAKECMDGOALS) again.' >&2; exit 1; }
	@touch $@
