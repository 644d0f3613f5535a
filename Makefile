PYTHON ?= python3
PIP_INSTALL = .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt
PYTEST = .venv/bin/python -m pytest --numprocesses 3 --dist worksteal
TSC = tests/node/node_modules/.bin/tsc
REQUIREMENTS = .venv/bin/python setup.cfg pyproject.toml .ci/constraints.txt

.PHONY: help run test lint format bench bench-quick clean
.NOTPARALLEL:

help:
	@echo 'make run     import the demo recording and serve it'
	@echo 'make test    run the tests, three at a time, on SQLite and on what else runs here: PostgreSQL, MariaDB'
	@echo 'make lint    check the code: ruff, mypy and tsc'
	@echo 'make format  lay the code out anew'
	@echo 'make bench   measure how fast it is, in half an hour, into bench/results; bench-quick: in two minutes, for CI'
	@echo 'make clean   remove what make has made; ./data stays'

run: .venv/package
	.venv/bin/replay-share import --public share/demo/marshmallow-1867.traj
	exec .venv/bin/replay-share serve

test: .venv/test tests/node/node_modules
	$(PYTEST) --cov --cov-report=term
	@for database in postgresql mysql; do \
	if .venv/bin/python -m tests.any_database $$database; then \
	echo "The tests on $$database:"; $(PYTEST) -m 'not once' --database $$database || exit 1; \
	else echo "The tests were not run on $$database"; test -z "$$REPLAY_SHARE_CI" || exit 1; fi; done

lint: .venv/dev tests/node/node_modules
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	@if test -e $(TSC); then set -x; $(TSC) --project tests/node; \
	else echo 'npm is not installed: the types of the JavaScript were not checked'; test -z "$$REPLAY_SHARE_CI"; fi

format: .venv/dev
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

# Only for when nothing else runs: two cores are used whole.
bench: .venv/bench bench/peers/node/node_modules
	.venv/bin/python -m bench

bench-quick: .venv/bench bench/peers/node/node_modules
	.venv/bin/python -m bench --quick

clean:
	rm -rf .venv build dist *.egg-info tests/node/node_modules bench/peers/node/node_modules screenshots
	rm -rf .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './data/*' -prune -exec rm -rf {} +

# The syntax is old so that an old Python gets as far as the message. Without ensurepip, venv leaves half of one behind.
define CHECK_PYTHON
import sys
if sys.version_info < (3, 11):
    sys.exit("Replay Share needs Python 3.11 or newer, and $(PYTHON) is %d.%d: make PYTHON=..." % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError:
    sys.exit("$(PYTHON) can't make a virtual environment with pip: on Debian and Ubuntu, install python3-venv")
endef
export CHECK_PYTHON

.venv/bin/python:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	$(PYTHON) -m venv .venv

.venv/package: $(REQUIREMENTS)
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/test .venv/dev .venv/bench: .venv/%: $(REQUIREMENTS)
	$(PIP_INSTALL) --editable '.[$*]'
	@touch $@

# Without npm there is none, and what can't be done for want of it says so.
%/node/node_modules: %/node/package-lock.json
	@if command -v npm >/dev/null; then npm ci --prefix $*/node --ignore-scripts --no-audit --no-fund && touch $@; fi
