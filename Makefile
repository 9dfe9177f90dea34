# What a newcomer needs, by the name one would guess. `make` alone shows the list.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := .local/tools
LOCKS := requirements requirements-dev requirements-tools
SBOM := .local/sbom.json
ARGS ?=

# Python settings of the calling shell do not count.
unexport PYTHON PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONWARNINGS VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help run demo upstreams sdk setup test lint format contract fuzz snapshots docs clean bench profile soak scale package connector sbom lock audit smoke

help: ## Show this list
	@sed -n -e 's/^##@ \(.*\)/#\1/p' -e 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1#\2/p' Makefile | \
		while IFS='#' read -r target text; do if [ -n "$$target" ]; then printf '%-16s %s\n' "$$target" "$$text"; else printf '\n%s\n' "$$text"; fi; done

##@ Try it

run: $(READY) ## Start the whole stack on this machine, show a short tour, keep serving
	@exec $(BIN)/python -m infra.local run $(ARGS)

demo: $(READY) ## Show the tour alone; succeeds only if every answer was as promised
	@exec $(BIN)/python -m infra.local demo $(ARGS)

upstreams: $(READY) ## Start the Entra and Graph simulators and the console alone, for func start
	@exec $(BIN)/python -m infra.local upstreams

sdk: $(READY) ## Drive the simulators with azure-identity and msgraph-sdk, which are installed for it (400 MB, needs a network)
	@GRAPH_SDK=1 $(BIN)/python -m pytest tests/infra/test_graph_sdk.py $(ARGS)

##@ Develop

setup: $(READY) ## Create .venv and install what is needed; the other targets do it by themselves

test: $(READY) ## Run the tests, e.g. make test ARGS="tests/unit -k caller"
	@exec $(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

lint: $(READY) ## Check style, layout and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## Format the code, and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

contract: $(READY) ## Record real answers and write the published documents from them and from the models
	@$(BIN)/python -m infra.contract

fuzz: $(READY) ## Drive the running service from its documents, thousands of requests each; ARGS="--cases 10000" for more
	@exec $(BIN)/python -m tests.contract.fuzzing $(ARGS)

snapshots: $(READY) ## Evaluate the deployment template again, into infra/snapshots (needs Microsoft's bicep on PATH)
	@$(BIN)/python -m scripts.snapshots

docs: $(READY) ## Build the pages that document the API into .local/docs, to be published
	@$(BIN)/python -m infra.local.console.docs .local/docs

clean: ## Remove what the other targets made
	@rm -rf $(VENV) .local .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

##@ Measure

bench: $(READY) ## Compare the cost of a cancel with that of simpler programs; ARGS="warm_call --json" for a part
	@exec $(BIN)/python -m tests.benchmarks $(ARGS)

profile: $(READY) ## Show where the CPU of a warm call goes, step by step
	@exec $(BIN)/python -m tests.benchmarks.profiling $(ARGS)

soak: $(READY) ## Send 100,000 requests with faults, check each answer, watch the memory; ARGS="--requests 10000" for less
	@exec $(BIN)/python -m tests.benchmarks.soak $(ARGS)

scale: $(READY) ## Compute what a load needs, which limit it meets first, what it costs; ARGS=--assumptions lists the assumptions
	@exec $(BIN)/python -m tests.benchmarks.scale $(ARGS)

##@ Ship

package: $(READY) ## Build the deployment package; ARGS=--vendored puts the dependencies in (needs a network)
	@$(BIN)/python -m scripts.package $(ARGS)

connector: $(READY) ## Fill in the Power Platform connector's files: infra/connector/readme.md says with what
	@exec $(BIN)/python -m infra.connector.package --host="$(HOST)" --tenant="$(TENANT)" \
		--api-client-id="$(API_CLIENT_ID)" --connector-client-id="$(CONNECTOR_CLIENT_ID)" \
		--website="$(WEBSITE)" --privacy-policy="$(PRIVACY_POLICY)" \
		--contact-name="$(CONTACT_NAME)" --contact-email="$(CONTACT_EMAIL)"

sbom: $(READY) ## Write the software bill of materials of what is deployed (CycloneDX), from the locked requirements
	@mkdir -p $(dir $(SBOM))
	@$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements requirements.txt --pyproject pyproject.toml --mc-type application \
		--spec-version 1.6 --output-format JSON --output-reproducible --output-file $(SBOM)
	@echo $(SBOM)

lock: $(TOOLS)/.ready ## Write the locked requirements*.txt again; ARGS=--upgrade takes newer versions where none is pinned (needs a network)
	@for name in $(LOCKS); do \
		echo "$$name.txt"; \
		$(TOOLS)/bin/uv pip compile $$name.in --output-file $$name.txt --quiet --generate-hashes --universal --python-version 3.13 \
			--python $(TOOLS)/bin/python --no-python-downloads --only-binary :all: \
			--annotation-style line --custom-compile-command "make lock" $(ARGS) || exit 1; \
	done

audit: $(TOOLS)/.ready ## Look all locked versions up among the published vulnerabilities (needs a network)
	@for name in $(LOCKS); do $(TOOLS)/bin/pip-audit --strict --requirement $$name.txt --require-hashes --disable-pip $(ARGS) || exit 1; done

##@ Operate

smoke: $(READY) ## Check a running service: make smoke URL=https://... BUSINESS=..., with TOKEN in the environment
	@exec $(BIN)/python scripts/smoke.py

# Made again when the lists of packages change. The virtual environment itself is only replaced when its
# Python does not run, or when another is asked for: make setup PYTHON=3.14.
RUNS = $(BIN)/python -c 'import sys, pip; v = "%d.%d" % sys.version_info[:2]; sys.exit(v not in "$(or $(filter 3.%,$(PYTHON)),3.13 3.14)".split())'
ifneq ($(filter 3.%,$(PYTHON)),)
ifneq ($(shell $(RUNS) 2>/dev/null && echo yes),yes)
.PHONY: $(READY)
endif
endif

$(READY): requirements-dev.txt scripts/python
	@if ! $(RUNS) 2>/dev/null; then \
		python=$$(PYTHON="$(PYTHON)" sh scripts/python) || exit 1; \
		echo "Creating $(VENV) with $$python ..."; \
		"$$python" -m venv --clear $(VENV) || exit 1; \
	fi
	@echo "Installing the pinned packages into $(VENV) (once, about a minute) ..."
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements-dev.txt
	@touch $@

# An environment beside .venv, so that the locks can be written while they are at fault, and so that these packages meddle with no others.
$(TOOLS)/.ready: requirements-tools.txt scripts/python
	@python=$$(PYTHON="$(PYTHON)" sh scripts/python) && mkdir -p $(TOOLS) && "$$python" -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements-tools.txt
	@touch $@
