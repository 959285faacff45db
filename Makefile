PYTHON ?= python3
PROFILE ?= laptop
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
NOTEBOOKS := notebooks/*.ipynb
# CPU=1: PyTorch's build for CPUs, from its own index, and nothing that only NVIDIA's cards need.
CPU ?=
TORCH := $(if $(CPU),--torch-backend=cpu --excludes requirements-cuda.txt)
# Nothing leaves the machine: no news, no check for updates, no list of extensions.
LAB := --KernelManager.transport_encryption=auto --LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.extension_manager=readonly --LabApp.app_settings_dir=diffusion_lib/showing/lab

.PHONY: help setup lab test lint mutants notebooks figures experiment site hosted bench lock clean
.DEFAULT_GOAL := help

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Make .venv from the lock (needs Python 3.11, 3.12 or 3.13); CPU=1: without CUDA (after make clean)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python 3.11, 3.12 or 3.13 is needed, but {sys.executable} is {v[0]}.{v[1]}. Choose another: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(TORCH) -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

lab: setup  ## Open the series in JupyterLab
	$(BIN)/jupyter trust $(NOTEBOOKS) > /dev/null
	$(BIN)/jupyter lab $(LAB) --LabApp.default_url=/lab/tree/notebooks/01_forward_process.ipynb

test: setup  ## Run every check: lint, types, tests, notebooks, browser
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: setup  ## Break the library on purpose and see that the tests notice (some minutes)
	$(BIN)/python scripts/mutants.py

notebooks: setup  ## Execute and save all notebooks (DIFFUSION_PROFILE=laptop)
	$(BIN)/python scripts/run_notebooks.py $(NOTEBOOKS)

figures: setup  ## Draw all figures, and fill in and print the reference write-up
	$(BIN)/python -m diffusion_lib figures
	$(BIN)/python scripts/write_up.py --pdf

experiment: setup  ## Train PROFILE (laptop, sprint, or full on a GPU), sample and judge; all of it lands in runs/PROFILE
	$(BIN)/python -m diffusion_lib train --profile $(PROFILE)
	$(BIN)/python scripts/ship_weights.py runs/$(PROFILE) runs/$(PROFILE)/shipped

site: setup  ## Build the reading site into _site; open _site/index.html, no network needed
	$(BIN)/python scripts/build_site.py _site

REPOSITORY ?=
TAG ?=
hosted:  ## Copies of the notebooks for Colab or Kaggle, in hosted/: REPOSITORY=address, TAG=version
	$(PYTHON) scripts/hosted.py --repository="$(REPOSITORY)" --tag="$(TAG)" hosted

bench: setup  ## Measure speed beside what people would use instead (10 minutes)
	$(BIN)/python benchmarks/bench.py

lock: setup  ## Resolve the dependencies again
	$(BIN)/uv pip compile pyproject.toml --extra test --extra site --universal --python-version 3.11 --upgrade --no-header --no-annotate --quiet -o requirements.lock

clean:  ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
