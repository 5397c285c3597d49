# install, demo, test, check, stress, lint, clean: each can be repeated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Overrides of the demo's commands: make demo DEMO="data.train_samples=2500"
DEMO :=
INSTALLED := $(VENV)/.installed

.PHONY: install demo test check stress lint clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not found; give make PYTHON=python3.12, say" >&2; exit 1; }
	@$(PYTHON) scripts/check_install.py
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python scripts/check_install.py --network
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/python -m hpml.train -m experiment=demo optimizer=sgd,nesterov,adam $(DEMO)
	$(BIN)/python scripts/demo.py $(DEMO)

test: lint
	$(BIN)/python -m pytest

check: test
	$(BIN)/python -m pytest -m "slow and not stress"

lint: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

stress: install
	$(BIN)/python -m pytest -m stress --timeout 1800 -n 0

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
