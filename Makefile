# Regatta. `make` alone lists the targets. Every target that needs the environment makes it first, once, from the locks.
# Variables on the command line reach the commands' environment: make sweep REGATTA_DATA=/data MLFLOW_PORT=5001

CONFIG   := configs/sweeps/digits.yaml
TRIALS   :=
WORKERS  :=
EXECUTOR :=
LANES    :=
SET      :=
FRESH    :=
STUDY    := $(basename $(notdir $(CONFIG)))
SERVICES :=
TO       :=
FROM     :=
FORCE    :=
ARGS     :=

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help sweep train promote report trials reconcile sync ui predict up-local down-local status-local up down image backup restore \
	setup setup-ray test test-stack smoke soak bench bench-lanes bench-serving bench-gpu check lint types imports format schema lock clean clean-all

# A machine with a working NVIDIA GPU gets TensorFlow's CUDA build; the question costs a process only where a driver is.
DEVICE  := $(if $(wildcard /dev/nvidiactl /dev/dxg),$(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu),cpu)
RUNTIME := .venv/.runtime-$(DEVICE)
DEV     := .venv/.dev-$(DEVICE)
RAY     := .venv/.ray-$(DEVICE)
VENV_PY := .venv/bin/python
REGATTA := .venv/bin/regatta
# Any Python from 3.9 on will do, without an environment.
COMPOSED = $(or $(PYTHON),python3) -m services.compose
# The first Python that Regatta supports; `make PYTHON=…` overrides. Trying it is the only test: a shim may be empty.
PYTHON   = $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)

# one value may have spaces of its own; several are separated by spaces, and have none
SETTINGS = $(if $(filter 1,$(words $(foreach item,$(SET),$(findstring =,$(item))))),--set '$(SET)',\
	$(foreach item,$(SET),--set '$(item)'))
SWEEP_FLAGS = $(if $(TRIALS),--trials $(TRIALS)) $(if $(WORKERS),--workers $(WORKERS)) \
	$(if $(EXECUTOR),--executor $(EXECUTOR)) $(if $(LANES),--lanes $(LANES)) \
	$(SETTINGS) $(if $(FRESH),--fresh) $(ARGS)

# STUDY where somebody chose it, or a recipe; otherwise the command takes the newest
NAMED_STUDY = $(if $(findstring command,$(origin STUDY) $(origin CONFIG)),$(STUDY))

# 4: the champion kept its place, which is an answer and no error of make's
UNLESS_REFUSED = || { code=$$?; [ $$code -eq 4 ] || exit $$code; }

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# ------------------------------------------------------------------------------------------------------------- product
sweep: $(RUNTIME) $(if $(filter ray,$(EXECUTOR)),$(RAY))  ## run a sweep: CONFIG=configs/sweeps/digits.yaml TRIALS=n WORKERS=n EXECUTOR=processes LANES=n SET="path=value …" FRESH=1 ARGS=…
	@$(REGATTA) sweep $(CONFIG) $(SWEEP_FLAGS) $(UNLESS_REFUSED)

train: $(RUNTIME)  ## train one model: CONFIG=…, or a recorded run again: ARGS="--run RUN_ID"
	@$(REGATTA) train $(if $(findstring --run,$(ARGS)),,$(CONFIG)) $(SETTINGS) $(ARGS)

promote: $(RUNTIME)  ## judge the best trial of STUDY on the sealed test set and register it
	@$(REGATTA) promote $(STUDY) $(ARGS) $(UNLESS_REFUSED)

report: $(RUNTIME)  ## write the HTML report of STUDY
	@$(REGATTA) report $(STUDY) $(ARGS)

trials: $(RUNTIME)  ## list the trials of the newest study, or of STUDY, the best first (ARGS="--top 5", "--csv trials.csv", --json)
	@$(REGATTA) trials $(NAMED_STUDY) $(ARGS)

reconcile: $(RUNTIME)  ## compare all records and mend what a crash left (ARGS=--check only says what is off)
	@$(REGATTA) reconcile $(ARGS)

sync: $(RUNTIME)  ## send what the journals hold and MLflow has not got yet (ARGS=FOLDER for one from another machine)
	@$(REGATTA) sync $(ARGS)

ui: $(RUNTIME)  ## print the MLflow address of the newest sweep
	@$(REGATTA) ui $(ARGS)

predict: $(RUNTIME)  ## send a real sample to the served champion and print the answer (ARGS="--sample 7", "--model NAME --version 2", "--picture FILE" for another)
	@$(VENV_PY) -m services.model_server.ask $(ARGS)

# ------------------------------------------------------------------------------------------------------------ services
up-local: $(RUNTIME)  ## start MLflow and the model server on this machine, without containers (SERVICES=tracking_server for one)
	@$(VENV_PY) -m services.local up $(SERVICES) $(ARGS)

down-local: $(RUNTIME)  ## stop what up-local started
	@$(VENV_PY) -m services.local down $(SERVICES) $(ARGS)

status-local: $(RUNTIME)  ## say which local services run, and where
	@$(VENV_PY) -m services.local status $(SERVICES) $(ARGS)

