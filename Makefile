.PHONY: install vot-env demo web docs test test-all lint types dead-code

install:
	@./install.sh

# The VOT toolkit, in an environment of its own: docs/vot.md.
vot-env:
	@./install_vot.sh

# Track a real video with the model that ships, then score it on drawn sequences.
demo: install
	@.venv/bin/python tracking/demo.py

# The pages of docs/ as a site, output/site/index.html.
docs: install
	@NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --quiet
	@echo "Open output/site/index.html; for its search: python3 -m http.server -d output/site"

# Track in your own video or camera in a browser; brings onnxruntime-web by npm the first time.
web: install
	@.venv/bin/python tracking/web.py

# Settings of all of these are in pyproject.toml.
pytest = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist worksteal

# What to run while working: all but the tests that are marked end_to_end.
test: lint types dead-code
	@$(pytest) -m "not end_to_end" $(coverage)

# Everything, and the coverage of it.
test-all: coverage = --cov --cov-report=
test-all: test
	@$(pytest) -m end_to_end --cov --cov-append --cov-report=term

lint: install
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types: install
	@.venv/bin/mypy

dead-code: install
	@.venv/bin/vulture
