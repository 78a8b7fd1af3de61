# The project's commands. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
RUNS := .venv/.runs

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(RUNS) $@

# What runs, audits and reports need: half of all, without PyTorch.
$(RUNS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[report]'
	@touch $@

.PHONY: run
run: $(RUNS) ## set up if needed, then run the measurement run (ARGS="--seed 2" and so on)
	$(BIN)/python run_simulation.py $(ARGS)

.PHONY: test
test: $(READY) ## set up if needed, then run all tests but those of `make libraries`
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not libraries" $(ARGS)

.PHONY: libraries
libraries: $(READY) ## the tests of notebooks, of Ray, and of other libraries over the environment
	$(BIN)/python -m pytest -n 2 --dist worksteal -m libraries $(ARGS)

.PHONY: quick
quick: $(READY) ## the tests without the long ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not long and not libraries" $(ARGS)

.PHONY: lint
lint: $(READY) ## style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: base
base: ## the environment as an installation without any extra has it, in a virtual environment of its own
	$(PYTHON) -m venv --clear .venv-base
	.venv-base/bin/python -m pip install --quiet -c constraints.txt -e .
	.venv-base/bin/python -m tests.base

.PHONY: bench
bench: $(READY) ## measure speed, memory and scale, as ratios to floors measured in the same run
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: train
train: $(READY) ## train PPO in the default market (ARGS="--seed 6", "--learners 4", "--resume runs/train-5-0")
	$(BIN)/python -m runners.train $(ARGS)

.PHONY: card
card: $(READY) ## publish the best of some trainings with its model card: make card ARGS="runs/train-5-0 --out models/mine.zip"
	$(BIN)/python -m runners.card $(ARGS)

.PHONY: tune
tune: $(READY) ## tune the market maker that learned policies are compared with
	$(BIN)/python -m runners.tune $(ARGS)

.PHONY: evaluate
evaluate: $(READY) ## compare policies in one seat, paired by seed
	$(BIN)/python -m runners.evaluate $(ARGS)

.PHONY: experiment
experiment: $(RUNS) ## arms of a market over many seeds, paired: make experiment ARGS="--vary maker=8,4,0 --seeds 1..32"
	$(BIN)/python -m runners.experiment $(ARGS)

.PHONY: claims
claims: $(READY) ## decide the claims about this market anew, and write docs/claims.md
	$(BIN)/python -m runners.experiment claims --publish $(ARGS)

.PHONY: replay
replay: $(RUNS) ## audit a run against its own log: make replay ARGS=runs/seed-1-0
	$(BIN)/python -m runners.replay $(ARGS)

.PHONY: report
report: $(RUNS) ## write a run's report: make report ARGS="runs/seed-1-0 --html"
	$(BIN)/python -m runners.report $(ARGS)

.PHONY: facts
facts: $(RUNS) ## a run's statistics beside those of real markets: make facts ARGS=runs/seed-1-0
	$(BIN)/python -m runners.facts $(ARGS)

.PHONY: integrity
integrity: $(READY) ## audit full-size random runs and try mutations of a record
	$(BIN)/python -m benchmarks.integrity $(ARGS)

.PHONY: figures
figures: $(READY) ## measure the figures in the docs anew (ARGS="facts"), then: make docs
	$(BIN)/python -m benchmarks.kept $(ARGS)

.PHONY: docs
docs: $(READY) ## make the docs pages that are made from the code and from kept figures, and the README's picture
	$(BIN)/python -m runners.docs

.PHONY: clean
clean: ## remove the virtual environment and caches; runs stay
	rm -rf .venv .venv-base .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