up:  ## start PostgreSQL, MLflow and the model server in containers, and wait until they are healthy; makes .env
	@$(COMPOSED) up $(SERVICES) -- $(ARGS)

down:  ## stop the containers; their volumes stay
	@$(COMPOSED) down $(SERVICES) -- $(ARGS)

image:  ## make the image of sweeps, regatta/sweep, which EXECUTOR=docker and `docker compose run sweep` start
	@$(COMPOSED) build sweep -- $(ARGS)

backup: $(RUNTIME)  ## copy studies, databases, artifacts and models into one file, also while a sweep runs: TO=backups
	@$(VENV_PY) -m services.backup backup $(if $(TO),--to '$(TO)') $(ARGS)

restore: $(RUNTIME)  ## verify such a file and bring it back: FROM=file, FORCE=1 where something is there already
	@$(VENV_PY) -m services.backup restore '$(or $(FROM),$(error make restore FROM=backups/regatta-….tar.gz))' $(if $(FORCE),--force) $(ARGS)

# --------------------------------------------------------------------------------------------------------- development
setup: $(RUNTIME)  ## make the environment, and nothing else
	@:

setup-ray: $(RAY)  ## add Ray to the environment, for sweeps on a cluster (EXECUTOR=ray does it by itself)
	@:

test: $(DEV)  ## run the tests (ARGS="-k sweep" for some of them, ARGS="-m soak" for the long ones)
	@$(VENV_PY) -m pytest $(ARGS)

test-stack: $(DEV) $(RAY)  ## run the tests of the stack in containers, of docker and ray; starts an engine where it can (minutes)
	@$(VENV_PY) -m pytest -m stack --timeout 900 $(ARGS)

soak: $(DEV)  ## 200 random kills of workers, controllers and servers, with nothing lost (SOAK_KILLS=20 for fewer)
	@$(VENV_PY) -m pytest -m soak -s --timeout 0 $(ARGS)

bench: $(DEV)  ## measure what the controller and the record cost (ratios in one run)
	@$(VENV_PY) -m tests.benchmarks $(ARGS)

bench-lanes: $(DEV)  ## measure lanes against Model.fit, Optuna with MLflow, and autologging (ARGS="trainer", sweep, widths or quality for one part)
	@$(VENV_PY) -m tests.benchmarks lanes $(ARGS)

bench-serving: $(DEV)  ## measure the model server against mlflow models serve, a bare ASGI echo, and FastAPI with Keras
	@$(VENV_PY) -m tests.benchmarks serving $(ARGS)

bench-gpu: $(DEV)  ## measure this machine's GPU: lanes, precision, XLA, workers that share it, the sampler (ARGS="workers" for one part)
	@$(VENV_PY) -m tests.benchmarks gpu $(ARGS)

smoke: $(DEV)  ## run only the tests that start real servers, databases and browsers
	@$(VENV_PY) -m pytest -m end_to_end $(ARGS)

check: lint types imports test  ## lint, types, import floors, tests: what CI runs

lint: $(DEV)  ## ruff: rules and layout
	@$(VENV_PY) -m ruff check && $(VENV_PY) -m ruff format --check

types: $(DEV)  ## mypy, strict
	@$(VENV_PY) -m mypy

imports: $(DEV)  ## import-linter: the floors and doors of pyproject.toml
	@.venv/bin/lint-imports

format: $(DEV)  ## let ruff repair and lay out the code (the only target that edits files)
	@$(VENV_PY) -m ruff check --fix; $(VENV_PY) -m ruff format

schema: $(RUNTIME)  ## write configs/recipe.schema.json, from which editors complete and check recipes
	@$(REGATTA) schema configs/recipe.schema.json

lock: $(RUNTIME)  ## compile requirements/*.txt from pyproject.toml anew (ARGS=--upgrade for newest versions)
	@$(VENV_PY) requirements/lock.py $(ARGS)

clean:  ## stop local services and remove caches; results and the environment stay
	@if [ -x $(VENV_PY) ]; then $(VENV_PY) -m services.local down; fi
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build .regatta/models .regatta/data
	@find pipelines services tests requirements -name __pycache__ -prune -exec rm -rf {} +

clean-all: clean  ## clean, and remove .venv and everything under .regatta: studies, MLflow's records, models
	@rm -rf .venv .regatta regatta.egg-info

# --------------------------------------------------------------------------------------------------------- environment
.venv/.runtime-%: requirements/%.txt requirements/uv.txt requirements/install.py
	@$(call install,runtime,$*)

.venv/.ray-%: requirements/ray.txt .venv/.runtime-%
	@$(call install,ray,$*)

.venv/.dev-%: requirements/dev.txt .venv/.runtime-%
	@$(call install,dev,$*)

install = python="$(PYTHON)"; if [ -z "$$python" ]; then \
	echo "Regatta needs Python 3.11, 3.12 or 3.13, and found none ($$(python3 --version 2>&1 || true)). Install one, or name it: make PYTHON=/path/to/python3.12 …" >&2; exit 2; fi; \
	"$$python" requirements/install.py $(1) $(2)
