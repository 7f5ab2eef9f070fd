# Everything from nothing but Python >= 3.11 and make.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venv/bin/uv

.PHONY: setup demo test lint clean
.DEFAULT_GOAL := setup

setup: .venv/.synced

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.synced: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --quiet
	@touch $@

demo: setup
	.venv/bin/coinglass-streams demo

# Fast tests first: a broken core is known before a broker has started.
test: setup
	.venv/bin/python -m pytest tests/unit tests/property tests/integration

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --verbose

clean:
	rm -rf .venv build dist
