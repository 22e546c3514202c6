# make run    the whole experiment on the embedded mini web, offline, on CPU
# make teach  the model of `make run` learns a class by its name (docs/teach.md)
# make story  the paper's ablation on three seeds
# make methods every method on 15-5 and 15-1, over an hour
# make test   every test but those of a cluster
# make test-slurm   the cluster's, on a Slurm started for them; installs its Debian packages once (root)
# make cost   what the jobs of an experiment cost: make cost EXPERIMENT=experiments/mini_story.yaml
# make lint   ruff and mypy
# make clean  what the embedded experiments drew and computed; lists it; a user's data, crawls and results stay
# make distclean  data/, results/, logs/ and .snakemake/ whole, after asking

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := envs/main.lock.txt
READY  := $(VENV)/.ready
CORES  ?= 2
SLURM_LIMIT ?= 1500
SMK    := $(BIN)/python -m pipeline.runtime.lock .snakemake/run.lock \
          snakemake --nolock --cores $(CORES) --workflow-profile profiles/default --logger webseg

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

.PHONY: help distclean run teach story methods cost test test-slurm lint format clean

run: $(READY)
	$(SMK)

# The photographs are drawn with a seed of their own: the model has seen none of them.
teach: $(READY)
	@test -f results/mini/base/bce/seed0/model.safetensors || { echo "run \`make run\` first: it trains the model"; exit 2; }
	$(BIN)/python -m pipeline.miniweb minivoc --settings '{"datasets":{"root":"data/photos","minivoc_seed":8,"minivoc_train":280,"minivoc_val":20}}'
	$(BIN)/python -m pipeline teach sheep --model results/mini/base/bce/seed0 --like data/photos/JPEGImages \
	  --check data/minivoc --out results/teach --config experiments/presets/mini_web.yaml --cores $(CORES)

story: $(READY)
	$(SMK) --configfile experiments/mini_story.yaml

methods: $(READY)
	$(SMK) --configfile experiments/mini_methods.yaml
	@$(BIN)/python -m pipeline.eval compare --steps 1 --config config.yaml --config experiments/mini_methods.yaml

test: $(READY)
	$(BIN)/pytest --ignore=tests/slurm --cov=pipeline --cov-report=term --cov-fail-under=85

# `timeout` is for a machine on which something hangs; whatever ends pytest, a guard stops the daemons and jobs.
test-slurm: $(READY)
	@if tests/slurm/install.sh; then timeout --foreground -k 60 $(SLURM_LIMIT) $(BIN)/pytest tests/slurm --durations=5; fi

cost: $(READY)
	@$(BIN)/python -m pipeline.eval.cost_summary --config config.yaml $(if $(EXPERIMENT),--config $(EXPERIMENT))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pipeline

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: $(READY)
	@$(BIN)/python -m pipeline.experiments clean

distclean: $(READY)
	@$(BIN)/python -m pipeline.experiments clean --everything

$(READY): $(LOCK) envs/install.sh
	@envs/install.sh $(VENV) $(LOCK) $(PYTHON)
