.PHONY: install demo test lint

install:
	@./install.sh

# Track a real video with the model that ships, then score it on drawn sequences.
demo: install
	@.venv/bin/python tracking/demo.py

test: install lint
	@.venv/bin/python -m pytest tests

lint: install
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
