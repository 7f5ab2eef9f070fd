# Everything from nothing but Python >= 3.11 and make.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .venv/bin/uv

.PHONY: setup demo test lint bench bench-full clean
.DEFAULT_GOAL := setup

setup: .venv/.synced

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"

.venv/.synced: $(UV) pyproject.toml uv.lock
	$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

demo: setup
	.venv/bin/coinglass-streams demo

PYTEST := .venv/bin/python -m pytest

# Fast tests first: a broken core is known before a broker has started. Then, in three processes, each with a Kafka of
# its own, what waits much of its time; by file, as a file's tests share what it starts. Last and alone what compares
# times, and the browser. Plain pytest runs the same tests, one after the other.
test: setup
	$(PYTEST) -n 2 -m "not speed" tests/unit tests/property
	$(PYTEST) -n 3 --dist loadfile -m "not speed" tests/integration
	$(PYTEST) -m speed tests/unit tests/integration
	$(PYTEST) tests/browser

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --verbose

BENCH := build/benchmarks
SIDE_BY_SIDE := $(UV) run --quiet tests/benchmarks/side_by_side/side_by_side.py --json $(BENCH)/side_by_side.json
BARE_AND_OURS := ours-1w bare-loop
# The first is what the table's ratios refer to. These need mvn and a JDK 17; leave out what you have not.
PEERS ?= kafka-streams-eos kafka-streams-eos-2t flink-sql-eos flink-sql-eos-2t quix-eos bytewax

# Whether something is badly off, in a minute. For figures to quote: bench-full, on a quiet machine.
bench: setup
	.venv/bin/python -m tests.benchmarks.micro --json $(BENCH)/micro.json
	.venv/bin/python -m tests.benchmarks.growth --json $(BENCH)/growth.json
	$(SIDE_BY_SIDE) --frames 200000 $(BARE_AND_OURS)

# All of it, and the figures in docs. Its 50 million frames need 15 GB of disk.
bench-full: setup
	.venv/bin/python -m tests.benchmarks.micro --rounds 15 --json $(BENCH)/micro.json
	.venv/bin/python -m tests.benchmarks.growth --rounds 7 --json $(BENCH)/growth.json
	.venv/bin/python -m tests.benchmarks.growth --worker --full --json $(BENCH)/growth_worker.json
	.venv/bin/python -m tests.benchmarks.latency --kafka-streams --json $(BENCH)/latency.json
	.venv/bin/python -m tests.benchmarks.replay --json $(BENCH)/replay.json
	.venv/bin/python -m tests.benchmarks.web --json $(BENCH)/web.json
	$(SIDE_BY_SIDE) --frames 1000000 --rounds 5 $(PEERS) ours $(BARE_AND_OURS)
	$(UV) run --quiet tests/benchmarks/charts.py

clean:
	rm -rf .venv build dist
